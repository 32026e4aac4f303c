//! Why a name found no route, and what it may have meant.
//!
//! [`RouteTable::near_miss`] is a few lookups, fit for every refused connection; measuring edit
//! distances to all routes ([`RouteTable::nearest`]) is for a person who asks.

use std::fmt;
use std::sync::Arc;

use super::{Route, RouteTable, ServedPort};
use crate::server_name::ServerName;

/// What a name that no route takes comes close to. Holds only text from the config and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NearMiss {
    /// The service is routed, under other ports.
    OtherPorts(Few<u16>),
    /// The port is routed, under other subsets.
    OtherSubsets(Few<Arc<str>>),
    /// A service of several ports, none of which has the plain host name.
    PlainHostNotRouted(Few<u16>),
    /// The host is known, and not routed for this reason.
    Unrouted(Arc<str>),
    /// `inbound_` names route nowhere, not in Istio either.
    Inbound,
    /// The client asked for the name of a wildcard's parent itself.
    OnlyBelow,
}

/// The first of what may be thousands, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Few<T> {
    first: Vec<T>,
    more: usize,
}

impl<T> Few<T> {
    /// As many as a log line has room for.
    const SHOWN: usize = 5;

    fn of(all: impl ExactSizeIterator<Item = T>) -> Self {
        Self {
            more: all.len().saturating_sub(Self::SHOWN),
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

fn ports(served: &[ServedPort]) -> Few<u16> {
    Few::of(served.iter().map(|served| served.port))
}

impl RouteTable {
    /// What `name`, which no route takes, comes close to. Costs a few lookups.
    pub fn near_miss(&self, name: &ServerName) -> Option<NearMiss> {
        if let Some(istio) = name.istio() {
            if istio.direction != "outbound" {
                return Some(NearMiss::Inbound);
            }
            let Some(served) = self.services.get(istio.host) else {
                return self.unrouted(istio.host);
            };
            let same_port = served.iter().find(|served| served.port == istio.port);
            return Some(match same_port {
                Some(served) => NearMiss::OtherSubsets(Few::of(served.subsets.iter().cloned())),
                None => NearMiss::OtherPorts(ports(served)),
            });
        }
        if let Some(served) = self.services.get(name.as_str()) {
            return Some(NearMiss::PlainHostNotRouted(ports(served)));
        }
        if self.below.contains_key(name.as_str()) {
            return Some(NearMiss::OnlyBelow);
        }
        self.unrouted(name.as_str())
    }

    fn unrouted(&self, host: &str) -> Option<NearMiss> {
        self.unrouted.get(host).cloned().map(NearMiss::Unrouted)
    }

    /// The `count` patterns that are spelled most like `name`, nearest first. Looks at every route.
    pub fn nearest(&self, name: &ServerName, count: usize) -> Vec<(String, &Arc<Route>)> {
        let mut near: Vec<(usize, String, &Arc<Route>)> = self
            .patterns()
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
