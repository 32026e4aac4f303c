//! `strait run` under systemd: the units of `config/systemd`, and the messages of sd_notify(3) that the process sends.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use strait::config::Config;

use crate::support::config_text::ConfigText;
use crate::support::process::{Folder, Process, command};
use crate::support::{DEADLINE, wait_until};

const PROGRAM: &str = "/usr/local/bin/strait";
/// Nothing calls it.
const ENDPOINT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
const CONFIG: &str = "/etc/strait/strait.yaml";

fn unit(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// The values of a key, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let values = lines.filter(|(found, _)| *found == key);
    values.map(|(_, value)| value).collect()
}

/// The judgement of systemd about a service unit with the program of these tests, and about the socket unit.
fn judged(service: &str, arguments: &[&str]) -> Output {
    let folder = Folder::create();
    let service = service.replace(PROGRAM, env!("CARGO_BIN_EXE_strait"));
    let service = folder.file("strait.service", &service);
    let socket = folder.file("strait.socket", &unit("strait.socket"));
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(arguments).arg(service);
    if arguments == ["verify"] {
        analyze.arg(socket);
    }
    let output = analyze.output();
    output.expect("tests/run installs systemd-analyze")
}

#[test]
fn systemd_takes_the_units() {
    let verify = |service: &str| {
        let output = judged(service, &["verify"]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let service = unit("strait.service");
    assert_eq!(verify(&service), "");
    for (old, new) in [
        ("notify", "notifies"),
        ("LimitNOFILE", "LimitFiles"),
        (PROGRAM, "/usr/local/bin/trait"),
    ] {
        let complaint = verify(&service.replace(old, new));
        assert!(complaint.contains(new), "{new}: {complaint:?}");
    }
}

/// systemd's own measure, from 0 to 100: of services with this much of a network 16 is low.
#[test]
fn the_service_may_do_little() {
    let security = ["security", "--offline=yes", "--threshold=20"];
    let service = unit("strait.service");
    assert!(judged(&service, &security).status.success());
    let open = service.replace("CapabilityBoundingSet=\n", "");
    let open = open.replace("ProtectSystem=strict\n", "");
    assert!(!judged(&open, &security).status.success());
}

#[test]
fn the_units_fit_each_other_and_the_config() {
    let (service, socket) = (unit("strait.service"), unit("strait.socket"));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/strait.yaml");
    let example = Config::parse(&fs::read_to_string(example).unwrap(), "strait.yaml").unwrap();
    let bind = example.listeners[0].bind.to_string();
    assert_eq!(values(&socket, "ListenStream"), [bind]);
    assert_eq!(values(&socket, "BindIPv6Only"), ["both"]);
    let stop: u64 = values(&service, "TimeoutStopSec")[0].parse().unwrap();
    let drain = (example.drain.readiness_delay + example.drain.window).as_secs();
    assert!(stop > drain, "{stop} s, and the drain has {drain} s");
    let start = format!("{PROGRAM} run --config {CONFIG}");
    assert_eq!(values(&service, "ExecStart"), [start]);
}

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, path }
    }

    fn start(&self, config: &Path) -> Process {
        let mut command = command(config);
        command.env("NOTIFY_SOCKET", &self.path);
        Process::of_command(command)
    }

    #[track_caller]
    fn message(&self) -> String {
        let mut buffer = [0; 512];
        let length = self.socket.recv(&mut buffer).expect("no message came");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

/// Runs the commands of `ExecReload` as systemd does: one after another, until one fails.
fn reload(process: &Process, config: &Path) -> bool {
    let service = unit("strait.service");
    let commands = values(&service, "ExecReload");
    assert!(!commands.is_empty());
    commands.iter().all(|command| {
        let command = command.replace(PROGRAM, env!("CARGO_BIN_EXE_strait"));
        let command = command.replace(CONFIG, config.to_str().unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]);
        shell.env("MAINPID", process.pid().as_raw_nonzero().to_string());
        shell.output().unwrap().status.success()
    })
}

#[test]
fn a_service_manager_learns_of_the_start_of_reloads_and_of_the_end() {
    let folder = Folder::create();
    let config = folder.file("strait.yaml", &ConfigText::to(&[ENDPOINT]).text());
    let manager = Manager::new(folder.path("notify"));
    let mut process = manager.start(&config);
    assert_eq!(manager.message(), "READY=1\nSTATUS=serves");

    assert!(reload(&process, &config));
    let begins = manager.message();
    assert!(
        begins.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{begins}"
    );
    let ends = "READY=1\nSTATUS=serves, the config was reloaded";
    assert_eq!(manager.message(), ends);

    // strait sees the file by itself too, and says that it has refused it.
    folder.file("strait.yaml", "listeners: 7\n");
    let begins = manager.message();
    assert!(begins.starts_with("RELOADING=1\n"), "{begins}");
    let refused = manager.message();
    assert!(
        refused.starts_with("READY=1\n") && refused.ends_with("was refused"),
        "{refused}"
    );
    // No SIGHUP comes then: the next message is that of the end.
    assert!(
        !reload(&process, &config),
        "the check of a broken config must fail"
    );

    process.signal(Signal::TERM);
    let stops = manager.message();
    assert!(stops.starts_with("STOPPING=1\nSTATUS=drains"), "{stops}");
    process.signal(Signal::TERM);
    assert!(process.wait_end().success());
}

#[test]
fn a_successor_is_ready_when_it_has_taken_over_and_its_predecessor_stops() {
    let folder = Folder::create();
    let text = ConfigText::to(&[ENDPOINT]);
    let text = text.top(&format!(
        "takeover: {{ path: '{}' }}",
        folder.path("takeover").display()
    ));
    let config = folder.file("strait.yaml", &text.text());
    let [one, two] = ["one", "two"].map(|name| Manager::new(folder.path(name)));
    let mut predecessor = one.start(&config);
    assert!(one.message().starts_with("READY=1\n"));
    let successor = two.start(&config);
    assert!(two.message().starts_with("READY=1\n"));
    wait_until("it has taken over", || {
        successor.said("strait has taken over") == 1
    });
    let stops = one.message();
    assert!(stops.starts_with("STOPPING=1\n"), "{stops}");
    predecessor.signal(Signal::TERM);
    assert!(predecessor.wait_end().success());
}

#[test]
fn a_service_manager_that_is_not_there_does_not_keep_strait_from_serving() {
    let folder = Folder::create();
    let config = folder.file("strait.yaml", &ConfigText::to(&[ENDPOINT]).text());
    let mut command = command(&config);
    command.env("NOTIFY_SOCKET", folder.path("nobody"));
    let process = Process::of_command(command);
    process.wait_for("cannot reach the service manager");
}
