//! Which pods speak Istio's mutual TLS, as istiod finds out for its own gateways.
//!
//! A pod must have a sidecar, which only its own label says: no other object stands in for the label. A
//! DestinationRule that says another `tls.mode` than ISTIO_MUTUAL leaves the pod out, and so does a
//! PeerAuthentication that switches mutual TLS off, unless a DestinationRule says ISTIO_MUTUAL.

use std::sync::Arc;

use super::mesh::Mesh;
use super::rules::{self, Rule};
use super::topology::{NotKnown, Place, Selected};
use crate::source::kubernetes::cluster::{Cluster, Kind, Unreadable};
use crate::source::kubernetes::records::{ClientTls, ObjectKey, PeerAuthenticationRecord, TlsMode};

const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";
const ISTIO_MUTUAL: &str = "istio";

/// Why a pod gets no connection that must be Istio's mutual TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outside {
    /// It has no sidecar.
    NoSidecar,
    /// A PeerAuthentication says DISABLE.
    PeerAuthentication,
    /// A DestinationRule says another mode than ISTIO_MUTUAL.
    DestinationRule,
    /// Whether a PeerAuthentication says DISABLE is not known: it selects by a label of unknown value.
    SelectorNotKnown(NotKnown),
    /// The settings of the mesh are not known: they say in which namespace policies hold for it.
    MeshUnknown,
    /// What PeerAuthentications say of it is not known.
    PeersUnknown,
    /// What DestinationRules say of it is not known.
    RulesUnknown,
}

impl Outside {
    /// Whether it may be in the mesh all the same.
    pub(super) fn is_guess(self) -> bool {
        matches!(
            self,
            Self::SelectorNotKnown(_) | Self::MeshUnknown | Self::PeersUnknown | Self::RulesUnknown
        )
    }
}

/// The PeerAuthentications that hold for the pods of one namespace.
#[derive(Debug)]
pub(super) struct Peers<'a> {
    /// Whether mutual TLS is off where no workload's own policy says otherwise.
    disabled: bool,
    /// Policies with a selector, the oldest first.
    workloads: Vec<&'a PeerAuthenticationRecord>,
}

impl<'a> Peers<'a> {
    /// `root` is the namespace whose policies hold for the whole mesh.
    pub(super) fn of(cluster: &'a Cluster, root: &str, namespace: &str) -> Self {
        let mesh = namespace_policy(cluster, root);
        let own = namespace_policy(cluster, namespace);
        // In the root namespace a selector counts for nothing, not even there.
        let in_namespace = cluster.peer_authentications.in_namespace(namespace);
        let mut workloads: Vec<&PeerAuthenticationRecord> = in_namespace
            .map(|(_, policy)| policy)
            .filter(|policy| !policy.selector.is_empty() && namespace != root)
            .collect();
        // Stable: of two of one age the first by name counts.
        workloads.sort_by_key(|policy| policy.created);
        Self {
            disabled: own.or(mesh).unwrap_or(false),
            workloads,
        }
    }

    /// Why mutual TLS is off for a pod at its port, if it is, or may be.
    fn disable(&self, place: &Place<'_>, port: u16) -> Option<Outside> {
        let is_off = |policy: &PeerAuthenticationRecord| {
            let at_port = policy.disabled_ports.get(&port).copied().flatten();
            at_port.or(policy.disabled).unwrap_or(self.disabled)
        };
        // Of those that may select the pod: the first label that is not known, and what they say.
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

/// What the oldest PeerAuthentication without a selector says.
fn namespace_policy(cluster: &Cluster, namespace: &str) -> TlsMode<bool> {
    let in_namespace = cluster.peer_authentications.in_namespace(namespace);
    let policies = in_namespace.filter(|(_, policy)| policy.selector.is_empty());
    let oldest = policies.min_by_key(|(_, policy)| policy.created);
    oldest.and_then(|(_, policy)| policy.disabled)
}

/// Whether something that Istio's policies of `kind` say of a Service is not known: what `covers` says
/// of an object that cannot be read is whether it may be for the Service.
fn is_unread(
    cluster: &Cluster,
    kind: Kind,
    mesh: &Mesh<'_>,
    service: &ObjectKey,
    covers: impl Fn(&ObjectKey, &Unreadable) -> bool,
) -> bool {
    if !cluster.is_known(kind) {
        return true;
    }
    let own = cluster.unreadable_in(kind, &service.namespace);
    let of_root = cluster.unreadable_in(kind, &mesh.settings.root_namespace);
    // Rules count in the namespace of Istio's gateways, too.
    let mut all = own
        .chain(of_root)
        .chain(cluster.unreadable_in(kind, mesh.gateways));
    all.any(|(key, object)| key.namespace.is_empty() || covers(key, object))
}

/// What decides for the pods of one Service.
#[derive(Debug)]
pub(super) struct Mtls<'a> {
    pub(super) peers: Peers<'a>,
    pub(super) rule: Rule<'a>,
    /// Whether the settings of the mesh are not known.
    mesh_unknown: bool,
    /// Whether PeerAuthentications are not listed, or one that cannot be read may hold for them.
    peers_unknown: bool,
    /// Whether DestinationRules are not listed, or one that cannot be read may be for the Service.
    rules_unknown: bool,
}

impl<'a> Mtls<'a> {
    pub(super) fn of(
        cluster: &'a Cluster,
        mesh: &Mesh<'a>,
        domain: &str,
        service: &ObjectKey,
    ) -> Self {
        let root = &mesh.settings.root_namespace;
        let peers = Kind::PeerAuthentication;
        Self {
            mesh_unknown: mesh.unknown.is_some(),
            peers: Peers::of(cluster, root, &service.namespace),
            rule: Rule::of(cluster, mesh, domain, service),
            peers_unknown: is_unread(cluster, peers, mesh, service, |key, _| {
                key.namespace == *root || key.namespace == service.namespace
            }),
            rules_unknown: is_unread(
                cluster,
                Kind::DestinationRule,
                mesh,
                service,
                |key, rule| {
                    let host = rule.about.as_deref();
                    rules::may_be_for(service, domain, &key.namespace, host)
                },
            ),
        }
    }

    /// Why a pod is outside the mesh, if it is. `port` is the Service's, `pod_port` the pod's.
    pub(super) fn outside(
        &self,
        place: &Place<'_>,
        pod_port: u16,
        port: u16,
        subset: Option<&Arc<str>>,
    ) -> Option<Outside> {
        if place.own(TLS_MODE_LABEL) != Some(ISTIO_MUTUAL) {
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
