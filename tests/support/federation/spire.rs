//! A trust domain with SPIRE's own code: the program of `tests/federation/spire`, which says what its commands do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{LazyLock, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use super::names::pod_address;
use crate::support::DEADLINE;
use crate::support::process::{Folder, freeze};

/// The path of the program. `tests/run` builds it.
static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(path) = std::env::var_os("STRAIT_SPIRE") {
        return path.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run");
    let built = Command::new(script).arg("--spire").output();
    let built = built.expect("tests/run --spire starts");
    let said = String::from_utf8_lossy(&built.stdout);
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "tests/run --spire: {said}{errors}");
    said.lines().next_back().unwrap_or_default().into()
});

/// The port of SPIRE's bundle endpoint.
pub const PORT: u16 = 8443;

/// A trust domain; ends when dropped.
pub struct Spire {
    /// Its name.
    pub trust_domain: String,
    /// The address of its bundle endpoint.
    pub endpoint: SocketAddr,
    child: Child,
    wire: Mutex<(ChildStdin, Receiver<String>)>,
    /// Its log, and the sockets of its sidecars.
    folder: Folder,
}

impl Spire {
    /// Starts one that asks `dns` for names.
    pub fn start(trust_domain: &str, dns: SocketAddr) -> Self {
        Self::start_with(trust_domain, dns, &[])
    }

    /// As [`Spire::start`], with more arguments.
    pub fn start_with(trust_domain: &str, dns: SocketAddr, more: &[&str]) -> Self {
        let endpoint = SocketAddr::new(pod_address(), PORT);
        Self::start_at(trust_domain, dns, endpoint, more)
    }

    /// As [`Spire::start`], with its bundle endpoint at this address, and more arguments.
    pub fn start_at(
        trust_domain: &str,
        dns: SocketAddr,
        endpoint: SocketAddr,
        more: &[&str],
    ) -> Self {
        let folder = Folder::create();
        let mut command = Command::new(&*BINARY);
        command
            .args(["-trust-domain", trust_domain, "-sockets"])
            .arg(folder.path(""))
            .args(["-endpoint", &endpoint.to_string()])
            .args(["-dns", &dns.to_string()])
            .args(more)
            // Go's client would take a proxy from there.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.path("log")).unwrap());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{}: {error}", BINARY.display()),
        };
        let (lines, answers) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let wire = Mutex::new((child.stdin.take().unwrap(), answers));
        let spire = Self {
            trust_domain: trust_domain.to_owned(),
            endpoint,
            child,
            wire,
            folder,
        };
        crate::support::wait_until("SPIRE's bundle endpoint listens", || {
            std::net::TcpStream::connect(endpoint).is_ok()
        });
        spire
    }

    /// The answer to a command; its reason, if it failed.
    #[track_caller]
    pub fn ask(&self, command: &str) -> Result<String, String> {
        let mut wire = self.wire.lock().unwrap();
        writeln!(wire.0, "{command}").unwrap();
        let Ok(line) = wire.1.recv_timeout(DEADLINE) else {
            panic!("no answer to {command:?}:\n{}", self.log());
        };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "ok" => Ok(rest.to_owned()),
            _ => Err(rest.to_owned()),
        }
    }

    /// The answer to a command that must succeed.
    #[track_caller]
    pub fn tell(&self, command: &str) -> String {
        match self.ask(command) {
            Ok(answer) => answer,
            Err(error) => panic!("{command:?}: {error}"),
        }
    }

    /// The SPIFFE ID of a service account in the namespace `apps`.
    pub fn account(&self, name: &str) -> String {
        format!("spiffe://{}/ns/apps/sa/{name}", self.trust_domain)
    }

    /// The SPIFFE ID of its server.
    pub fn server(&self) -> String {
        format!("spiffe://{}/spire/server", self.trust_domain)
    }

    /// Has the bundle of `other` from now on, by hand.
    #[track_caller]
    pub fn set_bundle_of(&self, other: &Self) {
        self.tell(&format!(
            "set {} {}",
            other.trust_domain,
            other.tell("show")
        ));
    }

    /// Fetches the bundle of `other`, whose endpoint has that URL, from now on.
    #[track_caller]
    pub fn federate(&self, other: &Self, url: &str) {
        let (name, id) = (&other.trust_domain, other.server());
        self.tell(&format!("federate {name} {url} {id}"));
    }

    /// Fetches the bundle of `other` now.
    #[track_caller]
    pub fn refresh(&self, other: &Self) -> Result<(), String> {
        self.ask(&format!("refresh {}", other.trust_domain))
            .map(|_| ())
    }

    /// Waits until it has polled once since it federates: that poll is its own, and would come in the middle of a test
    /// otherwise. The next is 75 s away.
    pub fn until_polled(&self) {
        crate::support::wait_until("SPIRE has polled once", || {
            self.log().contains("Scheduling next bundle refresh")
        });
    }

    /// The key IDs of the authorities that it has of `other`.
    #[track_caller]
    pub fn known(&self, other: &Self) -> Vec<String> {
        let known = self.tell(&format!("known {}", other.trust_domain));
        known.split_whitespace().map(str::to_owned).collect()
    }

    /// Gives the sidecar `name` an SVID for `ttl`, and the bundles of these trust domains. Returns the socket.
    #[track_caller]
    pub fn workload(&self, name: &str, id: &str, ttl: &str, federates_with: &[&Self]) -> PathBuf {
        let others = federates_with
            .iter()
            .map(|other| format!(" {}", other.trust_domain));
        let others: String = others.collect();
        self.tell(&format!("workload {name} {id} {ttl}{others}"))
            .into()
    }

    /// The socket of a sidecar that has no entry.
    #[track_caller]
    pub fn socket(&self, name: &str) -> PathBuf {
        self.tell(&format!("socket {name}")).into()
    }

    /// Stops it in its tracks: the kernel takes connections for it, and nobody answers.
    pub fn freeze(&self) {
        freeze(&self.child);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        crate::support::wait_until("nobody listens", || {
            std::net::TcpStream::connect(self.endpoint).is_err()
        });
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }
}

impl Drop for Spire {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- log of {}'s SPIRE:\n{}", self.trust_domain, self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A lifetime that no test outlives.
pub const AN_HOUR: &str = "1h";

/// Lifetime of an SVID that SPIRE renews after one or two seconds: it begins 10 s before it is made, and is renewed at
/// half of its life, 10 % more or less.
pub const RENEWED_SOON: &str = "14s";
