//! A Service, or a host of a ServiceEntry, while its routes, upstreams and endpoints are made, or the reason why it has
//! no route.

use std::sync::Arc;

use super::choice::ChosenEndpoints;
use super::context::{Context, host, upstream};
use super::export::{self, ExportRefusal};
use super::hosts;
use super::members::Members;
use super::mesh::Mesh;
use super::translation::{Backend, Draft, Endpoints};
use super::wishes;
use crate::config::{
    ConnectionLimits, ObjectRef, OptIn, Origin, PodChoice, RouteConfig, RouteMatch, RouteTimeouts,
    ServicePort, TargetConfigs, UpstreamConfig,
};
use crate::server_name::{NameError, ServerName};
use crate::source::kubernetes::records::{
    ObjectKey, ServiceKind, ServicePortRecord, ServiceRecord,
};

/// The largest number of routes of one Service: first its ports, then their subsets, then the names of the pods of a
/// headless one.
pub(super) const MAX_ROUTES: usize = 2_000;

/// The annotation, without the prefix `strait.dev/`, by which a Service gives its plain host name to
/// one of its ports.
const PLAIN_HOST_ANNOTATION: &str = "plain-host-port";

/// A Service, or a host of a ServiceEntry, while it is translated.
pub(super) struct Service<'c, 'a> {
    context: &'c mut Context<'a>,
    key: &'c ObjectKey,
    record: &'c ServiceRecord,
    /// The ServiceEntry, if it is no Service. `key` then has the host as its name.
    entry: Option<&'c ObjectKey>,
    members: Members<'a>,
    pub(super) draft: Draft,
}

/// A port that has routes.
struct Exported<'c> {
    port: &'c ServicePortRecord,
    /// True if the plain host name leads to this port.
    plain_host: bool,
    /// The reason why the policy would not export it.
    dry_run: Option<Arc<str>>,
}

impl Exported<'_> {
    fn matches(&self, host: &ServerName) -> RouteMatch {
        RouteMatch::Service {
            host: host.clone(),
            port: self.port.port,
            subsets: Vec::new(),
            plain_host: self.plain_host,
        }
    }
}

impl<'c, 'a> Service<'c, 'a> {
    pub(super) fn new(
        context: &'c mut Context<'a>,
        key: &'c ObjectKey,
        record: &'c ServiceRecord,
    ) -> Self {
        Self {
            members: Members::of_service(context, key),
            context,
            key,
            record,
            entry: None,
            draft: Draft::default(),
        }
    }

    /// The host `key.name` that `entry` has.
    pub(super) fn of_entry(
        context: &'c mut Context<'a>,
        key: &'c ObjectKey,
        record: &'c ServiceRecord,
        entry: &'c ObjectKey,
    ) -> Self {
        Self {
            members: Members::of_host(context, key),
            context,
            key,
            record,
            entry: Some(entry),
            draft: Draft::default(),
        }
    }

