//! Table tests of the troubles.

use super::*;
use crate::admin::overview::history::float;
use crate::outcome::Outcome;

fn route(name: &str, state: &str, upstream: &str) -> RouteRow {
    RouteRow {
        listener: "east-west".to_owned(),
        route: name.to_owned(),
        state: state.to_owned(),
        upstreams: vec![upstream.to_owned()],
        ..RouteRow::default()
    }
}

fn endpoint(upstream: &str, last: u8, state: &str) -> EndpointRow {
    EndpointRow {
        upstream: upstream.to_owned(),
        address: Some(([10, 1, 0, last], 8443).into()),
        state: state.to_owned(),
        ..EndpointRow::default()
    }
}

fn failure(route: Option<&str>, outcome: Outcome, ended_by: &str) -> FailureRow {
    FailureRow {
        at: "2026-11-28T03:24:09.731Z".to_owned(),
        listener: "east-west".to_owned(),
        outcome: outcome.label().to_owned(),
        source: Some(([10, 0, 12, 7], 41822).into()),
        group: "alpha".to_owned(),
        server_name: Some("svcb.apps".to_owned()),
        route: route.map(str::to_owned),
        ended_by: ended_by.to_owned(),
        ..FailureRow::default()
    }
}

fn limit(scope: &str, used: u64, most: u64) -> LimitRow {
    LimitRow {
        scope: scope.to_owned(),
        name: "alpha".to_owned(),
        limit: "connections".to_owned(),
        used,
        most,
        share: float(used) / float(most),
    }
}

/// Everything as it should be.
#[derive(Default)]
struct World {
    configuration: OverviewConfiguration,
    state: OverviewState,
    traffic: OverviewTraffic,
    outcomes: Vec<OutcomeRow>,
    routes: Vec<RouteRow>,
    endpoints: Vec<EndpointRow>,
    silent_sources: Vec<SilentSource>,
    limits: Vec<LimitRow>,
    failures: Vec<FailureRow>,
    lost_log_lines: Vec<LostLinesRow>,
    minute_ends: Vec<String>,
}

impl World {
    fn good() -> Self {
        let mut world = Self {
            routes: vec![route("svcb", "ok", "svcb"), route("spire", "ok", "spire")],
            endpoints: vec![
                endpoint("svcb", 7, "ready"),
                endpoint("svcb", 8, "ready"),
                endpoint("spire", 9, "ready"),
            ],
            limits: vec![limit("source_group", 79, 100)],
            ..Self::default()
        };
        world.state.ready = true;
        world.traffic.now_seconds = 100.0;
        world.traffic.new_per_second.now = Some(10.0);
        world
    }

    fn troubles(&self) -> Vec<Trouble> {
        troubles(&TroubleFacts {
            configuration: &self.configuration,
            state: &self.state,
            traffic: &self.traffic,
            outcomes: &self.outcomes,
            routes: &self.routes,
            endpoints: &self.endpoints,
            silent_sources: &self.silent_sources,
            limits: &self.limits,
            failures: &self.failures,
            lost_log_lines: &self.lost_log_lines,
            minute_ends: &self.minute_ends,
        })
    }

    fn refused(outcome: Outcome, now: u64) -> OutcomeRow {
        OutcomeRow {
            outcome: outcome.label().to_owned(),
            class: outcome.class().label().to_owned(),
            now,
            ..OutcomeRow::default()
        }
    }
}

