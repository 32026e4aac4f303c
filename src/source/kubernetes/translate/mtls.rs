//! The rules that say which pods speak Istio's mutual TLS, as istiod applies them for its own gateways.
//!
//! A pod must have a sidecar. Only the pod's own label says so; no other object can. A DestinationRule
//! with another `tls.mode` than ISTIO_MUTUAL leaves the pod out. So does a PeerAuthentication that
//! switches mutual TLS off, unless a DestinationRule says ISTIO_MUTUAL.

use std::sync::Arc;

use super::host::ObjectHost;
use super::mesh::Mesh;
use super::rules::Rule;
use super::topology::{Locality, NotKnown, Selected};
use crate::source::kubernetes::cluster::{Cluster, Kind, Unreadable};
use crate::source::kubernetes::records::{ClientTls, ObjectKey, PeerAuthenticationRecord, TlsMode};

/// The reason why a pod gets no connection that must be Istio's mutual TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outside {
    /// It has no sidecar.
    NoSidecar,
    /// A PeerAuthentication says DISABLE.
    PeerAuthentication,
    /// A DestinationRule says another mode than ISTIO_MUTUAL.
    DestinationRule,
    /// A PeerAuthentication may say DISABLE: it selects by a label whose value is not known.
    SelectorNotKnown(NotKnown),
    /// The settings of the mesh are not known, and so the namespace whose policies apply to all of it.
    MeshUnknown,
    /// The PeerAuthentications for it are not known.
    PeersUnknown,
    /// The DestinationRules for it are not known.
    RulesUnknown,
}

impl Outside {
    /// Whether the pod may be in the mesh nevertheless.
    pub(super) fn is_guess(self) -> bool {
        matches!(
            self,
            Self::SelectorNotKnown(_) | Self::MeshUnknown | Self::PeersUnknown | Self::RulesUnknown
        )
    }
}

/// The PeerAuthentications that apply to the pods of one namespace.
#[derive(Debug)]
pub(super) struct Peers<'a> {
    /// True if mutual TLS is off where no workload's own policy says otherwise.
    disabled: bool,
    /// Policies with a selector, the oldest first.
    workloads: Vec<&'a PeerAuthenticationRecord>,
}

impl<'a> Peers<'a> {
    /// Collects the policies; `root` is the namespace whose policies apply to the whole mesh.
    pub(super) fn of(cluster: &'a Cluster, root: &str, namespace: &str) -> Self {
        let mesh = namespace_policy(cluster, root);
        let own = namespace_policy(cluster, namespace);
        // In the root namespace a policy with a selector has no effect, not even there.
        let in_namespace = cluster.peer_authentications.in_namespace(namespace);
        let mut workloads: Vec<&PeerAuthenticationRecord> = in_namespace
            .map(|(_, policy)| policy)
            .filter(|policy| !policy.selector.is_empty() && namespace != root)
            .collect();
        // The sort is stable: of two of the same age the first by name counts.
        workloads.sort_by_key(|policy| policy.created);
        Self {
            disabled: own.or(mesh).unwrap_or(false),
            workloads,
        }
    }

    /// The reason why mutual TLS is off for a pod at its port, if it is or may be.
    fn disable(&self, place: &Locality<'_>, port: u16) -> Option<Outside> {
        let is_off = |policy: &PeerAuthenticationRecord| {
            let at_port = policy.disabled_ports.get(&port).copied().flatten();
            at_port.or(policy.disabled).unwrap_or(self.disabled)
        };
        // Policies that may select the pod: the first label that is not known, and their content.
        let (mut not_known, mut maybe) = (None, Vec::new());
        let mut selecting = None;
        for policy in &self.workloads {
            match place.is_selected(&policy.selector) {
                Selected::No => {}
                Selected::Yes => {
                    selecting = Some(is_off(policy));
                    break;
                }
                Selected::NotKnown(label) => {
                    not_known = not_known.or(Some(label));
                    maybe.push(is_off(policy));
                }
            }
        }
        let off = selecting.unwrap_or(self.disabled);
        match not_known {
            Some(label) if maybe.contains(&!off) => Some(Outside::SelectorNotKnown(label)),
            _ => off.then_some(Outside::PeerAuthentication),
        }
    }
}

