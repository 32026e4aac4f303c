//! Tests of the table: the route that wins, and the hint that a miss gives.

use super::*;
use crate::config::{
    ConnectionLimits, ListenerConfig, ObjectRef, RouteConfig, RouteMatch, RouteTimeouts,
    SourceGroups, TargetConfigs, UpstreamSource, samples,
};
use crate::limits::Scopes;
use crate::upstream::Upstream;

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

fn pods(host: &str, port: u16, plain_host: bool) -> RouteMatch {
    RouteMatch::Pods {
        host: name(host),
        port,
        plain_host,
    }
}

pub(super) fn upstream() -> Arc<Upstream> {
    let config = samples::upstream(UpstreamSource::Static(Vec::new()));
    Arc::new(Upstream::new(Arc::new(config), None, None))
}

fn table(matches: Vec<RouteMatch>) -> RouteTable {
    build(&listener(matches))
}

fn build(listener: &ListenerConfig) -> RouteTable {
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
                timeouts: RouteTimeouts::default(),
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
    ]);
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
fn a_name_with_a_route_of_its_own_comes_with_the_copy_of_the_table() {
    let table = table(vec![
        RouteMatch::Sni(SniPattern::Exact(name("a.x"))),
        RouteMatch::Sni(SniPattern::Below(name("x"))),
    ]);
    let own = |asked: &str| {
        let asked = Name::parse(asked.as_bytes()).unwrap();
        let decided = table.decide(Some(&asked), std::iter::empty());
        decided.unwrap().name
    };
    let (one, other) = (own("a.x").unwrap(), own("A.x").unwrap());
    assert!(std::ptr::eq(one, other), "one copy for all");
    assert_eq!(one.as_str(), "a.x");
    assert_eq!(own("b.x"), None);
}

