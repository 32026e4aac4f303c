//! The rules that say what the change of one object concerns.
//!
//! # Cost
//! A change of a Service, slice, pod or ServiceEntry looks at what it concerns, by an index. Linear are:
//!
//! | change of | looks at |
//! |---|---|
//! | a WorkloadEntry | the Services of its namespace, and the ServiceEntries there that select workloads |
//! | a pod, or a slice with pods | those ServiceEntries too, if there are any |
//! | a Node | every slice |
//! | a policy of Istio | the Services and ServiceEntries of its namespace; of the root namespace, all there are |
//! | the mesh's settings, or the network of Istio's namespace | all there are |
//!
//! The translation that follows looks, for each Service or host concerned, at the WorkloadEntries of the namespace,
//! for a host of an entry with a `workloadSelector` also at its pods, and at all entries with that host: n entries
//! of one host cost n for a change of any of them in each of their namespaces. A name that DNS answers concerns the
//! Services and hosts that have it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::index;
use super::store::{Cluster, Stored};
use crate::metrics::Kind;
use crate::source::kubernetes::records::entry::{ServiceEntryRecord, WorkloadEntryRecord};
use crate::source::kubernetes::records::gateway::{
    GatewayClassRecord, GatewayRecord, ReferenceGrantRecord, Revision, TlsRouteRecord,
};
use crate::source::kubernetes::records::mesh::MeshConfigRecord;
use crate::source::kubernetes::records::{
    DestinationRuleRecord, Labels, NamespaceRecord, NodeRecord, ObjectKey,
    PeerAuthenticationRecord, PodRecord, ServiceExportRecord, ServiceRecord, SliceRecord,
};

/// The label of a pod or of Istio's namespace that names its network.
const NETWORK: &str = "topology.istio.io/network";

/// The parts of the translation that a change concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services whose routes or endpoints may have changed, or that no longer exist.
    pub services: BTreeSet<ObjectKey>,
    /// Hosts of ServiceEntries, each with the namespace of an entry, whose routes or endpoints may have
    /// changed, or that no longer exist.
    pub hosts: BTreeSet<ObjectKey>,
    /// Namespaces all of whose Services are concerned. Other clusters may have some there that this one lacks.
    pub namespaces: BTreeSet<Arc<str>>,
    /// True if that holds for every Service and every host of a ServiceEntry.
    pub everything: bool,
    /// True if the content of Gateways and TLSRoutes may have changed.
    pub gateways: bool,
    /// Objects of the Gateway API of which nothing but the version has changed: a status was written.
    pub written: BTreeSet<(Kind, ObjectKey)>,
}

/// The change of one object. While it is handled, the object's record is not in its table.
#[derive(Debug)]
pub(super) struct RecordChange<'a, R> {
    pub(super) key: &'a ObjectKey,
    pub(super) old: Option<&'a R>,
    pub(super) new: Option<&'a R>,
}

/// A kind of record whose changes concern something.
pub(super) trait Concern: Sized {
    /// Adds the concern to `dirty`.
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty);
}

impl Concern for ServiceRecord {
    fn note(changed: &RecordChange<'_, Self>, _: &mut Cluster, dirty: &mut Dirty) {
        dirty.services.insert(changed.key.clone());
    }
}

impl Concern for ServiceExportRecord {
    fn note(changed: &RecordChange<'_, Self>, _: &mut Cluster, dirty: &mut Dirty) {
        dirty.services.insert(changed.key.clone());
    }
}

impl Concern for SliceRecord {
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty) {
        let RecordChange { key, old, new } = changed;
        cluster.index.replace(key, *old, *new);
        let both = old.iter().chain(new);
        dirty
            .services
            .extend(both.clone().map(|slice| index::service(key, slice)));
        // The slice may say which pod has an address that others list without a pod.
        let Cluster {
            nameless, slices, ..
        } = cluster;
        let concerned = nameless.replace(slices, key, *old, *new);
        let concerned = concerned.iter().map(|service| key.beside(service));
        dirty.services.extend(concerned);
        // A slice says which addresses the pods have that ServiceEntries select.
        let (entry_hosts, pods) = (&cluster.entry_hosts, &cluster.pods);
        if entry_hosts.selecting_in(&key.namespace).next().is_some() {
            let endpoints = both.clone().flat_map(|slice| &slice.endpoints);
            let named = endpoints.filter_map(|endpoint| endpoint.pod.as_ref());
            let pods = named.filter_map(|name| pods.get(&key.beside(name)));
            let labels: BTreeSet<&Labels> = pods.map(|pod| &pod.labels).collect();
            dirty.add_selecting(&key.namespace, labels.iter().copied(), cluster);
        }
    }
}

