//! The reasons why an upstream has no endpoints.

use std::collections::BTreeMap;
use std::fmt;

use super::mtls::Outside;
use super::topology::NotKnown;

/// The kind of object that an endpoint comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    Pod,
    /// An endpoint that a ServiceEntry lists.
    EntryEndpoint,
    WorkloadEntry,
}

impl Member {
    const fn noun(self, count: usize) -> &'static str {
        match (self, count) {
            (Self::Pod, 1) => "pod",
            (Self::Pod, _) => "pods",
            (Self::EntryEndpoint, 1) => "endpoint of a ServiceEntry",
            (Self::EntryEndpoint, _) => "endpoints of a ServiceEntry",
            (Self::WorkloadEntry, 1) => "WorkloadEntry",
            (Self::WorkloadEntry, _) => "WorkloadEntries",
        }
    }
}

/// The reason why a pod or a workload gets no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PodExclusion {
    NotReady,
    Terminating,
    /// The pod's label asks for no more connections.
    Draining,
    /// The pod is in another network than this gateway.
    Elsewhere,
    /// It is in another cluster, and the Service is for callers of its own cluster only.
    ClusterLocal,
    /// A slice names the pod, and the API has not reported the pod yet.
    Unknown,
    /// The pod cannot be read, so nothing says that it is in the mesh.
    Unreadable,
    /// The pod's slice has no port with the name of the Service's port.
    NoPort,
    /// The WorkloadEntry's condition says so.
    Unhealthy,
    /// No slice names the pod, so its address is not known.
    InNoSlice,
    /// The workload has a DNS name in place of an address.
    ByName,
    /// DNS has not given an address of its name yet.
    NotResolved,
    /// The DNS names of the host have more addresses than a host may have by name.
    TooManyByName,
    /// The workload has no address that a TCP connection can go to.
    NoAddress,
    /// The address never belongs to another workload (`source::address_kind`).
    NoWorkloadsAddress,
    OtherSubset,
    /// The subset asks for a label whose value is not known.
    SubsetNotKnown(NotKnown),
    Outside(Outside),
}

impl fmt::Display for PodExclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "not ready",
            Self::Terminating => "terminating",
            Self::Draining => "draining (label istio.io/draining)",
            Self::Elsewhere => {
                "of another network than this gateway (label topology.istio.io/network of the pod or of \
                 Istio's namespace)"
            }
            Self::ClusterLocal => {
                "of another cluster (the mesh keeps the Service to its own cluster: serviceSettings.clusterLocal)"
            }
            Self::Unknown => "not known yet",
            Self::Unreadable => "of which nothing is known (pods cannot be watched)",
            Self::NoPort => "without this port",
            Self::Unhealthy => "not healthy (condition Healthy)",
            Self::InNoSlice => "of no Service, so that its address is not known",
            Self::ByName => "with a DNS name for an address",
            Self::NotResolved => "with a DNS name that has no address (see the log of the gateway)",
            Self::TooManyByName => {
                "with a DNS name whose addresses are too many (the names of a host give at most 4096)"
            }
            Self::NoAddress => "without an address that a TCP connection can go to",
            Self::NoWorkloadsAddress => {
                "at an address that no workload has (loopback, link-local, multicast, a metadata service)"
            }
            Self::OtherSubset => "not of the subset",
            Self::SubsetNotKnown(NotKnown::Cluster) => {
                "not known to be of the subset (set kubernetes.cluster: the subset asks for \
                 topology.istio.io/cluster)"
            }
            Self::SubsetNotKnown(NotKnown::Network) => {
                "not known to be of the subset (set kubernetes.network: the subset asks for \
                 topology.istio.io/network)"
            }
            Self::SubsetNotKnown(NotKnown::Node) => {
                "not known to be of the subset (it asks for a label of the node, and nodes cannot be \
                 watched)"
            }
            Self::Outside(Outside::NoSidecar) => {
                "outside the mesh (no label security.istio.io/tlsMode: istio)"
            }
            Self::Outside(Outside::SelectorNotKnown(NotKnown::Cluster)) => {
                "whose mutual TLS is not known (set kubernetes.cluster: a PeerAuthentication selects by \
                 topology.istio.io/cluster)"
            }
            Self::Outside(Outside::SelectorNotKnown(NotKnown::Network)) => {
                "whose mutual TLS is not known (set kubernetes.network: a PeerAuthentication selects by \
                 topology.istio.io/network)"
            }
            Self::Outside(Outside::SelectorNotKnown(NotKnown::Node)) => {
                "whose mutual TLS is not known (a PeerAuthentication selects by a label of the node, and \
                 nodes cannot be watched)"
            }
            Self::Outside(Outside::PeerAuthentication) => {
                "without mutual TLS (a PeerAuthentication says DISABLE)"
            }
            Self::Outside(Outside::DestinationRule) => {
                "without Istio's mutual TLS (a DestinationRule's tls.mode)"
            }
            Self::Outside(Outside::MeshUnknown) => {
                "whose mutual TLS is not known (Istio's ConfigMap cannot be read)"
            }
            Self::Outside(Outside::PeersUnknown) => {
                "whose mutual TLS is not known (PeerAuthentications cannot be read)"
            }
            Self::Outside(Outside::RulesUnknown) => {
                "whose mutual TLS is not known (DestinationRules cannot be read)"
            }
        })
    }
}

/// The number of pods and workloads for each reason.
#[derive(Debug, Default)]
pub(super) struct ExclusionCounts(BTreeMap<(Member, PodExclusion), usize>);

impl ExclusionCounts {
    pub(super) fn count(&mut self, member: Member, missing: PodExclusion) {
        *self.0.entry((member, missing)).or_default() += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text after "no endpoint: ".
impl fmt::Display for ExclusionCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, ((member, missing), count)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {} {missing}", member.noun(*count))?;
        }
        Ok(())
    }
}
