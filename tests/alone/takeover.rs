//! New processes take the listening sockets over, or get them from systemd, while clients connect.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::{connect, hello, open};
use crate::support::process::{Folder, Process, command};
use crate::support::server::{Server, read_exactly, with_deadlines};
use crate::support::{SERVICE, wait_until};
use crate::{alone, own_addresses};

/// Addresses for one test.
pub struct Addresses {
    pub traffic: SocketAddr,
    /// Those of the servers for admin, status and metrics.
    pub servers: [SocketAddr; 3],
}

impl Addresses {
    pub fn free() -> Self {
        let [traffic, admin, status, metrics] = own_addresses();
        Self {
            traffic,
            servers: [admin, status, metrics],
        }
    }

    /// A config with so many workers, and with `more`.
    pub fn config(&self, workers: usize, endpoint: SocketAddr, more: &str) -> String {
        let [admin, status, metrics] = self.servers;
        format!(
            "workers: {workers}
listeners:
  - name: east-west
    bind: '{}'
    routes: [{{ service: '{SERVICE}:80', alpn: any, upstream: svcb }}]
upstreams: {{ svcb: {{ endpoints: ['{endpoint}'] }} }}
admin: {{ bind: '{admin}' }}
status: {{ bind: '{status}' }}
metrics: {{ bind: '{metrics}' }}
log: {{ format: text }}
{more}
",
            self.traffic
        )
    }
}

fn takeover(path: &Path) -> String {
    format!("takeover: {{ path: '{}' }}", path.display())
}

/// The calls of one client, or of all.
#[derive(Debug, Default)]
pub struct Calls {
    pub served: usize,
    pub lost: Vec<String>,
}

/// One call: the hello comes back whole, and then the end.
fn call(gateway: SocketAddr, wire: &[u8]) -> io::Result<()> {
    let mut client = TcpStream::connect(gateway)?;
    with_deadlines(&client);
    client.write_all(wire)?;
    let mut echoed = vec![0; wire.len()];
    client.read_exact(&mut echoed)?;
    client.shutdown(Shutdown::Write)?;
    match client.read(&mut [0])? {
        0 if echoed == wire => Ok(()),
        _ => Err(io::Error::other("other bytes came back")),
    }
}

/// Clients that call gateways at a steady rate.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Calls>>,
    start: Instant,
}

impl Load {
    /// Each call goes to the gateway that `gateway` says then.
    pub fn start(gateway: impl Fn() -> SocketAddr + Clone + Send + 'static, a_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        // Enough that the rate holds while a call takes 100 ms.
        let clients = a_second.div_ceil(10);
        let pause = Duration::from_secs(1) * clients / a_second;
        let client = |number| {
            let (stop, gateway) = (stop.clone(), gateway.clone());
            std::thread::spawn(move || {
                let wire = hello(SERVICE, &[]);
                let mut calls = Calls::default();
                let mut due = start + pause * number / clients;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    due += pause;
                    match call(gateway(), &wire) {
                        Ok(()) => calls.served += 1,
                        Err(error) => calls.lost.push(format!("{:?}: {error}", start.elapsed())),
                    }
                }
                calls
            })
        };
        let clients = (0..clients).map(client).collect();
        Self {
            stop,
            clients,
            start,
        }
    }

    pub fn stop(self) -> (Calls, Duration) {
        let time = self.start.elapsed();
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Calls::default();
        for client in self.clients {
            let calls = client.join().unwrap();
            all.served += calls.served;
            all.lost.extend(calls.lost);
        }
        (all, time)
    }
}

/// A number from the environment, for long runs by hand.
pub fn number(variable: &str, default: u32) -> u32 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap())
}

fn ping(client: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    assert_eq!(read_exactly(client, 4), b"ping");
}

