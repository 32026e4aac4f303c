//! The record of the wishes of a DestinationRule about connections.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Balance;

/// The wishes of a traffic policy about connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleWishes {
    /// For every port that has no settings of its own.
    pub all: ConnectionWishes,
    /// `portLevelSettings` by service port. Nothing of the others holds for such a port.
    pub ports: BTreeMap<u16, ConnectionWishes>,
}

/// The wishes about the connections to a port. `None` asks for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionWishes {
    /// `connectionPool.tcp`.
    pub pool: Option<PoolWishes>,
    /// `outlierDetection`.
    pub ejection: Option<EjectionWishes>,
    /// `loadBalancer`.
    pub balance: Option<BalanceWishes>,
}

/// `connectionPool.tcp`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolWishes {
    /// `maxConnections`; 0 asks for nothing.
    pub connections: u32,
    /// `connectTimeout`.
    pub connect: Option<Duration>,
    /// `tcpKeepalive.time`.
    pub keepalive_time: Option<Duration>,
    /// `tcpKeepalive.interval`.
    pub keepalive_interval: Option<Duration>,
    /// `tcpKeepalive.probes`; 0 asks for nothing.
    pub keepalive_probes: u32,
    /// `idleTimeout`; 0 asks for nothing.
    pub idle: Option<Duration>,
    /// `maxConnectionDuration`; 0 asks for nothing.
    pub max_age: Option<Duration>,
}

/// `outlierDetection`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EjectionWishes {
    /// `consecutive5xxErrors`, which counts failed connections where a proxy does not read HTTP, otherwise
    /// `consecutiveGatewayErrors`; 0 asks for nothing.
    pub failures: u32,
    /// `baseEjectionTime`.
    pub base: Option<Duration>,
    /// `maxEjectionPercent`; 0 asks for nothing.
    pub max_percent: u32,
    /// `minHealthPercent`; 0 asks for nothing.
    pub min_healthy_percent: u32,
}

/// `loadBalancer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BalanceWishes {
    /// `simple`, or `consistentHash` by the source address, if strait has the like.
    pub balance: Option<Balance>,
    /// The duration of the warmup.
    pub slow_start: Option<Duration>,
}
