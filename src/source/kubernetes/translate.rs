//! The pure translation of records and policy into routes, endpoints, and the reasons why hosts have no
//! route.
//!
//! Each Service is translated by itself, when something that concerns it changes. The result is
//! compared with the previous one: only a difference in routes makes new route tables.

mod choice;
mod context;
mod dns_names;
mod export;
mod gateway_parts;
mod host;
mod hosts;
mod members;
mod mesh;
mod mtls;
mod objects;
mod others;
mod pods;
mod rules;
mod service;
mod topology;
mod translation;
mod why;
mod wishes;
mod workloads;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::cluster::{Cluster, ClusterChange, Dirty, Kind, Strings};
use super::discovered::{Discovered, Routing, Skipped};
use super::gateways;
use super::ports::Ports;
use super::records::ObjectKey;
use super::status::Statuses;
use crate::config::{EndpointSpec, KubernetesConfig, RouteConfig, ServicePort, UpstreamConfig};
use crate::names::{UpstreamName, Zone};
use crate::server_name::ServerName;
use crate::shared_map::SharedMap;
use crate::socket::OwnListeners;
use context::Context;
use dns_names::{DnsNames, NameUser};
use gateway_parts::{Dependencies, GatewayParts, service_of};
use others::OtherClusters;
use translation::{Backend, Routes, Translation};

pub use dns_names::WantedName;

/// The largest number of routes of all Services together.
const MAX_ROUTES: usize = 500_000;

/// The hosts without a route, each with the reason.
type UnroutedHosts = SharedMap<ServerName, Arc<str>>;

/// Keeps the translation of a cluster up to date, change by change.
#[derive(Debug)]
pub struct Translator {
    policy: Arc<KubernetesConfig>,
    own: OwnListeners,
    ports: Ports,
    cluster: Cluster,
    others: OtherClusters,
    /// The Services that changes of other clusters concern.
    concerned: Dirty,
    names: DnsNames,
    services: BTreeMap<ObjectKey, Translation>,
    /// By the namespace of a ServiceEntry, with the host as the name.
    hosts: BTreeMap<ObjectKey, Translation>,
    gateways: GatewayParts,
    /// Reasons and names that many Services share.
    strings: Strings,
    /// The last routing that was given out.
    routing: Arc<Routing>,
    /// The routing as it is now, with every route of every Service.
    found: Routing,
    /// The names of each Service that get no route.
    skipped: BTreeMap<ObjectKey, Skipped>,
    endpoints: SharedMap<UpstreamName, Arc<[EndpointSpec]>>,
    empty: SharedMap<UpstreamName, Arc<str>>,
    unrouted: UnroutedHosts,
    /// True if every Service must be translated again.
    stale: bool,
    /// True if the Gateway API's objects must be translated again.
    stale_gateways: bool,
    /// True if a result was given out before.
    published: bool,
}

/// The changes since the last publication.
#[derive(Debug, Default)]
struct StaleParts {
    routes: bool,
    skipped: bool,
    unrouted: bool,
    endpoints: bool,
}

impl Translator {
    /// Creates a translator of an empty cluster.
    pub fn new(policy: Arc<KubernetesConfig>) -> Self {
        Self {
            cluster: Cluster::new(policy.istio.namespace.clone()),
            others: OtherClusters::of(&policy),
            concerned: Dirty::default(),
            names: DnsNames::default(),
            policy,
            own: OwnListeners::default(),
            ports: Ports::default(),
            services: BTreeMap::new(),
            hosts: BTreeMap::new(),
            gateways: GatewayParts::default(),
            strings: Strings::default(),
            routing: Arc::default(),
            found: Routing::default(),
            skipped: BTreeMap::new(),
            endpoints: SharedMap::default(),
            empty: SharedMap::default(),
            unrouted: SharedMap::default(),
            stale: false,
            stale_gateways: false,
            published: false,
        }
    }

    /// Sets the addresses that the gateway listens on: a Service whose pods include this gateway gets
    /// no connection from it. It takes effect with the next [`Translator::apply`].
    pub fn listen_on(&mut self, own: OwnListeners) {
        self.stale |= self.own != own;
        self.own = own;
    }

    /// Sets the result of opening ports. It takes effect with the next [`Translator::apply`], and
    /// concerns statuses only.
    pub fn set_ports(&mut self, ports: Ports) {
        self.stale_gateways |= self.ports != ports;
        self.ports = ports;
    }

    /// Whether a Gateway asks for a port that was not tried yet.
    pub fn is_opening(&self) -> bool {
        let mut ports = self.gateways.routes.keys();
        ports.any(|port| !self.ports.is_known(*port))
    }

    /// Takes a change of another cluster, called `name`. It takes effect with the next [`Translator::apply`].
    pub fn apply_other(&mut self, name: &str, change: ClusterChange) {
        self.others
            .apply(name, change, &self.cluster, &mut self.concerned);
    }