/// A change of a good world, and the level and a part of the title of the trouble that it makes.
type Case = (fn(&mut World), TroubleLevel, &'static str);

#[test]
fn each_fault_alone_is_its_one_trouble() {
    use TroubleLevel::{Contained, Draining, Failing, NearLimit, Note, Refused};
    assert_eq!(World::good().troubles(), [], "nothing is wrong");
    let cases: &[Case] = &[
        (|world| world.state.ready = false, Failing, "Not ready"),
        (
            |world| world.configuration.listeners.push(ListenerRow::default()),
            Failing,
            "is not bound",
        ),
        (
            |world| world.state.process.push("worker 3 has hung".to_owned()),
            Failing,
            "worker 3",
        ),
        (
            |world| {
                world.state.ready = false;
                world.state.drain = Some(super::super::OverviewDrain {
                    connections_left: 12,
                    ..Default::default()
                });
            },
            Draining,
            "12 connections",
        ),
        (
            |world| {
                world.routes[0].state = "failing".to_owned();
                world.failures = vec![failure(Some("svcb"), Outcome::NoEndpoint, "gateway")];
            },
            Failing,
            "Every call to svcb fails: no_endpoint",
        ),
        (
            |world| {
                world.routes[0].state = "failing".to_owned();
                world.routes[0].failing_share = Some(0.251);
            },
            Failing,
            "25 % of calls to svcb fail",
        ),
        (
            |world| world.endpoints[0].state = "failing".to_owned(),
            Failing,
            "One of 2 endpoints of svcb fails calls",
        ),
        (
            |world| {
                // The endpoint is the cause, so the route is not told beside it.
                world.routes[0].state = "failing".to_owned();
                world.endpoints[0].state = "failing".to_owned();
            },
            Failing,
            "One of 2 endpoints of svcb fails calls",
        ),
        (
            |world| {
                // All fail: it is the route.
                world.routes[0].state = "failing".to_owned();
                world.endpoints[0].state = "failing".to_owned();
                world.endpoints[1].state = "ejected".to_owned();
            },
            Failing,
            "Every call to svcb fails",
        ),
        (
            |world| world.endpoints[0].state = "ejected".to_owned(),
            Contained,
            "10.1.0.7:8443 of svcb is ejected",
        ),
        (
            |world| world.endpoints[0].state = "unhealthy".to_owned(),
            Contained,
            "10.1.0.7:8443 of svcb is unhealthy",
        ),
        (
            |world| world.routes[1].state = "unready".to_owned(),
            Note,
            "spire has no endpoint that is ready",
        ),
        (
            |world| {
                world.lost_log_lines.push(LostLinesRow {
                    log: "access".to_owned(),
                    reason: "queue_full".to_owned(),
                    now: 12,
                    total: 40,
                });
            },
            Contained,
            "Log lines are lost: 12",
        ),
        (
            |world| {
                world.limits.push(LimitRow {
                    name: String::new(),
                    limit: "memory_bytes".to_owned(),
                    ..limit("process", 900 << 20, 1 << 30)
                });
            },
            NearLimit,
            "memory of the cgroup: 900 MiB of 1.0 GiB are used",
        ),
        (
            |world| {
                world.limits.push(LimitRow {
                    name: String::new(),
                    limit: "open_files".to_owned(),
                    ..limit("process", 1000, 1024)
                });
            },
            NearLimit,
            "open files: 1,000 of 1,024 are used",
        ),
        (
            |world| world.configuration.refused = Some(Default::default()),
            Refused,
            "config file is refused",
        ),
        (
            |world| world.configuration.restart_pending = 2,
            Note,
            "2 changed keys",
        ),
        (
            |world| world.silent_sources.push(SilentSource::default()),
            Contained,
            "does not answer",
        ),
        (
            |world| world.limits.push(limit("source_group", 80, 100)),
            NearLimit,
            "connections of source group alpha: 80 of 100",
        ),
        (
            |world| world.limits.push(limit("source_group", 100, 100)),
            NearLimit,
            "100 of 100",
        ),
        (
            |world| {
                world.limits.push(limit("source_group", 100, 100));
                let refused = World::refused(Outcome::OverLimit, 5);
                world.outcomes.push(refused);
            },
            Failing,
            "100 of 100",
        ),
        (
            |world| world.outcomes.push(World::refused(Outcome::NoRoute, 100)),
            Note,
            "10 % of connections are refused before a route: no_route",
        ),
        (
            |world| {
                world
                    .outcomes
                    .push(World::refused(Outcome::SourceDenied, 900));
            },
            Failing,
            "90 % of connections are refused before a route: source_denied",
        ),
        (
            |world| {
                let kubernetes = OverviewKubernetes {
                    stale_since: Some("2026-11-28T03:02:41Z".to_owned()),
                    ..Default::default()
                };
                world.configuration.kubernetes = Some(kubernetes);
            },
            Contained,
            "Kubernetes API",
        ),
        (
            |world| {
                let kubernetes = OverviewKubernetes {
                    not_watched: vec![Default::default()],
                    ..Default::default()
                };
                world.configuration.kubernetes = Some(kubernetes);
            },
            Note,
            "is not watched",
        ),
        (
            |world| {
                let cluster = OverviewCluster {
                    name: "east".to_owned(),
                    stale_since: Some("2026-11-28T03:02:41Z".to_owned()),
                    stale_because: None,
                    not_watched: vec![Default::default()],
                };
                world.configuration.kubernetes = Some(OverviewKubernetes {
                    clusters: vec![cluster, Default::default()],
                    ..Default::default()
                });
            },
            Contained,
            "The API of cluster east does not tell changes",
        ),
        (
            |world| {
                let cluster = OverviewCluster {
                    name: "east".to_owned(),
                    stale_since: None,
                    stale_because: None,
                    not_watched: vec![Default::default()],
                };
                world.configuration.kubernetes = Some(OverviewKubernetes {
                    clusters: vec![cluster],
                    ..Default::default()
                });
            },
            Note,
            "Cluster east is not watched in full",
        ),
    ];
    for (number, (change, level, title)) in cases.iter().enumerate() {
        let mut world = World::good();
        change(&mut world);
        let troubles = world.troubles();
        let [trouble] = &troubles[..] else {
            panic!("case {number} ({title}): {troubles:#?}");
        };
        assert_eq!(trouble.level, *level, "{trouble:?}");
        assert!(trouble.title.contains(title), "{trouble:?}");
        assert!(trouble.command.is_some(), "{trouble:?}");
    }
}

#[test]
fn few_refusals_among_many_calls_are_no_trouble() {
    for now in [1, 49] {
        let mut world = World::good();
        world.outcomes.push(World::refused(Outcome::NotTls, now));
        assert_eq!(world.troubles(), [], "{now}");
    }
}

#[test]
fn what_loses_most_calls_comes_first_and_the_rest_by_urgency() {
    let mut world = World::good();
    world.limits.push(limit("source_group", 90, 100));
    world.configuration.refused = Some(Default::default());
    world.configuration.restart_pending = 1;
    for (name, lost) in [("a", 1.0), ("b", 3.0), ("c", 2.0)] {
        let mut failing = route(name, "failing", name);
        failing.failing_per_second = lost;
        world.routes.push(failing);
    }
    world.endpoints[0].state = "ejected".to_owned();
    let troubles = world.troubles();
    let levels: Vec<TroubleLevel> = troubles.iter().map(|trouble| trouble.level).collect();
    assert!(levels.is_sorted(), "{levels:?}");
    let lost: Vec<_> = troubles[..3]
        .iter()
        .map(|one| one.lost_per_second)
        .collect();
    assert_eq!(lost, [Some(3.0), Some(2.0), Some(1.0)]);
    assert_eq!(levels.len(), 7);
}

#[test]
fn a_failing_route_says_who_refused_whom_since_when_and_what_to_run() {
    let mut world = World::good();
    world.routes[0].state = "failing".to_owned();
    world.routes[0].failing_minutes = vec![0, 4, 0, 2, 3];
    world.minute_ends = (0..5).map(|minute| format!("minute {minute}")).collect();
    let refused = failure(Some("svcb"), Outcome::HandshakeRefused, "downstream");
    let other = FailureRow {
        group: "beta".to_owned(),
        ..refused.clone()
    };
    world.failures = vec![refused.clone(), refused.clone(), refused, other];
    let trouble = &world.troubles()[0];
    assert!(
        trouble
            .sentence
            .contains("The callers refused the endpoint."),
        "{trouble:?}"
    );
    assert!(
        trouble.sentence.contains("Callers: alpha 75 %, beta 25 %."),
        "{trouble:?}"
    );
    assert_eq!(trouble.since.as_deref(), Some("minute 3"));
    let command = "strait explain --live --sni svcb.apps --alpn istio --from 10.0.12.7";
    assert_eq!(trouble.command.as_deref(), Some(command));
}

#[test]
fn a_name_that_a_shell_would_obey_is_in_no_command() {
    let mut world = World::good();
    let name = "$(reboot)";
    world.routes.push(route(name, "failing", name));
    let hostile = FailureRow {
        server_name: Some("a;b".to_owned()),
        ..failure(Some(name), Outcome::NoEndpoint, "gateway")
    };
    world.failures.push(hostile);
    let mut out = endpoint(name, 1, "ejected");
    out.upstream = "`x`".to_owned();
    world.endpoints.push(out);
    world.endpoints.push(endpoint("`x`", 2, "ready"));
    world.limits.push(LimitRow {
        name: "a b".to_owned(),
        ..limit("source_group", 99, 100)
    });
    for trouble in world.troubles() {
        let command = trouble.command.unwrap();
        let harmless = |c: char| c.is_ascii_alphanumeric() || " .-_:/".contains(c);
        assert!(command.chars().all(harmless), "{command}");
    }
}
