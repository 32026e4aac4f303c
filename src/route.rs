//! The route table: it finds the route of a server name.
//!
//! Exact beats wildcard, a longer wildcard beats a shorter one, `*` comes last. A lookup costs one hash
//! per label of the name, whatever the number of routes, and allocates nothing. A hello without a name
//! gets only a route for such hellos. Routes of the file may share one name by the ALPN protocols that its
//! clients offer.
//!
//! A table is an immutable value. The next one is made from it by a change, and shares with it what has not changed:
//! another Service costs the same among ten and among 25,000.

mod change;
mod claims;
mod hint;
mod name_map;
mod served;
mod split;
mod target;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{AlpnPolicy, Exporter, Origin, RouteConfig, SniPattern};
use crate::limits::Limiter;
use crate::names::{RouteName, UpstreamName};
use crate::outcome::Outcome;
use crate::server_name::{Name, NameError, ServerName};
use crate::shared_map::SharedMap;
pub use change::RouteMaker;
use claims::{PatternClaims, Rank};
use hint::Few;
pub use hint::NearMiss;
use served::ServedPorts;
use split::{Match, Split};
pub use target::{Target, Targets};

/// The route of a listener for some server names.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// The ALPN offers that it accepts.
    pub alpn: AlpnPolicy,
    /// The upstreams of its connections.
    pub targets: Targets,
    /// The limiter of its connections, if it has limits.
    pub limiter: Option<Limiter>,
    /// Its origin: the file, an export or a TLSRoute.
    pub origin: Origin,
    /// The reason why the export policy would refuse its connections if it were not a dry run.
    pub dry_run: Option<Arc<str>>,
    /// The config that it was made from.
    config: Arc<RouteConfig>,
    rank: Rank,
}

/// The route of a hello.
#[derive(Debug)]
pub struct Decided<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// The table's own copy of the name, if it has one. A connection that keeps the name for long should keep this copy:
    /// thousands of connections ask for one name.
    pub name: Option<&'a ServerName>,
}

/// The reason why a valid hello gets no route.
#[derive(Debug)]
pub enum RouteRefusal<'a> {
    /// The hello has no server name, and no route takes such hellos.
    NoSni,
    /// No route takes the name.
    NoRoute(Option<NearMiss>),
    /// These routes, at least one, take the name, or its absence, but not the ALPN offers.
    AlpnRefused(&'a [Arc<Route>]),
}

impl RouteRefusal<'_> {
    /// The outcome of the refusal.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoSni => Outcome::NoSni,
            Self::NoRoute(_) => Outcome::NoRoute,
            Self::AlpnRefused(_) => Outcome::AlpnRefused,
        }
    }

    /// Details beyond the outcome, for the log or a person.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::NoSni => Some("no route has `no_sni: true`".to_owned()),
            Self::NoRoute(near) => near.as_ref().map(ToString::to_string),
            Self::AlpnRefused(routes) => {
                let demand =
                    |route: &Arc<Route>| format!("route {} demands {}", route.name, route.alpn);
                Some(Few::of(routes.iter().map(demand)).to_string())
            }
        }
    }
}

/// The reason why a route is left out of its table. Neither a checked config
/// nor a source gives such routes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LeftOutRoute {
    /// The route names an upstream that does not exist.
    #[error("route `{route}` names the unknown upstream `{upstream}`")]
    UnknownUpstream {
        /// The route.
        route: RouteName,
        /// The upstream that it names.
        upstream: UpstreamName,
    },
    /// An `outbound_` name of the route would be too long.
    #[error("route `{route}`: {error}")]
    Name {
        /// The route.
        route: RouteName,
        /// The fault of the name.
        error: NameError,
    },
}

/// The routes of one listener. A copy shares with the other what neither changes.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    claims: PatternClaims,
    /// All routes of the patterns that more than one route of the file has. `claims` has the first of each.
    splits: Arc<HashMap<SniPattern, Split>>,
    served: ServedPorts,
    own: Arc<Vec<Arc<Route>>>,
    /// Conflicts of the file's routes with each other.
    own_conflicts: Arc<Vec<Conflict>>,
    exports: SharedMap<Exporter, Arc<[Arc<Route>]>>,
    attached: Arc<Vec<Arc<Route>>>,
    /// The upstreams that the routes in `attached` name.
    attached_to: Arc<HashSet<UpstreamName>>,
    /// Routes that could not be made when the table was built, or changed.
    left_out: Vec<LeftOutRoute>,
    /// Known hosts without a route, with the reason.
    unrouted: SharedMap<ServerName, Arc<str>>,
}

