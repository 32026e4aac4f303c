//! Which route a server name takes.
//!
//! Exact beats wildcard, a longer wildcard beats a shorter one, `*` comes last. A lookup costs one
//! hash per label of the name, whatever the number of routes, and allocates nothing.

mod hint;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::config::{AlpnPolicy, ListenerConfig, RouteMatch, SniPattern, SourceGroups};
use crate::limits::{Limiter, ScopeKey, Scopes};
use crate::metrics::{ConnectionSeries, Metrics, SeriesKey};
use crate::outcome::Outcome;
use crate::server_name::{NameError, ServerName};
use crate::upstream::Upstream;
pub use hint::NearMiss;

/// What a listener does with the server names that it takes.
#[derive(Debug)]
pub struct Route {
    /// The metric label.
    pub name: Arc<str>,
    /// Which ALPN offers it takes.
    pub alpn: AlpnPolicy,
    /// Where its connections go.
    pub upstream: Arc<Upstream>,
    /// What holds its connections to its limits, if it has any.
    pub limiter: Option<Limiter>,
    upstream_name: Arc<str>,
    /// By source group: what connections of this route count into, resolved on first use.
    series: Box<[OnceLock<Arc<ConnectionSeries>>]>,
}

impl Route {
    /// What connections of this route from the source group at `source` count into.
    pub fn series(
        &self,
        metrics: &Metrics,
        listener: &Arc<str>,
        sources: &SourceGroups,
        source: usize,
    ) -> Arc<ConnectionSeries> {
        let resolve = || {
            metrics.connections(SeriesKey {
                listener: listener.clone(),
                route: self.name.clone(),
                upstream: self.upstream_name.clone(),
                source: sources.name(source).into(),
            })
        };
        match self.series.get(source) {
            Some(slot) => slot.get_or_init(resolve).clone(),
            None => resolve(),
        }
    }
}

/// Why a hello with a valid server name gets no route.
#[derive(Debug)]
pub enum RouteRefusal<'a> {
    /// No route takes the name.
    NoRoute(Option<NearMiss>),
    /// This route does, but not with the ALPN protocols offered.
    AlpnRefused(&'a Route),
}

impl RouteRefusal<'_> {
    /// The outcome that it gives.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoRoute(_) => Outcome::NoRoute,
            Self::AlpnRefused(_) => Outcome::AlpnRefused,
        }
    }

    /// What a log or a person is told beyond the outcome.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::NoRoute(near) => near.as_ref().map(ToString::to_string),
            Self::AlpnRefused(route) => {
                Some(format!("route {} demands {}", route.name, route.alpn))
            }
        }
    }
}

/// Why a route table cannot be built. A config that was checked gives none of these.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Two routes claim one pattern.
    #[error("routes `{first}` and `{second}` both match `{pattern}`")]
    Conflict {
        /// What both claim.
        pattern: SniPattern,
        /// The route that stands first.
        first: Arc<str>,
        /// The other.
        second: Arc<str>,
    },
    /// A route names an upstream that is not there.
    #[error("route `{route}` names the unknown upstream `{upstream}`")]
    UnknownUpstream {
        /// The route.
        route: Arc<str>,
        /// What it names.
        upstream: Arc<str>,
    },
    /// An `outbound_` name that would be too long.
    #[error("route `{route}`: {error}")]
    Name {
        /// The route.
        route: Arc<str>,
        /// What is wrong.
        error: NameError,
    },
}

/// The routes of one listener.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<ServerName, Arc<Route>>,
    /// By the name below which they match.
    below: HashMap<ServerName, Arc<Route>>,
    any: Option<Arc<Route>>,
    /// Service hosts that some route serves, by the ports under which they are routed.
    services: HashMap<ServerName, Vec<ServedPort>>,
    routes: Vec<Arc<Route>>,
}

/// A port under which a service's host is routed.
#[derive(Debug)]
struct ServedPort {
    port: u16,
    subsets: Vec<Arc<str>>,
}

