//! The shared parts of the tests of the operator's modules: captured output, example entries and
//! configs.

pub mod http;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use strait::access_log::{Entry, LineEnd, LineEvent};
use strait::client_hello::Offers;
use strait::config::{
    AccessLogConfig, AddressKind, AlpnPolicy, Attempts, Balance, Config, ConnectPolicy,
    ConnectionLimits, DnsConfig, DnsQuery, DrainConfig, EjectionPolicy, EndQuiet, EndpointSpec,
    HelloLimits, HelloSize, KeepaliveInterval, KeepaliveTime, Limits, LineFormat, ListenerConfig,
    LogConfig, LogFilter, LogFormat, Origin, Refuse, RelayTimeouts, ResolverConfig, RouteConfig,
    RouteMatch, RouteTimeouts, SampleShare, SniPattern, SourceGroups, SourceLimits, SourcePolicy,
    TargetConfigs, TcpOptions, UpstreamConfig, UpstreamLimits, UpstreamSource, UpstreamTimeouts,
    Weight,
};
use strait::metrics::Metrics;
use strait::names::UpstreamName;
use strait::outcome::{EndedBy, Outcome};
use strait::server_name::ServerName;
use strait::shared_map::SharedMap;
use strait::verdict::Confidence;

/// The time that a test waits for an event that must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

const SECOND: Duration = Duration::from_secs(1);

/// Remembers what was written.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("logs are UTF-8")
    }

    /// All that was written, once the log has ended that writes here. A log's guard waits for that for a second at most,
    /// which is not enough while the machine stands still.
    pub fn whole(&self) -> String {
        eventually("the log has ended", || Arc::strong_count(&self.0) == 1);
        self.text()
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until `done` says so.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn access_log_config(format: Option<LineFormat>) -> AccessLogConfig {
    AccessLogConfig {
        format,
        open: false,
        interval: None,
        sample_ok: SampleShare::ALL,
        refused_per_second: 1000,
        queue: 1024,
        fingerprint: None,
        otlp: None,
    }
}

/// The end of a connection by the gateway.
pub fn end(outcome: Outcome) -> LineEvent {
    LineEvent::End(LineEnd {
        outcome,
        ended_by: EndedBy::Gateway,
        confidence: Confidence::Seen,
    })
}

/// The entry of a connection of which nothing but its outcome is known.
pub fn entry(outcome: Outcome) -> Entry<'static> {
    Entry {
        event: end(outcome),
        at: SystemTime::UNIX_EPOCH,
        connection: 7,
        listener: "east-west",
        source: SocketAddr::from(([10, 2, 3, 4], 5678)),
        proxy: None,
        source_group: "alpha",
        server_name: None,
        alpn: None,
        offers: Offers::default(),
        flights: None,
        ja4: None,
        route: None,
        upstream: None,
        endpoint: None,
        pod: None,
        zone: None,
        downstream_local: None,
        upstream_local: None,
        stale_since: None,
        attempts: 0,
        detail: None,
        to_upstream: 0,
        to_downstream: 0,
        hello: None,
        connect: None,
        duration: Duration::ZERO,
    }
}

