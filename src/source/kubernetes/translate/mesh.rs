//! The mesh-wide settings that narrow who may be reached.
//!
//! They are in Istio's ConfigMap. Without a ConfigMap Istio's defaults hold. A ConfigMap that is not
//! known may say anything: then strait hides everything that it could hide, where clients must be in
//! the mesh.

use std::sync::{Arc, LazyLock};

use crate::config::KubernetesConfig;
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::mesh::MeshConfigRecord;

/// Istio's defaults.
static DEFAULTS: LazyLock<MeshConfigRecord> = LazyLock::new(MeshConfigRecord::default);

/// The mesh that this gateway is part of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mesh<'a> {
    pub(super) settings: &'a MeshConfigRecord,
    /// The reason why the settings are not known, if they are not.
    pub(super) unknown: Option<&'a str>,
    /// The namespace of Istio's gateways.
    pub(super) gateways: &'a str,
}

/// The reason why the mesh's settings hide a Service or a ServiceEntry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden<'a> {
    /// The settings are not known, for this reason.
    Unknown(&'a str),
    /// `defaultServiceExportTo`.
    ByDefault,
    /// No selector of `discoverySelectors` matches the namespace's labels.
    NotDiscovered,
    /// There are `discoverySelectors`, and the labels of the namespace are not known.
    NamespaceUnknown,
}

impl<'a> Mesh<'a> {
    pub(super) fn of(cluster: &'a Cluster, policy: &'a KubernetesConfig) -> Self {
        let known = match policy.istio.config_map {
            Some(_) => cluster.mesh_config(),
            None => Ok(None),
        };
        Self {
            settings: known.ok().flatten().unwrap_or(&DEFAULTS),
            unknown: known.err(),
            gateways: &policy.istio.namespace,
        }
    }

    /// The reason why the settings hide an object of a namespace from the mesh's gateways, if they do:
    /// a Service or a ServiceEntry, which shows itself to the namespaces `export_to`. Settings that are
    /// not known hide what only the mesh may reach.
    pub(super) fn hides(
        &self,
        cluster: &Cluster,
        policy: &KubernetesConfig,
        namespace: &str,
        export_to: &[Arc<str>],
    ) -> Option<Hidden<'a>> {
        let Self { settings, .. } = self;
        if let Some(reason) = self.unknown
            && policy.export.alpn.demands_istio()
        {
            return Some(Hidden::Unknown(reason));
        }
        if export_to.is_empty() && !self.is_shown(&settings.service_export_to, namespace) {
            return Some(Hidden::ByDefault);
        }
        if settings.discovery.is_empty() {
            return None;
        }
        let Some(namespace) = cluster
            .namespaces
            .get(&ObjectKey::global(&namespace.into()))
        else {
            return Some(Hidden::NamespaceUnknown);
        };
        let mut selectors = settings.discovery.iter();
        let found = selectors.any(|selector| selector.takes(&namespace.labels));
        (!found).then_some(Hidden::NotDiscovered)
    }

    /// Whether Istio's gateways see an object of `namespace` with this `exportTo`.
    pub(super) fn sees(
        &self,
        cluster: &Cluster,
        policy: &KubernetesConfig,
        namespace: &str,
        export_to: &[Arc<str>],
    ) -> bool {
        let shown = export_to.is_empty() || self.is_shown(export_to, namespace);
        shown && self.hides(cluster, policy, namespace, export_to).is_none()
    }

    /// Whether only callers of its own cluster reach the workloads of a host, as istiod decides it: by the host itself
    /// before a wildcard, by a longer wildcard before a shorter one. What the settings do not say holds for
    /// the Services of Kubernetes and Istio themselves.
    pub(super) fn keeps_local(&self, policy: &KubernetesConfig, host: &str) -> bool {
        let domain = policy.cluster_domain.as_str();
        let settings = &self.settings.cluster_local;
        let own = [
            format!("*.kube-system.svc.{domain}"),
            format!("kubernetes.default.svc.{domain}"),
            format!("istiod.{}.svc.{domain}", self.gateways),
        ];
        let is_revoked = |own: &str| {
            let mut open = settings.iter().filter(|(_, local)| !local);
            open.any(|(host, _)| {
                &**host == own || below(own).is_some_and(|end| host.ends_with(end))
            })
        };
        let defaults = own.iter().filter(|own| !is_revoked(own));
        let said = settings.iter().map(|(host, local)| (&**host, *local));
        let all = defaults.map(|own| (&**own, true)).chain(said);
        let fits = all.filter(|(pattern, _)| match below(pattern) {
            Some(end) => host.ends_with(end),
            None => *pattern == host,
        });
        let most = fits.max_by_key(|(pattern, _)| (below(pattern).is_none(), pattern.len()));
        most.is_some_and(|(_, local)| local)
    }

    /// Whether `export_to` of an object of `namespace` shows it to Istio's gateways.
    pub(super) fn is_shown(&self, export_to: &[Arc<str>], namespace: &str) -> bool {
        let says = |word: &str| export_to.iter().any(|one| &**one == word);
        let to_gateways = says(self.gateways) || (says(".") && namespace == self.gateways);
        says("*") || (!says("~") && to_gateways)
    }
}

/// The end that a wildcard demands of a host.
fn below(pattern: &str) -> Option<&str> {
    pattern.strip_prefix('*')
}
