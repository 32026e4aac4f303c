//! The machine and its environment, as far as a config depends on them.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use crate::socket;

/// What the program runs on besides its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that the process may use.
    pub cpus: NonZeroUsize,
    /// The zone that the environment names.
    pub zone: Option<String>,
    /// The Kubernetes node that the environment names.
    pub node: Option<String>,
    /// The addresses of its interfaces: an endpoint that is one of them may be the gateway itself.
    pub interfaces: Vec<IpAddr>,
}

impl Machine {
    /// The environment variable that names the zone when the file does not.
    pub const ZONE_VARIABLE: &'static str = "STRAIT_ZONE";
    /// The environment variable that names the Kubernetes node, whose zone counts when nobody names one.
    pub const NODE_VARIABLE: &'static str = "STRAIT_NODE_NAME";

    /// This process's CPUs, cgroup quota and affinity included, and its environment.
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
