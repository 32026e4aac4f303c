//! The snapshot: everything that is in force at one moment, for all readers.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::DiscoveryReport;
use crate::config::Config;
use crate::names::ListenerName;
use crate::upstream::Upstreams;

/// A listener's name with the address that is really bound.
pub type BoundListener = (ListenerName, SocketAddr);

/// Everything that is in force at one moment. Its parts belong together.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The config that serves, with everything discovered.
    pub config: Arc<Config>,
    /// The upstreams of that config.
    pub upstreams: Arc<Upstreams>,
    /// Its listeners as they are bound.
    pub bound: Arc<[BoundListener]>,
    /// A summary of what the Kubernetes source has found; `None` before its first result.
    pub report: Option<Arc<DiscoveryReport>>,
}

/// The snapshot that is in force now. Clones share it.
#[derive(Debug, Clone)]
pub struct Snapshots(Arc<ArcSwap<Snapshot>>);

impl Snapshots {
    /// A snapshot without upstreams and listeners, for the time before `config` is in force.
    pub fn before(config: Arc<Config>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Snapshot {
            config,
            upstreams: Arc::default(),
            bound: Arc::default(),
            report: None,
        })))
    }

    /// The snapshot that is in force.
    pub fn now(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts another one into force.
    pub fn replace(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