impl RouteTable {
    /// The table of `listener`, whose connections come from one of `sources` and count in `scopes`.
    ///
    /// # Errors
    /// [`RouteError`]: an ambiguous or dangling route.
    pub fn build(
        listener: &ListenerConfig,
        sources: &SourceGroups,
        scopes: &Scopes,
        upstream: impl Fn(&str) -> Option<Arc<Upstream>>,
    ) -> Result<Self, RouteError> {
        let mut table = Self::default();
        for config in &listener.routes {
            let route = Arc::new(Route {
                name: config.name.clone(),
                alpn: config.alpn.clone(),
                upstream: upstream(&config.upstream).ok_or_else(|| {
                    RouteError::UnknownUpstream {
                        route: config.name.clone(),
                        upstream: config.upstream.clone(),
                    }
                })?,
                limiter: scopes.limiter(
                    ScopeKey::Route(listener.name.clone(), config.name.clone()),
                    &config.limits,
                ),
                upstream_name: config.upstream.clone(),
                series: (0..sources.positions()).map(|_| OnceLock::new()).collect(),
            });
            let patterns = config
                .matches
                .patterns()
                .map_err(|error| RouteError::Name {
                    route: config.name.clone(),
                    error,
                })?;
            for pattern in patterns {
                table.claim(pattern, &route)?;
            }
            if let RouteMatch::Service {
                host,
                port,
                subsets,
                ..
            } = &config.matches
            {
                let served = table.services.entry(host.clone()).or_default();
                served.push(ServedPort {
                    port: *port,
                    subsets: subsets.clone(),
                });
            }
            table.routes.push(route);
        }
        Ok(table)
    }

    fn claim(&mut self, pattern: SniPattern, route: &Arc<Route>) -> Result<(), RouteError> {
        let before = match &pattern {
            SniPattern::Exact(name) => self.exact.insert(name.clone(), route.clone()),
            SniPattern::Below(name) => self.below.insert(name.clone(), route.clone()),
            SniPattern::Any => self.any.replace(route.clone()),
        };
        match before {
            None => Ok(()),
            Some(first) => Err(RouteError::Conflict {
                pattern,
                first: first.name.clone(),
                second: route.name.clone(),
            }),
        }
    }

    /// The route of a hello that names `name` and offers the protocols of `alpn`.
    ///
    /// # Errors
    /// Why there is none.
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
        ConnectPolicy, ConnectionLimits, EjectionPolicy, HelloLimits, RelayTimeouts, RouteConfig,
        SourceLimits, SourcePolicy, TcpOptions, UpstreamConfig, UpstreamSource,
    };
    use std::time::Duration;

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

    fn table(matches: Vec<RouteMatch>) -> Result<RouteTable, RouteError> {
        let second = Duration::from_secs(1);
        let tcp = TcpOptions {
            keepalive_time: second,
            keepalive_interval: second,
            keepalive_probes: 1,
            user_timeout: second,
        };
        let upstream = Arc::new(Upstream::new(
            Arc::new(UpstreamConfig {
                name: "u".into(),
                source: UpstreamSource::Static(Vec::new()),
                connect: ConnectPolicy {
                    timeout: second,
                    attempts: 1,
                },
                proxy_protocol: None,
                ejection: EjectionPolicy {
                    consecutive_failures: 0,
                    base: second,
                    max: second,
                },
                tcp,
            }),
            None,
            None,
        ));
        let routes = matches.into_iter().enumerate();
        let listener = ListenerConfig {
            name: "l".into(),
            bind: ([127, 0, 0, 1], 0).into(),
            source_policy: SourcePolicy::default(),
            trusted_proxies: Vec::new(),
            limits: ConnectionLimits::OFF,
            limits_per_source: SourceLimits::default(),
            client_hello: HelloLimits {
                timeout: second,
                max_size: 65536,
            },
            timeouts: RelayTimeouts {
                idle: second,
                half_closed: second,
            },
            tcp,
            routes: routes
                .map(|(position, matches)| RouteConfig {
                    name: position.to_string().into(),
                    matches,
                    alpn: AlpnPolicy::Any,
                    upstream: "u".into(),
                    limits: ConnectionLimits::OFF,
                })
                .collect(),
        };
        let known = |name: &str| (name == "u").then(|| upstream.clone());
        RouteTable::build(
            &listener,
            &SourceGroups::default(),
            &Scopes::default(),
            known,
        )
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
    fn a_miss_says_what_comes_close() {
        let table = table(vec![
            service("svcb.apps", 80, &["v1"], false),
            service("svcb.apps", 443, &[], false),
            RouteMatch::Sni(SniPattern::Below(name("x.y"))),
        ])
        .unwrap();
        for (asked, near) in [
            (
                "outbound_.81_._.svcb.apps",
                Some(NearMiss::OtherPorts(vec![80, 443])),
            ),
            (
                "outbound_.80_.v2_.svcb.apps",
                Some(NearMiss::OtherSubsets(vec!["v1".into()])),
            ),
            (
                "svcb.apps",
                Some(NearMiss::PlainHostNotRouted(vec![80, 443])),
            ),
            ("inbound_.80_._.svcb.apps", Some(NearMiss::Inbound)),
            ("x.y", Some(NearMiss::OnlyBelow)),
            ("svcc.apps", None),
        ] {
            assert_eq!(table.near_miss(&name(asked)), near, "{asked}");
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