impl Concern for PodRecord {
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty) {
        let key = changed.key;
        dirty.services.extend(cluster.index.services_of(key));
        dirty.services.extend(cluster.nameless.services_of(key));
        let both = changed.old.iter().chain(&changed.new);
        dirty.add_selecting(&key.namespace, both.map(|pod| &pod.labels), cluster);
    }
}

impl Concern for NamespaceRecord {
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty) {
        let key = changed.key;
        let network = |namespace: Option<&Self>| {
            let network = namespace?.labels.get(NETWORK)?;
            Some(network.to_owned())
        };
        // Istio's namespace holds the network of all pods that do not name one themselves.
        dirty.everything |= network(changed.old) != network(changed.new);
        dirty.add_namespace(&key.name, cluster);
        dirty.gateways = true;
    }
}

impl Concern for NodeRecord {
    /// A node concerns the Services with pods on it: a subset may select by the node's labels, and a
    /// slice that names no zone uses the node's.
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty) {
        let key = changed.key;
        for (slice_key, slice) in cluster.slices.iter() {
            let mut endpoints = slice.endpoints.iter();
            if endpoints.any(|at| at.node.as_ref() == Some(&key.name)) {
                dirty.services.insert(index::service(slice_key, slice));
                for entry in cluster.entry_hosts.selecting_in(&slice_key.namespace) {
                    dirty.add_entry(entry, cluster);
                }
            }
        }
    }
}

impl Concern for PeerAuthenticationRecord {
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty) {
        let key = changed.key;
        dirty.add_istio_namespace(&key.namespace, cluster);
    }
}

impl Concern for DestinationRuleRecord {
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty) {
        let key = changed.key;
        dirty.add_istio_namespace(&key.namespace, cluster);
    }
}

impl Concern for ServiceEntryRecord {
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty) {
        let RecordChange { key, old, new } = changed;
        cluster.entry_hosts.replace(key, *old, *new);
        for host in old.iter().chain(new).flat_map(|entry| &entry.hosts) {
            dirty.hosts.insert(key.beside(host));
            dirty.add_host(host, cluster);
        }
    }
}

impl Concern for WorkloadEntryRecord {
    fn note(changed: &RecordChange<'_, Self>, cluster: &mut Cluster, dirty: &mut Dirty) {
        let namespace = &changed.key.namespace;
        let both = changed.old.iter().chain(&changed.new);
        let labels = both.map(|entry| &entry.workload.labels);
        for (key, service) in cluster.services.in_namespace(namespace) {
            if labels
                .clone()
                .any(|labels| may_select(&service.selector, labels))
            {
                dirty.services.insert(key.clone());
            }
        }
        dirty.add_selecting(namespace, labels, cluster);
    }
}

/// Whether a selector may select a workload with these labels. istiod adds labels to them, whose values are
/// not known here.
fn may_select(selector: &Labels, labels: &Labels) -> bool {
    let is_added = |key: &str| key.starts_with("topology.") || key == "kubernetes.io/hostname";
    let mut wanted = selector.iter();
    let all = wanted.all(|(key, value)| labels.get(key) == Some(&**value) || is_added(key));
    all && !selector.is_empty()
}

impl Concern for MeshConfigRecord {
    fn note(_: &RecordChange<'_, Self>, _: &mut Cluster, dirty: &mut Dirty) {
        dirty.everything = true;
    }
}

/// An object with a status, which each write gives another version.
trait WithStatus {
    /// Whether nothing but the version differs.
    fn is_same(&self, other: &Self) -> bool;
}

/// The same for the state of the object.
fn is_same_revision(one: &Revision, other: &Revision) -> bool {
    let Revision {
        resource_version: _,
        generation,
        created,
    } = one;
    (*generation, *created) == (other.generation, other.created)
}

impl WithStatus for GatewayClassRecord {
    fn is_same(&self, other: &Self) -> bool {
        let Self { revision, spec } = self;
        is_same_revision(revision, &other.revision) && *spec == other.spec
    }
}

impl WithStatus for GatewayRecord {
    fn is_same(&self, other: &Self) -> bool {
        let Self { revision, spec } = self;
        is_same_revision(revision, &other.revision) && *spec == other.spec
    }
}

impl WithStatus for TlsRouteRecord {
    fn is_same(&self, other: &Self) -> bool {
        let Self {
            revision,
            api_version,
            annotations,
            spec,
            reported_by,
        } = self;
        is_same_revision(revision, &other.revision)
            && *api_version == other.api_version
            && *annotations == other.annotations
            && *spec == other.spec
            && *reported_by == other.reported_by
    }
}