/// Each program takes over from the one before it, while clients call.
pub fn no_call_is_lost(programs: &[&Path]) {
    let rate = number("STRAIT_TAKEOVER_RATE", 200);
    let echo = Server::echo();
    let folder = Folder::create();
    let socket = folder.path("takeover");
    let addresses = Addresses::free();
    let start = |program: &Path, workers: usize| {
        let text = addresses.config(workers, echo.address, &takeover(&socket));
        let mut command = Command::new(program);
        command.args(["run", "--config"]);
        command.arg(folder.file("strait.yaml", &text));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Process::of_command(command)
    };
    let (first, successors) = programs.split_first().unwrap();
    let mut process = start(first, 2);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let load = Load::start(move || addresses.traffic, rate);
    for (round, program) in successors.iter().enumerate() {
        let (mut lasting, length) = open(addresses.traffic);
        read_exactly(&mut lasting, length);
        // More workers than sockets, fewer, and as many.
        let successor = start(program, [3, 1, 2][round % 3]);
        let mut predecessor = std::mem::replace(&mut process, successor);
        predecessor.wait_for("another process of strait has taken over");
        // The old process drains, and what it carries goes on.
        ping(&mut lasting);
        lasting.shutdown(Shutdown::Write).unwrap();
        drop(lasting);
        assert!(predecessor.wait_end().success());
        wait_until("the new process carries calls", || {
            process.closed("ok") >= f64::from(rate / 20)
        });
    }
    let (calls, time) = load.stop();
    println!(
        "{} calls in {time:?}, {} replacements, {} lost",
        calls.served,
        successors.len(),
        calls.lost.len()
    );
    assert!(calls.lost.is_empty(), "{:?}", calls.lost);
    assert!(calls.served > 0);
}

/// The program of this build.
pub fn this() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_strait"))
}

#[test]
fn no_call_is_lost_while_processes_replace_each_other() {
    let _alone = alone();
    let replacements = number("STRAIT_TAKEOVERS", 4);
    no_call_is_lost(&vec![this(); replacements as usize + 1]);
}

#[test]
fn a_successor_that_fails_leaves_everything_as_it_was() {
    let _alone = alone();
    let echo = Server::echo();
    let folder = Folder::create();
    let socket = folder.path("takeover");
    let addresses = Addresses::free();
    let text = addresses.config(2, echo.address, &takeover(&socket));
    let process = Process::of_file(&folder.file("strait.yaml", &text));
    let wire = hello(SERVICE, &[]);
    // An address that a stranger has.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let further = format!(
        "listeners:\n  - {{ name: further, bind: '{}' }}",
        taken.local_addr().unwrap()
    );
    let broken = folder.file("broken.yaml", &text.replace("listeners:", &further));
    let mut failed = command(&broken).spawn().unwrap();
    let code = failed.wait().unwrap().code();
    assert_eq!(code, Some(2));
    wait_until("it says so", || process.said("has not taken over") == 1);
    for _ in 0..20 {
        call(addresses.traffic, &wire).unwrap();
    }
    // Nothing but the socket is left in the folder.
    let mut names: Vec<PathBuf> = fs::read_dir(socket.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let expected = ["broken.yaml", "strait.yaml", "takeover"].map(|name| folder.path(name));
    assert_eq!(names, expected);
    // A third one can still take over.
    let successor = Process::of_file(&folder.path("strait.yaml"));
    process.wait_for("another process of strait has taken over");
    call(addresses.traffic, &wire).unwrap();
    drop(successor);
}

/// `strait run` as systemd starts it, with one listening socket.
fn activated(config: &Path, listener: &TcpListener) -> Process {
    let mut command = Command::new("bash");
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3<&0 0</dev/null";
    command
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_strait"),
            "run",
            "--config",
        ])
        .arg(config)
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Process::of_command(command)
}

#[test]
fn one_socket_of_systemd_serves_all_workers_and_outlives_the_process() {
    let _alone = alone();
    let echo = Server::echo();
    let folder = Folder::create();
    let mut addresses = Addresses::free();
    let systemd = TcpListener::bind("127.0.0.1:0").unwrap();
    addresses.traffic = systemd.local_addr().unwrap();
    let drain = "drain: { readiness_delay: 0s, window: 1s }";
    let text = addresses.config(3, echo.address, drain);
    let config = folder.file("strait.yaml", &text);
    let mut process = activated(&config, &systemd);
    let mut clients: Vec<TcpStream> = (0..30)
        .map(|_| {
            let (mut client, length) = open(addresses.traffic);
            read_exactly(&mut client, length);
            client
        })
        .collect();
    for worker in ["0", "1", "2"] {
        let carried = process.metric("strait_worker_connections", &[("worker", worker)]);
        assert!(carried >= 5.0, "worker {worker} carries {carried}");
    }
    clients.iter_mut().for_each(ping);
    drop(clients);
    process.signal(Signal::TERM);
    assert!(process.wait_end().success());
    // Nobody accepts now, and the kernel keeps the client waiting.
    let mut early = connect(addresses.traffic);
    early.write_all(&hello(SERVICE, &[])).unwrap();
    let _process = activated(&config, &systemd);
    let wire = hello(SERVICE, &[]);
    assert_eq!(read_exactly(&mut early, wire.len()).len(), wire.len());
}
