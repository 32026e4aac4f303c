//! Servers to ask, and a client that asks in plain bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use strait::admin::overview::history::TrafficHistory;
use strait::admin::{
    AdminContext, ConfigReports, ProcessPlace, Readiness, ServeLimits, Snapshot, Snapshots,
    serve_with,
};
use strait::config::Config;
use strait::drain::{DrainTrigger, DrainWatcher, channel};
use strait::limits::NamedUse;
use strait::log::LogControl;
use strait::metrics::Metrics;
use strait::open_connections::ConnectionAsker;
use strait::recent_connections::RecentConnections;
use strait::upstream::{EndpointCollector, Upstreams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;

/// The parts that a running gateway gives the admin servers.
pub struct Gateway {
    pub metrics: Arc<Metrics>,
    pub upstreams: Arc<Upstreams>,
    pub readiness: Readiness,
    pub drains: Arc<AtomicUsize>,
    pub trigger: DrainTrigger,
    pub watcher: DrainWatcher,
    pub limits: Arc<Mutex<Vec<NamedUse>>>,
    pub recent: Arc<RecentConnections>,
    pub context: Arc<AdminContext>,
}

/// A config in force, of which nothing is bound.
pub fn in_force(config: Config) -> Snapshots {
    let upstreams = Upstreams::default().prepare(&config);
    let snapshots = Snapshots::before(Arc::new(config));
    snapshots.replace(Snapshot {
        upstreams: Arc::new(upstreams),
        ..Snapshot::clone(&snapshots.now())
    });
    snapshots
}

impl Gateway {
    pub fn new(config: Config, grace: Duration, log: Option<LogControl>) -> Self {
        Self::since(config, grace, log, Instant::now())
    }

    /// As [`Gateway::new`], with a history that begins at `start`.
    pub fn since(config: Config, grace: Duration, log: Option<LogControl>, start: Instant) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let snapshots = in_force(config);
        let upstreams = snapshots.now().upstreams.clone();
        let collector = {
            let snapshots = snapshots.clone();
            EndpointCollector::new(move || snapshots.now().upstreams.clone()).unwrap()
        };
        metrics.register(Box::new(collector)).unwrap();
        let (trigger, watcher) = channel();
        let readiness =
            Readiness::with_grace(snapshots.clone(), watcher.clone(), metrics.clone(), grace);
        let drains = Arc::new(AtomicUsize::new(0));
        let limits: Arc<Mutex<Vec<NamedUse>>> = Arc::default();
        let recent: Arc<RecentConnections> = Arc::default();
        let context = AdminContext {
            config_reports: ConfigReports::default(),
            metrics: metrics.clone(),
            snapshots,
            log,
            readiness: readiness.clone(),
            drain: {
                let drains = drains.clone();
                Arc::new(move || {
                    drains.fetch_add(1, Ordering::SeqCst);
                })
            },
            overload: Arc::default(),
            connections: ConnectionAsker::default(),
            hellos: Arc::default(),
            traces: Arc::default(),
            explain: Arc::new(|_| Ok(b"{}".to_vec())),
            limits: {
                let limits = limits.clone();
                Arc::new(move || limits.lock().unwrap().clone())
            },
            failures: {
                let recent = recent.clone();
                Arc::new(move || recent.failures())
            },
            slow_connects: {
                let recent = recent.clone();
                Arc::new(move || recent.slow_connects.list(SystemTime::now()))
            },
            history: Arc::new(TrafficHistory::since(start)),
            place: ProcessPlace {
                pod: Some("strait-6c9d8f7b5-x2lqk".to_owned()),
                namespace: Some("strait".to_owned()),
                node: Some("ip-10-4-23-118.eu-central-1.compute.internal".to_owned()),
            },
            started: SystemTime::now(),
        };
        Self {
            metrics,
            upstreams,
            readiness,
            drains,
            trigger,
            watcher,
            limits,
            recent,
            context: Arc::new(context),
        }
    }

    /// One that is ready: all bound, all sources answered.
    pub fn ready() -> Self {
        let gateway = Self::new(super::config(), PATIENCE, None);
        let address = SocketAddr::from(([127, 0, 0, 1], 31_443));
        let snapshots = &gateway.context.snapshots;
        snapshots.replace(Snapshot {
            bound: [("east-west".into(), address)].into(),
            ..Snapshot::clone(&snapshots.now())
        });
        gateway.readiness.set_listeners_bound();
        gateway.upstreams["spire"].replace_endpoints([super::endpoint(9)]);
        gateway
    }

    /// Serves `router` in the background.
    pub async fn serve(&self, router: Router, limits: ServeLimits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_with(listener, router, self.watcher.clone(), limits));
        address
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(&self.body).unwrap()
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }
}

/// Sends `request` as it is and reads until the server closes.
pub async fn exchange(address: SocketAddr, request: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Answer::parse(&answer)
    };
    timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time")
}

pub async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    ask_with(address, method, path, "").await
}

/// `headers` are whole lines.
pub async fn ask_with(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let host = if headers.contains("Host:") {
        String::new()
    } else {
        format!("Host: {address}\r\n")
    };
    let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
    exchange(address, &request).await
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path).await
}