impl<R: WithStatus + Stored> Concern for R {
    fn note(changed: &RecordChange<'_, Self>, _: &mut Cluster, dirty: &mut Dirty) {
        let RecordChange { key, old, new } = changed;
        match (old, new) {
            (Some(old), Some(new)) if old.is_same(new) => {
                dirty.written.insert((R::KIND, (*key).clone()));
            }
            _ => dirty.gateways = true,
        }
    }
}

impl Concern for ReferenceGrantRecord {
    fn note(_: &RecordChange<'_, Self>, _: &mut Cluster, dirty: &mut Dirty) {
        dirty.gateways = true;
    }
}

impl Dirty {
    /// Adds what an object may concern when it becomes unreadable, becomes readable or is removed. Only
    /// its `key` is known.
    pub(super) fn add_unreadable(&mut self, kind: Kind, key: &ObjectKey, cluster: &Cluster) {
        match kind {
            Kind::Service | Kind::ServiceExport => {
                self.services.insert(key.clone());
            }
            // A pod that was never read counted as not known until now; it counts as unreadable from
            // now on.
            Kind::Pod => {
                self.services.extend(cluster.index.services_of(key));
                self.services.extend(cluster.nameless.services_of(key));
            }
            // A node that cannot be read counts as absent.
            Kind::Node => {}
            Kind::Slice => self.add_namespace(&key.namespace, cluster),
            Kind::Namespace => {
                self.add_namespace(&key.name, cluster);
                self.gateways = true;
            }
            Kind::PeerAuthentication | Kind::DestinationRule => {
                self.everything |= key.namespace.is_empty();
                self.add_istio_namespace(&key.namespace, cluster);
            }
            // One that cannot be read counts as absent: it only adds hosts and endpoints.
            Kind::ServiceEntry | Kind::WorkloadEntry => {}
            Kind::MeshConfig => self.everything = true,
            Kind::GatewayClass | Kind::Gateway | Kind::TlsRoute | Kind::ReferenceGrant => {
                self.gateways = true;
            }
        }
    }

    pub(super) fn add_namespace(&mut self, namespace: &str, cluster: &Cluster) {
        self.namespaces.insert(namespace.into());
        let services = cluster.services.in_namespace(namespace);
        self.services.extend(services.map(|(key, _)| key.clone()));
        for (_, entry) in cluster.service_entries.in_namespace(namespace) {
            for host in &entry.hosts {
                self.add_host(host, cluster);
            }
        }
    }

    /// Adds the hosts of the ServiceEntries of a namespace that may select a workload with one of these
    /// sets of labels.
    fn add_selecting<'a>(
        &mut self,
        namespace: &Arc<str>,
        labels: impl IntoIterator<Item = &'a Labels, IntoIter: Clone>,
        cluster: &Cluster,
    ) {
        let labels = labels.into_iter();
        for key in cluster.entry_hosts.selecting_in(namespace) {
            let entry = cluster.service_entries.get(key);
            let selector = entry.and_then(|entry| entry.selector.as_ref());
            let selects = |selector| labels.clone().any(|labels| may_select(selector, labels));
            if selector.is_some_and(selects) {
                self.add_entry(key, cluster);
            }
        }
    }

    /// Adds the hosts of the ServiceEntries that select workloads, in one namespace or in all: the workloads of another
    /// cluster have changed.
    pub fn add_all_selecting(&mut self, namespace: Option<&Arc<str>>, cluster: &Cluster) {
        match namespace {
            Some(namespace) => {
                for key in cluster.entry_hosts.selecting_in(namespace) {
                    self.add_entry(key, cluster);
                }
            }
            None => {
                for key in cluster.entry_hosts.selecting() {
                    self.add_entry(key, cluster);
                }
            }
        }
    }

    /// Adds the hosts of a ServiceEntry.
    fn add_entry(&mut self, key: &ObjectKey, cluster: &Cluster) {
        let entry = cluster.service_entries.get(key);
        for host in entry.iter().flat_map(|entry| &entry.hosts) {
            self.hosts.insert(key.beside(host));
        }
    }

    /// Adds a host in each namespace that has a ServiceEntry with it: one of them has the host's routes.
    pub fn add_host(&mut self, host: &Arc<str>, cluster: &Cluster) {
        let entries = cluster.entry_hosts.entries_of(host);
        self.hosts.extend(entries.map(|key| key.beside(host)));
    }

    /// Adds the Services and hosts that Istio's policies of a namespace apply to.
    pub(super) fn add_istio_namespace(&mut self, namespace: &str, cluster: &Cluster) {
        if cluster.is_mesh_wide(namespace) {
            self.everything = true;
        } else {
            self.add_namespace(namespace, cluster);
        }
    }
}
