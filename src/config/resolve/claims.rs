//! The claims of routes on server names, of which no two may conflict.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::config::checked::{AlpnPolicy, RouteMatch, SharedOffers, SniPattern};
use crate::config::form::problems::{Complaint, KeyPlace, Problems};

/// The largest number of routes that share one server name.
const MOST_SHARING: usize = 32;

/// The routes of a listener by the server names that they claim. Routes that accept different ALPN offers may
/// share a name.
#[derive(Default)]
pub(super) struct Claims<'a> {
    routes: Vec<Claimant<'a>>,
    /// The first route of each pattern, an index of `routes`.
    by_pattern: HashMap<SniPattern, usize>,
    /// The further routes of a pattern.
    sharing: HashMap<SniPattern, Vec<usize>>,
}

struct Claimant<'a> {
    matches: RouteMatch,
    alpn: AlpnPolicy,
    place: &'a KeyPlace,
}

impl<'a> Claims<'a> {
    /// Claims the names of `matches` for clients that `alpn` accepts. Returns false if that is refused; then
    /// a problem was noted.
    pub(super) fn claim(
        &mut self,
        matches: &RouteMatch,
        alpn: &AlpnPolicy,
        place: &'a KeyPlace,
        problems: &mut Problems,
    ) -> bool {
        let patterns = match matches.patterns() {
            Ok(patterns) => patterns,
            Err(error) => {
                let complaint =
                    Complaint::new(format!("no `outbound_` name can be made of it: {error}"));
                problems.note(place, complaint.remedy("use a shorter host or subset"));
                return false;
            }
        };
        let position = self.routes.len();
        let claimant = Claimant {
            matches: matches.clone(),
            alpn: alpn.clone(),
            place,
        };
        for pattern in patterns {
            if let Some(complaint) = self.conflict(&pattern, &claimant) {
                problems.note(place, complaint);
                self.routes.push(claimant);
                return false;
            }
            match self.by_pattern.entry(pattern) {
                Entry::Vacant(free) => {
                    free.insert(position);
                }
                Entry::Occupied(first) => {
                    let sharing = self.sharing.entry(first.key().clone()).or_default();
                    sharing.push(position);
                }
            }
        }
        self.routes.push(claimant);
        true
    }

    /// The complaint about an earlier route of `pattern` that stands against `claimant`.
    fn conflict(&self, pattern: &SniPattern, claimant: &Claimant<'_>) -> Option<Complaint> {
        let first = self.by_pattern.get(pattern)?;
        let others = self.sharing.get(pattern).map_or(&[][..], Vec::as_slice);
        let earlier = std::iter::once(first).chain(others);
        let mut earlier = earlier.filter_map(|position| self.routes.get(*position));
        let shared = earlier.find_map(|one| Some((one, one.alpn.shared_with(&claimant.alpn)?)));
        let hellos = match pattern {
            SniPattern::Absent => "hellos without a server name".to_owned(),
            _ => format!("the server name {pattern}"),
        };
        let belong = match pattern {
            SniPattern::Absent => "belong",
            _ => "belongs",
        };
        match shared {
            Some((one, SharedOffers::All)) => {
                let message = format!("{hellos} {belong} to {} already", one.place);
                let remedy = conflict_remedy(&claimant.matches, &one.matches);
                Some(Complaint::new(message).remedy(remedy))
            }
            Some((one, SharedOffers::Protocol(protocol))) => {
                let message = format!(
                    "{hellos} with the ALPN protocol {protocol:?} {belong} to {} already",
                    one.place
                );
                Some(Complaint::new(message).remedy("list the protocol in one of the two routes"))
            }
            None if others.len() + 1 >= MOST_SHARING => {
                let message = format!("{MOST_SHARING} routes share {hellos} already");
                Some(Complaint::new(message).remedy("put several protocols into one route"))
            }
            None => None,
        }
    }
}

fn conflict_remedy(one: &RouteMatch, other: &RouteMatch) -> &'static str {
    match (one, other) {
        (
            RouteMatch::Service { host, port, .. },
            RouteMatch::Service {
                host: other_host,
                port: other_port,
                ..
            },
        ) if host == other_host && port != other_port => {
            "set `plain_host: false` on one of the two, since the host alone cannot say which port"
        }
        (
            RouteMatch::Service { host, .. },
            RouteMatch::Service {
                host: other_host, ..
            },
        ) if host == other_host => {
            "list the subsets in one route; a subset that goes elsewhere is a route by \
             `sni: outbound_.PORT_.SUBSET_.HOST`"
        }
        (RouteMatch::Service { .. }, RouteMatch::Sni(_))
        | (RouteMatch::Sni(_), RouteMatch::Service { .. }) => {
            "remove the route by `sni`, or take the name away from the service (`plain_host: \
             false`, `subsets`)"
        }
        _ => "remove one of the two routes",
    }
}
