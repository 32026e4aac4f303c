//! Hints about a name without a route: names that it may have meant.
//!
//! [`RouteTable::near_miss`] takes a few lookups, cheap enough for every refused connection.
//! [`RouteTable::nearest`] measures the edit distance to every route; it is for a person who asks.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::served::{ServedPart, ServedPort};
use super::{Route, RouteTable};
use crate::config::SniPattern;
use crate::server_name::{Name, ServerName};

/// Routes that are compared with a name.
const MOST_COMPARED: usize = 10_000;

/// A near match of a name without a route. It contains only text from the config and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NearMiss {
    /// The service is routed under other ports.
    OtherPorts(Few<u16>),
    /// The port is routed under other subsets.
    OtherSubsets(Few<Arc<str>>),
    /// The service has several ports, and none of them has the plain host name.
    PlainHostNotRouted(Few<u16>),
    /// The host is known and not routed, for this reason.
    Unrouted(Arc<str>),
    /// `inbound_` names have no route, as in Istio.
    Inbound,
    /// The client asked for the name of a wildcard's parent itself.
    OnlyBelow,
}

/// The first few of possibly thousands of items, and the number of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Few<T> {
    first: Vec<T>,
    more: usize,
}

impl<T> Few<T> {
    /// The number of items in a log line.
    const SHOWN: usize = 5;

    pub(super) fn of(all: impl ExactSizeIterator<Item = T>) -> Self {
        let count = all.len();
        Self::of_many(all, count)
    }

    /// The first of `all`, which are `count`.
    fn of_many(all: impl Iterator<Item = T>, count: usize) -> Self {
        Self {
            more: count.saturating_sub(Self::SHOWN),
            first: all.take(Self::SHOWN).collect(),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.first.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{item}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, ", {more} more"),
        }
    }
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherPorts(ports) => {
                write!(f, "the service is routed only for service port {ports}")
            }
            Self::OtherSubsets(subsets) if subsets.first.is_empty() => {
                f.write_str("the service port is routed without subsets")
            }
            Self::OtherSubsets(subsets) => {
                write!(f, "the service port is routed only for subset {subsets}")
            }
            Self::PlainHostNotRouted(ports) => write!(
                f,
                "the host is routed only as outbound_.PORT_._.HOST, for service port {ports}"
            ),
            Self::Unrouted(reason) => f.write_str(reason),
            Self::Inbound => f.write_str("inbound_ names are never routed, outbound_ ones are"),
            Self::OnlyBelow => f.write_str("only names below it are routed"),
        }
    }
}

/// The ports of a host. Few hosts have some of the file and some of a Service.
fn ports(served: &[ServedPart]) -> Few<u16> {
    if let [part] = served {
        return Few::of(part.ports.iter().map(|served| served.port));
    }
    let all = served.iter().flat_map(|part| &part.ports);
    let mut seen = HashSet::new();
    let ports: Vec<u16> = all
        .map(|served| served.port)
        .filter(|port| seen.insert(*port))
        .collect();
    Few::of(ports.into_iter())
}

/// The subsets of a port of a host; `None` if the port is not routed.
fn subsets(served: &[ServedPart], port: u16) -> Option<Few<Arc<str>>> {
    let of_port = served.iter().flat_map(|part| &part.ports);
    let of_port = of_port.filter(|served| served.port == port);
    let all = of_port.clone().flat_map(|served| &served.subsets);
    let count = of_port.clone().map(|served| served.subsets.len()).sum();
    let routed = of_port.clone().next().is_some();
    routed.then(|| Few::of_many(all.cloned(), count))
}

impl RouteTable {
    /// The near match of `name`, which has no route. Costs a few lookups.
    pub fn near_miss(&self, name: &Name<'_>) -> Option<NearMiss> {
        if let Some(istio) = name.istio() {
            if istio.direction != "outbound" {
                return Some(NearMiss::Inbound);
            }
            let Some(served) = self.served.of(istio.host) else {
                let pod = self.near_pod(istio.host, Some(istio.port));
                return pod.or_else(|| self.unrouted(istio.host));
            };
            return Some(match subsets(served, istio.port) {
                Some(subsets) => NearMiss::OtherSubsets(subsets),
                None => NearMiss::OtherPorts(ports(served)),
            });
        }
        if let Some(served) = self.served.of(name.as_str()) {
            return Some(NearMiss::PlainHostNotRouted(ports(served)));
        }
        if self.claims.has_below(name.as_str()) {
            return Some(NearMiss::OnlyBelow);
        }
        let pod = self.near_pod(name.as_str(), None);
        pod.or_else(|| self.unrouted(name.as_str()))
    }

    /// The near match of a name that a pod may have in a headless Service, asked for at a port or not.
    fn near_pod(&self, host: &str, port: Option<u16>) -> Option<NearMiss> {
        let (_, service) = host.split_once('.')?;
        let served = self.served.of(service)?;
        let mut routed = served.iter().flat_map(|part| &part.ports);
        let names_pods = |one: &ServedPort| {
            let name = format!("outbound_.{}_._.{service}", one.port);
            self.claims.has_one_below(&name)
        };
        if !routed.any(names_pods) {
            return None;
        }
        Some(match port {
            None => NearMiss::PlainHostNotRouted(ports(served)),
            Some(port) if subsets(served, port).is_some() => {
                NearMiss::OtherSubsets(Few::of(std::iter::empty()))
            }
            Some(_) => NearMiss::OtherPorts(ports(served)),
        })
    }

    fn unrouted(&self, host: &str) -> Option<NearMiss> {
        self.unrouted.get(host).cloned().map(NearMiss::Unrouted)
    }

    /// The exact name of a route that differs from `name` in a few letters. Looks at many routes.
    pub fn spelled_like(&self, name: &ServerName) -> Option<String> {
        let name = name.as_str();
        let most = (name.len() / 8).clamp(1, 3);
        self.patterns()
            .take(MOST_COMPARED)
            .filter_map(|(pattern, _)| match pattern {
                SniPattern::Exact(known) => Some(known),
                _ => None,
            })
            .filter(|known| known.as_str().len().abs_diff(name.len()) <= most)
            .map(|known| (strsim::osa_distance(known.as_str(), name), known))
            .filter(|(distance, _)| *distance <= most)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known.as_str().to_owned())
    }

    /// The `count` patterns with the spelling nearest to `name`, nearest first. Looks at every route.
    pub fn nearest(&self, name: &ServerName, count: usize) -> Vec<(String, &Arc<Route>)> {
        let mut near: Vec<(usize, String, &Arc<Route>)> = self
            .patterns()
            .filter(|(pattern, _)| *pattern != SniPattern::Absent)
            .map(|(pattern, route)| {
                let text = pattern.to_string();
                (strsim::osa_distance(&text, name.as_str()), text, route)
            })
            .collect();
        near.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        near.truncate(count);
        near.into_iter()
            .map(|(_, text, route)| (text, route))
            .collect()
    }
}