    /// The kind of its object.
    const fn noun(&self) -> &'static str {
        match self.entry {
            None => "Service",
            Some(_) => "ServiceEntry",
        }
    }

    /// Adds the routes that the policy exports, or the reason why it exports none.
    pub(super) fn export(&mut self) {
        self.draft.names = self.members.names();
        let domain = &self.context.policy.cluster_domain;
        let host = match self.host("", domain.as_str()) {
            Ok(host) => host,
            Err(error) => return self.skip("its host", &error.to_string(), 1),
        };
        let exported = match self.exported_ports() {
            Ok(exported) => exported,
            Err(reason) => {
                self.draft.unrouted = Some((host, reason));
                return;
            }
        };
        for exported in &exported {
            self.add_port(&host, exported);
        }
        for exported in &exported {
            self.add_subsets(&host, exported);
        }
        if self.record.kind == ServiceKind::Headless {
            self.add_pods("", domain.as_str(), &exported);
        }
        if self.has_clusterset_name(domain.as_str()) {
            self.add_clusterset_names(&exported);
        }
    }

    /// Adds the names of the Multi-Cluster Services API. It names the pods of a headless Service by
    /// their cluster too.
    fn add_clusterset_names(&mut self, exported: &[Exported<'c>]) {
        let host = match self.host("", hosts::CLUSTERSET) {
            Ok(host) => host,
            Err(error) => return self.skip("its host in the cluster set", &error.to_string(), 1),
        };
        exported.iter().for_each(|port| self.add_port(&host, port));
        for exported in exported {
            self.add_subsets(&host, exported);
        }
        if self.record.kind == ServiceKind::Headless
            && let Some(cluster) = self.context.policy.cluster.clone()
        {
            self.add_pods(&format!("{cluster}."), hosts::CLUSTERSET, exported);
        }
    }

    fn host(&self, prefix: &str, domain: &str) -> Result<ServerName, NameError> {
        match self.entry {
            None => host(self.key, prefix, domain),
            Some(_) => ServerName::parse(self.key.name.as_bytes()),
        }
    }

    fn has_clusterset_name(&self, domain: &str) -> bool {
        let exports = &self.context.cluster.service_exports;
        let opt_in = self.context.policy.export.opt_in;
        let exported = exports.get(self.key).is_some();
        opt_in == OptIn::ServiceExport && exported && domain != hosts::CLUSTERSET
    }

    /// The ports with routes, at least one, or the reason why there is no such port.
    fn exported_ports(&mut self) -> Result<Vec<Exported<'c>>, Arc<str>> {
        let noun = self.noun();
        let Context {
            cluster,
            policy,
            strings,
            ..
        } = &mut *self.context;
        let record = self.record;
        let mesh = Mesh::of(cluster, policy);
        if let Some(refusal) = export::unroutable(policy, cluster, &mesh, self.key, record) {
            return Err(strings.shared(&refusal.text(noun)));
        }
        let policy = &policy.export;
        let of_service = export::refuse_service(policy, cluster, self.key, record);
        let of_service = of_service.map(|refusal| strings.shared(&refusal.text(noun)));
        let mut exported = Vec::new();
        for port in &record.ports {
            let refusal = of_service.clone().or_else(|| {
                let refusal = export::refuse_port(policy, port)?;
                Some(strings.shared(&refusal.text(noun)))
            });
            if refusal.is_none() || policy.dry_run {
                exported.push(Exported {
                    port,
                    plain_host: false,
                    dry_run: refusal,
                });
            }
        }
        if exported.is_empty() {
            let of_port = || export::refuse_ports(record).text(noun);
            return Err(of_service.unwrap_or_else(|| strings.shared(&of_port())));
        }
        let plain_host = self.plain_host_port();
        for exported in &mut exported {
            exported.plain_host = plain_host == Some(exported.port.port);
        }
        Ok(exported)
    }

    /// The port that the plain host name leads to, if any. That of a ServiceEntry leads nowhere: the authors of
    /// entries in any namespace could take a name from a wildcard of the file.
    fn plain_host_port(&mut self) -> Option<u16> {
        let record = self.record;
        if self.entry.is_some() {
            return None;
        }
        let Some(wanted) = record.annotations.get(PLAIN_HOST_ANNOTATION) else {
            let [only] = &*record.ports else { return None };
            return Some(only.port);
        };
        let number = wanted.parse().ok();
        let mut ports = record.ports.iter();
        let named = ports.find(|port| number == Some(port.port) || *port.name == *wanted);
        if named.is_none() {
            let what = "annotation strait.dev/plain-host-port";
            self.skip(what, "it names no TCP port of the Service", 1);
        }
        named.map(|port| port.port)
    }

    fn service_port(&self, port: u16) -> ServicePort {
        ServicePort {
            namespace: self.key.namespace.clone(),
            service: self.key.name.clone(),
            port,
            subset: None,
            by_pod: false,
            pods: PodChoice::AsExported,
        }
    }

    fn add_port(&mut self, host: &ServerName, exported: &Exported<'c>) {
        let target = self.service_port(exported.port.port);
        let name = format!("{host}:{}", target.port);
        if self.add_route(&name, exported.matches(host), exported, &target) {
            self.add_upstream(&target, exported.port);
        }
    }

    fn add_subsets(&mut self, host: &ServerName, exported: &Exported<'c>) {
        let port = exported.port.port;
        let subsets: Vec<_> = self.members.mtls.rule.subsets().collect();
        for (position, subset) in subsets.iter().enumerate() {
            if self.is_full(subsets.len() - position) {
                return;
            }
            let name = format!("{host}:{port}/{}", subset.name);
            let outbound = host.istio_outbound(port, &subset.name);
            let as_asked = outbound.as_ref().is_ok_and(|outbound| {
                let outbound = outbound.as_name();
                let parts = outbound.istio();
                parts.is_some_and(|parts| parts.subset.eq_ignore_ascii_case(&subset.name))
            });
            if subset.name.is_empty() || (outbound.is_ok() && !as_asked) {
                self.skip(&name, "no client can ask for a subset of this name", 1);
                continue;
            }
            let target = ServicePort {
                subset: Some(subset.name.clone()),
                ..self.service_port(port)
            };
            let matches = RouteMatch::Subset {
                host: host.clone(),
                port,
                subset: subset.name.clone(),
            };
            if self.add_route(&name, matches, exported, &target) {
                self.add_upstream(&target, exported.port);
            }
        }
    }

    /// Adds the names that a headless Service gives its pods, one route for all at each port; `of_cluster` is the part
    /// between the pod's name and the Service's. Whichever pod comes or goes, route tables stay as they are.
    fn add_pods(&mut self, of_cluster: &str, domain: &str, exported: &[Exported<'c>]) {
        if !self.members.pods.iter().any(|pod| pod.hostname.is_some()) {
            return;
        }
        let host = match self.host(of_cluster, domain) {
            Ok(host) => host,
            Err(error) => return self.skip("the names of its pods", &error.to_string(), 1),
        };
        for exported in exported {
            let port = exported.port.port;
            let target = ServicePort {
                by_pod: true,
                ..self.service_port(port)
            };
            let matches = RouteMatch::Pods {
                host: host.clone(),
                port,
                plain_host: exported.plain_host,
            };
            let name = format!("*.{host}:{port}");
            if self.add_route(&name, matches, exported, &target) {
                self.add_upstream(&target, exported.port);
            }
        }
    }

    /// Adds a route unless a limit forbids it. Returns whether it did.
    fn add_route(
        &mut self,
        name: &str,
        matches: RouteMatch,
        exported: &Exported<'c>,
        target: &ServicePort,
    ) -> bool {
        if self.is_full(1) {
            return false;
        }
        if let Err(error) = matches.patterns() {
            self.skip(name, &format!("as an outbound_ name: {error}"), 1);
            return false;
        }
        let upstream = self.context.strings.shared(&target.to_string());
        self.draft.exports.push(Arc::new(RouteConfig {
            name: name.into(),
            matches,
            alpn: self.context.policy.export.alpn.clone(),
            targets: TargetConfigs::only(upstream.into()),
            limits: ConnectionLimits::OFF,
            timeouts: RouteTimeouts::default(),
            origin: self.origin(),
            dry_run: exported.dry_run.clone(),
        }));
        true
    }

    fn origin(&self) -> Origin {
        let object = |key: &ObjectKey| ObjectRef {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            resource_version: self.record.resource_version.clone(),
        };
        match self.entry {
            None => Origin::Export(object(self.key)),
            Some(entry) => Origin::ServiceEntry(object(entry)),
        }
    }

    /// Whether the number of routes has reached its limit. If so, `left` of them are counted as
    /// skipped.
    fn is_full(&mut self, left: usize) -> bool {
        let full = self.draft.exports.len() >= MAX_ROUTES;
        if full {
            let why = format!("a {} has at most {MAX_ROUTES} routes", self.noun());
            self.skip("more routes", &why, left);
        }
        full
    }

    fn skip(&mut self, what: &str, why: &str, count: usize) {
        let object = self.entry.unwrap_or(self.key);
        let text = format!("{} {object}: {what}: {why}", self.noun());
        let skipped = &mut self.draft.skipped;
        skipped.add(self.context.strings.shared(&text), count);
    }

    /// Adds an upstream that a TLSRoute asks for.
    pub(super) fn add_backend(&mut self, backend: &Backend) {
        let Backend { port, refused } = backend;
        let external = self.record.kind == ServiceKind::ExternalName;
        let mut ports = self.record.ports.iter();
        let record = ports.find(|record| record.port == port.port);
        let text = match record {
            _ if port.pods == PodChoice::Refused => "the TLSRoute may not use it".to_owned(),
            _ if external => ExportRefusal::ExternalName.text("Service"),
            Some(record) => return self.add_upstream(port, record),
            None => format!("the Service has no TCP port {}", port.port),
        };
        let empty = refused
            .clone()
            .unwrap_or_else(|| self.context.strings.shared(&text));
        let upstream = upstream(self.context, port);
        self.draft
            .add(upstream, Endpoints::new(Vec::new(), Some(empty)));
    }

    /// Adds the upstream for `target`.
    fn add_upstream(&mut self, target: &ServicePort, port: &ServicePortRecord) {
        let chosen = self.members.choose(self.context.policy, target, port);
        let endpoints = self.endpoints(chosen);
        let upstream = self.upstream(target);
        self.draft.add(upstream, endpoints);
    }

    fn endpoints(&mut self, chosen: ChosenEndpoints) -> Endpoints {
        let Context { cluster, own, .. } = *self.context;
        let (endpoints, empty) = chosen.without_own(cluster, own, self.key, self.noun());
        let empty = empty.map(|reason| self.context.strings.shared(&reason));
        Endpoints::new(endpoints, empty)
    }

    fn upstream(&mut self, target: &ServicePort) -> Arc<UpstreamConfig> {
        let mut upstream = upstream(self.context, target);
        if target.pods == PodChoice::AsExported {
            let rule = &self.members.mtls.rule;
            let wishes = rule.wishes(target.port, target.subset.as_ref());
            wishes::apply(&wishes, Arc::make_mut(&mut upstream));
        }
        upstream
    }
}
