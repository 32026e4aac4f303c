//! The gateways: strait and its peers, each with a config for the same work.

mod envoy;
mod haproxy;
mod nginx;
pub mod own;

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{Cpus, Processes, find_program};
use crate::net::Net;

/// The time limit from starting a gateway to its accepting connections, which some need under callgrind.
const START: Duration = Duration::from_secs(120);

/// The routed server names, each with a backend of its own, so that the ends of different work can run
/// on different threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The route of most work.
    Main,
    /// The route of the small messages beside the bulk.
    Aside,
}

impl Route {
    /// The server name of the route.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main.apps.svc.cluster.local",
            Self::Aside => "aside.apps.svc.cluster.local",
        }
    }
}

/// The addresses of the backends.
#[derive(Debug, Clone, Copy)]
pub struct Backends {
    /// The backend of [`Route::Main`].
    pub main: SocketAddr,
    /// The backend of [`Route::Aside`].
    pub aside: SocketAddr,
}

/// The job of a gateway.
#[derive(Debug)]
pub struct Job<'a> {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The addresses to forward to.
    pub backends: Backends,
    /// The number of threads that carry traffic.
    pub workers: usize,
    /// The folder for its config files and logs. No other gateway uses it.
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

/// The place where gateways run.
#[derive(Debug)]
pub struct Place<'a> {
    /// The CPUs.
    pub cpus: &'a Cpus,
    /// The network.
    pub net: &'a Net,
    /// The folder that contains the gateways' folders.
    pub folder: &'a Path,
}

impl Place<'_> {
    /// The folder of the gateway with this name.
    pub fn folder_of(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// A gateway that can be measured.
#[derive(Debug, Clone)]
pub enum Gateway {
    /// No gateway: the clients connect to the backend, which shows the limit of the load itself.
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

/// The names of all gateways but strait.
pub const KNOWN: &[&str] = &["direct", "haproxy", "haproxy-splice", "nginx", "envoy"];

impl Gateway {
    /// The gateway with this name, if this machine has it.
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

    /// Its version, as it reports it.
    pub fn version(&self) -> String {
        let (program, flag) = match self {
            Self::Direct => return String::new(),
            Self::Strait(program) | Self::Envoy(program) => (program, "--version"),
            Self::Haproxy { program, .. } | Self::Nginx(program) => (program, "-v"),
        };
        let Ok(output) = Command::new(program).arg(flag).output() else {
            return "unknown".to_owned();
        };
        // nginx reports it on standard error.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let first = text.lines().find(|line| !line.trim().is_empty());
        let first = first.unwrap_or("unknown").trim();
        // All but strait write the word "version", Envoy after its path.
        let said = first
            .split_once("version:")
            .or_else(|| first.split_once("version"));
        said.map_or(first, |(_, version)| version).trim().to_owned()
    }
}

/// The tool that a gateway runs in.
#[derive(Debug, Clone, Copy)]
pub enum Wrapper<'a> {
    /// None.
    None,
    /// Callgrind, which writes its counts to files whose names begin with this one.
    Callgrind(&'a Path),
}

impl Wrapper<'_> {
    fn around(self, command: Command) -> Command {
        match self {
            Self::None => command,
            Self::Callgrind(counts) => {
                let mut outer = Command::new("valgrind");
                let counts = format!("--callgrind-out-file={}", counts.display());
                outer.args(["-q", "--tool=callgrind", &counts]);
                outer.arg(command.get_program()).args(command.get_args());
                outer
            }
        }
    }
}

/// A running gateway. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    backends: Backends,
    process: Option<(Child, SocketAddr)>,
}

impl Running {
    /// Starts `gateway` and waits until it accepts connections.
    pub fn start(
        name: &str,
        gateway: &Gateway,
        place: &Place<'_>,
        backends: Backends,
        workers: usize,
    ) -> io::Result<Self> {
        Self::start_in(Wrapper::None, name, gateway, place, backends, workers)
    }

    /// Starts `gateway` in a tool, and waits until it accepts connections.
    pub fn start_in(
        wrapper: Wrapper<'_>,
        name: &str,
        gateway: &Gateway,
        place: &Place<'_>,
        backends: Backends,
        workers: usize,
    ) -> io::Result<Self> {
        if matches!(gateway, Gateway::Direct) {
            return Ok(Self {
                backends,
                process: None,
            });
        }
        let folder = place.folder_of(name)?;
        let job = Job {
            listen: SocketAddr::new(place.net.gateway(), free_port()?),
            backends,
            workers,
            folder: &folder,
        };
        let command = wrapper.around(gateway.command(&job)?);
        Self::launch(name, &command, &job, place)
    }

    /// Starts a program that will listen as `job` demands, and waits until it does.
    pub fn launch(
        name: &str,
        command: &Command,
        job: &Job<'_>,
        place: &Place<'_>,
    ) -> io::Result<Self> {
        let mut command = place.net.around(command);
        let log = File::create(job.folder.join("log"))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = place.cpus.start_gateway(|| command.spawn())?;
        let mut running = Self {
            backends: job.backends,
            process: None,
        };
        let (process, address) = running.process.insert((process, job.listen));
        wait_for(process, *address).map_err(|error| {
            io::Error::other(format!("{name}: {error}, see {}/log", job.folder.display()))
        })?;
        Ok(running)
    }

    /// The address that clients of `route` connect to.
    pub fn address(&self, route: Route) -> SocketAddr {
        match (&self.process, route) {
            (Some((_, address)), _) => *address,
            (None, Route::Main) => self.backends.main,
            (None, Route::Aside) => self.backends.aside,
        }
    }

    /// Makes it reload its config, as strait does on SIGHUP.
    pub fn reload(&self) -> io::Result<()> {
        let process = self.process.as_ref().ok_or(io::ErrorKind::NotFound)?;
        signal(&process.0, Signal::HUP)
    }

    /// Its processes; none without a gateway.
    pub fn processes(&self) -> Option<Processes> {
        self.process
            .as_ref()
            .map(|(process, _)| Processes::of(process.id()))
    }
}

/// Interrupts a program, as Ctrl-C does.
pub fn interrupt(process: &Child) -> io::Result<()> {
    signal(process, Signal::INT)
}

fn signal(process: &Child, signal: Signal) -> io::Result<()> {
    let id = i32::try_from(process.id()).map_err(io::Error::other)?;
    let id = Pid::from_raw(id).ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(id, signal)?)
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some((process, _)) = &mut self.process else {
            return;
        };
        // On SIGTERM a master ends its workers; on SIGKILL it would leave them.
        let _ = signal(process, Signal::TERM);
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

/// A port that was free on loopback a moment ago; in a namespace of ours it is free too.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
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
