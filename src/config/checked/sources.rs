//! Who may connect: groups of source addresses, and the policy of a listener.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::limits::ConnectionLimits;
use crate::names::SourceGroupName;

/// Source groups by name. The order is the order of precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceGroups(pub Vec<SourceGroup>);

/// A name for a set of source addresses: a closed metric label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceGroup {
    /// Never `other`.
    pub name: SourceGroupName,
    /// At least one.
    pub cidrs: Vec<IpNet>,
    /// On its connections to all listeners together.
    pub limits: ConnectionLimits,
}

/// The source group of addresses that no group names.
pub const OTHER_SOURCES: &str = "other";

/// Which source group an address belongs to: its position among [`SourceGroups`], or the one past the
/// last for addresses of no group. It means nothing to other [`SourceGroups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceGroupId(u32);

impl SourceGroupId {
    /// The position, for tables with an entry for each of [`SourceGroups::ids`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl SourceGroups {
    /// The first group that holds `ip` (canonical: no v4-mapped form), or that of [`OTHER_SOURCES`].
    pub fn group_of(&self, ip: IpAddr) -> SourceGroupId {
        let known = (0..).zip(&self.0);
        let mut holding = known.filter(|(_, group)| contains(&group.cidrs, ip));
        let found = holding.next().map(|(position, _)| SourceGroupId(position));
        found.unwrap_or(self.other())
    }

    /// The group, unless it is that of [`OTHER_SOURCES`].
    pub fn get(&self, id: SourceGroupId) -> Option<&SourceGroup> {
        self.0.get(id.index())
    }

    /// The group's name, or [`OTHER_SOURCES`].
    pub fn name(&self, id: SourceGroupId) -> &str {
        self.get(id).map_or(OTHER_SOURCES, |group| &group.name)
    }

    /// Every group, in order, that of [`OTHER_SOURCES`] last.
    pub fn ids(&self) -> impl Iterator<Item = SourceGroupId> {
        (0..=self.other().0).map(SourceGroupId)
    }

    fn other(&self) -> SourceGroupId {
        // The file has at most 256.
        SourceGroupId(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
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