/// The content of the oldest PeerAuthentication without a selector.
fn namespace_policy(cluster: &Cluster, namespace: &str) -> TlsMode<bool> {
    let in_namespace = cluster.peer_authentications.in_namespace(namespace);
    let policies = in_namespace.filter(|(_, policy)| policy.selector.is_empty());
    let oldest = policies.min_by_key(|(_, policy)| policy.created);
    oldest.and_then(|(_, policy)| policy.disabled)
}

/// Whether part of Istio's policies of `kind` for a Service is not known. `covers` says whether an
/// object that cannot be read may be for the Service.
fn is_unread(
    cluster: &Cluster,
    kind: Kind,
    mesh: &Mesh<'_>,
    namespace: &str,
    covers: impl Fn(&ObjectKey, &Unreadable) -> bool,
) -> bool {
    if !cluster.is_known(kind) {
        return true;
    }
    let own = cluster.unreadable_in(kind, namespace);
    let of_root = cluster.unreadable_in(kind, &mesh.settings.root_namespace);
    // Rules in the namespace of Istio's gateways count too.
    let mut all = own
        .chain(of_root)
        .chain(cluster.unreadable_in(kind, mesh.gateways));
    all.any(|(key, object)| key.namespace.is_empty() || covers(key, object))
}

/// The policies for the pods of one Service, or for the endpoints of a ServiceEntry's host.
#[derive(Debug)]
pub(super) struct Mtls<'a> {
    pub(super) peers: Peers<'a>,
    pub(super) rule: Rule<'a>,
    /// True if the settings of the mesh are not known.
    mesh_unknown: bool,
    /// True if PeerAuthentications are not listed, or one that cannot be read may apply.
    peers_unknown: bool,
    /// True if DestinationRules are not listed, or one that cannot be read may be for the Service.
    rules_unknown: bool,
}

impl<'a> Mtls<'a> {
    pub(super) fn of(cluster: &'a Cluster, mesh: &Mesh<'a>, host: &ObjectHost<'_>) -> Self {
        let (root, namespace) = (&mesh.settings.root_namespace, host.namespace());
        let peers = Kind::PeerAuthentication;
        Self {
            mesh_unknown: mesh.unknown.is_some(),
            peers: Peers::of(cluster, root, namespace),
            rule: Rule::of(cluster, mesh, host),
            peers_unknown: is_unread(cluster, peers, mesh, namespace, |key, _| {
                key.namespace == *root || &*key.namespace == namespace
            }),
            rules_unknown: is_unread(
                cluster,
                Kind::DestinationRule,
                mesh,
                namespace,
                |key, rule| {
                    let pattern = rule.about.as_deref();
                    pattern.is_none_or(|pattern| host.fit(&key.namespace, pattern).is_some())
                },
            ),
        }
    }

    /// The reason why a pod is outside the mesh, if it is. `port` is the Service's, `pod_port` the
    /// pod's.
    pub(super) fn outside(
        &self,
        place: &Locality<'_>,
        pod_port: u16,
        port: u16,
        subset: Option<&Arc<str>>,
    ) -> Option<Outside> {
        if !place.has_sidecar() {
            return Some(Outside::NoSidecar);
        }
        if self.mesh_unknown {
            return Some(Outside::MeshUnknown);
        }
        if self.rules_unknown {
            return Some(Outside::RulesUnknown);
        }
        match self.rule.tls(port, subset) {
            Some(ClientTls::IstioMutual) => None,
            Some(ClientTls::Disable | ClientTls::Own) => Some(Outside::DestinationRule),
            None if self.peers_unknown => Some(Outside::PeersUnknown),
            None => self.peers.disable(place, pod_port),
        }
    }
}