    /// All records of another cluster; `None` if the policy does not name it.
    pub fn other_cluster(&self, name: &str) -> Option<&Cluster> {
        self.others.get(name)
    }

    /// The whole content of the other clusters, each change with the name of its cluster.
    pub fn other_changes(&self) -> Vec<(Arc<str>, ClusterChange)> {
        self.others.changes()
    }

    /// The DNS names that exported hosts have for addresses, in order, if they are others than at the last call.
    pub fn take_names(&mut self) -> Option<Vec<WantedName>> {
        self.names.take_change()
    }

    /// Has [`Translator::take_names`] give the names in any case, as after those of another translator.
    pub fn announce_names(&mut self) {
        self.names.announce();
    }

    /// Takes the addresses of a DNS name. They take effect with the next [`Translator::apply`].
    pub fn resolve(&mut self, name: &Arc<str>, addresses: Arc<[IpAddr]>) {
        self.names.resolve(name, addresses, &mut self.concerned);
    }

    /// Forgets the addresses of all DNS names but those that `keeps`, which takes effect with the next
    /// [`Translator::apply`]. Returns whether there were any.
    pub fn forget_names(&mut self, keeps: impl Fn(&str) -> bool) -> bool {
        self.names.forget(keeps, &mut self.concerned)
    }

    /// Every DNS name with the addresses that it has.
    pub fn resolved(&self) -> Vec<(Arc<str>, Arc<[IpAddr]>)> {
        self.names.all()
    }

    /// Applies the changes. Returns `None` if no route and no endpoint has changed; the first call
    /// always returns a value, even an empty one.
    pub fn apply(
        &mut self,
        changes: impl IntoIterator<Item = ClusterChange>,
    ) -> Option<Arc<Discovered>> {
        let mut dirty = Dirty {
            everything: std::mem::take(&mut self.stale),
            gateways: std::mem::take(&mut self.stale_gateways),
            ..std::mem::take(&mut self.concerned)
        };
        for change in changes {
            self.cluster.apply(change, &mut dirty);
        }
        self.others.join(&mut dirty);
        if dirty.everything {
            let known = self.services.keys().cloned();
            let there = self.cluster.services.iter().map(|(key, _)| key.clone());
            dirty.services.extend(known.chain(there));
            dirty.services.extend(self.others.services().cloned());
            dirty.hosts.extend(self.hosts.keys().cloned());
            dirty.hosts.extend(self.cluster.entry_hosts());
        }
        self.strings.sweep();
        let mut changed = StaleParts::default();
        self.translate_gateways(&mut dirty, &mut changed);
        hosts::join(&self.cluster, &self.policy, &mut dirty);
        let unrouted = self.unrouted.clone();
        for key in &dirty.services {
            self.translate_service(key, &mut changed);
        }
        for key in &dirty.hosts {
            self.translate_host(key, &mut changed);
        }
        if !dirty.hosts.is_empty() && changed.unrouted {
            self.settle_unrouted(&dirty, &unrouted, &mut changed);
        }
        self.publish(&changed)
    }

    /// Puts the hosts without a route in order after all were translated: of two objects with one host, one
    /// may have taken away what the other had said.
    fn settle_unrouted(&mut self, dirty: &Dirty, before: &UnroutedHosts, changed: &mut StaleParts) {
        let services = dirty.services.iter().map(|key| self.services.get(key));
        let hosts = dirty.hosts.iter().map(|key| self.hosts.get(key));
        for translation in services.chain(hosts).flatten() {
            if let Some((host, reason)) = &translation.routing.unrouted
                && self.unrouted.get(host) != Some(reason)
            {
                self.unrouted.insert(host.clone(), reason.clone());
            }
        }
        let same = |one: &Arc<str>, other: &Arc<str>| one == other;
        changed.unrouted = !before.diff(&self.unrouted, same).is_empty();
    }

    /// The zone of the node that the gateway runs on, once known. It may change although
    /// [`Translator::apply`] returned `None`.
    pub fn own_zone(&self) -> Option<Zone> {
        let node = ObjectKey::global(self.policy.node.as_ref()?);
        self.cluster.nodes.get(&node)?.zone.clone().map(Zone::from)
    }

    /// The wanted status of each object of the Gateway API. It is the same `Arc` as before when nothing
    /// in it has changed; it may change although [`Translator::apply`] returned `None`.
    pub fn statuses(&self) -> Arc<Statuses> {
        self.gateways.statuses.clone()
    }

