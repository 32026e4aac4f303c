//! Limits on the connections of a listener, a route, a source group or a source address.

use serde::Serialize;

use crate::config::bounds::{ConnectionRate, Connections, Ipv6Prefix};

/// How many connections a listener, a route, a source group or a source address may have. `None`:
/// as many as there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConnectionLimits {
    /// At a time.
    pub connections: Option<Connections>,
    /// New ones a second; a second's worth may come at once.
    pub connections_per_second: Option<ConnectionRate>,
    /// ClientHellos in progress.
    pub hellos: Option<Connections>,
}

impl ConnectionLimits {
    /// No limit.
    pub const OFF: Self = Self {
        connections: None,
        connections_per_second: None,
        hellos: None,
    };

    /// Whether nothing is limited.
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::OFF
    }
}

/// How many connections each source address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SourceLimits {
    /// Each one's limits.
    pub each: ConnectionLimits,
    /// IPv6 addresses with this many bits in common count as one.
    pub ipv6_prefix: Ipv6Prefix,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            each: ConnectionLimits::OFF,
            ipv6_prefix: Ipv6Prefix::saturating(64),
        }
    }
}
