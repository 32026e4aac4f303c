//! The sources that may connect: groups of addresses, and the policy of a listener.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::limits::ConnectionLimits;
use crate::names::SourceGroupName;

/// Source groups by name. The order is the order of precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceGroups(pub Vec<SourceGroup>);

/// A named set of source addresses: a closed metric label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceGroup {
    /// Never `other`.
    pub name: SourceGroupName,
    /// The networks, at least one.
    pub cidrs: Vec<IpNet>,
    /// The limits on its connections to all listeners together.
    pub limits: ConnectionLimits,
}

/// The source group of addresses that are in no other group.
pub const OTHER_SOURCES: &str = "other";

/// The source group of an address: its position among [`SourceGroups`], or the position after the last
/// for addresses of no group. It has no meaning for other [`SourceGroups`].
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

/// The number of networks that a sentence about a policy names.
const NETWORKS: usize = 5;

/// Whether one of the networks contains `ip` (canonical: no v4-mapped form).
pub(crate) fn contains(cidrs: &[IpNet], ip: IpAddr) -> bool {
    cidrs.iter().any(|cidr| cidr.contains(&ip))
}

/// The sources that may connect: those not denied, and only the allowed ones if `allow` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourcePolicy {
    /// The allowed sources; `None` for any.
    pub allow: Option<Vec<IpNet>>,
    /// The denied sources. They win over `allow`.
    pub deny: Vec<IpNet>,
}

impl SourcePolicy {
    /// Whether `ip` (canonical: no v4-mapped form) may connect.
    pub fn admits(&self, ip: IpAddr) -> bool {
        !contains(&self.deny, ip) && self.allow.as_ref().is_none_or(|allow| contains(allow, ip))
    }

    /// The policy as the predicate of a sentence about a listener, such as `admits 10.0.0.0/8 only`, with a few networks.
    /// `None` if everybody is admitted.
    pub fn in_words(&self) -> Option<String> {
        let some = |nets: &[IpNet]| {
            let shown = nets.iter().take(NETWORKS).map(ToString::to_string);
            let shown = shown.collect::<Vec<_>>().join(", ");
            match nets.len().saturating_sub(NETWORKS) {
                0 => shown,
                more => format!("{shown} and {more} more"),
            }
        };
        match (&self.allow, self.deny.as_slice()) {
            (None, []) => None,
            (None, deny) => Some(format!("refuses {}", some(deny))),
            (Some(allow), []) => Some(format!("admits {} only", some(allow))),
            (Some(allow), deny) => {
                let text = format!("admits {} only, without {}", some(allow), some(deny));
                Some(text)
            }
        }
    }

    /// The reason why `ip`, which is not admitted, is not.
    pub fn denial(&self, ip: IpAddr) -> String {
        match self.deny.iter().find(|net| net.contains(&ip)) {
            Some(net) => format!("`deny_sources` has {net}"),
            None => format!("`allow_sources` does not have {ip}"),
        }
    }
}
