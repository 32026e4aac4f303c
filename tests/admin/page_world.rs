//! Gateways whose status page is looked at: one in trouble, a quiet one, a large one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use strait::admin::{ConfigInForce, RefusedConfig, ServeLimits, Snapshot, admin_router};
use strait::config::{Config, Problem, SourceGroup, SourceGroups};
use strait::limits::LimitUse;
use strait::metrics::{LimitKind, LimitScope, Metrics, SeriesKey};
use strait::names::UpstreamName;
use strait::outcome::{EndedBy, Outcome};
use strait::recent_connections::{RecentConnection, RecentFailure, SlowConnect};
use strait::upstream::Conduct;
use strait::verdict::Confidence;

use crate::operator;
use crate::operator::http::Gateway;

/// A text that no terminal and no browser may obey.
pub const HOSTILE: &str = "</td><img src=x onerror=\"a('&')\">\u{1b}[31m\u{200f}\u{202e}";

/// A route of the troubled gateway, its calls in a minute, and those that fail.
const TRAFFIC: &[(&str, &str, u64, u64, Outcome)] = &[
    ("checkout.shop:80", "alpha", 960, 0, Outcome::Ok),
    ("checkout.shop:80", "gamma", 410, 0, Outcome::Ok),
    ("catalog.shop:80", "alpha", 580, 2, Outcome::UpstreamReset),
    (
        "payments.shop:8443",
        "gamma",
        120,
        1,
        Outcome::HandshakeRefused,
    ),
    ("search.shop:80", "alpha", 250, 0, Outcome::Ok),
    (
        "inventory.warehouse:50051",
        "alpha",
        160,
        14,
        Outcome::UpstreamClosedBeforeReply,
    ),
    ("ledger.finance:9090", "alpha", 28, 28, Outcome::NoEndpoint),
    ("kafka.data:9092", "batch", 15, 0, Outcome::Ok),
    ("none", "other", 42, 42, Outcome::NotTls),
    ("none", "alpha", 7, 7, Outcome::NoRoute),
];

fn key(route: &str, source: &str) -> SeriesKey {
    SeriesKey {
        listener: "east-west".into(),
        route: route.into(),
        upstream: route.into(),
        source: source.into(),
    }
}

/// Counts the calls of a minute. `part` lets the numbers of minutes differ.
fn minute(metrics: &Metrics, part: u64) {
    for (route, source, calls, failing, outcome) in TRAFFIC {
        let series = metrics.connections(key(route, source));
        let calls = calls * (60 + part % 40) / 100;
        let failing = (*failing).min(calls);
        series.opened.inc_by(calls);
        for _ in 0..failing {
            series.closed(*outcome);
        }
        for _ in failing..calls {
            series.closed(Outcome::Ok);
        }
        series.to_upstream.inc_by(calls * 20_000);
        series.to_downstream.inc_by(calls * 310_000);
    }
}

/// `config` with these upstreams, each with two endpoints and a route of its name.
fn with_routes(mut config: Config, names: impl Iterator<Item = String>) -> Config {
    let svcb = config.upstreams["svcb"].clone();
    let listener = Arc::make_mut(&mut config.listeners[0]);
    let route = listener.routes.own()[0].clone();
    for name in names {
        let mut own = route.as_ref().clone();
        own.name = name.as_str().into();
        own.targets = strait::config::TargetConfigs::only(name.as_str().into());
        listener.routes.own_mut().push(own.into());
        let mut upstream = svcb.as_ref().clone();
        upstream.name = name.as_str().into();
        config
            .upstreams
            .insert(UpstreamName::from(name), upstream.into());
    }
    config
}

fn failure(number: u64, name: &str, route: Option<&str>, outcome: Outcome) -> RecentFailure {
    RecentFailure {
        listener: "east-west".into(),
        server_name: Some(name.into()),
        source_group: Some("alpha".into()),
        upstream: route.map(Into::into),
        confidence: Confidence::Seen,
        doctors: false,
        ended: RecentConnection {
            ended: SystemTime::now(),
            connection: number,
            source: SocketAddr::from(([10, 0, 12, 7], 41822)),
            route: route.map(Into::into),
            endpoint: route.map(|_| SocketAddr::from(([10, 1, 0, 7], 8443))),
            outcome,
            ended_by: EndedBy::Gateway,
            detail: Some("no endpoint: 2 pods not ready".into()),
            duration: Duration::from_millis(3),
        },
    }
}

