use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::outcome::Outcome;

fn key(route: &str) -> SeriesKey {
    SeriesKey {
        listener: "l".into(),
        route: route.into(),
        upstream: "u".into(),
        source: "other".into(),
    }
}

/// A config with these routes.
fn known(routes: &[&str]) -> KnownSeries {
    let route = |route: &&str| ("l".into(), (*route).into(), "u".into());
    KnownSeries {
        listeners: ["l".into()].into(),
        sources: ["other".into()].into(),
        routes: routes.iter().map(route).collect(),
    }
}

fn text(metrics: &Metrics) -> String {
    let mut into = Vec::new();
    metrics.encode(&mut into).unwrap();
    String::from_utf8(into).unwrap()
}

#[test]
fn a_retired_route_goes_when_its_last_connection_does() {
    let metrics = Metrics::new().unwrap();
    let held = metrics.connections(key("r"));
    held.closed(Outcome::Ok);
    metrics.retire_routes(known(&[]));
    assert!(text(&metrics).contains("route=\"r\""));
    drop(held);
    assert!(!text(&metrics).contains("route=\"r\""));
}

#[test]
fn a_late_connection_does_not_bring_a_retired_route_back() {
    let metrics = Metrics::new().unwrap();
    metrics.retire_routes(known(&["kept"]));
    drop(metrics.connections(key("r")));
    assert!(!text(&metrics).contains("route=\"r\""));
    drop(metrics.connections(key("kept")));
    assert!(text(&metrics).contains("route=\"kept\""));
}

#[test]
fn a_route_that_comes_back_keeps_its_counters() {
    let metrics = Metrics::new().unwrap();
    let held = metrics.connections(key("r"));
    held.opened.inc();
    metrics.retire_routes(known(&[]));
    let again = metrics.connections(key("r"));
    metrics.retire_routes(known(&["r"]));
    drop(held);
    assert_eq!(again.opened.get(), 1);
    drop(again);
    assert!(text(&metrics).contains("route=\"r\""));
}

#[test]
fn routes_beyond_the_limit_count_as_other() {
    let metrics = Metrics::new().unwrap();
    for route in 0..MAX_ROUTES {
        metrics.connections(key(&route.to_string()));
    }
    let beyond = metrics.connections(key("beyond"));
    assert_eq!(&*beyond.key.route, OTHER);
    let known = metrics.connections(key("7"));
    assert_eq!(&*known.key.route, "7");
}

/// A sweep gives the lock back after some series.
#[test]
fn a_route_that_comes_back_during_a_sweep_keeps_its_series() {
    let metrics = Metrics::new().unwrap();
    metrics.retire_routes(known(&["r"]));
    let gone: Vec<_> = (0..300)
        .map(|number| metrics.connections(key(&format!("gone-{number}"))))
        .collect();
    metrics.connections(key("r")).opened.inc();
    let route: [SeriesRoute; 1] = [("l".into(), "r".into(), "u".into())];
    let (stop, sweeps) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                metrics.sweep();
                sweeps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let kept = (0..300).all(|_| {
            let held = metrics.connections(key("r"));
            metrics.change_routes(&route, &[]);
            metrics.change_routes(&[], &route);
            let over = sweeps.load(Ordering::Relaxed) + 2;
            while sweeps.load(Ordering::Relaxed) < over {
                thread::yield_now();
            }
            drop(held);
            metrics.sweep();
            metrics.connections(key("r")).opened.get() == 1
        });
        stop.store(true, Ordering::Relaxed);
        assert!(kept, "its counters began anew");
    });
    drop(gone);
}

fn route_of(name: &str) -> SeriesRoute {
    ("l".into(), name.into(), "u".into())
}

fn from_zero(most_routes: usize, routes: &[&str]) -> FromZero<std::vec::IntoIter<SeriesRoute>> {
    let routes: Vec<_> = routes.iter().map(|name| route_of(name)).collect();
    FromZero {
        most_routes,
        listeners: Some(vec!["l".into()]),
        sources: vec!["alpha".into(), "other".into()],
        routes: routes.into_iter(),
    }
}