/// A name that a route claims and an earlier route has. Of the file's own routes no two claim a name.
#[derive(Debug, Clone)]
pub struct Conflict {
    /// The pattern that both claim.
    pub pattern: SniPattern,
    /// The route that has it.
    pub kept: Arc<Route>,
    /// The route that does not get it.
    pub refused: Arc<Route>,
}

impl RouteTable {
    /// Finds the route of a hello that names `name`, or no server, and offers the protocols of `alpn`.
    ///
    /// # Errors
    /// The reason why there is no route.
    pub fn decide<'a>(
        &self,
        name: Option<&Name<'_>>,
        alpn: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Decided<'_>, RouteRefusal<'_>> {
        let Some((matched, route)) = self.matching(name) else {
            return Err(match name {
                Some(name) => RouteRefusal::NoRoute(self.near_miss(name)),
                None => RouteRefusal::NoSni,
            });
        };
        let route = match self.split_of(&matched) {
            Some(split) => {
                let chosen = split.choose(alpn);
                chosen.ok_or(RouteRefusal::AlpnRefused(split.routes()))
            }
            None if route.alpn.admits(alpn) => Ok(route),
            None => Err(RouteRefusal::AlpnRefused(std::slice::from_ref(route))),
        };
        let name = match matched {
            Match::Exact(own) => Some(own),
            Match::OneBelow(_) | Match::Below(_) | Match::Any | Match::Absent => None,
        };
        route.map(|route| Decided { route, name })
    }

    /// The routes of hellos that name `name`, or no server. They are more than one if they share it by ALPN.
    pub fn sharing(&self, name: Option<&Name<'_>>) -> &[Arc<Route>] {
        let Some((matched, route)) = self.matching(name) else {
            return &[];
        };
        match self.split_of(&matched) {
            Some(split) => split.routes(),
            None => std::slice::from_ref(route),
        }
    }

    /// The first route of hellos that name `name`, or no server.
    fn matching(&self, name: Option<&Name<'_>>) -> Option<(Match<'_>, &Arc<Route>)> {
        match name {
            Some(name) => self.claims.find(name),
            None => Some((Match::Absent, self.claims.nameless()?)),
        }
    }

    /// The routes that share what matched, if more than one does.
    fn split_of(&self, matched: &Match<'_>) -> Option<&Split> {
        if self.splits.is_empty() {
            return None;
        }
        self.splits.get(&matched.pattern())
    }

    /// Whether a route takes hellos without a name.
    pub fn takes_nameless(&self) -> bool {
        self.claims.nameless().is_some()
    }

    /// The route that takes `name`, if one does. If several routes share it by ALPN, the first of the config.
    pub fn find(&self, name: &ServerName) -> Option<&Arc<Route>> {
        self.claims.find(&name.as_name()).map(|(_, route)| route)
    }

    /// Every route, in the config's order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let exports = self.exports.values().flat_map(|routes| routes.iter());
        self.own.iter().chain(exports).chain(self.attached.iter())
    }

    /// Routes that could not be made when the table was built, or changed.
    pub fn left_out(&self) -> &[LeftOutRoute] {
        &self.left_out
    }

    /// Names that discovered routes did not get.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let rivals = self.claims.rivals().iter();
        let found = rivals.filter_map(|(pattern, rivals)| {
            let (kept, refused) = rivals.split_first()?;
            Some(refused.iter().map(|refused| Conflict {
                pattern: pattern.clone(),
                kept: kept.clone(),
                refused: refused.clone(),
            }))
        });
        let mut found: Vec<Conflict> = found.flatten().collect();
        found.sort_by(|one, other| one.refused.rank.cmp(&other.refused.rank));
        self.own_conflicts.iter().cloned().chain(found).collect()
    }

    /// Whether another table, of which this one was made by a change, has the same conflicts.
    pub fn has_conflicts_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own_conflicts, &other.own_conflicts)
            && self.claims.rivals().is_same(other.claims.rivals())
    }

    /// Every pattern with the route that claims it, in no order. Of routes that share one by ALPN, the first.
    pub fn patterns(&self) -> impl Iterator<Item = (SniPattern, &Arc<Route>)> {
        self.claims.patterns()
    }
}

#[cfg(test)]
mod tests;
