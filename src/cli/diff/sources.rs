//! The addresses that may connect in one config and not in the other.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::Pair;
use crate::config::{SourceGroups, SourcePolicy};

/// An unbroken range of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    v6: bool,
    first: u128,
    last: u128,
}

/// A line for each range of addresses that may connect now, or no longer. Without a policy there is no
/// listener, so nobody may.
pub(super) fn changes(
    policies: Pair<Option<&SourcePolicy>>,
    groups: Pair<&SourceGroups>,
) -> Vec<String> {
    let mut found: Vec<(Range, bool, &str)> = Vec::new();
    for v6 in [false, true] {
        for range in ranges(v6, policies, groups) {
            let address = address(v6, range.first);
            let admits =
                |policy: Option<&SourcePolicy>| policy.is_some_and(|one| one.admits(address));
            let now = admits(policies.new);
            if admits(policies.old) == now {
                continue;
            }
            let named = if now { groups.new } else { groups.old };
            let group = named.name(named.group_of(address));
            match found.last_mut() {
                Some((before, same, name))
                    if before.v6 == v6
                        && before.last + 1 == range.first
                        && (*same, *name) == (now, group) =>
                {
                    before.last = range.last;
                }
                _ => found.push((range, now, group)),
            }
        }
    }
    let line = |(range, now, group): (Range, bool, &str)| {
        let may = if now {
            "may connect now"
        } else {
            "may not connect any more"
        };
        format!("{} (source group {group}) {may}", words(range))
    };
    found.into_iter().map(line).collect()
}

/// The ranges of a family whose addresses both policies treat alike, in order.
fn ranges(
    v6: bool,
    policies: Pair<Option<&SourcePolicy>>,
    groups: Pair<&SourceGroups>,
) -> Vec<Range> {
    let end = if v6 { u128::MAX } else { u32::MAX.into() };
    let mut starts = BTreeSet::from([0]);
    let policies = [policies.old, policies.new].into_iter().flatten();
    let of_policies = policies.flat_map(|one| one.allow.iter().flatten().chain(&one.deny));
    let of_groups = [groups.old, groups.new].into_iter();
    let of_groups = of_groups.flat_map(|groups| groups.0.iter().flat_map(|group| &group.cidrs));
    for net in of_policies.chain(of_groups) {
        if matches!(net, IpNet::V6(_)) == v6 {
            starts.insert(number(net.network()));
            let last = number(net.broadcast());
            if last < end {
                starts.insert(last + 1);
            }
        }
    }
    let lasts = starts.iter().skip(1).map(|start| start - 1).chain([end]);
    let ranges = starts.iter().zip(lasts);
    ranges
        .map(|(first, last)| Range {
            v6,
            first: *first,
            last,
        })
        .collect()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(v6: bool, number: u128) -> IpAddr {
    match (v6, u32::try_from(number)) {
        (false, Ok(number)) => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

/// The range as a network if it is one, else by its ends.
fn words(Range { v6, first, last }: Range) -> String {
    let (first, last) = (address(v6, first), address(v6, last));
    let nets: Vec<IpNet> = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let nets = Ipv4Subnets::new(first, last, 0).take(2);
            nets.map(IpNet::V4).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let nets = Ipv6Subnets::new(first, last, 0).take(2);
            nets.map(IpNet::V6).collect()
        }
        _ => Vec::new(),
    };
    match nets[..] {
        [net] => net.to_string(),
        _ => format!("{first} to {last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: Option<&[&str]>, deny: &[&str]) -> SourcePolicy {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        SourcePolicy {
            allow: allow.map(nets),
            deny: nets(deny),
        }
    }

    #[track_caller]
    fn lines(old: Option<&SourcePolicy>, new: Option<&SourcePolicy>, expected: &[&str]) {
        let groups = SourceGroups::default();
        let groups = Pair {
            old: &groups,
            new: &groups,
        };
        assert_eq!(changes(Pair { old, new }, groups), expected);
    }

    #[test]
    fn each_range_that_changes_is_named_once() {
        let open = policy(None, &[]);
        let ten = policy(Some(&["10.0.0.0/8"]), &[]);
        lines(Some(&open), Some(&open), &[]);
        lines(Some(&ten), Some(&ten), &[]);
        lines(
            Some(&open),
            Some(&ten),
            &[
                "0.0.0.0 to 9.255.255.255 (source group other) may not connect any more",
                "11.0.0.0 to 255.255.255.255 (source group other) may not connect any more",
                "::/0 (source group other) may not connect any more",
            ],
        );
        let denied = policy(Some(&["10.0.0.0/8"]), &["10.1.0.0/16"]);
        let line = "10.1.0.0/16 (source group other) may not connect any more";
        lines(Some(&ten), Some(&denied), &[line]);
        lines(
            Some(&denied),
            Some(&ten),
            &["10.1.0.0/16 (source group other) may connect now"],
        );
        let halves = policy(Some(&["10.0.0.0/9", "10.128.0.0/9"]), &[]);
        lines(Some(&ten), Some(&halves), &[]);
    }

    #[test]
    fn the_last_addresses_of_a_family_are_compared_too() {
        let last = policy(Some(&["255.255.255.255/32", "ffff::/16"]), &[]);
        let none = policy(Some(&["10.0.0.0/32"]), &[]);
        lines(
            Some(&none),
            Some(&last),
            &[
                "10.0.0.0/32 (source group other) may not connect any more",
                "255.255.255.255/32 (source group other) may connect now",
                "ffff::/16 (source group other) may connect now",
            ],
        );
        lines(
            None,
            Some(&policy(Some(&["::/0"]), &[])),
            &["::/0 (source group other) may connect now"],
        );
    }
}