#[test]
fn common_outcomes_of_listeners_and_of_some_routes_begin_at_zero() {
    let metrics = Metrics::new().unwrap();
    metrics.begin_at_zero(from_zero(2, &["a", "b", "c"]));
    let text = text(&metrics);
    for line in [
        r#"strait_connections_accepted_total{listener="l",source="alpha"} 0"#,
        r#"strait_connections_closed_total{listener="l",outcome="no_route",route="none",source="other",upstream="none"} 0"#,
        r#"strait_connections_closed_total{listener="l",outcome="no_endpoint",route="a",source="alpha",upstream="u"} 0"#,
        r#"strait_connections_closed_total{listener="l",outcome="connect_refused",route="b",source="other",upstream="u"} 0"#,
        r#"strait_bytes_total{direction="to_upstream",listener="l",route="b",source="other",upstream="u"} 0"#,
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert!(!text.contains(r#"route="c""#), "{text}");
    // Ten outcomes of three combinations, for two groups.
    let closed = text
        .lines()
        .filter(|line| line.starts_with("strait_connections_closed_total{"));
    assert_eq!(closed.count(), 60);
}

#[test]
fn a_route_that_goes_makes_room_for_another_that_begins_at_zero() {
    let metrics = Metrics::new().unwrap();
    metrics.begin_at_zero(from_zero(2, &["a", "b", "c"]));
    let known = KnownSeries {
        sources: ["alpha".into(), "other".into()].into(),
        ..known(&["b", "c"])
    };
    metrics.retire_routes(known);
    let again = FromZero {
        listeners: None,
        ..from_zero(2, &["b", "c", "d"])
    };
    metrics.begin_at_zero(again);
    let text = text(&metrics);
    let begun = |route: &str| text.contains(&format!("route=\"{route}\""));
    assert_eq!(["a", "b", "c", "d"].map(begun), [false, true, true, false]);
    // A connection counts where it began.
    metrics
        .connections(SeriesKey {
            source: "alpha".into(),
            ..key("b")
        })
        .closed(Outcome::NoEndpoint);
    let line = r#"outcome="no_endpoint",route="b",source="alpha",upstream="u"} 1"#;
    assert!(self::text(&metrics).contains(line));
}

/// Neither a reload nor another source group gives room to more routes than are wanted.
#[test]
fn routes_that_began_at_zero_count_after_a_reload() {
    let metrics = Metrics::new().unwrap();
    let reload = |sources: &[&str], routes: &[&str]| {
        let sources = || sources.iter().map(|name| SourceGroupName::from(*name));
        metrics.retire_routes(KnownSeries {
            sources: sources().collect(),
            ..known(routes)
        });
        metrics.begin_at_zero(FromZero {
            sources: sources().collect(),
            ..from_zero(2, routes)
        });
        let text = text(&metrics);
        let begun = |route: &&&str| text.contains(&format!("route=\"{route}\""));
        let begun: Vec<String> = routes
            .iter()
            .filter(begun)
            .map(ToString::to_string)
            .collect();
        begun.join(" ")
    };
    assert_eq!(reload(&["alpha", "other"], &["m", "n"]), "m n");
    assert_eq!(reload(&["alpha", "other"], &["a", "b", "m", "n"]), "m n");
    assert_eq!(reload(&["beta", "other"], &["a", "b", "m", "n"]), "m n");
    let line = r#"outcome="no_endpoint",route="n",source="beta",upstream="u"} 0"#;
    assert!(text(&metrics).contains(line), "the new group has none");
    assert_eq!(reload(&["beta", "other"], &["a", "b", "n"]), "a n");
}

#[test]
fn many_source_groups_leave_room_for_fewer_routes() {
    let metrics = Metrics::new().unwrap();
    let names: Vec<String> = (0..200).map(|number| format!("r{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sources = (0..257).map(|number| SourceGroupName::from(format!("s{number}")));
    metrics.begin_at_zero(FromZero {
        sources: sources.collect(),
        ..from_zero(200, &names)
    });
    let series = metrics.lock().live.len();
    assert!((9_000..=10_000).contains(&series), "{series}");
}

#[test]
fn counts_by_upstream_are_sums_over_routes_and_sources() {
    let metrics = Metrics::new().unwrap();
    for (route, outcome) in [("a", Outcome::Ok), ("b", Outcome::NoEndpoint)] {
        let series = metrics.connections(key(route));
        series.opened.inc();
        series.to_upstream.inc_by(5);
        series.to_downstream.inc_by(7);
        series.closed(outcome);
    }
    metrics
        .connections(SeriesKey {
            upstream: NONE.into(),
            ..key(NONE)
        })
        .closed(Outcome::NoRoute);
    let counts = metrics.counts_by_upstream();
    assert_eq!(counts.len(), 1);
    let counts = &counts["u"];
    assert_eq!(
        (counts.opened, counts.to_upstream, counts.to_downstream),
        (2, 10, 14)
    );
    assert_eq!(counts.closed[Outcome::NoEndpoint.index()], 1);
    assert_eq!(counts.closed.iter().sum::<u64>(), 2);
}