#[test]
fn a_service_answers_to_both_spellings_of_its_port_and_subsets() {
    let table = table(vec![
        service("svcb.apps", 80, &["v1"], true),
        service("svcb.apps", 443, &[], false),
    ]);
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
fn the_names_of_pods_have_one_label_before_the_host_in_both_spellings() {
    let table = table(vec![
        service("db.apps", 5432, &[], true),
        pods("db.apps", 5432, true),
        pods("db.apps", 80, false),
        RouteMatch::Sni(SniPattern::Below(name("db.apps"))),
        RouteMatch::Sni(SniPattern::Exact(name("db-7.db.apps"))),
    ]);
    for (asked, route) in [
        ("db-0.db.apps", Some("1")),
        ("outbound_.5432_._.db-0.db.apps", Some("1")),
        ("outbound_.80_._.db-0.db.apps", Some("2")),
        ("db.apps", Some("0")),
        ("outbound_.5432_._.db.apps", Some("0")),
        // A name of the file goes before, a wildcard of the file does not.
        ("db-7.db.apps", Some("4")),
        ("a.db-0.db.apps", Some("3")),
        // Nobody's name but a wildcard's.
        ("outbound_.81_._.db-0.db.apps", Some("3")),
        ("outbound_.5432_.v1_.db-0.db.apps", Some("3")),
        ("outbound_.5432_._.a.db-0.db.apps", Some("3")),
        ("db-0.web.apps", None),
    ] {
        assert_eq!(found(&table, asked), route, "{asked}");
    }
    let patterns: Vec<String> = table.patterns().map(|(it, _)| it.to_string()).collect();
    assert!(patterns.contains(&"outbound_.80_._.*.db.apps".to_owned()));
}

#[test]
fn the_name_of_a_pod_goes_before_a_tls_route_and_not_before_the_file() {
    let object = || ObjectRef {
        namespace: "n".into(),
        name: "a".into(),
        resource_version: "7".into(),
    };
    let exact = || RouteMatch::Sni(SniPattern::Exact(name("db-0.db.apps")));
    for (first, then, route) in [
        (Origin::File, Origin::Export(object()), "0"),
        (Origin::TlsRoute(object()), Origin::Export(object()), "0"),
        (Origin::TlsRoute(object()), Origin::File, "1"),
    ] {
        // Here the rank is the position: an earlier one is a higher precedence.
        let mut matches = vec![exact(), pods("db.apps", 80, true)];
        if then == Origin::File {
            matches.reverse();
        }
        let mut listener = listener(matches);
        for route in listener.routes.own_mut() {
            let route = Arc::make_mut(route);
            let is_exact = matches!(route.matches, RouteMatch::Sni(_));
            route.name = if is_exact { "0" } else { "1" }.into();
            route.origin = if is_exact { &first } else { &then }.clone();
        }
        let table = build(&listener);
        assert_eq!(found(&table, "db-0.db.apps"), Some(route), "{first:?}");
    }
}

/// A table of routes by their match and their ALPN list; no list is `any`.
fn split(routes: &[(RouteMatch, &[&str])]) -> RouteTable {
    let mut listener = listener(routes.iter().map(|(it, _)| it.clone()).collect());
    for (route, (_, protocols)) in listener.routes.own_mut().iter_mut().zip(routes) {
        if !protocols.is_empty() {
            let protocols = protocols.iter().map(|one| Arc::from(*one)).collect();
            Arc::make_mut(route).alpn = AlpnPolicy::OneOf(protocols);
        }
    }
    build(&listener)
}

/// The name of the route that the table decides for, or the reason why none.
fn decided(table: &RouteTable, asked: Option<&str>, offers: &[&str]) -> Result<String, String> {
    let asked = asked.map(|asked| Name::parse(asked.as_bytes()).unwrap());
    let offers = offers.iter().map(|offer| offer.as_bytes());
    match table.decide(asked.as_ref(), offers) {
        Ok(decided) => Ok(decided.route.name.to_string()),
        Err(refusal) => Err(refusal.detail().unwrap_or_default()),
    }
}

#[test]
fn routes_of_one_name_share_its_clients_by_alpn() {
    let exact = || RouteMatch::Sni(SniPattern::Exact(name("a.x")));
    let below = || RouteMatch::Sni(SniPattern::Below(name("x")));
    let any = || RouteMatch::Sni(SniPattern::Any);
    let table = split(&[
        (exact(), &[]),
        (exact(), &["acme-tls/1"]),
        (exact(), &["h2", "http/1.1"]),
        (below(), &["h2"]),
        (below(), &["http/1.1"]),
        (any(), &[]),
        (RouteMatch::NoSni, &["h2"]),
        (RouteMatch::NoSni, &[]),
    ]);
    assert!(table.conflicts().is_empty(), "{:?}", table.conflicts());
    for (asked, offers, route) in [
        (Some("a.x"), &["acme-tls/1"][..], "1"),
        (Some("a.x"), &[], "0"),
        (Some("a.x"), &["spdy/3"], "0"),
        (Some("b.x"), &["http/1.1"], "4"),
        (Some("x"), &["h2"], "5"),
        (None, &["h2"], "6"),
        (None, &["istio"], "7"),
    ] {
        assert_eq!(decided(&table, asked, offers), Ok(route.to_owned()));
    }
    // The client's order of preference decides, whatever the order in the config.
    for (offers, route) in [
        (&["http/1.1", "acme-tls/1"][..], "2"),
        (&["acme-tls/1", "http/1.1"], "1"),
        (&["spdy/3", "h2", "acme-tls/1"], "2"),
    ] {
        let decided = decided(&table, Some("a.x"), offers);
        assert_eq!(decided, Ok(route.to_owned()), "{offers:?}");
    }
    // A name whose routes refuse the offer does not fall to a wider one.
    let refusal = "route 3 demands ALPN h2, route 4 demands ALPN http/1.1";
    for offers in [&["istio"][..], &[]] {
        let refused = decided(&table, Some("b.x"), offers);
        assert_eq!(refused, Err(refusal.to_owned()));
    }
    assert_eq!(found(&table, "a.x"), Some("0"), "the first of the config");
}

#[test]
fn routes_with_a_protocol_in_common_do_not_share_a_name() {
    let exact = || RouteMatch::Sni(SniPattern::Exact(name("a")));
    let table = split(&[
        (exact(), &["h2", "p"]),
        (exact(), &["q"]),
        (exact(), &["r", "p"]),
        (exact(), &["q"]),
        (exact(), &[]),
        (exact(), &[]),
    ]);
    let conflicts = table.conflicts();
    let conflicts = conflicts
        .iter()
        .map(|it| (&*it.kept.name, &*it.refused.name));
    let conflicts: Vec<_> = conflicts.collect();
    assert_eq!(conflicts, [("0", "2"), ("1", "3"), ("4", "5")]);
    assert_eq!(decided(&table, Some("a"), &["r"]), Ok("4".to_owned()));
}

#[test]
fn a_discovered_route_shares_no_name_of_the_file() {
    let exact = || RouteMatch::Sni(SniPattern::Exact(name("a")));
    let mut listener = listener(vec![exact(), exact()]);
    Arc::make_mut(&mut listener.routes.own_mut()[0]).alpn = AlpnPolicy::istio();
    Arc::make_mut(&mut listener.routes.own_mut()[1]).origin = Origin::Export(ObjectRef {
        namespace: "n".into(),
        name: "a".into(),
        resource_version: "7".into(),
    });
    let table = build(&listener);
    assert_eq!(table.conflicts().len(), 1);
    let refusal = decided(&table, Some("a"), &[]);
    assert_eq!(refusal, Err("route 0 demands an Istio ALPN".to_owned()));
}

#[test]
fn a_hello_without_a_name_takes_only_its_own_route() {
    let any = || RouteMatch::Sni(SniPattern::Any);
    let without = table(vec![any()]);
    let refusal = without.decide(None, std::iter::empty()).unwrap_err();
    assert_eq!(refusal.outcome(), Outcome::NoSni);
    assert!(!without.takes_nameless());

    let mut listener = listener(vec![RouteMatch::NoSni, any(), RouteMatch::NoSni]);
    let only_h2 = AlpnPolicy::OneOf([Arc::from("h2")].into());
    Arc::make_mut(&mut listener.routes.own_mut()[0]).alpn = only_h2.clone();
    Arc::make_mut(&mut listener.routes.own_mut()[2]).alpn = only_h2;
    let table = build(&listener);
    assert!(table.takes_nameless());
    assert_eq!(found(&table, "no_sni"), Some("1"), "a name like any other");
    let decided = table.decide(None, [&b"h2"[..]].into_iter()).unwrap();
    assert_eq!(&*decided.route.name, "0");
    let refusal = table.decide(None, std::iter::empty()).unwrap_err();
    assert_eq!(refusal.outcome(), Outcome::AlpnRefused);
    let conflicts = table.conflicts();
    let [conflict] = conflicts.as_slice() else {
        panic!("{conflicts:?}");
    };
    assert_eq!((&*conflict.kept.name, &*conflict.refused.name), ("0", "2"));
    let claimed: Vec<String> = table.patterns().map(|(it, _)| it.to_string()).collect();
    assert_eq!(claimed, ["*", "no_sni"]);
    assert_eq!(table.nearest(&name("no_snj"), 9).len(), 1);
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
    for route in &mut listener.routes.own_mut()[1..] {
        Arc::make_mut(route).origin = Origin::Export(object.clone());
    }
    let table = build(&listener);
    assert_eq!(found(&table, "a"), Some("0"));
    assert_eq!(found(&table, "outbound_.80_._.a"), Some("1"));
    assert_eq!(found(&table, "b"), Some("2"));
    let conflict = |conflict: &Conflict| {
        let (kept, refused) = (&conflict.kept.name, &conflict.refused.name);
        format!("{} {kept} {refused}", conflict.pattern)
    };
    let conflicts: Vec<String> = table.conflicts().iter().map(conflict).collect();
    assert_eq!(conflicts, ["a 0 1", "* 2 3"]);
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
        service("db.apps", 80, &["v1"], false),
        service("db.apps", 81, &[], false),
        pods("db.apps", 80, false),
        pods("db.apps", 81, false),
    ]);
    let reason: Arc<str> = "not exported".into();
    listener.unrouted = [(name("hidden.apps"), reason)].into();
    let table = build(&listener);
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
        (
            "outbound_.82_._.db-0.db.apps",
            near("the service is routed only for service port 80, 81"),
        ),
        (
            "outbound_.80_.v1_.db-0.db.apps",
            near("the service port is routed without subsets"),
        ),
        (
            "db-0.db.apps",
            near("the host is routed only as outbound_.PORT_._.HOST, for service port 80, 81"),
        ),
        ("outbound_.82_._.web-0.svcb.apps", None),
        ("svcc.apps", None),
    ] {
        let miss = table.near_miss(&name(asked).as_name());
        assert_eq!(miss.map(|miss| miss.to_string()), near, "{asked}");
    }
    let nearest = table.nearest(&name("outbound_.80_._.svca.apps"), 1);
    assert_eq!(nearest[0].0, "outbound_.80_._.svcb.apps");
}

#[test]
fn a_route_that_cannot_be_made_costs_itself_alone() {
    let mut listener = listener(vec![
        RouteMatch::Sni(SniPattern::Exact(name("a"))),
        RouteMatch::Sni(SniPattern::Exact(name("b"))),
    ]);
    Arc::make_mut(&mut listener.routes.own_mut()[0]).targets = TargetConfigs::only("gone".into());
    let table = build(&listener);
    assert_eq!((found(&table, "a"), found(&table, "b")), (None, Some("1")));
    let left_out: Vec<String> = table.left_out().iter().map(ToString::to_string).collect();
    assert_eq!(left_out, ["route `0` names the unknown upstream `gone`"]);
}

mod changes;
