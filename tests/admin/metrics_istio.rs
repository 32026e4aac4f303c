//! Metrics with Istio's names and labels, and counters that begin at 0, as Prometheus gets them from a process.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::gateway::get;
use crate::support::process::Process;
use crate::support::server::{Server, read_exactly, refusing_address};
use crate::support::wait_until;

fn scraped(process: &Process) -> String {
    let address: SocketAddr = process.server("metrics");
    get(address, "/metrics").unwrap().1
}

/// The value of the series whose line holds all of these texts.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn istio_names_are_there_if_wanted_and_promtool_accepts_them() {
    let server = Server::echo();
    let config = ConfigText::to(&[server.address])
        .metrics("istio: { workload: edge, namespace: strait-system }");
    let process = Process::start(&config);
    let (mut client, hello) = open(process.address);
    read_exactly(&mut client, hello);
    drop(client);
    let labels = [
        r#"reporter="source""#,
        r#"source_workload="edge""#,
        r#"source_workload_namespace="strait-system""#,
        r#"destination_service_name="svcb""#,
        r#"response_flags="-""#,
        r#"connection_security_policy="unknown""#,
    ];
    wait_until("the connection has ended", || {
        let text = scraped(&process);
        value(&text, "istio_tcp_connections_closed_total", &labels) == Some(1.0)
    });
    // Counters may have moved between two that a scrape reads.
    let text = scraped(&process);
    assert_eq!(
        value(&text, "istio_tcp_connections_opened_total", &labels),
        Some(1.0)
    );
    let bytes = u32::try_from(hello).map(f64::from).ok();
    // Istio's words: the client's bytes are received, those of the service are sent.
    assert_eq!(
        value(&text, "istio_tcp_received_bytes_total", &labels),
        bytes
    );
    assert_eq!(value(&text, "istio_tcp_sent_bytes_total", &labels), bytes);

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error}. apt-get install -y prometheus"));
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && says.is_empty(), "{says}");
}

#[test]
fn without_the_key_there_is_no_metric_of_istio() {
    let process = Process::start(&ConfigText::to(&[refusing_address()]));
    assert!(!scraped(&process).contains("istio_tcp_"));
}

/// `increase()` does not see the first value of a series that was not there before.
#[test]
fn a_first_failure_is_growth() {
    let process = Process::start(&ConfigText::to(&[refusing_address()]));
    let refused = |text: &str| {
        let labels = [r#"outcome="connect_refused""#, r#"upstream="svcb""#];
        value(text, "strait_connections_closed_total", &labels)
    };
    let text = scraped(&process);
    assert_eq!(refused(&text), Some(0.0), "{text}");
    let no_route = [r#"outcome="no_route""#, r#"route="none""#];
    assert_eq!(
        value(&text, "strait_connections_closed_total", &no_route),
        Some(0.0)
    );
    let _client = open(process.address);
    wait_until("it is counted", || refused(&scraped(&process)) == Some(1.0));

    let none = ConfigText::to(&[refusing_address()]).metrics("routes_from_zero: 0");
    let process = Process::start(&none);
    assert_eq!(refused(&scraped(&process)), None);
}
