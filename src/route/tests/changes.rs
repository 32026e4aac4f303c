//! A table that was changed step by step is the table that is built from nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::{Exports, PodChoice, RouteList, ServicePort, UpstreamConfig};
use crate::route::RouteMaker;

const SERVICES: usize = 4;

/// A route by its match and its upstream.
type Wanted = (usize, usize);

#[derive(Debug, Clone)]
enum Step {
    Service(usize, Vec<Wanted>),
    Attached(Vec<(Wanted, usize)>),
    /// An upstream of a Service is replaced, goes, or comes.
    Upstream(usize, usize, bool),
    Unrouted(usize, bool),
}

fn matches() -> Vec<RouteMatch> {
    let sni = |pattern| RouteMatch::Sni(pattern);
    vec![
        sni(SniPattern::Exact(name("a.x"))),
        sni(SniPattern::Exact(name("b.x"))),
        sni(SniPattern::Below(name("x"))),
        sni(SniPattern::Any),
        RouteMatch::NoSni,
        service("a.x", 80, &[], true),
        service("a.x", 80, &["v1"], false),
        service("a.x", 81, &["v2"], false),
        service("c.y", 80, &["v1"], true),
        RouteMatch::Subset {
            host: name("a.x"),
            port: 80,
            subset: "v3".into(),
        },
        pods("x", 80, true),
        pods("c.y", 81, false),
        RouteMatch::AnyOf(vec![
            SniPattern::Exact(name("a.x")),
            SniPattern::Below(name("y")),
            SniPattern::Exact(name("a.x")),
        ]),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let wanted = || (0..matches().len(), 0..2usize);
    prop_oneof![
        4 => (0..SERVICES, prop::collection::vec(wanted(), 0..4))
            .prop_map(|(service, routes)| Step::Service(service, routes)),
        2 => prop::collection::vec((wanted(), 0..SERVICES), 0..4).prop_map(Step::Attached),
        2 => (0..SERVICES, 0..2usize, prop::bool::weighted(0.8))
            .prop_map(|(service, number, there)| Step::Upstream(service, number, there)),
        1 => (0..3usize, any::<bool>()).prop_map(|(host, known)| Step::Unrouted(host, known)),
    ]
}

fn upstream_name(service: usize, number: usize) -> String {
    format!("u{service}-{number}")
}

fn upstream_config(service: usize, number: usize) -> Arc<UpstreamConfig> {
    let port = ServicePort {
        namespace: "n".into(),
        service: format!("s{service}").into(),
        port: 80,
        subset: None,
        by_pod: false,
        pods: PodChoice::Mesh,
    };
    Arc::new(UpstreamConfig {
        name: upstream_name(service, number).into(),
        ..samples::upstream(UpstreamSource::Kubernetes(port))
    })
}

/// The state of the source, and the listener that follows from it.
struct World {
    listener: ListenerConfig,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    /// Every route so far: one that comes again is the same.
    known: BTreeMap<String, Arc<RouteConfig>>,
    sources: SourceGroups,
    scopes: Scopes,
}

impl World {
    fn new(own: &[usize]) -> Self {
        let own = own.iter().map(|at| matches()[*at].clone()).collect();
        let mut upstreams = BTreeMap::from([("u".to_owned(), upstream())]);
        for (service, number) in [(0, 0), (1, 0), (1, 1), (2, 0)] {
            upstreams.insert(upstream_name(service, number), upstream());
        }
        Self {
            listener: listener(own),
            upstreams,
            known: BTreeMap::new(),
            sources: SourceGroups::default(),
            scopes: Scopes::default(),
        }
    }

    fn route(
        &mut self,
        at: usize,
        of: &str,
        (matched, number): Wanted,
        service: Option<usize>,
    ) -> Arc<RouteConfig> {
        let (target, origin) = (upstream_name(service.unwrap_or(0), number), of.to_owned());
        // The file has routes of these names too.
        let text = match (of, at) {
            ("s0", 0) => "0".to_owned(),
            _ => format!("{of} {matched} {target} {at}"),
        };
        let key = format!("{text} {matched} {target}");
        let config = self.known.entry(key).or_insert_with(|| {
            let object = ObjectRef {
                namespace: "n".into(),
                name: origin.into(),
                resource_version: "7".into(),
            };
            Arc::new(RouteConfig {
                name: text.into(),
                matches: matches()[matched].clone(),
                alpn: AlpnPolicy::Any,
                targets: TargetConfigs::only(target.into()),
                limits: ConnectionLimits::OFF,
                timeouts: RouteTimeouts::default(),
                origin: Origin::Export(object),
                dry_run: None,
            })
        });
        config.clone()
    }

    /// Applies a step. Returns the upstream that it has replaced.
    fn apply(&mut self, step: &Step) -> Option<Arc<UpstreamConfig>> {
        let mut exports = self.listener.routes.exports().clone();
        let mut attached = self.listener.routes.attached().clone();
        let mut replaced = None;
        match step {
            Step::Service(service, routes) => {
                let of = format!("s{service}");
                // Positions are counted from the end, so that a new first route leaves the others as they are.
                let count = routes.len();
                let routes = routes.iter().enumerate();
                let routes = routes
                    .map(|(at, one)| self.route(count - at - 1, &of, *one, Some(*service)))
                    .collect();
                exports.set(&("n".into(), of.into()), routes);
            }
            Step::Attached(routes) => {
                let routes = routes.iter().enumerate();
                let routes =
                    routes.map(|(at, (one, service))| self.route(at, "t", *one, Some(*service)));
                attached = Arc::new(routes.collect());
            }
            Step::Upstream(service, number, there) => {
                replaced = Some(upstream_config(*service, *number));
                let name = upstream_name(*service, *number);
                match there {
                    true => drop(self.upstreams.insert(name, upstream())),
                    false => drop(self.upstreams.remove(&name)),
                }
            }
            Step::Unrouted(host, known) => {
                let host = name(["a.x", "c.y", "d.z"][*host]);
                match known {
                    true => drop(self.listener.unrouted.insert(host, "not exported".into())),
                    false => drop(self.listener.unrouted.remove(&host)),
                }
            }
        }
        self.listener.routes = self.listener.routes.with_found(exports, attached);
        replaced
    }

    fn find(&self, name: &str) -> Option<Arc<Upstream>> {
        self.upstreams.get(name).cloned()
    }

    fn built(&self) -> RouteTable {
        RouteTable::build(&self.listener, &self.sources, &self.scopes, |name| {
            self.find(name)
        })
    }

    fn changed(
        &self,
        table: &RouteTable,
        before: &ListenerConfig,
        replaced: &[Arc<UpstreamConfig>],
    ) -> RouteTable {
        let maker = RouteMaker {
            listener: &self.listener,
            sources: &self.sources,
            scopes: &self.scopes,
            upstream: |name: &str| self.find(name),
        };
        table.change(before, replaced, &maker)
    }
}

/// All that a table says.
fn told(table: &RouteTable) -> Vec<String> {
    let mut told: Vec<String> = table.routes().map(|route| route.name.to_string()).collect();
    let mut claims: Vec<String> = table
        .patterns()
        .map(|(pattern, route)| format!("{pattern} {}", route.name))
        .collect();
    claims.sort();
    let conflict = |it: &Conflict| format!("{} {} {}", it.pattern, it.kept.name, it.refused.name);
    let mut conflicts: Vec<String> = table.conflicts().iter().map(conflict).collect();
    conflicts.sort();
    told.extend(claims.into_iter().chain(conflicts));
    for asked in [
        "a.x",
        "b.x",
        "x",
        "c.y",
        "y",
        "d.z",
        "outbound_.80_._.a.x",
        "outbound_.80_.v1_.a.x",
        "outbound_.80_.v9_.a.x",
        "outbound_.82_._.a.x",
        "outbound_.81_._.b.c.y",
        "outbound_.80_._.b.c.y",
        "b.c.y",
        "outbound_.80_.v2_.c.y",
    ] {
        let asked = name(asked);
        let route = table.find(&asked).map(|route| &route.name);
        told.push(format!(
            "{asked} {route:?} {:?}",
            table.near_miss(&asked.as_name())
        ));
        let decided = table.decide(Some(&asked.as_name()), std::iter::empty());
        told.push(format!(
            "{:?}",
            decided
                .map(|decided| &decided.route.name)
                .map_err(|why| why.detail())
        ));
    }
    told.push(format!(
        "{:?}",
        table
            .sharing(None)
            .iter()
            .map(|route| &route.name)
            .collect::<Vec<_>>()
    ));
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_changed_table_is_the_one_that_is_built_from_nothing(
        own in prop::collection::vec(0..matches().len(), 0..3),
        steps in prop::collection::vec(prop::collection::vec(any_step(), 1..4), 1..12),
    ) {
        let mut world = World::new(&own);
        let mut table = world.built();
        for steps in steps {
            let (before, told_before) = (world.listener.clone(), told(&table));
            let replaced: Vec<_> = steps.iter().filter_map(|step| world.apply(step)).collect();
            let changed = world.changed(&table, &before, &replaced);
            prop_assert_eq!(told(&table), told_before, "the table before is as it was");
            prop_assert_eq!(told(&changed), told(&world.built()));
            for route in changed.routes() {
                for target in route.targets.iter() {
                    let now = world.find(&target.name);
                    prop_assert!(now.is_some_and(|now| Arc::ptr_eq(&now, &target.upstream)));
                }
            }
            table = changed;
        }
    }
}

#[test]
fn a_change_of_one_service_leaves_the_routes_of_the_others_as_they_are() {
    let mut world = World::new(&[]);
    let routes: Vec<Arc<RouteConfig>> = (0..1000)
        .map(|service| {
            let mut route = RouteConfig::clone(&world.route(1, "s1", (0, 0), Some(1)));
            let host = format!("s{service}.apps");
            route.name = host.clone().into();
            route.matches = self::service(&host, 80, &[], true);
            Arc::new(route)
        })
        .collect();
    let mut exports = Exports::default();
    for (service, route) in routes.iter().enumerate() {
        exports.set(
            &("n".into(), format!("s{service}").into()),
            [route.clone()].into(),
        );
    }
    world.listener.routes = RouteList::default().with_found(exports, Arc::default());
    let (before, table) = (world.listener.clone(), world.built());
    world.apply(&Step::Service(1, vec![(0, 0), (1, 1)]));
    let changed = world.changed(&table, &before, &[]);
    let others = |table: &RouteTable| {
        let routes = table.routes().filter(|route| route.name.ends_with(".apps"));
        routes.map(Arc::as_ptr).collect::<Vec<_>>()
    };
    assert_eq!(others(&table).len(), 1000);
    let same = others(&changed)
        .into_iter()
        .filter(|route| others(&table).contains(route))
        .count();
    assert_eq!(same, 999);
    assert_eq!(found(&changed, "s999.apps"), Some("s999.apps"));
    assert_eq!(found(&changed, "s1.apps"), None);
    assert!(found(&changed, "a.x").is_some());
}
