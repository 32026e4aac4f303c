//! The cost of a reload: `benches/events` prints the CPU time of its parts for a file of 100,000 routes. This test runs
//! it with a few.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::app::change::Change;
use crate::app::fixture::{World, answer};
use crate::app::plan::Plan;
use crate::clock::cpu_time;
use crate::config::{Config, Loaded, Machine};

/// The number of routes of the file. It has a tenth as many upstreams.
const ROUTES: &str = "STRAIT_RELOAD_ROUTES";
/// The number of reloads that are measured.
const ROUNDS: usize = 5;

/// The endpoints of an upstream. Each round replaces one of them.
fn endpoints(upstream: usize, round: usize) -> impl Iterator<Item = String> {
    let (high, low) = (upstream / 250, upstream % 250);
    (round + 1..=round + 10).map(move |last| format!("10.{high}.{low}.{last}:80"))
}

/// A file with so many routes, and with the endpoints of the `round`.
fn text(routes: usize, round: usize) -> String {
    let upstreams = (routes / 10).max(1);
    let mut text =
        String::from("listeners:\n  - name: first\n    bind: '127.0.0.1:15443'\n    routes:\n");
    for number in 0..routes {
        let name = format!(
            "service-{number}.namespace-{}.svc.cluster.local",
            number % 100
        );
        let upstream = number % upstreams;
        let _ = writeln!(
            text,
            "    - {{ sni: {name}, alpn: any, upstream: u{upstream} }}"
        );
    }
    text.push_str("upstreams:\n");
    for upstream in 0..upstreams {
        let endpoints = endpoints(upstream, round).map(|one| format!("'{one}'"));
        let endpoints = endpoints.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "  u{upstream}: {{ endpoints: [{endpoints}] }}");
    }
    text
}

#[tokio::test]
async fn a_reload_of_a_large_file_is_in_force_with_the_endpoints_that_it_has() {
    let asked = std::env::var(ROUTES).ok();
    let routes = asked.as_deref().unwrap_or("300").parse().unwrap();
    let config = |round| {
        let text = text(routes, round);
        let start = cpu_time();
        let loaded = Loaded::parse(text.as_bytes(), "a test", &Machine::current()).unwrap();
        (loaded.config, cpu_time() - start)
    };
    let mut world = World::with(&config(0).0).await;
    for round in 1..=ROUNDS {
        let (config, parse): (Arc<Config>, Duration) = config(round);
        let control = world.state.control.clone();
        let on_builder = || control.builder.run(cpu_time);
        let (start, begun) = (cpu_time(), on_builder().await.unwrap());
        let change = Change::File(config.into(), answer());
        let mut plan = Plan::new(&world.state, &change).await.unwrap();
        plan.resolve(&world.state).await;
        let planned = on_builder().await.unwrap();
        let forgotten = plan.commit(&mut world.state).unwrap();
        forgotten.forget(&control).await;
        drop(change);
        let (control_time, builder_time) =
            (cpu_time() - start, on_builder().await.unwrap() - begun);
        if asked.is_some() {
            println!(
                "{routes} routes: CPU of parsing {parse:.1?}, of the builder {builder_time:.1?} (tables {:.1?}), of control {control_time:.1?}",
                planned - begun
            );
        }
        assert_eq!(world.routes("first").len(), routes);
        let set = world.snapshot().upstreams["u7"].endpoints();
        let found: BTreeSet<SocketAddr> = set.iter().map(|one| one.spec.address).collect();
        let expected = endpoints(7, round).map(|one| one.parse().unwrap());
        assert_eq!(found, expected.collect());
    }
}
