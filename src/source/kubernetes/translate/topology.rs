//! The topology of a pod or another workload: its cluster, network, node, region and zone, and the labels that istiod makes
//! from them.
//!
//! istiod adds these labels to a pod's own before it looks for the pods of a subset, or for those that
//! a PeerAuthentication selects (`AugmentLabels` in its pilot/pkg/serviceregistry/util/label). strait
//! never guesses a value that it does not know: the answer then is [`Selected::NotKnown`].

use std::sync::Arc;

use crate::config::KubernetesConfig;
use crate::source::kubernetes::cluster::{Cluster, Kind};
use crate::source::kubernetes::records::entry::WorkloadRecord;
use crate::source::kubernetes::records::{Labels, NodeRecord, ObjectKey};

const CLUSTER: &str = "topology.istio.io/cluster";
const NETWORK: &str = "topology.istio.io/network";
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Labels of a pod that replace its node's region, zone and subzone, in order of precedence.
const LOCALITY: [&str; 2] = ["topology.istio.io/locality", "istio-locality"];
/// The label that says whether a workload speaks Istio's mutual TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";
const ISTIO_MUTUAL: &str = "istio";
/// The label by which a pod asks to get no more connections.
const DRAINING: &str = "istio.io/draining";

/// The values that hold for every pod of the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topology<'a> {
    /// istiod's name for the cluster.
    cluster: Option<&'a Arc<str>>,
    /// The network of pods that name none.
    network: Option<&'a str>,
    /// The network of this gateway.
    own_network: Option<&'a str>,
    /// True if nodes are not listed or cannot be watched.
    without_nodes: bool,
    /// True for another cluster than the gateway's.
    is_other: bool,
}

impl<'a> Topology<'a> {
    pub(super) fn of(cluster: &'a Cluster, policy: &'a KubernetesConfig) -> Self {
        let istio = cluster
            .namespaces
            .get(&ObjectKey::global(&policy.istio.namespace));
        let of_istio = istio.and_then(|namespace| label(&namespace.labels, NETWORK));
        let configured = policy.network.as_deref();
        Self {
            cluster: policy.cluster.as_ref(),
            network: of_istio.or(configured),
            own_network: configured.or(of_istio),
            without_nodes: is_without_nodes(cluster),
            is_other: false,
        }
    }

    /// The values for another cluster, from those for the gateway's.
    pub(super) fn of_other(self, name: &'a Arc<str>, network: &'a str, cluster: &Cluster) -> Self {
        Self {
            cluster: Some(name),
            network: Some(network),
            without_nodes: is_without_nodes(cluster),
            is_other: true,
            ..self
        }
    }
}

fn is_without_nodes(cluster: &Cluster) -> bool {
    !cluster.is_known(Kind::Node) || cluster.absent(Kind::Node).is_some()
}

/// A label that a selector asks for and whose value is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NotKnown {
    /// istiod's name for the cluster.
    Cluster,
    /// The network.
    Network,
    /// The node's labels.
    Node,
}

/// The result of matching labels with a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selected {
    Yes,
    No,
    NotKnown(NotKnown),
}

/// The topology of one pod, or of a workload that is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Locality<'a> {
    topology: Topology<'a>,
    /// Its own labels; `None` if it is no pod or nothing is known of it.
    own: Option<&'a Labels>,
    /// The node that it runs on.
    node_name: Option<&'a Arc<str>>,
    node: Option<&'a NodeRecord>,
    /// The workload, if it is no pod.
    workload: Option<&'a WorkloadRecord>,
}

impl<'a> Locality<'a> {
    pub(super) fn new(
        topology: Topology<'a>,
        own: Option<&'a Labels>,
        node_name: Option<&'a Arc<str>>,
        node: Option<&'a NodeRecord>,
    ) -> Self {
        Self {
            topology,
            own,
            node_name,
            node,
            workload: None,
        }
    }

    /// The topology of a workload that is no pod.
    pub(super) fn of_workload(topology: Topology<'a>, workload: &'a WorkloadRecord) -> Self {
        Self {
            workload: Some(workload),
            ..Self::new(topology, Some(&workload.labels), None, None)
        }
    }

    /// Whether it speaks Istio's mutual TLS, as far as its own object says. Only its label can say that
    /// it does, or the account of a workload that is no pod and has no such label.
    pub(super) fn has_sidecar(&self) -> bool {
        let label = self.own.and_then(|own| own.get(TLS_MODE));
        match (label, self.workload) {
            (None, Some(workload)) => workload.has_account,
            (label, _) => label == Some(ISTIO_MUTUAL),
        }
    }

