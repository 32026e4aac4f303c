//! The gateways: strait and its peers, each with the config that makes it do the same job.

mod envoy;
mod haproxy;
mod nginx;
mod own;

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine::{Cpus, Processes, find_program};

/// From starting a gateway to its taking connections.
const START: Duration = Duration::from_secs(20);

/// The server names that are routed, each to a backend of its own, so that the two ends of different
/// work can run on different threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Most work.
    Main,
    /// The small messages beside the bulk.
    Aside,
}

impl Route {
    /// The server name that takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main.apps.svc.cluster.local",
            Self::Aside => "aside.apps.svc.cluster.local",
        }
    }
}

/// Where the backends listen.
#[derive(Debug, Clone, Copy)]
pub struct Backends {
    /// Of [`Route::Main`].
    pub main: SocketAddr,
    /// Of [`Route::Aside`].
    pub aside: SocketAddr,
}

/// What a gateway is to do.
#[derive(Debug)]
pub struct Job<'a> {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to forward to.
    pub backends: Backends,
    /// Threads that carry traffic.
    pub workers: usize,
    /// For config files and logs; the gateway has it for itself.
    pub folder: &'a Path,
}

impl Job<'_> {
    /// Writes a config file.
    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// A gateway that can be measured.
#[derive(Debug, Clone)]
pub enum Gateway {
    /// None: the clients connect to the backend, which shows what the load itself can do.
    Direct,
    /// strait, this build or another one.
    Strait(PathBuf),
    /// HAProxy, copying through buffers or with splice(2) forced.
    Haproxy {
        /// The program.
        program: PathBuf,
        /// `option splice-request` and `option splice-response`.
        splice: bool,
    },
    /// nginx with ssl_preread.
    Nginx(PathBuf),
    /// Envoy with tls_inspector and tcp_proxy.
    Envoy(PathBuf),
}

/// Names of the gateways that are looked for, strait aside.
pub const KNOWN: &[&str] = &["direct", "haproxy", "haproxy-splice", "nginx", "envoy"];

impl Gateway {
    /// The gateway of that name, if this machine has it.
    pub fn find(name: &str, envoy: Option<&Path>) -> Option<Self> {
        match name {
            "direct" => Some(Self::Direct),
            "strait" => Some(Self::Strait(env!("CARGO_BIN_EXE_strait").into())),
            "haproxy" | "haproxy-splice" => Some(Self::Haproxy {
                program: find_program("haproxy")?,
                splice: name == "haproxy-splice",
            }),
            "nginx" => {
                let program = find_program("nginx")?;
                nginx::has_stream(&program).then_some(Self::Nginx(program))
            }
            "envoy" => envoy::find(envoy).map(Self::Envoy),
            _ => None,
        }
    }

    fn command(&self, job: &Job<'_>) -> io::Result<Command> {
        match self {
            Self::Direct => Err(io::Error::other("nothing to start")),
            Self::Strait(program) => own::command(program, job),
            Self::Haproxy { program, splice } => haproxy::command(program, *splice, job),
            Self::Nginx(program) => nginx::command(program, job),
            Self::Envoy(program) => envoy::command(program, job),
        }
    }

    /// What it says of its version.
    pub fn version(&self) -> String {
        let (program, flag) = match self {
            Self::Direct => return String::new(),
            Self::Strait(program) | Self::Envoy(program) => (program, "--version"),
            Self::Haproxy { program, .. } | Self::Nginx(program) => (program, "-v"),
        };
        let Ok(output) = Command::new(program).arg(flag).output() else {
            return "unknown".to_owned();
        };
        // nginx says it on standard error.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let first = text.lines().find(|line| !line.trim().is_empty());
        first.unwrap_or("unknown").trim().to_owned()
    }
}

/// A gateway that runs; ends when dropped.
#[derive(Debug)]
pub struct Running {
    /// As on the command line.
    pub name: String,
    backends: Backends,
    process: Option<(Child, SocketAddr)>,
}

impl Running {
    /// Starts `gateway` and waits until it takes connections.
    pub fn start(
        name: &str,
        gateway: &Gateway,
        cpus: &Cpus,
        backends: Backends,
        workers: usize,
        folder: &Path,
    ) -> io::Result<Self> {
        let mut running = Self {
            name: name.to_owned(),
            backends,
            process: None,
        };
        if matches!(gateway, Gateway::Direct) {
            return Ok(running);
        }
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let job = Job {
            listen: SocketAddr::new(backends.main.ip(), free_port(backends.main.ip())?),
            backends,
            workers,
            folder: &folder,
        };
        let mut command = gateway.command(&job)?;
        let log = File::create(folder.join("log"))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = cpus.start_gateway(|| command.spawn())?;
        let (process, address) = running.process.insert((process, job.listen));
        wait_for(process, *address).map_err(|error| {
            io::Error::other(format!("{name}: {error}, see {}/log", folder.display()))
        })?;
        Ok(running)
    }

    /// Where clients of `route` connect.
    pub fn address(&self, route: Route) -> SocketAddr {
        match (&self.process, route) {
            (Some((_, address)), _) => *address,
            (None, Route::Main) => self.backends.main,
            (None, Route::Aside) => self.backends.aside,
        }
    }

    /// Its processes; none without a gateway.
    pub fn processes(&self) -> Option<Processes> {
        self.process
            .as_ref()
            .map(|(process, _)| Processes::of(process.id()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some((process, _)) = &mut self.process else {
            return;
        };
        // A master told to terminate ends its workers; killed, it would leave them.
        if let Ok(id) = i32::try_from(process.id())
            && let Some(id) = rustix::process::Pid::from_raw(id)
        {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let give_up = Instant::now() + Duration::from_secs(2);
        while Instant::now() < give_up {
            if !matches!(process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// A port that was free a moment ago.
fn free_port(ip: IpAddr) -> io::Result<u16> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?.port())
}

fn wait_for(process: &mut Child, address: SocketAddr) -> io::Result<()> {
    let give_up = Instant::now() + START;
    loop {
        if let Some(status) = process.try_wait()? {
            return Err(io::Error::other(format!("ended with {status}")));
        }
        match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > give_up => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
