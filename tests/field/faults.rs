//! Each cause of a failed call is named by strait's line: the causes of `faults.txt`.
//!
//! The table in the documents has beside it what the access log of Envoy says, which stands as a gateway in strait's
//! place. `STRAIT_BLESS=1 tests/run --test field faults` makes the table, and asks Envoy only then.

mod envoy;
mod stale;

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use strait::tools::records::LogLine;

use super::capture::Capture;
use super::data::{fields, lines_of};
use super::programs::{Authority, Running, Workshop};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::namespace::{in_namespace, replace_file};
use crate::support::wait_until;

/// The page with the table.
const PAGE: &str = "docs/src/operate/faults.md";
const BEGIN: &str = "<!-- faults: begin -->\n";
const END: &str = "<!-- faults: end -->\n";

/// The listeners, in the order of their ports.
const LISTENERS: [&str; 5] = ["main", "proxied", "denied", "limited", "short"];
/// The first of them, which is stopped.
const DRAIN: &str = "drain";
/// Listeners of other straits: the Kubernetes API of one has gone away, and one may have a single connection.
const STALE: &str = "stale";
const FULL: &str = "full";
/// The bytes that the upstream `slow` sends at once (drivers/bad.py).
const SLOW_ANSWER: f64 = 5000.0;
const STRAIT: u16 = 7300;
const ENVOY: u16 = 7350;

/// The rules of the namespace's packet filter: it drops all packets to a server, and large ones to another.
const LOST_PACKETS: &str = "ip route add unreachable 10.9.8.0/24;
    nft add table ip faults;
    nft add chain ip faults lost '{ type filter hook input priority 0; }';
    nft add rule ip faults lost tcp dport 7418 drop;
    nft add rule ip faults lost tcp dport 7419 meta length gt 400 drop";

/// A cause of failed calls.
struct Fault {
    cause: String,
    listener: String,
    name: String,
    command: String,
}

/// An upstream, and what is behind it.
struct Upstream {
    name: String,
    endpoint: Option<SocketAddr>,
    command: String,
}

fn faults() -> Vec<Fault> {
    let lines = lines_of("faults.txt");
    let faults = lines.iter().filter_map(|line| line.strip_prefix("fault "));
    let fault = |text: &str| {
        let parts: Vec<String> = text.splitn(4, " | ").map(str::to_owned).collect();
        let Ok([cause, listener, name, command]) = <[String; 4]>::try_from(parts) else {
            panic!("faults.txt: {text}");
        };
        Fault {
            cause,
            listener,
            name,
            command,
        }
    };
    faults.map(fault).collect()
}

fn upstreams() -> Vec<Upstream> {
    let lines = lines_of("faults.txt");
    let servers = lines.iter().filter_map(|line| line.strip_prefix("server "));
    let server = |text: &str| {
        let [name, port, first, rest] = fields(text);
        Upstream {
            name: name.to_owned(),
            endpoint: Some(([127, 0, 0, 1], port.parse().unwrap()).into()),
            command: format!("{first} {rest}").trim().to_owned(),
        }
    };
    let elsewhere = |name: &str, endpoint: Option<SocketAddr>| Upstream {
        name: name.to_owned(),
        endpoint,
        command: String::new(),
    };
    let web = SocketAddr::from(([127, 0, 0, 1], 7401));
    let gone = SocketAddr::from(([127, 0, 0, 1], 7417));
    let unreachable = SocketAddr::from(([10, 9, 8, 1], 443));
    let others = [
        elsewhere("istio", Some(web)),
        elsewhere("nowhere", Some(unreachable)),
        elsewhere("nobody", None),
        elsewhere(stale::MOVED, Some(gone)),
    ];
    servers.map(server).chain(others).collect()
}

fn host(name: &str) -> String {
    if name.contains('.') {
        name.to_owned()
    } else {
        format!("{name}.fault.test")
    }
}

/// Writes the certificates of servers and callers.
fn certify(workshop: &Workshop) {
    let (ours, strange) = (Authority::create("ours"), Authority::create("strange"));
    workshop.file("ca.pem", &ours.certificate().pem());
    workshop.file("stranger-ca.pem", &strange.certificate().pem());
    let (all, elsewhere) = (["*.fault.test".to_owned()], ["elsewhere.test".to_owned()]);
    for (name, (certificate, key)) in [
        ("server", ours.issue(&all)),
        ("expired", ours.issue_expired(&all)),
        ("stranger", strange.issue(&all)),
        ("elsewhere", ours.issue(&elsewhere)),
        ("caller", ours.issue(&elsewhere)),
        ("late-caller", ours.issue_expired(&elsewhere)),
        ("strange-caller", strange.issue(&elsewhere)),
    ] {
        workshop.keep(name, &certificate, &key);
    }
}