    /// All records.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Translates the Gateway API's objects again if the result may differ. Adds the Services whose
    /// wanted ports have changed.
    fn translate_gateways(&mut self, dirty: &mut Dirty, changed: &mut StaleParts) {
        let Some(config) = &self.policy.gateway_api else {
            return;
        };
        let wanted = &self.gateways.backends;
        let (cluster, policy) = (&self.cluster, &*self.policy);
        let in_mesh = |port: &ServicePort| pods::is_in_mesh(cluster, policy, port);
        let version = |key: &ObjectKey| {
            let service = cluster.services.get(key);
            service.map(|service| service.resource_version.clone())
        };
        let concerns = |key: &ObjectKey| {
            let dependencies = self.gateways.services.get(key);
            dependencies.is_some_and(|dependencies| {
                let mut mesh = dependencies.mesh.iter();
                let mut front = dependencies.front.iter();
                dependencies.version != version(key)
                    || mesh.any(|(port, was)| in_mesh(port) != *was)
                    || front.any(|was| *was != gateways::pod_ports(cluster, key))
            })
        };
        if !(dirty.gateways || dirty.everything || dirty.services.iter().any(concerns)) {
            return self.gateways.note_versions(cluster, &dirty.written);
        }
        let mesh = RefCell::new(BTreeMap::new());
        let remembering = |port: &ServicePort| {
            *mesh
                .borrow_mut()
                .entry(port.clone())
                .or_insert_with(|| in_mesh(port))
        };
        let mut translated =
            gateways::translate(cluster, policy, config, &self.ports, &remembering);
        let services = translated.services.iter();
        let dependencies = |key: &ObjectKey| Dependencies {
            version: version(key),
            ..Dependencies::default()
        };
        let mut services: BTreeMap<ObjectKey, Dependencies> = services
            .map(|key| (key.clone(), dependencies(key)))
            .collect();
        for (port, was) in mesh.into_inner() {
            let dependencies = services.entry(service_of(&port)).or_default();
            dependencies.mesh.push((port, was));
        }
        if let Some((key, ports)) = translated.front {
            services.entry(key).or_default().front = Some(ports);
        }
        gateways::keep_versions(&self.gateways.routes, &mut translated.routes);
        let mut backends: BTreeMap<ObjectKey, Vec<Backend>> = BTreeMap::new();
        for port in translated.backends {
            let refused = translated.refused.remove(&port);
            let of_service = backends.entry(service_of(&port)).or_default();
            of_service.push(Backend { port, refused });
        }
        let differ = |key: &&ObjectKey| backends.get(*key) != wanted.get(*key);
        let both = backends.keys().chain(wanted.keys());
        dirty.services.extend(both.filter(differ).cloned());
        self.take_gateways(&translated.routes, changed);
        self.gateways.backends = backends;
        self.gateways.services = services;
        self.gateways.routes = translated.routes;
        if self.gateways.statuses != translated.statuses {
            self.gateways.statuses = translated.statuses;
        }
    }

    fn translate_service(&mut self, key: &ObjectKey, changed: &mut StaleParts) {
        let backends = self.gateways.backends.get(key);
        let there = backends.is_some()
            || self.cluster.services.get(key).is_some()
            || self.cluster.why_unreadable(Kind::Service, key).is_some()
            || self.others.service(&self.cluster, key).is_some();
        let mut context = Context {
            cluster: &self.cluster,
            others: &self.others,
            names: &self.names.answers,
            policy: &self.policy,
            own: &self.own,
            strings: &mut self.strings,
        };
        let backends = backends.map_or(&[][..], Vec::as_slice);
        let old = self.services.remove(key);
        let new = there.then(|| objects::translate(&mut context, key, backends));
        let user = NameUser::Service(key.clone());
        if let Some(new) = self.replace(&user, old.as_ref(), new, changed) {
            self.services.insert(key.clone(), new);
        }
    }

    fn translate_host(&mut self, key: &ObjectKey, changed: &mut StaleParts) {
        let cluster = &self.cluster;
        let there = cluster
            .entries_in(&key.namespace, &key.name)
            .next()
            .is_some();
        let mut context = Context {
            cluster: &self.cluster,
            others: &self.others,
            names: &self.names.answers,
            policy: &self.policy,
            own: &self.own,
            strings: &mut self.strings,
        };
        let new = there.then(|| objects::translate_host(&mut context, key));
        let old = self.hosts.remove(key);
        let user = NameUser::Host(key.clone());
        if let Some(new) = self.replace(&user, old.as_ref(), new, changed) {
            self.hosts.insert(key.clone(), new);
        }
    }