    /// istiod's name for its cluster.
    pub(super) fn cluster(&self) -> Option<&'a Arc<str>> {
        self.topology.cluster
    }

    /// The zone that a workload that is no pod runs in.
    pub(super) fn zone(&self) -> Option<&'a str> {
        self.locality_part(1)
    }

    /// The pod's own value of a label, not empty.
    pub(super) fn own(&self, key: &str) -> Option<&'a str> {
        label(self.own?, key)
    }

    /// Whether the pod says that it drains.
    pub(super) fn is_draining(&self) -> bool {
        self.own(DRAINING).is_some()
    }

    /// Whether the pod is in another network than this gateway, as far as that is known.
    pub(super) fn is_elsewhere(&self) -> bool {
        // istiod goes by the field alone, and takes a workload without it for one of every network, unless it is in
        // another cluster: then for one of that cluster's.
        let network = match self.workload {
            Some(workload) => {
                let of_cluster = self.topology.network.filter(|_| self.topology.is_other);
                workload.network.as_deref().or(of_cluster)
            }
            None => self.network(),
        };
        match (network, self.topology.own_network) {
            (Some(network), Some(own)) => network != own,
            _ => false,
        }
    }

    fn network(&self) -> Option<&'a str> {
        let of_workload = || self.workload?.network.as_deref();
        let own = self.own(NETWORK).or_else(of_workload);
        own.or(self.topology.network)
    }

    /// Compares its labels with `wanted`. A label that is known not to match decides before
    /// labels that are not known.
    pub(super) fn is_selected(&self, wanted: &Labels) -> Selected {
        let mut not_known = None;
        for (key, value) in wanted.iter() {
            match self.value(key) {
                Ok(have) if have == Some(&**value) => {}
                Ok(_) => return Selected::No,
                Err(unknown) => not_known = not_known.or(Some(unknown)),
            }
        }
        not_known.map_or(Selected::Yes, Selected::NotKnown)
    }

    /// The value of a label in istiod's view.
    fn value(&self, key: &str) -> Result<Option<&'a str>, NotKnown> {
        let own = || self.own.and_then(|own| own.get(key));
        match key {
            // istiod always has a name for the cluster, and it replaces the pod's own label.
            CLUSTER => match self.topology.cluster {
                Some(cluster) => Ok(Some(cluster)),
                None => Err(NotKnown::Cluster),
            },
            NETWORK => self.network().map(Some).ok_or(NotKnown::Network),
            HOSTNAME => Ok(self.node_name.map(|name| &**name).or_else(own)),
            REGION => self.locality(0, |node| node.region.as_ref(), own()),
            ZONE => self.locality(1, |node| node.zone.as_ref(), own()),
            SUBZONE => self.locality(2, |node| node.subzone.as_ref(), own()),
            _ => Ok(own()),
        }
    }

    /// A part of the locality: from the pod's label for it, otherwise from its node, otherwise from the
    /// pod's `own` label of that part.
    fn locality(
        &self,
        part: usize,
        of_node: fn(&'a NodeRecord) -> Option<&'a Arc<str>>,
        own: Option<&'a str>,
    ) -> Result<Option<&'a str>, NotKnown> {
        if self.written_locality().is_some() {
            return Ok(self.locality_part(part).or(own));
        }
        match self.node {
            Some(node) => Ok(of_node(node).map(|text| &**text).or(own)),
            None if self.workload.is_some() => Ok(own),
            // Newer API servers copy the zone and region of its node onto a pod.
            None if own.is_none() && self.topology.without_nodes => Err(NotKnown::Node),
            None => Ok(own),
        }
    }

    /// The locality that its own object states as a whole.
    fn written_locality(&self) -> Option<&'a str> {
        let field = self.workload.and_then(|it| it.locality.as_deref());
        field.or_else(|| LOCALITY.iter().find_map(|key| self.own(key)))
    }

    /// A part of that: region, zone or subzone.
    fn locality_part(&self, part: usize) -> Option<&'a str> {
        let locality = self.written_locality()?;
        let separator = if locality.contains('/') { '/' } else { '.' };
        let found = locality.split(separator).nth(part);
        found.filter(|text| !text.is_empty())
    }
}

/// The value of a label, if it is not empty.
fn label<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.get(key).filter(|value| !value.is_empty())
}
