//! The metrics as the real Prometheus tool judges them.

use std::io::Write;
use std::process::{Command, Stdio};

use strait::access_log::AccessLog;
use strait::admin::{ServeLimits, metrics_router};
use strait::metrics::{
    AcceptPause, ConnectResult, Kind, LeftOutReason, LimitKind, LimitScope, Metrics, NameState,
    RefusedAddress, SeriesKey, SourceResult, StatusWrite, TaskName, WatchError, WrittenObject,
};
use strait::outcome::Outcome;

use crate::operator;
use crate::operator::http::{Gateway, get};

/// At least one series of every metric.
fn fill(metrics: &Metrics) {
    metrics.accepted(&"east-west".into(), &"other".into()).inc();
    let listener = metrics.listener(&"east-west".into());
    listener.hello_duration.observe(0.001);
    listener.connect_duration.observe(0.002);
    listener.connection_duration.observe(3.0);
    for route in ["svcb", "a \"quoted\\\" name\nof two lines", "ünïcödé"] {
        let series = metrics.connections(SeriesKey {
            listener: "east-west".into(),
            route: route.into(),
            upstream: "svcb".into(),
            source: "other".into(),
        });
        series.opened.inc();
        series.active.inc();
        series.to_upstream.inc_by(517);
        series.to_downstream.inc_by(1 << 40);
        Outcome::ALL.iter().for_each(|o| series.closed(*o));
    }
    metrics.config_loaded(true);
    metrics
        .connect_attempts(&"svcb".into(), ConnectResult::Connected)
        .inc();
    metrics
        .source_answers(&"spire".into(), SourceResult::Failure)
        .inc();
    metrics.source_stale(&"spire".into()).set(1);
    metrics.source_last_answer(&"spire".into()).set(1.7e9);
    metrics
        .source_refused_addresses(&"spire".into(), RefusedAddress::Loopback)
        .inc_by(2);
    for scope in LimitScope::ALL {
        for limit in LimitKind::ALL {
            metrics
                .limit_refusals(&"east-west".into(), *scope, *limit)
                .inc();
        }
    }
    let kind = metrics.kubernetes.kind(Kind::Service);
    kind.event();
    kind.down(WatchError::Forbidden, true, "forbidden");
    metrics.kubernetes.objects(Kind::Service, 3);
    metrics.kubernetes.unreadable(Kind::Service, 1);
    metrics.kubernetes.left_out(LeftOutReason::Port, 1);
    metrics.kubernetes.dry_run(&"east-west".into()).inc();
    metrics.kubernetes.event_to_route.observe(0.02);
    metrics.kubernetes.saved(Some(28_000_000));
    metrics
        .statuses
        .writes(WrittenObject::Status(Kind::Gateway), StatusWrite::Written)
        .inc();
    metrics.accept_paused(AcceptPause::ProcessFiles).inc();
    metrics.worker_connections(0).set(3);
    metrics.config_last_success.set(1.7e9);
    metrics.config_current.set(1);
    metrics.config_refused_problems.set(0);
    metrics.connections_limit.set(10_000);
    metrics.worker_rounds(0).inc();
    metrics.overload.lag(0).set(0.25);
    metrics.task_restarts(TaskName::Dns);
    let kind = metrics.kubernetes.kind(Kind::Service);
    kind.up();
    kind.event();
    metrics.kubernetes.names(NameState::Asked).set(2);
    let clusters = &metrics.kubernetes.clusters;
    let of_cluster = clusters.kind(0, &"c2".into(), Kind::Service).unwrap();
    of_cluster.event();
    for reason in WatchError::ALL {
        kind.failed(*reason);
        of_cluster.failed(*reason);
    }
    clusters.objects("c2", Kind::Service, 3);
    metrics.kubernetes.objects(Kind::Service, 3);
    metrics.kubernetes.unreadable(Kind::Service, 1);
    metrics.kubernetes.left_out(LeftOutReason::Port, 1);
    metrics.kubernetes.dry_run(&"east-west".into()).inc();
    let writes = metrics
        .statuses
        .writes(WrittenObject::Status(Kind::Gateway), StatusWrite::Written);
    writes.inc();
}

#[tokio::test]
async fn promtool_accepts_the_metrics_as_scraped() {
    let gateway = Gateway::ready();
    fill(&gateway.metrics);
    let config = operator::access_log_config(None);
    let (_log, _guard) = AccessLog::to_writer(&config, &gateway.metrics, std::io::sink());
    let router = metrics_router(gateway.context.clone());
    let address = gateway.serve(router, ServeLimits::default()).await;
    let scraped = get(address, "/metrics").await;
    assert_eq!(scraped.status, 200);
    for metric in gateway.metrics.descriptions() {
        let name = metric.name;
        let help = format!("# HELP {name} ");
        assert!(scraped.body.contains(&help), "{name} has no series here");
    }
    assert!(scraped.body.contains("# HELP process_open_fds "));

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "promtool: {error}. This test needs the real one: \
                 apt-get update && apt-get install -y prometheus"
            )
        });
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(scraped.body.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && says.is_empty(), "{says}");
}
