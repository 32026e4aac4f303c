//! Who may connect: groups of source addresses, and the policy of a listener.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use super::limits::ConnectionLimits;

/// Source groups by name. The order is the order of precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceGroups(pub Vec<SourceGroup>);

/// A name for a set of source addresses: a closed metric label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceGroup {
    /// Unique; never `other`.
    pub name: Arc<str>,
    /// At least one.
    pub cidrs: Vec<IpNet>,
    /// On its connections to all listeners together.
    pub limits: ConnectionLimits,
}

/// The source group of addresses that no group names.
pub const OTHER_SOURCES: &str = "other";

impl SourceGroups {
    /// The position of the first group that holds `ip` (canonical: no v4-mapped form); one past the
    /// last group when none does.
    pub fn index_of(&self, ip: IpAddr) -> usize {
        self.0
            .iter()
            .position(|group| contains(&group.cidrs, ip))
            .unwrap_or(self.0.len())
    }

    /// The name at a position that [`SourceGroups::index_of`] gave, or [`OTHER_SOURCES`].
    pub fn name(&self, index: usize) -> &str {
        self.0.get(index).map_or(OTHER_SOURCES, |group| &group.name)
    }

    /// How many positions there are, that of [`OTHER_SOURCES`] included.
    pub fn positions(&self) -> usize {
        self.0.len() + 1
    }
}

/// Whether one of the networks holds `ip` (canonical: no v4-mapped form).
pub(crate) fn contains(cidrs: &[IpNet], ip: IpAddr) -> bool {
    cidrs.iter().any(|cidr| cidr.contains(&ip))
}

/// Who may connect: not denied, and allowed when `allow` says anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourcePolicy {
    /// `None`: any source.
    pub allow: Option<Vec<IpNet>>,
    /// Beats `allow`.
    pub deny: Vec<IpNet>,
}

impl SourcePolicy {
    /// Whether `ip` (canonical: no v4-mapped form) may connect.
    pub fn admits(&self, ip: IpAddr) -> bool {
        !contains(&self.deny, ip) && self.allow.as_ref().is_none_or(|allow| contains(allow, ip))
    }
}
