//! Limits on the connections of a listener, a route, a source group or a source address.

use serde::Serialize;

/// How many connections a listener, a route, a source group or a source address may have. `None`:
/// as many as there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConnectionLimits {
    /// At a time, at least 1.
    pub connections: Option<u32>,
    /// New ones a second, at least 1; a second's worth may come at once.
    pub connections_per_second: Option<u32>,
    /// ClientHellos in progress, at least 1.
    pub hellos: Option<u32>,
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
    /// IPv6 addresses with this many bits in common count as one, 32..=128.
    pub ipv6_prefix: u8,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            each: ConnectionLimits::OFF,
            ipv6_prefix: 64,
        }
    }
}