/// The value of one series in the text exposition, 0 when it is not there.
pub fn series(metrics: &Metrics, series: &str) -> u64 {
    let mut text = Vec::new();
    metrics.encode(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

/// Log lines that were counted as lost.
pub fn dropped(metrics: &Metrics, log: &str, reason: &str) -> u64 {
    let labels = format!("strait_log_lines_dropped_total{{log=\"{log}\",reason=\"{reason}\"}}");
    series(metrics, &labels)
}

pub fn name(text: &str) -> ServerName {
    ServerName::parse(text.as_bytes()).unwrap()
}

const TCP: TcpOptions = TcpOptions {
    keepalive_time: KeepaliveTime::new(60).unwrap(),
    keepalive_interval: KeepaliveInterval::new(10).unwrap(),
    keepalive_probes: 6,
    user_timeout: Duration::from_secs(120),
    send_buffer: None,
    receive_buffer: None,
    unsent: None,
    mss: None,
};

fn upstream(name: &str, source: UpstreamSource) -> (UpstreamName, Arc<UpstreamConfig>) {
    let config = UpstreamConfig {
        name: name.into(),
        source,
        connect: ConnectPolicy {
            timeout: Duration::from_secs(3),
            attempts: Attempts::saturating(3),
            hedge: None,
            source_addresses: Vec::new(),
        },
        proxy_protocol: None,
        balance: Balance::LeastConnections,
        slow_start: None,
        check: None,
        ejection: EjectionPolicy {
            consecutive_failures: 1,
            first_byte: Duration::from_secs(2),
            refused_sources: 5,
            max_percent: 50,
            panic_percent: 50,
            base: Duration::from_secs(30),
            max: Duration::from_secs(300),
        },
        limits: UpstreamLimits::OFF,
        limits_per_endpoint: UpstreamLimits::OFF,
        tcp: TCP,
        timeouts: UpstreamTimeouts::OFF,
    };
    (name.into(), Arc::new(config))
}

/// The address of an endpoint of the upstream `svcb`.
pub fn endpoint(last: u8) -> EndpointSpec {
    EndpointSpec {
        address: SocketAddr::from(([10, 1, 0, last], 8443)),
        other: None,
        zone: (last == 7).then(|| "eu-1a".into()),
        node: (last == 7).then(|| "node-1".into()),
        hostname: None,
        weight: Weight::saturating(last.into()),
        terminating: false,
        origin: None,
    }
}

fn dns(host: &str) -> UpstreamSource {
    UpstreamSource::Dns(DnsConfig {
        query: DnsQuery::Address {
            name: name(host),
            port: 8443,
        },
        min_ttl: SECOND,
        max_ttl: Duration::from_millis(300_500),
        max_endpoints: 100,
        gone_after: None,
        allow: vec![AddressKind::Loopback],
    })
}

/// One listener; the upstream `svcb` with two static endpoints and `spire` by DNS.
pub fn config() -> Config {
    let route = |text: &str, pattern, alpn| {
        Arc::new(RouteConfig {
            name: text.into(),
            matches: RouteMatch::Sni(pattern),
            alpn,
            targets: TargetConfigs::only(text.into()),
            limits: ConnectionLimits::OFF,
            timeouts: RouteTimeouts::default(),
            origin: Origin::File,
            dry_run: None,
        })
    };
    let routes = vec![
        route(
            "svcb",
            SniPattern::Exact(name("svcb.apps")),
            AlpnPolicy::istio(),
        ),
        route(
            "spire",
            SniPattern::Below(name("bundles.beta.com")),
            AlpnPolicy::Any,
        ),
    ];
    Config {
        workers: NonZeroUsize::MIN,
        zone: Some("eu-1a".into()),
        sources: Arc::new(SourceGroups::default()),
        listeners: vec![Arc::new(ListenerConfig {
            name: "east-west".into(),
            bind: SocketAddr::from(([0, 0, 0, 0], 15443)),
            source_policy: SourcePolicy::default(),
            trusted_proxies: Vec::new(),
            limits: ConnectionLimits::OFF,
            limits_per_source: SourceLimits::default(),
            client_hello: HelloLimits {
                timeout: Duration::from_secs(5),
                max_size: HelloSize::new(65536).unwrap(),
            },
            timeouts: RelayTimeouts {
                idle: Duration::from_secs(3600),
                half_closed: Duration::from_secs(300),
                max_age: None,
            },
            end_disallowed: None,
            starttls: None,
            refuse: Refuse::Alert,
            tcp: TCP,
            routes: routes.into_iter().collect(),
            unrouted: SharedMap::default(),
        })],
        upstreams: SharedMap::from([
            upstream(
                "svcb",
                UpstreamSource::Static(vec![endpoint(7), endpoint(8)]),
            ),
            upstream("spire", dns("spire-server.spire.svc")),
        ]),
        kubernetes: None,
        resolver: ResolverConfig {
            servers: Vec::new(),
            timeout: SECOND,
        },
        limits: Limits {
            connections: Some(1000),
            worker_lag: None,
            end_quiet: EndQuiet {
                memory_percent: None,
                worker_lag: None,
            },
            memory_percent: None,
            hello_memory: 64 << 20,
            carry_memory: 64 << 20,
        },
        takeover: None,
        drain: DrainConfig {
            readiness_delay: Duration::from_secs(5),
            window: Duration::from_secs(20),
        },
        access_log: access_log_config(Some(LineFormat::Json)),
        log: log_config(LogFormat::Text),
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 15000))),
        status: Some(SocketAddr::from(([0, 0, 0, 0], 15021))),
        metrics: Some(SocketAddr::from(([0, 0, 0, 0], 15090))),
        metric_endpoints: 1000,
        metric_routes_from_zero: Some(100),
        metric_istio: None,
        hellos: None,
    }
}

pub fn log_config(format: LogFormat) -> LogConfig {
    LogConfig {
        level: LogFilter::parse("info").unwrap(),
        format,
    }
}