/// A gateway on which much is wrong, after `minutes` minutes of traffic.
pub fn troubled(minutes: u32) -> Gateway {
    let routes = TRAFFIC.iter().map(|(route, ..)| (*route).to_owned());
    let mut routes: Vec<String> = routes.filter(|route| route != "none").collect();
    routes.dedup();
    let mut config = with_routes(operator::config(), routes.into_iter());
    let group = |name: &str, cidr: &str| SourceGroup {
        name: name.into(),
        cidrs: vec![cidr.parse().unwrap()],
        limits: strait::config::ConnectionLimits::OFF,
    };
    config.sources = Arc::new(SourceGroups(vec![
        group("alpha", "10.0.0.0/16"),
        group("gamma", "10.8.0.0/16"),
        group("batch", "10.12.64.0/20"),
    ]));
    let start = Instant::now().checked_sub(Duration::from_secs(60 * u64::from(minutes) + 20));
    let start = start.unwrap_or_else(Instant::now);
    let gateway = Gateway::since(config, Duration::ZERO, None, start);
    let snapshots = &gateway.context.snapshots;
    snapshots.replace(Snapshot {
        bound: [(
            "east-west".into(),
            SocketAddr::from(([127, 0, 0, 1], 31_443)),
        )]
        .into(),
        ..Snapshot::clone(&snapshots.now())
    });
    gateway.readiness.set_listeners_bound();
    for number in 1..=minutes {
        minute(&gateway.metrics, u64::from(number * 7));
        let history = &gateway.context.history;
        let at = start + Duration::from_mins(number.into());
        history.look(&gateway.metrics, &gateway.upstreams, at);
    }
    minute(&gateway.metrics, 20);
    gateway.upstreams["ledger.finance:9090"].replace_endpoints([]);
    for (upstream, conduct, outcome) in [
        (
            "payments.shop:8443",
            Conduct::Failed,
            Outcome::UpstreamReset,
        ),
        ("catalog.shop:80", Conduct::Failed, Outcome::ConnectRefused),
    ] {
        let upstream = &gateway.upstreams[upstream];
        let picked = upstream.pick(&[], &upstream.ties_to(None)).unwrap();
        upstream.note_conduct(&picked, conduct, [10, 9, 9, 9].into(), outcome);
    }
    gateway.upstreams["spire"].source_failed("SERVFAIL".to_owned());
    gateway.limits.lock().unwrap().extend([
        (
            "alpha".to_owned(),
            LimitUse::new(LimitScope::SourceGroup, LimitKind::Connections, 5000, 4712),
        ),
        (
            String::new(),
            LimitUse::of_process("connections", 20_000, 8263),
        ),
        (
            String::new(),
            LimitUse::of_process("carry_memory_bytes", 64 << 20, 19 << 20),
        ),
    ]);
    for (number, millis) in (0_u16..).zip([1026, 1021, 41, 18]) {
        let took = Duration::from_millis(millis);
        gateway.recent.slow_connects.note(took, || SlowConnect {
            at: SystemTime::now(),
            took,
            upstream: "inventory.warehouse:50051".into(),
            endpoint: SocketAddr::from(([10, 1, 0, 7], 8443)),
            source: SocketAddr::from(([10, 0, 12, 7], 50_000 + number)),
            starttls: false,
        });
    }
    for number in 0..40 {
        gateway.recent.note_failure(failure(
            number,
            "outbound_.9090_._.ledger.finance.svc.cluster.local",
            Some("ledger.finance:9090"),
            Outcome::NoEndpoint,
        ));
    }
    let reset = failure(
        49,
        "outbound_.50051_._.inventory.warehouse.svc.cluster.local",
        Some("inventory.warehouse:50051"),
        Outcome::UpstreamClosedBeforeReply,
    );
    gateway.recent.note_failure(reset);
    gateway
        .recent
        .note_failure(failure(50, HOSTILE, None, Outcome::BadServerName));
    gateway
        .recent
        .note_failure(failure(51, &"x".repeat(300), None, Outcome::NoRoute));
    refuse_a_file(&gateway);
    gateway
}

/// A config in force, and a newer file that was refused.
fn refuse_a_file(gateway: &Gateway) {
    let reports = &gateway.context.config_reports;
    reports.in_force(ConfigInForce {
        generation: 41,
        path: Some("/etc/strait/strait.yaml".into()),
        sha256: Some("3f9a61c2".repeat(8).into()),
        loaded: SystemTime::now(),
        took: Duration::from_millis(3),
        changes: vec!["+1 route (kafka.data:9092)".to_owned()],
        restart_pending: vec!["workers"],
        source: None,
    });
    gateway.metrics.config_restart_pending.set(1);
    reports.refused(RefusedConfig {
        at: SystemTime::now(),
        path: Some("/etc/strait/strait.yaml".into()),
        sha256: None,
        problems: vec![Problem {
            line: 38,
            column: 17,
            key: "listeners[0].routes[3].alpn".to_owned(),
            message: "unknown value \"itsio\"".to_owned(),
            remedy: Some("did you mean istio?".to_owned()),
        }],
    });
}

/// A gateway with this many upstreams and routes, the last of which is in trouble.
pub fn large(upstreams: usize) -> Gateway {
    let names = (0..upstreams)
        .map(|number| format!("service-{number:05}.namespace-{:02}:8080", number % 40));
    let gateway = Gateway::new(with_routes(operator::config(), names), Duration::ZERO, None);
    gateway.readiness.set_listeners_bound();
    let last = format!(
        "service-{:05}.namespace-{:02}:8080",
        upstreams - 1,
        (upstreams - 1) % 40
    );
    for number in 0..upstreams {
        let name = format!("service-{number:05}.namespace-{:02}:8080", number % 40);
        let series = gateway.metrics.connections(key(&name, "other"));
        series.opened.inc_by(number as u64 % 97 + 5);
        (0..5).for_each(|_| {
            series.closed(if name == last {
                Outcome::NoEndpoint
            } else {
                Outcome::Ok
            });
        });
    }
    gateway
}

pub async fn serve(gateway: &Gateway) -> SocketAddr {
    let router = admin_router(gateway.context.clone());
    gateway.serve(router, ServeLimits::default()).await
}
