//! The inputs of the driver.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::object::MAX_OBJECTS;
use crate::config::KubernetesConfig;
use crate::socket::OwnListeners;
use crate::source::kubernetes::cluster::{Cluster, ClusterChange, Kind, Record};
use crate::source::kubernetes::ports::Ports;
use crate::source::kubernetes::saved::ClusterPart;

/// An input of the driver.
#[derive(Debug)]
pub(super) enum DriverInput {
    /// A change from a watcher. `arrived` is the time of the event; it is not known for a list.
    Change {
        change: ClusterChange,
        arrived: Option<Instant>,
    },
    /// From a watcher: a kind that was never listed cannot be listed, for this reason. `away`: the API is
    /// away, or cannot answer now.
    Trouble {
        kind: Kind,
        problem: Arc<str>,
        away: bool,
    },
    /// From a watcher: the API has reported every change of the kind so far.
    Confirmed(Kind),
    /// A change of another cluster.
    OtherChange {
        cluster: Arc<str>,
        change: ClusterChange,
        arrived: Option<Instant>,
    },
    /// A kind of another cluster that was never listed cannot be listed, for this reason.
    OtherTrouble {
        cluster: Arc<str>,
        kind: Kind,
        problem: Arc<str>,
        away: bool,
    },
    /// The API of another cluster has reported every change of the kind so far.
    OtherConfirmed { cluster: Arc<str>, kind: Kind },
    /// The kubeconfig of another cluster has another API server, which may be one of another cluster.
    OtherMoved(Arc<str>),
    /// The addresses of a DNS name.
    Resolved {
        name: Arc<str>,
        addresses: Arc<[IpAddr]>,
    },
    /// From the saved state, of a kind that the API has not listed.
    Restored(ClusterChange),
    /// The same of another cluster.
    OtherRestored {
        cluster: Arc<str>,
        change: ClusterChange,
    },
    /// The question of a source that takes over for what is known of the other clusters.
    HandOver(oneshot::Sender<Vec<ClusterPart>>),
}

/// The settings that the app may change while the source runs.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// The section `kubernetes` of the config.
    pub(super) policy: Arc<KubernetesConfig>,
    /// The gateway's own listening sockets.
    pub(super) own: OwnListeners,
    /// The ports that it could open, and those that it could not.
    pub(super) ports: Ports,
}

/// The change itself, unless it adds an object beyond the limit of its kind.
pub(super) fn admit(cluster: &Cluster, change: ClusterChange) -> Result<ClusterChange, Kind> {
    let ClusterChange::Set(key, record) = &change else {
        return Ok(change);
    };
    let kind = Record::kind(record);
    match cluster.len(kind) < MAX_OBJECTS || cluster.has(kind, key) {
        true => Ok(change),
        false => Err(kind),
    }
}
