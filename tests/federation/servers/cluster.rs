//! SPIRE of one cluster: its server and its agent as processes, told what to do as an operator does it.

use std::fs::{self, File, OpenOptions};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::federation::names::pod_address;
use crate::support::process::Folder;
use crate::support::wait_within;

/// The life of workloads' SVIDs, in seconds. SPIRE renews them at half of it.
pub const SVID_SECONDS: u32 = 60;

/// The time that a server, an agent or a change has, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// In a mount namespace: runs the rest of the command with another /etc/hosts.
const WITH_HOSTS: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";

/// A trust domain; its processes end when dropped.
pub struct Spire {
    pub trust_domain: &'static str,
    programs: PathBuf,
    folder: Folder,
    address: IpAddr,
    server: Option<Child>,
    agent: Option<Child>,
}

impl Spire {
    /// Nothing runs yet.
    pub fn new(programs: &Path, trust_domain: &'static str) -> Self {
        let folder = Folder::create();
        for name in ["server", "agent"] {
            fs::create_dir_all(folder.path(name)).unwrap();
        }
        Self {
            trust_domain,
            programs: programs.to_owned(),
            folder,
            address: pod_address(),
            server: None,
            agent: None,
        }
    }

    /// The trust domain as SPIRE's commands name it.
    pub fn id(&self) -> String {
        format!("spiffe://{}", self.trust_domain)
    }

    /// The SPIFFE ID of a service account in the namespace `apps`.
    pub fn account(&self, name: &str) -> String {
        format!("{}/ns/apps/sa/{name}", self.id())
    }