    /// Replaces one translation by another, which it returns.
    fn replace(
        &mut self,
        user: &NameUser,
        old: Option<&Translation>,
        mut new: Option<Translation>,
        changed: &mut StaleParts,
    ) -> Option<Translation> {
        let (NameUser::Service(key) | NameUser::Host(key)) = user;
        let names = |of: Option<&Translation>| of.map(|of| of.names.clone()).unwrap_or_default();
        self.names.replace(user, &names(old), &names(new.as_ref()));
        let mut none = (Routes::default(), Routes::default());
        let old_routing = old.map_or(&none.0, |old| &old.routing);
        let new_routing = new.as_mut().map_or(&mut none.1, |new| &mut new.routing);
        new_routing.keep_versions(old_routing);
        self.take_routes(key, old_routing, new_routing, changed);
        self.take_endpoints(old, new.as_mut(), changed);
        new
    }

    /// Replaces the routes of each port of a Gateway where they differ.
    fn take_gateways(
        &mut self,
        routes: &BTreeMap<u16, Vec<Arc<RouteConfig>>>,
        changed: &mut StaleParts,
    ) {
        if self.gateways.routes == *routes {
            return;
        }
        changed.routes = true;
        let before = &self.found.gateways;
        let shared = |(port, routes): (&u16, &Vec<Arc<RouteConfig>>)| {
            let same = before.get(port).filter(|before| ***before == *routes);
            (
                *port,
                same.cloned().unwrap_or_else(|| routes.clone().into()),
            )
        };
        self.found.gateways = routes.iter().map(shared).collect();
    }

    /// Replaces the routes of one Service where they differ.
    fn take_routes(
        &mut self,
        key: &ObjectKey,
        old: &Routes,
        new: &Routes,
        changed: &mut StaleParts,
    ) {
        if old.unrouted != new.unrouted {
            changed.unrouted = true;
            if let Some((host, _)) = &old.unrouted {
                self.unrouted.remove(host);
            }
            if let Some((host, reason)) = &new.unrouted {
                self.unrouted.insert(host.clone(), reason.clone());
            }
        }
        let both_empty = old.exports.is_empty() && new.exports.is_empty();
        if !both_empty && !Arc::ptr_eq(&old.exports, &new.exports) {
            changed.routes = true;
            let exporter = (key.namespace.clone(), key.name.clone());
            self.found.exports.set(&exporter, new.exports.clone());
        }
        let mut gone: BTreeMap<&UpstreamName, &Arc<UpstreamConfig>> =
            old.upstreams.iter().map(|one| (&one.name, one)).collect();
        for upstream in &new.upstreams {
            let before = gone.remove(&upstream.name);
            if before.is_none_or(|before| !Arc::ptr_eq(before, upstream)) {
                changed.routes = true;
                let upstreams = &mut self.found.upstreams;
                upstreams.insert(upstream.name.clone(), upstream.clone());
            }
        }
        for name in gone.keys() {
            changed.routes = true;
            self.found.upstreams.remove(*name);
        }
        if old.skipped != new.skipped {
            (changed.routes, changed.skipped) = (true, true);
            match new.skipped.count {
                0 => self.skipped.remove(key),
                _ => self.skipped.insert(key.clone(), new.skipped.clone()),
            };
        }
    }

    /// Replaces the endpoints of one Service's upstreams where they differ.
    fn take_endpoints(
        &mut self,
        old: Option<&Translation>,
        new: Option<&mut Translation>,
        changed: &mut StaleParts,
    ) {
        let mut gone: BTreeSet<&UpstreamName> = BTreeSet::new();
        if let Some(old) = old {
            gone.extend(old.endpoints.iter().map(|(name, _)| name));
        }
        if let Some(new) = new {
            for (name, endpoints) in &mut new.endpoints {
                gone.remove(name);
                let before = old.and_then(|old| old.endpoints_of(name));
                if let Some(before) = before.filter(|before| before.list == endpoints.list) {
                    endpoints.list = before.list.clone();
                    if before.empty == endpoints.empty {
                        continue;
                    }
                }
                changed.endpoints = true;
                self.endpoints.insert(name.clone(), endpoints.list.clone());
                match &endpoints.empty {
                    Some(reason) => self.empty.insert(name.clone(), reason.clone()),
                    None => self.empty.remove(name),
                };
            }
        }
        for name in gone {
            changed.endpoints = true;
            self.endpoints.remove(name);
            self.empty.remove(name);
        }
    }

    fn publish(&mut self, changed: &StaleParts) -> Option<Arc<Discovered>> {
        if changed.skipped {
            self.found.skipped = Skipped::default();
            for skipped in self.skipped.values() {
                self.found.skipped.extend(skipped);
            }
        }
        if changed.routes {
            self.routing = Arc::new(self.found.clone().within(MAX_ROUTES));
        } else if !(changed.endpoints || changed.unrouted) && self.published {
            return None;
        }
        self.published = true;
        Some(Arc::new(Discovered {
            routing: self.routing.clone(),
            endpoints: self.endpoints.clone(),
            empty: self.empty.clone(),
            unrouted: self.unrouted.clone(),
        }))
    }
}