/// Starts all that can be behind a gateway.
fn serve(workshop: &Workshop, upstreams: &[Upstream]) -> Vec<Running> {
    let mut servers = Vec::new();
    for upstream in upstreams.iter().filter(|one| !one.command.is_empty()) {
        let mut command = workshop.shell(&upstream.command);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let log = workshop.path(&format!("{}.log", upstream.name));
        servers.push(Running::start(command, log));
    }
    for upstream in upstreams {
        let (Some(at), false) = (upstream.endpoint, upstream.command.is_empty()) else {
            continue;
        };
        wait_until(&format!("{} serves", upstream.name), || {
            servers.iter_mut().for_each(Running::must_run);
            TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok()
        });
    }
    servers
}

fn strait(upstreams: &[Upstream]) -> TestGateway {
    let mut listeners = String::new();
    for (port, name) in (STRAIT..).zip(LISTENERS) {
        let own = match name {
            "proxied" => "\n    proxy_protocol: { trusted: [127.0.0.0/8] }",
            "denied" => "\n    allow_sources: [10.0.0.0/8]",
            "limited" => "\n    limits: { connections: 1 }",
            "short" => "\n    timeouts: { idle: 1s }",
            _ => "",
        };
        listeners += &format!(
            "  - name: {name}\n    bind: '127.0.0.1:{port}'\n    client_hello: {{ timeout: 3s }}{own}\n    routes:\n"
        );
        for upstream in upstreams {
            let (name, alpn) = (&upstream.name, alpn(upstream));
            let host = host(name);
            listeners += &format!("      - {{ sni: {host}, alpn: {alpn}, upstream: {name} }}\n");
        }
    }
    let mut text = String::new();
    for Upstream { name, endpoint, .. } in upstreams {
        let from = endpoint.map_or_else(
            || "dns: 'nobody.invalid:443'".to_owned(),
            |endpoint| format!("endpoints: ['{endpoint}']"),
        );
        text += &format!("  {name}: {{ {from}, connect: {{ timeout: 1s, attempts: 1 }} }}\n");
    }
    let config = format!("listeners:\n{listeners}upstreams:\n{text}");
    TestGateway::start(
        &ConfigText::verbatim(&config).top("drain: { readiness_delay: 0s, window: 1s }"),
    )
}

/// A strait that may have one connection.
fn full() -> TestGateway {
    let web = SocketAddr::from(([127, 0, 0, 1], 7401));
    let config =
        ConfigText::to(&[web]).routes("[{ sni: '*.fault.test', alpn: any, upstream: svcb }]");
    TestGateway::start(&config.top("limits: { connections: 1 }"))
}

/// The ALPN rule of the route to an upstream.
fn alpn(upstream: &Upstream) -> &'static str {
    if upstream.name == "istio" {
        "istio"
    } else {
        "any"
    }
}

/// Makes a call fail.
fn provoke(workshop: &Workshop, fault: &Fault, first_port: u16) {
    let listener = LISTENERS.iter().position(|name| *name == fault.listener);
    assert!(
        listener.is_some() || [DRAIN, STALE, FULL].contains(&&*fault.listener),
        "faults.txt: {}",
        fault.listener
    );
    let port = first_port + u16::try_from(listener.unwrap_or(0)).unwrap();
    let output = workshop
        .shell(&format!("set -m\n{}", fault.command))
        .env("GATEWAY", port.to_string())
        .env("NAME", host(&fault.name))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    println!(
        "{}: {}",
        fault.cause,
        String::from_utf8_lossy(&output.stderr).trim()
    );
}

/// Stops the gateway while a call goes on.
fn drained(workshop: &Workshop, fault: &Fault, gateway: &TestGateway) -> LogLine {
    std::thread::scope(|scope| {
        let labels = [("direction", "to_downstream")];
        let answered = || gateway.metric("strait_bytes_total", &labels);
        let before = answered();
        scope.spawn(|| provoke(workshop, fault, STRAIT));
        wait_until("the call has its answer", || {
            answered() > before + SLOW_ANSWER
        });
        gateway.drain();
        gateway.record()
    })
}