    /// The address of its bundle endpoint.
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, 8443)
    }

    /// The name of its bundle endpoint.
    pub fn bundle_name(&self) -> String {
        format!("spire.bundles.{}", self.trust_domain)
    }

    /// The agent's socket, for sidecars.
    pub fn socket(&self) -> PathBuf {
        self.folder.path("agent.sock")
    }

    /// Writes the server's config: it federates with `other`, whose bundle endpoint is behind this gateway.
    pub fn configure(&self, other: &Self, gateway: SocketAddr) {
        let at = |name: &str| self.folder.path(name).display().to_string();
        let (name, url) = (
            other.trust_domain,
            format!("https://{}", other.bundle_name()),
        );
        self.folder.file(
            "server.conf",
            &format!(
                r#"
server {{
  bind_address = "{address}"
  bind_port = "8081"
  socket_path = "{api}"
  trust_domain = "{domain}"
  data_dir = "{data}"
  log_level = "DEBUG"
  ca_ttl = "24h"
  default_x509_svid_ttl = "1h"
  ca_subject {{
    country = ["US"]
    organization = ["SPIFFE"]
    common_name = "{domain}"
  }}
  federation {{
    bundle_endpoint {{
      address = "{address}"
      port = 8443
      refresh_hint = "1m"
      profile "https_spiffe" {{}}
    }}
    federates_with "{name}" {{
      bundle_endpoint_url = "{url}:{port}"
      bundle_endpoint_profile "https_spiffe" {{
        endpoint_spiffe_id = "spiffe://{name}/spire/server"
      }}
    }}
  }}
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "{database}"
    }}
  }}
  NodeAttestor "join_token" {{
    plugin_data {{}}
  }}
  KeyManager "disk" {{
    plugin_data {{ keys_path = "{keys}" }}
  }}
}}
"#,
                address = self.address,
                api = at("api.sock"),
                domain = self.trust_domain,
                data = at("server"),
                port = gateway.port(),
                database = at("server/database"),
                keys = at("server/keys.json"),
            ),
        );
        self.folder.file(
            "agent.conf",
            &format!(
                r#"
agent {{
  data_dir = "{data}"
  log_level = "DEBUG"
  server_address = "{address}"
  server_port = "8081"
  socket_path = "{socket}"
  trust_bundle_path = "{roots}"
  trust_domain = "{domain}"
  sds {{
    default_svid_name = "default"
    default_bundle_name = "null"
    default_all_bundles_name = "ROOTCA"
  }}
}}
plugins {{
  NodeAttestor "join_token" {{
    plugin_data {{}}
  }}
  KeyManager "disk" {{
    plugin_data {{ directory = "{data}" }}
  }}
  WorkloadAttestor "unix" {{
    plugin_data {{}}
  }}
}}
"#,
                data = at("agent"),
                address = self.address,
                socket = self.socket().display(),
                roots = at("roots.pem"),
                domain = self.trust_domain,
            ),
        );
        let hosts = format!(
            "127.0.0.1 localhost\n{} {}\n",
            gateway.ip(),
            other.bundle_name()
        );
        self.folder.file("hosts", &hosts);
    }

    fn log(&self, name: &str) -> File {
        let path = self.folder.path(&format!("{name}.log"));
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(path).unwrap()
    }

    fn spawn(&self, name: &str, command: &mut Command) -> Child {
        let (out, errors) = (self.log(name), self.log(name));
        // Go's client would take a proxy from there.
        let command = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        let spawned = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .spawn();
        spawned.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Starts the server, and waits until it is well.
    pub fn start_server(&mut self) {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", WITH_HOSTS])
            .arg(self.folder.path("hosts"))
            .arg(self.programs.join("spire-server"))
            .args(["run", "-config"])
            .arg(self.folder.path("server.conf"));
        self.server = Some(self.spawn("server", &mut command));
        wait_within(PATIENCE, "spire-server is well", || {
            self.ask(&["healthcheck"], &[]).is_ok() && TcpStream::connect(self.endpoint()).is_ok()
        });
    }

    /// Ends the server as Kubernetes would.
    pub fn stop_server(&mut self) {
        end(self.server.take());
    }

    /// Starts the agent for the first time.
    pub fn join_agent(&mut self) {
        let roots = self.tell(&["bundle", "show"], &[]);
        self.folder.file("roots.pem", &roots);
        let node = format!("{}/node", self.id());
        let said = self.tell(&["token", "generate"], &["-spiffeID", &node]);
        let (_, token) = said.split_once("Token: ").unwrap();
        self.run_agent(&["-joinToken", token.trim()]);
    }

    /// Starts the agent again.
    pub fn start_agent(&mut self) {
        self.run_agent(&[]);
    }

    fn run_agent(&mut self, more: &[&str]) {
        let mut command = Command::new(self.programs.join("spire-agent"));
        command
            .args(["run", "-config"])
            .arg(self.folder.path("agent.conf"))
            .args(more);
        self.agent = Some(self.spawn("agent", &mut command));
        wait_within(PATIENCE, "spire-agent is well", || {
            let mut health = Command::new(self.programs.join("spire-agent"));
            health
                .args(["healthcheck", "-socketPath"])
                .arg(self.socket());
            health.output().unwrap().status.success()
        });
    }

    /// Ends the agent as Kubernetes would.
    pub fn stop_agent(&mut self) {
        end(self.agent.take());
    }

    /// The output of `spire-server WORDS FLAGS`, or what it says when it fails.
    pub fn ask(&self, words: &[&str], flags: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.programs.join("spire-server"));
        command
            .args(words)
            .arg("-socketPath")
            .arg(self.folder.path("api.sock"))
            .args(flags);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// As [`Spire::ask`], of what must succeed.
    #[track_caller]
    pub fn tell(&self, words: &[&str], flags: &[&str]) -> String {
        match self.ask(words, flags) {
            Ok(said) => said,
            Err(error) => panic!("{} {words:?} {flags:?}: {error}", self.trust_domain),
        }
    }

    /// Carries the bundle of `other` here by hand.
    pub fn set_bundle_of(&self, other: &Self) {
        let bundle = other.tell(&["bundle", "show"], &["-format", "spiffe"]);
        let path = self.folder.file("other.bundle", &bundle);
        let (id, path) = (other.id(), path.display().to_string());
        let flags = ["-format", "spiffe", "-id", &id, "-path", &path];
        self.tell(&["bundle", "set"], &flags);
    }

    /// Fetches the bundle of `other` now.
    pub fn refresh(&self, other: &Self) {
        let id = other.id();
        wait_within(PATIENCE, "the other's bundle is fetched", || {
            self.ask(&["federation", "refresh"], &["-id", &id]).is_ok()
        });
    }

    /// Registers the workload of this user, whichever process it is. It federates with `other`.
    pub fn register(&self, service: &str, other: &Self) {
        let (parent, id) = (format!("{}/node", self.id()), self.account(service));
        let (user, ttl) = (
            format!("unix:uid:{}", getuid().as_raw()),
            SVID_SECONDS.to_string(),
        );
        let other = other.id();
        let flags = [
            "-parentID",
            &parent,
            "-spiffeID",
            &id,
            "-selector",
            &user,
            "-x509SVIDTTL",
            &ttl,
            "-federatesWith",
            &other,
        ];
        self.tell(&["entry", "create"], &flags);
    }

    /// Has the entry of a workload federate with `other` again.
    pub fn federate_again(&self, service: &str, other: &Self) {
        let id = self.account(service);
        let shown = self.tell(&["entry", "show"], &["-spiffeID", &id]);
        let (_, entry) = shown.split_once("Entry ID").unwrap();
        let entry = entry.lines().next().unwrap();
        let entry = entry.trim_start_matches([' ', ':']);
        self.tell(&["entry", "delete"], &["-entryID", entry]);
        self.register(service, other);
    }

    /// The ID of the X.509 authority in this state: `Active`, `Prepared` or `Old`.
    pub fn authority(&self, state: &str) -> String {
        let shown = self.tell(&["localauthority", "x509", "show"], &[]);
        let (_, about) = shown
            .split_once(&format!("{state} X.509 authority:"))
            .unwrap_or_else(|| panic!("no {state} authority: {shown}"));
        let (_, id) = about.split_once("Authority ID: ").unwrap();
        id.split_whitespace().next().unwrap().to_owned()
    }

    /// Does a step of a rotation.
    pub fn rotate(&self, step: &str, authority: &str) {
        let flags = ["-authorityID", authority];
        let flags = if authority.is_empty() {
            &[][..]
        } else {
            &flags
        };
        self.tell(&["localauthority", "x509", step], flags);
    }

    /// The last lines of its logs.
    pub fn logs(&self) -> String {
        let tail = |name: &str| {
            let path = self.folder.path(&format!("{name}.log"));
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(40).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!(
                "--- {} of {}:\n{}\n",
                name,
                self.trust_domain,
                lines.join("\n")
            )
        };
        ["server", "agent"].map(tail).concat()
    }
}

impl Drop for Spire {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
        end(self.agent.take());
        end(self.server.take());
    }
}

/// Ends a process in order, and waits for it.
fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        let _ = child.wait();
    }
}
