//! Limits on the connections of a listener, a route, a source group or a source address.

use serde::Serialize;

use crate::config::bounds::{ConnectionRate, Connections, Ipv6Prefix};

/// The limits on connections of a listener, a route, a source group or a source address. `None`: no
/// limit.
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

    /// Whether no limit is set.
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::OFF
    }
}

/// The limits on the connections of each source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SourceLimits {
    /// The limits of each.
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