/// The words of strait's line, without those that differ from run to run.
fn words_of(record: &LogLine) -> String {
    let by = record.ended_by.as_deref().unwrap_or("-");
    let detail = record.detail.as_deref().unwrap_or_default();
    // The resolver words its failure in several ways.
    let asked = "nobody.invalid.";
    let end = detail
        .find(asked)
        .map_or(detail.len(), |at| at + asked.len());
    let detail = &detail[..end];
    let mut words = String::new();
    let mut rest = detail;
    // Times are never the same.
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let end = number
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(number.len());
        let (number, after) = number.split_at(end);
        words += before;
        words += if [" s", " ms", "s ", "ms "]
            .iter()
            .any(|unit| after.starts_with(unit))
        {
            "N"
        } else {
            number
        };
        rest = after;
    }
    words += rest;
    if record.stale_since.is_some() {
        words += "; `stale_since` N";
    }
    let words = words.replace('|', "\\|").replace('\n', " ");
    let words = words.trim_start_matches("; ");
    format!("`{}` ({by}) {words}", record.outcome)
        .trim()
        .to_owned()
}

#[test]
fn each_cause_of_a_failed_call_is_named() {
    in_namespace("faults::each_cause_of_a_failed_call_is_named", run);
}

fn run() {
    let (faults, upstreams) = (faults(), upstreams());
    let workshop = Workshop::open();
    let names = upstreams.iter().map(|upstream| &upstream.name);
    let names: BTreeSet<String> = names
        .chain(faults.iter().map(|fault| &fault.name))
        .map(|name| host(name))
        .collect();
    let names: Vec<String> = names.into_iter().collect();
    let hosts = format!("127.0.0.1 localhost {}\n", names.join(" "));
    replace_file("/etc/hosts", &workshop.file("hosts", &hosts));
    // No resolver answers.
    let resolver = workshop.file("resolv.conf", "nameserver 127.0.0.1\n");
    replace_file("/etc/resolv.conf", &resolver);
    certify(&workshop);
    let filter = Command::new("sh").args(["-ec", LOST_PACKETS]).status();
    assert!(
        filter.unwrap().success(),
        "nftables is installed: tests/run does it"
    );
    let _servers = serve(&workshop, &upstreams);
    let gateway = strait(&upstreams);
    let others = [
        (
            STALE,
            stale::start(SocketAddr::from(([127, 0, 0, 1], 7417))),
        ),
        (FULL, full()),
    ];
    let mut capture = Capture::start((STRAIT..).take(LISTENERS.len()));
    let bless = std::env::var_os("STRAIT_BLESS").is_some();
    let log = workshop.path("envoy-access.log");
    let envoy = bless.then(|| envoy::start(&upstreams, &log));
    let mut rows = Vec::new();
    // The number of strait's lines, of which each connection has one.
    let mut told = 0.0;
    for fault in &faults {
        let strait = if fault.listener == DRAIN {
            words_of(&drained(&workshop, fault, &gateway))
        } else if let Some((_, other)) = others.iter().find(|(name, _)| *name == fault.listener) {
            provoke(&workshop, fault, other.address().port());
            words_of(&other.record())
        } else {
            provoke(&workshop, fault, STRAIT);
            let record = gateway.record();
            assert_eq!(record.listener, fault.listener, "{}", fault.cause);
            told += 1.0;
            // The lines of its other connections: they must not be taken for those of the next cause.
            let all = |name| gateway.metric(name, &[]);
            let closed = || all("strait_connections_closed_total");
            wait_until("strait has no connection", || {
                closed() == all("strait_connections_accepted_total")
            });
            while told < closed() {
                gateway.record();
                told += 1.0;
            }
            let words = words_of(&record);
            if let Some(capture) = &mut capture {
                capture.note("faults", fault.cause.clone(), record);
            }
            words
        };
        let envoy = envoy.as_ref().map(|_| {
            if fault.listener == FULL {
                return "it has no such limit here".to_owned();
            }
            let begun = SystemTime::now();
            provoke(&workshop, fault, ENVOY);
            envoy::words(&log, begun)
        });
        rows.push((&fault.cause, strait, envoy));
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has a place for the table");
    let (table, after) = rest.split_once(END).unwrap();
    if bless {
        let mut table = String::from("| cause | strait | Envoy |\n|---|---|---|\n");
        for (cause, strait, envoy) in &rows {
            table += &format!(
                "| {cause} | {strait} | {} |\n",
                envoy.as_deref().unwrap_or("-")
            );
        }
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    let missing = |(cause, strait, _): &&(&String, String, Option<String>)| {
        !table.contains(&format!("| {cause} | {strait} |"))
    };
    let wrong: Vec<_> = rows.iter().filter(missing).collect();
    assert!(
        wrong.is_empty(),
        "the table in {PAGE} says otherwise: {wrong:#?}"
    );
    assert_eq!(
        table.lines().count(),
        rows.len() + 2,
        "{PAGE}: STRAIT_BLESS=1"
    );
    if let Some(capture) = capture {
        capture.write();
    }
}
