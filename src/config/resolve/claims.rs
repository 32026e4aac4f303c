//! The claims of routes on server names, of which no two may conflict.

use std::collections::HashMap;

use crate::config::checked::{RouteMatch, SniPattern};
use crate::config::form::problems::{Complaint, KeyPlace, Problems};

/// The routes of a listener by the server names that they claim.
#[derive(Default)]
pub(super) struct Claims<'a> {
    routes: Vec<(RouteMatch, &'a KeyPlace)>,
    /// Indexes of `routes`.
    by_pattern: HashMap<SniPattern, usize>,
}

impl<'a> Claims<'a> {
    /// Claims the names of `matches`. Returns false if that is refused; then a problem was noted.
    pub(super) fn claim(
        &mut self,
        matches: &RouteMatch,
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
        self.routes.push((matches.clone(), place));
        for pattern in patterns {
            if let Some((other, first)) = self.by_pattern.get(&pattern).map(|at| &self.routes[*at])
            {
                let message = match pattern {
                    SniPattern::Absent => {
                        format!("hellos without a server name belong to {first} already")
                    }
                    _ => format!("the server name {pattern} belongs to {first} already"),
                };
                let complaint = Complaint::new(message).remedy(conflict_remedy(matches, other));
                problems.note(place, complaint);
                return false;
            }
            self.by_pattern.insert(pattern, position);
        }
        true
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
