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
