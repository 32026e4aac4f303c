//! A real Envoy process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::http::HttpClient;
use crate::support::process::{Folder, freeze};
use crate::support::{cpu_time_of, wait_until};

/// The path of the binary. `tests/run` installs it there.
static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(path) = std::env::var_os("STRAIT_ENVOY") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    // The version that tests/run installs.
    cache.join("strait-tools/envoy-1.40.0/envoy")
});

/// The path of the binary, which need not exist.
pub fn binary() -> &'static Path {
    &BINARY
}

/// A running Envoy; killed when dropped.
pub struct Envoy {
    child: Child,
    admin: SocketAddr,
    /// Its config, its log, and what is written into it later.
    folder: Folder,
}

impl Envoy {
    /// Starts one with these listeners and clusters, and waits until it serves. `folder` goes with it.
    pub fn start(name: &str, listeners: &[Value], clusters: &[Value], folder: Folder) -> Self {
        let mut envoy = Self::spawn(name, listeners, clusters, folder);
        wait_until("Envoy serves", || envoy.answers_ready() == Some(200));
        envoy
    }

    /// As [`Envoy::start`], for one that lacks what it would need to serve.
    pub fn start_unready(
        name: &str,
        listeners: &[Value],
        clusters: &[Value],
        folder: Folder,
    ) -> Self {
        let mut envoy = Self::spawn(name, listeners, clusters, folder);
        wait_until("Envoy runs", || envoy.answers_ready().is_some());
        envoy
    }

    fn spawn(name: &str, listeners: &[Value], clusters: &[Value], folder: Folder) -> Self {
        let config = json!({
            "node": { "id": name, "cluster": name },
            "admin": { "address": address(SocketAddr::from(([127, 0, 0, 1], 0))) },
            "static_resources": { "listeners": listeners, "clusters": clusters },
        });
        let config = serde_json::to_string_pretty(&config).unwrap();
        let config = folder.file("envoy.json", &config);
        let mut command = Command::new(&*BINARY);
        command
            .args(["--disable-hot-restart", "--concurrency", "1"])
            // As Istio's agent starts it: Envoy announces a drain at once.
            .args(["--drain-strategy", "immediate", "--drain-time-s", "45"])
            // Tests wait for the lines of access logs.
            .args(["--file-flush-interval-msec", "20"])
            // The config's faults go there too.
            .args(["--log-level", "warning", "--log-path"])
            .arg(folder.path("envoy.log"))
            .arg("--admin-address-path")
            .arg(folder.path("admin"))
            .arg("--config-path")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path("stderr")).unwrap());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!(
                "{}: {error}; this test needs Envoy: start it with tests/run, which installs it",
                BINARY.display()
            ),
        };
        Self {
            child,
            admin: SocketAddr::from(([0; 4], 0)),
            folder,
        }
    }

    /// The status of its answer to whether it is ready; `None` before it answers.
    fn answers_ready(&mut self) -> Option<u16> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("Envoy has ended, {status}:\n{}", self.log());
        }
        let address = fs::read_to_string(self.folder.path("admin")).unwrap_or_default();
        self.admin = address.parse().ok()?;
        let mut client = HttpClient::connect(self.admin).ok()?;
        client.get("/ready").ok().map(|answer| answer.status)
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        ["stderr", "envoy.log"]
            .map(|name| fs::read_to_string(self.folder.path(name)).unwrap_or_default())
            .concat()
    }

    /// The address of the listener called `name`.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let listeners = self.ask("/listeners?format=json");
        let listeners: Value = serde_json::from_str(&listeners).unwrap();
        let all = listeners["listener_statuses"].as_array().unwrap();
        let found = all.iter().find(|listener| listener["name"] == name);
        let at = &found.expect("a listener of that name")["local_address"]["socket_address"];
        let port = at["port_value"].as_u64().unwrap();
        let ip = at["address"].as_str().unwrap().parse().unwrap();
        SocketAddr::new(ip, u16::try_from(port).unwrap())
    }

    /// The sum of the counters and gauges whose name ends with `name`.
    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.ask("/stats?format=text");
        let values = stats.lines().filter_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.ends_with(name).then(|| value.parse::<u64>().ok())?
        });
        values.sum()
    }

    /// Its dump of the secrets that came over SDS.
    pub fn secrets(&self) -> Value {
        let dump = self.ask("/config_dump?resource=dynamic_active_secrets");
        serde_json::from_str(&dump).unwrap()
    }

    fn ask(&self, path: &str) -> String {
        let mut client = HttpClient::connect(self.admin).unwrap();
        let answer = client.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// CPU time that it has used, to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        cpu_time_of(self.child.id())
    }

    /// Has its admin server do something.
    pub fn post(&self, path: &str) {
        let mut client = HttpClient::connect(self.admin).unwrap();
        let answer = client.request("POST", path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        wait_until("Envoy has ended", || {
            self.child.try_wait().unwrap().is_some()
        });
    }

    /// Stops it in its tracks: the kernel takes connections for it, and nobody answers.
    pub fn freeze(&self) {
        freeze(&self.child);
    }

    /// Ends it as a node's power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- Envoy's log:\n{}", self.log());
        }
        self.kill();
    }
}

/// An address as Envoy's config writes it.
pub fn address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

/// A `typed_config` of that type with those fields.
pub fn typed(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/{kind}").into();
    fields
}
