//! The route table: it finds the route of a server name.
//!
//! Exact beats wildcard, a longer wildcard beats a shorter one, `*` comes last. A lookup costs one hash
//! per label of the name, whatever the number of routes, and allocates nothing.

mod hint;
mod target;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::config::{AlpnPolicy, ListenerConfig, Origin, RouteMatch, SniPattern, SourceGroups};
use crate::limits::{Limiter, ScopeKey, Scopes};
use crate::names::{RouteName, UpstreamName};
use crate::outcome::Outcome;
use crate::server_name::{NameError, ServerName};
use crate::upstream::Upstream;
pub use hint::NearMiss;
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

/// The reason why a hello with a valid server name gets no route.
#[derive(Debug)]
pub enum RouteRefusal<'a> {
    /// No route takes the name.
    NoRoute(Option<NearMiss>),
    /// This route takes the name, but not the ALPN offers.
    AlpnRefused(&'a Route),
}

impl RouteRefusal<'_> {
    /// The outcome of the refusal.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoRoute(_) => Outcome::NoRoute,
            Self::AlpnRefused(_) => Outcome::AlpnRefused,
        }
    }

    /// Details beyond the outcome, for the log or a person.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::NoRoute(near) => near.as_ref().map(ToString::to_string),
            Self::AlpnRefused(route) => {
                Some(format!("route {} demands {}", route.name, route.alpn))
            }
        }
    }
}

/// The reason why a route table cannot be built. A checked config causes none of these.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Two routes claim one pattern.
    #[error("routes `{first}` and `{second}` both match `{pattern}`")]
    Conflict {
        /// The pattern that both claim.
        pattern: SniPattern,
        /// The first of the two routes.
        first: RouteName,
        /// The other.
        second: RouteName,
    },
    /// A route names an upstream that does not exist.
    #[error("route `{route}` names the unknown upstream `{upstream}`")]
    UnknownUpstream {
        /// The route.
        route: RouteName,
        /// The upstream that it names.
        upstream: UpstreamName,
    },
    /// An `outbound_` name that would be too long.
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
    /// Service hosts of the routes, with the ports under which they are routed.
    services: HashMap<ServerName, Vec<ServedPort>>,
    routes: Vec<Arc<Route>>,
    conflicts: Vec<Conflict>,
    /// Known hosts without a route, with the reason.
    unrouted: Arc<HashMap<ServerName, Arc<str>>>,
}

/// A name that a discovered route claims and an earlier route has.
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

/// A port under which a service's host is routed.
#[derive(Debug)]
struct ServedPort {
    port: u16,
    subsets: Vec<Arc<str>>,
}

