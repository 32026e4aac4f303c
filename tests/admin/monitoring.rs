//! `config/monitoring/` as the real Prometheus judges it: each alert comes where its fault was made and nowhere else,
//! and each query of the dashboard has an answer.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::dns_server::{DnsServer, Reply};
use crate::kubernetes;
use crate::kubernetes::api_server::ApiServer;
use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::{ask, get};
use crate::support::mtls::{Pki, ServerStream, dial, pod};
use crate::support::process::{Folder, Process};
use crate::support::server::{Server, refusing_address};
use crate::support::{OUTBOUND, wait_until};

/// The time in which every alert must come. On an idle machine it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/monitoring");
    fs::read_to_string(path.join(name)).unwrap()
}

/// The shipped rules without the times that an alert waits.
fn rules() -> String {
    let rules = shipped("rules.yaml");
    let waits = |line: &&str| !line.trim_start().starts_with("for: ");
    let lines: Vec<&str> = rules.lines().filter(waits).collect();
    assert!(lines.len() < rules.lines().count());
    lines.join("\n") + "\n"
}

/// A Prometheus that scrapes each target as a job of its own.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: Folder,
}

impl Prometheus {
    fn start(jobs: &[(&str, Vec<SocketAddr>)]) -> Self {
        let folder = Folder::create();
        folder.file("rules.yaml", &rules());
        let mut config =
            "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [rules.yaml]
scrape_configs:
"
            .to_owned();
        for (job, targets) in jobs {
            let targets: Vec<_> = targets.iter().map(|one| format!("'{one}'")).collect();
            let targets = targets.join(", ");
            let line =
                format!("  - {{ job_name: {job}, static_configs: [{{ targets: [{targets}] }}] }}");
            writeln!(config, "{line}").unwrap();
        }
        let config = folder.file("prometheus.yaml", &config);
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; tests/run installs it"));
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut before = String::new();
        let address = loop {
            let Some(Ok(line)) = said.next() else {
                panic!("prometheus has ended: {before}");
            };
            match line.split_once("msg=\"Listening on\" address=") {
                Some((_, address)) => break address.trim().parse().unwrap(),
                None => before = before + &line + "\n",
            }
        };
        std::thread::spawn(move || said.for_each(drop));
        wait_until("prometheus is ready", || {
            get(address, "/-/ready").is_ok_and(|(status, _)| status == 200)
        });
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    fn ask(&self, path: &str) -> Value {
        let answer = get(self.address, path);
        let (status, body) = answer.unwrap_or_else(|error| panic!("prometheus: {path}: {error}"));
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The alerts that fire, as `job alert`.
    fn alerts(&self) -> BTreeSet<String> {
        let data = self.ask("/api/v1/alerts");
        let alerts = data["alerts"].as_array().unwrap().iter();
        alerts
            .map(|alert| {
                let labels = &alert["labels"];
                let [job, name] =
                    ["job", "alertname"].map(|key| labels[key].as_str().unwrap_or("-"));
                format!("{job} {name}")
            })
            .collect()
    }

    /// Waits until all targets are scraped, and returns those that are not.
    fn wait_for_targets(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let data = self.ask("/api/v1/targets");
            let targets = data["activeTargets"].as_array().unwrap().iter();
            let down = targets.filter(|target| target["health"] != "up");
            let down: Vec<_> = down
                .map(|one| format!("{} {}", one["labels"], one["lastError"]))
                .collect();
            if down.is_empty() || start.elapsed() > PATIENCE {
                return down;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The number of series that a query has.
    fn series(&self, query: &str) -> usize {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.ask(&format!("/api/v1/query?query={query}"));
        data["result"].as_array().unwrap().len()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server whose metrics are those of `gateway`, changed: for faults that nobody can make from outside, another build
/// of strait and a defect.
fn changed(gateway: SocketAddr, change: impl Fn(String) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked);
            // The gateway may have ended with the test.
            let Ok((_, metrics)) = get(gateway, "/metrics") else {
                return;
            };
            let body = change(metrics);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

/// A gateway with a config file that can be changed.
struct WithFile {
    process: Process,
    folder: Folder,
}

impl WithFile {
    fn start(text: &str) -> Self {
        let folder = Folder::create();
        let process = Process::of_file(&folder.file("strait.yaml", text));
        Self { process, folder }
    }

    fn change(&self, text: &str) {
        self.folder.file("strait.yaml", text);
        self.process.signal(Signal::HUP);
    }
}

/// A gateway whose workers get hardly any time.
struct Late {
    process: Arc<Process>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Late {
    fn start(config: &ConfigText) -> Self {
        let process = Arc::new(Process::start(config));
        let ended = Arc::new(AtomicBool::new(false));
        let (one, end) = (process.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                one.freeze();
                std::thread::sleep(Duration::from_millis(400));
                one.thaw();
                std::thread::sleep(Duration::from_millis(60));
            }
        });
        Self {
            process,
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // It has the process too, which would outlive the tests.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A call through the gateway, whatever becomes of it.
fn call(gateway: SocketAddr) {
    let mut stream = connect(gateway);
    let _ = stream.write_all(&hello(OUTBOUND, &["istio"]));
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// The gateways, each with one fault, and what keeps the fault up.
struct World {
    pki: Pki,
    _pod: Server,
    echo: Server,
    healthy: Process,
    refused: WithFile,
    pending: WithFile,
    empty: Process,
    ejecting: Process,
    failing: Process,
    refusing: Process,
    crowded: Process,
    crowded_files: Process,
    late: Late,
    stale: Process,
    dns: DnsServer,
    deaf: (Process, ChildStdout),
    draining: Process,
    away: Process,
    cluster_away: Process,
    left_out: Process,
    without_istio: Process,
    _apis: [ApiServer; 5],
    open: Vec<TcpStream>,
}

impl World {
    fn make() -> Self {
        let pki = Pki::create();
        let answer = |mut stream: ServerStream| {
            let _ = stream.read_exact(&mut [0]);
            let _ = stream.write_all(b"!");
            let _ = stream.flush();
            let _ = stream.read(&mut [0]);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        };
        let pod = pod(pki.pod(), answer, drop);
        let echo = Server::echo();
        let to_echo = || ConfigText::to(&[echo.address]);
        let refused = WithFile::start(&to_echo().text());
        let pending = WithFile::start(&to_echo().top("workers: 1").text());
        let dead = refusing_address();
        let empty = format!(
            "listeners: [{{ name: east-west, bind: '127.0.0.1:0', routes: [{{ sni: '{OUTBOUND}', alpn: any, upstream: gone }}] }}]
upstreams: {{ gone: {{ dns: {{ name: 'gone.example:80' }} }} }}
resolver: {{ servers: ['{dead}'], timeout: 200ms }}"
        );
        let dns = DnsServer::on_a_thread();
        dns.set_addresses("named.example.", 1, &["10.9.9.9"]);
        let stale = format!(
            "listeners: [{{ name: east-west, bind: '127.0.0.1:0' }}]
upstreams: {{ named: {{ dns: {{ name: 'named.example:80', min_ttl: 1s, max_ttl: 1s }} }} }}
resolver: {{ servers: ['{}'], timeout: 1s }}",
            dns.address
        );
        let [away, left_out, own, other, bare] = [(); 5].map(|()| ApiServer::start());
        for plural in ISTIO {
            bare.uninstall(plural);
        }
        left_out.apply(
            "kind: EndpointSlice
metadata: { namespace: any, name: minus-one, labels: { kubernetes.io/service-name: one } }
addressType: IPv4
endpoints: []
ports: [{ name: p, protocol: TCP, port: -1 }]
---
kind: GatewayClass
metadata: { name: strait }
spec: { controllerName: strait.dev/gateway-controller }
---
kind: Gateway
metadata: { namespace: elsewhere, name: edge }
spec: { gatewayClassName: strait, listeners: [{ name: tls, port: 443, protocol: TLS, tls: { mode: Passthrough } }] }
",
        );
        let away_config = kubernetes::config(&away, "");
        let other_config = format!(
            "clusters: [{{ name: c2, network: n1, kubeconfig: '{}' }}], cluster: c1, network: n1",
            other.kubeconfig().display()
        );
        let other_config = kubernetes::config(&own, &other_config);
        away.down();
        other.down();
        let folder = Folder::create();
        let deaf = to_echo().top("access_log: { queue: 1 }").text();
        let deaf = Process::with_stdout(&folder.file("strait.yaml", &deaf));
        let ejecting = [echo.address, refusing_address()];
        Self {
            healthy: Process::start(&ConfigText::to(&[pod.address])),
            pki,
            _pod: pod,
            refused,
            pending,
            empty: Process::start(&ConfigText::verbatim(&empty)),
            ejecting: Process::start(&ConfigText::to(&ejecting)),
            failing: Process::start(&ConfigText::to(&[dead]).upstream("connect: { timeout: 1s }")),
            refusing: Process::start(&to_echo()),
            crowded: Process::start(
                &to_echo()
                    .top("limits: { connections: 20 }")
                    .listener("limits: { connections: 18 }"),
            ),
            crowded_files: Process::start(&to_echo()),
            late: Late::start(&to_echo().top("limits: { worker_lag: 100ms }")),
            stale: Process::start(&ConfigText::verbatim(&stale)),
            dns,
            deaf,
            draining: Process::start(&to_echo().top("drain: { readiness_delay: 0s, window: 5m }")),
            away: Process::start(&away_config),
            cluster_away: Process::start(&other_config),
            left_out: Process::start(&kubernetes::config(
                &left_out,
                "gateway_api: { namespaces: [apps] }",
            )),
            without_istio: Process::start(&kubernetes::config(&bare, "")),
            _apis: [away, left_out, own, other, bare],
            open: Vec::new(),
            echo,
        }
    }

    /// The faults that last by themselves.
    fn break_down(&mut self) {
        self.refused.change("listeners: nonsense\n");
        self.pending.change(
            &ConfigText::to(&[self.echo.address])
                .top("workers: 2")
                .text(),
        );
        for crowded in [&self.crowded, &self.crowded_files] {
            let open = (0..18).map(|_| open(crowded.address).0);
            self.open.extend(open);
        }
        wait_until("DNS has answered", || {
            self.stale.metric("strait_upstream_endpoints", &[]) > 0.0
        });
        self.dns.fail(Reply::Silence);
        let (stream, _) = open(self.draining.address);
        self.open.push(stream);
        let drained = ask(self.draining.server("admin"), "POST", "/drain").unwrap();
        assert_eq!(drained.0, 202, "{}", drained.1);
    }

    /// A call as sidecars make it.
    fn call_healthy(&self) {
        let mut stream = dial(self.healthy.address, self.pki.svca(), OUTBOUND);
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        stream.sock.read_to_end(&mut Vec::new()).unwrap();
    }

    /// Calls that are made again and again, so that counters move.
    fn go_on(&self) {
        (0..5).for_each(|_| self.call_healthy());
        for gateway in [&self.empty, &self.ejecting, &self.failing] {
            (0..5).for_each(|_| call(gateway.address));
        }
        for _ in 0..5 {
            let mut stream = connect(self.refusing.address);
            let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
            let _ = stream.read_to_end(&mut Vec::new());
        }
        (0..100).for_each(|_| call(self.deaf.0.address));
        // Pipes are given back meanwhile.
        let files = u64::try_from(self.crowded_files.files()).unwrap();
        self.crowded_files.limit_files(files * 11 / 10 + 4);
        // Beyond the limit of its connections.
        (0..4).for_each(|_| drop(connect(self.crowded.address)));
    }

    fn jobs(&self) -> Vec<(&'static str, Vec<SocketAddr>)> {
        let metrics = |process: &Process| process.server("metrics");
        let healthy = metrics(&self.healthy);
        let other = changed(healthy, |text| text.replace("commit=\"", "commit=\"other-"));
        let restarts = AtomicUsize::new(0);
        let defect = changed(healthy, move |text| {
            let count = restarts.fetch_add(1, Ordering::Relaxed);
            let name = "strait_task_restarts_total";
            format!("{text}# TYPE {name} counter\n{name}{{task=\"dns\"}} {count}\n")
        });
        vec![
            ("healthy", vec![healthy]),
            ("refused", vec![metrics(&self.refused.process)]),
            ("pending", vec![metrics(&self.pending.process)]),
            ("empty", vec![metrics(&self.empty)]),
            ("ejecting", vec![metrics(&self.ejecting)]),
            ("failing", vec![metrics(&self.failing)]),
            ("refusing", vec![metrics(&self.refusing)]),
            ("crowded", vec![metrics(&self.crowded)]),
            ("crowded-files", vec![metrics(&self.crowded_files)]),
            ("late", vec![metrics(&self.late.process)]),
            ("stale", vec![metrics(&self.stale)]),
            ("deaf", vec![metrics(&self.deaf.0)]),
            ("draining", vec![metrics(&self.draining)]),
            ("away", vec![metrics(&self.away)]),
            ("cluster-away", vec![metrics(&self.cluster_away)]),
            ("left-out", vec![metrics(&self.left_out)]),
            ("without-istio", vec![metrics(&self.without_istio)]),
            ("skewed", vec![healthy, other]),
            ("defect", vec![defect]),
        ]
    }
}

/// Istio's custom resources.
const ISTIO: [&str; 4] = [
    "destinationrules",
    "peerauthentications",
    "serviceentries",
    "workloadentries",
];

/// The jobs that have no fault.
const SOUND: [&str; 2] = ["healthy ", "without-istio "];

/// The alerts of each job.
const EXPECTED: &[(&str, &[&str])] = &[
    ("refused", &["StraitConfigRefused"]),
    ("pending", &["StraitRestartPending"]),
    ("empty", &["StraitUpstreamWithoutEndpoint"]),
    ("stale", &["StraitSourceStale"]),
    ("ejecting", &["StraitEndpointsEjected"]),
    ("failing", &["StraitRouteFailing"]),
    ("refusing", &["StraitRefusing"]),
    ("crowded", &["StraitConnectionsNearLimit"]),
    ("crowded-files", &["StraitFilesNearLimit"]),
    ("late", &["StraitOverloaded"]),
    ("deaf", &["StraitLogLinesLost"]),
    ("draining", &["StraitDrainStuck"]),
    ("away", &["StraitWatchDown", "StraitNotReady"]),
    ("cluster-away", &["StraitClusterStale"]),
    ("left-out", &["StraitDiscoveryRefused"]),
    ("skewed", &["StraitVersionSkew"]),
    ("defect", &["StraitTaskRestarted"]),
];

/// Every query of the dashboard, for all jobs and instances.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&shipped("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    expressions
        .map(|text| {
            let all = text.replace("$job", ".*").replace("$instance", ".*");
            all.replace("$__rate_interval", "1m")
        })
        .collect()
}

#[test]
fn each_alert_comes_where_its_fault_was_made_and_each_panel_has_data() {
    let mut world = World::make();
    let prometheus = Prometheus::start(&world.jobs());
    let down = prometheus.wait_for_targets();
    assert!(down.is_empty(), "these cannot be scraped: {down:#?}");
    world.break_down();

    let expected: BTreeSet<String> = EXPECTED
        .iter()
        .flat_map(|(job, alerts)| alerts.iter().map(move |alert| format!("{job} {alert}")))
        .collect();
    let written: Value = serde_saphyr::from_str(&shipped("rules.yaml")).unwrap();
    let groups = written["groups"].as_array().unwrap().iter();
    let written = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let written: BTreeSet<&str> = written.filter_map(|rule| rule["alert"].as_str()).collect();
    let tried: BTreeSet<&str> = EXPECTED
        .iter()
        .flat_map(|(_, alerts)| *alerts)
        .copied()
        .collect();
    assert_eq!(written, tried, "an alert whose fault nobody makes");

    let start = Instant::now();
    let (mut seen, mut silent) = (BTreeSet::new(), queries());
    loop {
        world.go_on();
        // Some pass: a lag, or lines that were lost.
        seen.extend(prometheus.alerts());
        silent.retain(|query| prometheus.series(query) == 0);
        if expected.is_subset(&seen) && silent.is_empty() {
            break;
        }
        let missing: Vec<_> = expected.difference(&seen).collect();
        assert!(
            start.elapsed() < PATIENCE,
            "no alert: {missing:#?}; no data: {silent:#?}"
        );
    }

    let sound = |alert: &&String| SOUND.iter().any(|job| alert.starts_with(job));
    let wrong: Vec<_> = seen.iter().filter(sound).collect();
    assert!(
        wrong.is_empty(),
        "alerts where nothing is wrong: {wrong:#?}"
    );
}
