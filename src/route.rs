//! The route table: it finds the route of a server name.
//!
//! Exact beats wildcard, a longer wildcard beats a shorter one, `*` comes last. A lookup costs one hash
//! per label of the name, whatever the number of routes, and allocates nothing. A hello without a name
//! gets only a route for such hellos. Routes of the file may share one name by the ALPN protocols that its
//! clients offer.

mod hint;
mod split;
mod target;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::config::{
    AlpnPolicy, ListenerConfig, Origin, RouteConfig, RouteMatch, SniPattern, SourceGroups,
};
use crate::limits::{Limiter, ScopeKey, Scopes};
use crate::names::{RouteName, UpstreamName};
use crate::outcome::Outcome;
use crate::server_name::{NameError, ServerName};
use crate::upstream::Upstream;
use hint::Few;
pub use hint::NearMiss;
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
#[derive(Debug, thiserror::Error)]
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

/// The routes of one listener.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<ServerName, Arc<Route>>,
    /// Routes by the name below which they match.
    below: HashMap<ServerName, Arc<Route>>,
    any: Option<Arc<Route>>,
    /// The route of hellos without a name.
    nameless: Option<Arc<Route>>,
    /// All routes of the patterns that more than one route has. The fields above have the first of each.
    splits: HashMap<SniPattern, Split>,
    /// Service hosts of the routes, with the ports under which they are routed.
    services: HashMap<ServerName, Vec<ServedPort>>,
    routes: Vec<Arc<Route>>,
    conflicts: Vec<Conflict>,
    left_out: Vec<LeftOutRoute>,
    /// Known hosts without a route, with the reason.
    unrouted: Arc<HashMap<ServerName, Arc<str>>>,
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

/// Gives `name` to `route` if no other route has it. Returns the route that has it already.
fn claim_in(
    claimed: &mut HashMap<ServerName, Arc<Route>>,
    name: &ServerName,
    route: &Arc<Route>,
) -> Option<Arc<Route>> {
    match claimed.entry(name.clone()) {
        Entry::Occupied(first) => Some(first.get().clone()),
        Entry::Vacant(free) => {
            free.insert(route.clone());
            None
        }
    }
}

/// Gives the slot to `route` if no other route has it. Returns the route that has it already.
fn claim_slot(slot: &mut Option<Arc<Route>>, route: &Arc<Route>) -> Option<Arc<Route>> {
    let before = slot.clone();
    slot.get_or_insert_with(|| route.clone());
    before
}

/// A port under which a service's host is routed.
#[derive(Debug)]
struct ServedPort {
    port: u16,
    subsets: Vec<Arc<str>>,
}

impl RouteTable {
    /// Builds the table of `listener`, whose connections come from one of `sources` and count in
    /// `scopes`. A route that cannot be made is left out, and the table says so: the other routes must
    /// not suffer.
    pub fn build(
        listener: &ListenerConfig,
        sources: &SourceGroups,
        scopes: &Scopes,
        upstream: impl Fn(&str) -> Option<Arc<Upstream>>,
    ) -> Self {
        let mut table = Self {
            unrouted: listener.unrouted.clone(),
            ..Self::default()
        };
        for config in &listener.routes {
            let scope = ScopeKey::Route(listener.name.clone(), config.name.clone());
            let limiter = || scopes.limiter(scope, &config.limits);
            if let Err(left_out) = table.add(config, sources, limiter, &upstream) {
                table.left_out.push(left_out);
            }
        }
        table
    }

    fn add(
        &mut self,
        config: &RouteConfig,
        sources: &SourceGroups,
        limiter: impl FnOnce() -> Option<Limiter>,
        upstream: &impl Fn(&str) -> Option<Arc<Upstream>>,
    ) -> Result<(), LeftOutRoute> {
        let targets = Targets::build(
            &config.name,
            &config.targets,
            config.timeouts,
            sources,
            upstream,
        );
        let targets = targets.map_err(|upstream| LeftOutRoute::UnknownUpstream {
            route: config.name.clone(),
            upstream,
        })?;
        let patterns = config
            .matches
            .patterns()
            .map_err(|error| LeftOutRoute::Name {
                route: config.name.clone(),
                error,
            })?;
        let route = Arc::new(Route {
            name: config.name.clone(),
            alpn: config.alpn.clone(),
            targets,
            limiter: limiter(),
            origin: config.origin.clone(),
            dry_run: config.dry_run.clone(),
        });
        for pattern in patterns {
            self.claim(pattern, &route);
        }
        self.note_served(&config.matches);
        self.routes.push(route);
        Ok(())
    }

    /// Notes the ports and subsets under which a service's host is routed.
    fn note_served(&mut self, matches: &RouteMatch) {
        let (host, port, subsets) = match matches {
            RouteMatch::Service {
                host,
                port,
                subsets,
                ..
            } => (host, *port, subsets.clone()),
            RouteMatch::Subset { host, port, subset } => (host, *port, vec![subset.clone()]),
            RouteMatch::Sni(_) | RouteMatch::AnyOf(_) | RouteMatch::NoSni => return,
        };
        let served = self.services.entry(host.clone()).or_default();
        match served.iter_mut().find(|served| served.port == port) {
            Some(served) => served.subsets.extend(subsets),
            None => served.push(ServedPort { port, subsets }),
        }
    }

