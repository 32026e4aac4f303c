//! The machine and its environment, as far as a config depends on them.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use crate::socket;

/// The facts about this machine that the config depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that the process may use.
    pub cpus: NonZeroUsize,
    /// The zone from the environment.
    pub zone: Option<String>,
    /// The Kubernetes node from the environment.
    pub node: Option<String>,
    /// The addresses of its interfaces. An endpoint with one of them may be the gateway itself.
    pub interfaces: Vec<IpAddr>,
}

impl Machine {
    /// The environment variable that names the zone when the file does not.
    pub const ZONE_VARIABLE: &'static str = "STRAIT_ZONE";
    /// The environment variable that names the Kubernetes node. Its zone counts when neither the file
    /// nor the environment names a zone.
    pub const NODE_VARIABLE: &'static str = "STRAIT_NODE_NAME";

    /// The CPUs of this process, including cgroup quota and affinity, and its environment.
    pub fn current() -> Self {
        let named = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
        Self {
            cpus: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            zone: named(Self::ZONE_VARIABLE),
            node: named(Self::NODE_VARIABLE),
            interfaces: socket::interface_addresses(),
        }
    }
}