impl RouteTable {
    /// Builds the table of `listener`, whose connections come from one of `sources` and count in
    /// `scopes`.
    ///
    /// # Errors
    /// [`RouteError`] for an ambiguous route, or for one without its upstream.
    pub fn build(
        listener: &ListenerConfig,
        sources: &SourceGroups,
        scopes: &Scopes,
        upstream: impl Fn(&str) -> Option<Arc<Upstream>>,
    ) -> Result<Self, RouteError> {
        let mut table = Self::default();
        for config in &listener.routes {
            let discovered = config.origin != Origin::File;
            let targets = match Targets::build(&config.name, &config.targets, sources, &upstream) {
                // Sources give no such routes. If one did, the other routes must not suffer.
                Err(_) if discovered => continue,
                targets => targets,
            };
            let route = Arc::new(Route {
                name: config.name.clone(),
                alpn: config.alpn.clone(),
                targets: targets.map_err(|upstream| RouteError::UnknownUpstream {
                    route: config.name.clone(),
                    upstream,
                })?,
                limiter: scopes.limiter(
                    ScopeKey::Route(listener.name.clone(), config.name.clone()),
                    &config.limits,
                ),
                origin: config.origin.clone(),
                dry_run: config.dry_run.clone(),
            });
            let patterns = match config.matches.patterns() {
                Ok(patterns) => patterns,
                Err(_) if discovered => continue,
                Err(error) => {
                    return Err(RouteError::Name {
                        route: config.name.clone(),
                        error,
                    });
                }
            };
            for pattern in patterns {
                table.claim(pattern, &route)?;
            }
            table.note_served(&config.matches);
            table.routes.push(route);
        }
        table.unrouted = listener.unrouted.clone();
        Ok(table)
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
            RouteMatch::Sni(_) | RouteMatch::AnyOf(_) => return,
        };
        let served = self.services.entry(host.clone()).or_default();
        match served.iter_mut().find(|served| served.port == port) {
            Some(served) => served.subsets.extend(subsets),
            None => served.push(ServedPort { port, subsets }),
        }
    }

    /// Gives `pattern` to `route`, unless an earlier route has it. Two routes of the file may not claim
    /// the same pattern; a discovered route gives way, and the table reports the conflict.
    fn claim(&mut self, pattern: SniPattern, route: &Arc<Route>) -> Result<(), RouteError> {
        let before = match &pattern {
            SniPattern::Exact(name) => claim_in(&mut self.exact, name, route),
            SniPattern::Below(name) => claim_in(&mut self.below, name, route),
            SniPattern::Any => {
                let before = self.any.clone();
                self.any.get_or_insert_with(|| route.clone());
                before
            }
        };
        let Some(first) = before else { return Ok(()) };
        if route.origin == Origin::File {
            return Err(RouteError::Conflict {
                pattern,
                first: first.name.clone(),
                second: route.name.clone(),
            });
        }
        self.conflicts.push(Conflict {
            pattern,
            kept: first,
            refused: route.clone(),
        });
        Ok(())
    }

    /// Finds the route of a hello that names `name` and offers the protocols of `alpn`.
    ///
    /// # Errors
    /// The reason why there is no route.
    pub fn decide<'a>(
        &self,
        name: &ServerName,
        alpn: impl Iterator<Item = &'a [u8]>,
    ) -> Result<&Arc<Route>, RouteRefusal<'_>> {
        let Some(route) = self.find(name) else {
            return Err(RouteRefusal::NoRoute(self.near_miss(name)));
        };
        if !route.alpn.admits(alpn) {
            return Err(RouteRefusal::AlpnRefused(route));
        }
        Ok(route)
    }

    /// The table's own copy of `name`, if it has one. A connection that keeps the name for long should
    /// keep this copy.
    pub fn own_copy(&self, name: &ServerName) -> Option<&ServerName> {
        self.exact.get_key_value(name).map(|(own, _)| own)
    }

    /// The route that takes `name`, if one does.
    pub fn find(&self, name: &ServerName) -> Option<&Arc<Route>> {
        self.exact
            .get(name.as_str())
            .or_else(|| self.find_below(name))
            .or(self.any.as_ref())
    }

    fn find_below(&self, name: &ServerName) -> Option<&Arc<Route>> {
        if self.below.is_empty() {
            return None;
        }
        // The first suffix is the name itself, which is not below itself.
        name.suffixes()
            .skip(1)
            .find_map(|parent| self.below.get(parent))
    }

    /// Every route, in the config's order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Names that discovered routes did not get.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// Every pattern with the route that claims it, in no order.
    pub fn patterns(&self) -> impl Iterator<Item = (SniPattern, &Arc<Route>)> {
        let exact = self.exact.iter();
        let exact = exact.map(|(name, route)| (SniPattern::Exact(name.clone()), route));
        let below = self.below.iter();
        let below = below.map(|(name, route)| (SniPattern::Below(name.clone()), route));
        let any = self.any.iter().map(|route| (SniPattern::Any, route));
        exact.chain(below).chain(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        ConnectionLimits, ObjectRef, RouteConfig, TargetConfigs, UpstreamSource, samples,
    };

    fn name(text: &str) -> ServerName {
        ServerName::parse(text.as_bytes()).unwrap()
    }

    fn service(host: &str, port: u16, subsets: &[&str], plain_host: bool) -> RouteMatch {
        RouteMatch::Service {
            host: name(host),
            port,
            subsets: subsets.iter().map(|subset| Arc::from(*subset)).collect(),
            plain_host,
        }
    }

    pub(super) fn upstream() -> Arc<Upstream> {
        let config = samples::upstream(UpstreamSource::Static(Vec::new()));
        Arc::new(Upstream::new(Arc::new(config), None, None))
    }

    fn table(matches: Vec<RouteMatch>) -> Result<RouteTable, RouteError> {
        build(&listener(matches))
    }

    fn build(listener: &ListenerConfig) -> Result<RouteTable, RouteError> {
        let known = |name: &str| (name == "u").then(upstream);
        let (sources, scopes) = (SourceGroups::default(), Scopes::default());
        RouteTable::build(listener, &sources, &scopes, known)
    }

    fn listener(matches: Vec<RouteMatch>) -> ListenerConfig {
        let routes = matches.into_iter().enumerate();
        ListenerConfig {
            routes: routes
                .map(|(position, matches)| RouteConfig {
                    name: position.to_string().into(),
                    matches,
                    alpn: AlpnPolicy::Any,
                    targets: TargetConfigs::only("u".into()),
                    limits: ConnectionLimits::OFF,
                    origin: Origin::File,
                    dry_run: None,
                })
                .map(Arc::new)
                .collect(),
            ..samples::listener()
        }
    }

    fn found<'a>(table: &'a RouteTable, asked: &str) -> Option<&'a str> {
        table.find(&name(asked)).map(|route| &*route.name)
    }

    #[test]
    fn exact_beats_wildcard_and_longer_beats_shorter() {
        let table = table(vec![
            RouteMatch::Sni(SniPattern::Any),
            RouteMatch::Sni(SniPattern::Below(name("x"))),
            RouteMatch::Sni(SniPattern::Below(name("a.x"))),
            RouteMatch::Sni(SniPattern::Exact(name("b.a.x"))),
        ])
        .unwrap();
        for (asked, route) in [
            ("b.a.x", "3"),
            ("c.b.a.x", "2"),
            ("c.a.x", "2"),
            ("a.x", "1"),
            ("q.r.s.x", "1"),
            ("x", "0"),
            ("y", "0"),
        ] {
            assert_eq!(found(&table, asked), Some(route), "{asked}");
        }
    }

    #[test]
    fn a_service_answers_to_both_spellings_of_its_port_and_subsets() {
        let table = table(vec![
            service("svcb.apps", 80, &["v1"], true),
            service("svcb.apps", 443, &[], false),
        ])
        .unwrap();
        for (asked, route) in [
            ("svcb.apps", Some("0")),
            ("outbound_.80_._.svcb.apps", Some("0")),
            ("outbound_.80_.v1_.svcb.apps", Some("0")),
            ("outbound_.443_._.svcb.apps", Some("1")),
            ("outbound_.443_.v1_.svcb.apps", None),
            ("outbound_.81_._.svcb.apps", None),
            ("inbound_.80_._.svcb.apps", None),
            ("a.svcb.apps", None),
        ] {
            assert_eq!(found(&table, asked), route, "{asked}");
        }
    }

    #[test]
    fn a_discovered_route_gives_way_to_an_earlier_one_and_the_table_says_so() {
        let mut listener = listener(vec![
            RouteMatch::Sni(SniPattern::Exact(name("a"))),
            service("a", 80, &[], true),
            RouteMatch::Sni(SniPattern::Any),
            RouteMatch::Sni(SniPattern::Any),
        ]);
        let object = ObjectRef {
            namespace: "n".into(),
            name: "a".into(),
            resource_version: "7".into(),
        };
        for route in &mut listener.routes[1..] {
            Arc::make_mut(route).origin = Origin::Export(object.clone());
        }
        let table = build(&listener).unwrap();
        assert_eq!(found(&table, "a"), Some("0"));
        assert_eq!(found(&table, "outbound_.80_._.a"), Some("1"));
        assert_eq!(found(&table, "b"), Some("2"));
        let conflict = |conflict: &Conflict| {
            let (kept, refused) = (&conflict.kept.name, &conflict.refused.name);
            format!("{} {kept} {refused}", conflict.pattern)
        };
        let conflicts: Vec<String> = table.conflicts().iter().map(conflict).collect();
        assert_eq!(conflicts, ["a 0 1", "* 2 3"]);

        Arc::make_mut(&mut listener.routes[3]).origin = Origin::File;
        assert!(build(&listener).is_err(), "two of the file");
    }

    #[test]
    fn a_miss_says_what_comes_close() {
        let subset = RouteMatch::Subset {
            host: name("svcb.apps"),
            port: 80,
            subset: "v2".into(),
        };
        let mut listener = listener(vec![
            service("svcb.apps", 80, &["v1"], false),
            service("svcb.apps", 443, &[], false),
            RouteMatch::Sni(SniPattern::Below(name("x.y"))),
            subset,
        ]);
        let reason: Arc<str> = "not exported".into();
        listener.unrouted = Arc::new(HashMap::from([(name("hidden.apps"), reason)]));
        let table = build(&listener).unwrap();
        assert_eq!(found(&table, "outbound_.80_.v2_.svcb.apps"), Some("3"));
        let near = |text: &str| Some(text.to_owned());
        for (asked, near) in [
            ("hidden.apps", near("not exported")),
            ("outbound_.80_._.hidden.apps", near("not exported")),
            (
                "outbound_.81_._.svcb.apps",
                near("the service is routed only for service port 80, 443"),
            ),
            (
                "outbound_.80_.v3_.svcb.apps",
                near("the service port is routed only for subset v1, v2"),
            ),
            (
                "svcb.apps",
                near("the host is routed only as outbound_.PORT_._.HOST, for service port 80, 443"),
            ),
            (
                "inbound_.80_._.svcb.apps",
                near("inbound_ names are never routed, outbound_ ones are"),
            ),
            ("x.y", near("only names below it are routed")),
            ("svcc.apps", None),
        ] {
            let miss = table.near_miss(&name(asked));
            assert_eq!(miss.map(|miss| miss.to_string()), near, "{asked}");
        }
        let nearest = table.nearest(&name("outbound_.80_._.svca.apps"), 1);
        assert_eq!(nearest[0].0, "outbound_.80_._.svcb.apps");
    }

    #[test]
    fn two_claims_on_one_name_are_an_error() {
        let conflict = table(vec![
            service("svcb.apps", 80, &[], true),
            service("svcb.apps", 443, &[], true),
        ]);
        let conflict = conflict.map(|_| ()).unwrap_err().to_string();
        assert_eq!(conflict, "routes `0` and `1` both match `svcb.apps`");
    }
}