    /// Gives `pattern` to `route`, unless an earlier route has it. The table reports that conflict. Routes of
    /// the file that accept different offers share a pattern.
    fn claim(&mut self, pattern: SniPattern, route: &Arc<Route>) {
        let before = match &pattern {
            SniPattern::Exact(name) => claim_in(&mut self.exact, name, route),
            SniPattern::Below(name) => claim_in(&mut self.below, name, route),
            SniPattern::Any => claim_slot(&mut self.any, route),
            SniPattern::Absent => claim_slot(&mut self.nameless, route),
        };
        let Some(first) = before else { return };
        let of_file = first.origin == Origin::File && route.origin == Origin::File;
        let shared = match of_file {
            true => self.share(&pattern, &first, route),
            false => Err(first),
        };
        if let Err(kept) = shared {
            let refused = route.clone();
            self.conflicts.push(Conflict {
                pattern,
                kept,
                refused,
            });
        }
    }

    /// Lets `route` share `pattern`, which `first` has.
    ///
    /// # Errors
    /// The route that has some of the same offers.
    fn share(
        &mut self,
        pattern: &SniPattern,
        first: &Arc<Route>,
        route: &Arc<Route>,
    ) -> Result<(), Arc<Route>> {
        match self.splits.get_mut(pattern) {
            Some(split) => split.add(route),
            None => {
                let mut split = Split::new(first);
                split.add(route)?;
                self.splits.insert(pattern.clone(), split);
                Ok(())
            }
        }
    }

    /// Finds the route of a hello that names `name`, or no server, and offers the protocols of `alpn`.
    ///
    /// # Errors
    /// The reason why there is no route.
    pub fn decide<'a>(
        &self,
        name: Option<&ServerName>,
        alpn: impl Iterator<Item = &'a [u8]>,
    ) -> Result<&Arc<Route>, RouteRefusal<'_>> {
        let Some((route, split)) = self.matching(name) else {
            return Err(match name {
                Some(name) => RouteRefusal::NoRoute(self.near_miss(name)),
                None => RouteRefusal::NoSni,
            });
        };
        match split {
            Some(split) => {
                let chosen = split.choose(alpn);
                chosen.ok_or(RouteRefusal::AlpnRefused(split.routes()))
            }
            None if route.alpn.admits(alpn) => Ok(route),
            None => Err(RouteRefusal::AlpnRefused(std::slice::from_ref(route))),
        }
    }

    /// The routes of hellos that name `name`, or no server. They are more than one if they share it by ALPN.
    pub fn sharing(&self, name: Option<&ServerName>) -> &[Arc<Route>] {
        match self.matching(name) {
            None => &[],
            Some((_, Some(split))) => split.routes(),
            Some((route, None)) => std::slice::from_ref(route),
        }
    }

    /// The first route of hellos that name `name`, or no server, and all of them if they are more than one.
    fn matching(&self, name: Option<&ServerName>) -> Option<(&Arc<Route>, Option<&Split>)> {
        let (matched, route) = match name {
            Some(name) => self.find_match(name)?,
            None => (Match::Absent, self.nameless.as_ref()?),
        };
        Some((route, self.split_of(&matched)))
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
        self.nameless.is_some()
    }

    /// The table's own copy of `name`, if it has one. A connection that keeps the name for long should
    /// keep this copy.
    pub fn own_copy(&self, name: &ServerName) -> Option<&ServerName> {
        self.exact.get_key_value(name).map(|(own, _)| own)
    }

    /// The route that takes `name`, if one does. If several routes share it by ALPN, the first of the config.
    pub fn find(&self, name: &ServerName) -> Option<&Arc<Route>> {
        self.find_match(name).map(|(_, route)| route)
    }

    fn find_match(&self, name: &ServerName) -> Option<(Match<'_>, &Arc<Route>)> {
        if let Some((own, route)) = self.exact.get_key_value(name.as_str()) {
            return Some((Match::Exact(own), route));
        }
        let below = self.find_below(name);
        below.or_else(|| self.any.as_ref().map(|route| (Match::Any, route)))
    }

    fn find_below(&self, name: &ServerName) -> Option<(Match<'_>, &Arc<Route>)> {
        if self.below.is_empty() {
            return None;
        }
        // The first suffix is the name itself, which is not below itself.
        let found = name
            .suffixes()
            .skip(1)
            .find_map(|parent| self.below.get_key_value(parent));
        found.map(|(parent, route)| (Match::Below(parent), route))
    }

    /// Every route, in the config's order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Routes that could not be made.
    pub fn left_out(&self) -> &[LeftOutRoute] {
        &self.left_out
    }

    /// Names that discovered routes did not get.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// Every pattern with the route that claims it, in no order. Of routes that share one by ALPN, the first.
    pub fn patterns(&self) -> impl Iterator<Item = (SniPattern, &Arc<Route>)> {
        let exact = self.exact.iter();
        let exact = exact.map(|(name, route)| (SniPattern::Exact(name.clone()), route));
        let below = self.below.iter();
        let below = below.map(|(name, route)| (SniPattern::Below(name.clone()), route));
        let any = self.any.iter().map(|route| (SniPattern::Any, route));
        let nameless = self.nameless.iter();
        let nameless = nameless.map(|route| (SniPattern::Absent, route));
        exact.chain(below).chain(any).chain(nameless)
    }
}

#[cfg(test)]
mod tests;
