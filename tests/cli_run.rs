//! `strait run` as a process: its signals, its config file, its streams and its exit codes.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::client::{connect, hello};
use support::config_text::ConfigText;
use support::server::Server;
use support::{DEADLINE, SERVICE, wait_until};

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Self {
        static CREATED: AtomicUsize = AtomicUsize::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("strait-cli-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `strait run`; killed when dropped.
struct Running {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
}

impl Running {
    fn start(config: &Path, stdout: Stdio) -> Self {
        let mut child = command(config).stdout(stdout).spawn().unwrap();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, kept) = (child.stderr.take().unwrap(), said.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let mut running = Self {
            child,
            said,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let line = running.wait_for(" serving ");
        let (_, address) = line.split_once("address=").unwrap();
        running.address = address.trim().parse().unwrap();
        running
    }

    /// The first line on standard error that holds `text`.
    fn wait_for(&self, text: &str) -> String {
        let mut found = None;
        wait_until(&format!("it says {text:?}"), || {
            let said = self.said.lock().unwrap();
            found = said.iter().find(|line| line.contains(text)).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    fn forget_what_it_said(&self) {
        self.said.lock().unwrap().clear();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait_end(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the process ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Which server answers a new connection.
    fn answer(&self) -> String {
        let mut client = connect(self.address);
        client.write_all(&hello(SERVICE, &[])).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
    command.args(["run", "--config"]).arg(config);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A server that says `name` and closes.
fn server(name: &'static str) -> Server {
    Server::start(move |mut stream| {
        let mut first = [0; 1];
        let _ = stream.read_exact(&mut first);
        let _ = stream.write_all(name.as_bytes());
        // Only then the end: closing with unread bytes would reset.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

/// A free port, so that every config of a test can name the same one.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn drain(window: &str) -> String {
    format!("drain: {{ readiness_delay: 0s, window: {window} }}")
}

#[test]
fn sighup_a_rewritten_file_and_a_swapped_symlink_reload() {
    let (one, two) = (server("one"), server("two"));
    let bind = free_address();
    let to = |server: &Server| ConfigText::to(&[server.address]).bind(bind).text();
    let folder = Folder::create();
    folder.file("..first/strait.yaml", &to(&one));
    symlink("..first", folder.0.join("..data")).unwrap();
    symlink("..data/strait.yaml", folder.0.join("strait.yaml")).unwrap();
    let running = Running::start(&folder.0.join("strait.yaml"), Stdio::null());
    assert_eq!(running.answer(), "one");

    // As the kubelet updates a mounted ConfigMap.
    folder.file("..second/strait.yaml", &to(&two));
    symlink("..second", folder.0.join("..data_tmp")).unwrap();
    fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
    running.wait_for("config reloaded");
    assert_eq!(running.answer(), "two");

    running.forget_what_it_said();
    folder.file("..second/strait.yaml", &to(&one));
    running.wait_for("config reloaded");
    assert_eq!(running.answer(), "one");

    running.forget_what_it_said();
    running.signal(Signal::HUP);
    running.wait_for("config reloaded");
    assert_eq!(running.answer(), "one");
}

#[test]
fn a_file_with_problems_is_refused_and_the_old_one_serves() {
    let one = server("one");
    let bind = free_address();
    let good = ConfigText::to(&[one.address]).bind(bind).text();
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &good);
    let running = Running::start(&path, Stdio::null());

    folder.file(
        "strait.yaml",
        &good.replace("upstream: svcb", "upstream: svcc"),
    );
    let refused = running.wait_for("config refused, the old one keeps serving");
    assert!(refused.contains("ERROR"), "{refused}");
    running.wait_for("did you mean");
    assert_eq!(running.answer(), "one");

    folder.file("strait.yaml", &good);
    running.wait_for("config reloaded");
    assert_eq!(running.answer(), "one");
}

#[test]
fn sigterm_drains_and_ends_well() {
    let one = server("one");
    let config = ConfigText::to(&[one.address]).top(&drain("30s"));
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &config.text());
    let mut running = Running::start(&path, Stdio::null());
    let mut busy = connect(running.address);
    busy.write_all(&hello(SERVICE, &[])).unwrap();
    running.signal(Signal::TERM);
    running.wait_for("draining");
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "one", "what runs may finish");
    drop(busy);
    assert!(running.wait_end().success());
    running.wait_for("stopped");
}

#[test]
fn a_second_sigterm_stops_at_once() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]).top(&drain("10m"));
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &config.text());
    let mut running = Running::start(&path, Stdio::null());
    let mut client = connect(running.address);
    client.write_all(&hello(SERVICE, &[])).unwrap();
    let mut first = [0; 1];
    client.read_exact(&mut first).unwrap();
    running.signal(Signal::TERM);
    running.wait_for("draining");
    running.signal(Signal::TERM);
    running.wait_for("second signal");
    assert!(running.wait_end().success());
}

#[test]
fn nobody_reads_standard_output_and_traffic_goes_on() {
    let one = server("one");
    let config = ConfigText::to(&[one.address]).top(&drain("1s"));
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &config.text());
    for closed in [false, true] {
        let mut running = Running::start(&path, Stdio::piped());
        let stdout = running.child.stdout.take();
        let _unread = stdout.filter(|_| !closed);
        // A pipe holds 64 KiB: this many lines of some 300 bytes fill it.
        for _ in 0..300 {
            assert_eq!(running.answer(), "one");
        }
        let asked = Instant::now();
        running.signal(Signal::TERM);
        assert!(running.wait_end().success());
        assert!(asked.elapsed() < DEADLINE.min(Duration::from_secs(10)));
    }
}

#[test]
fn what_keeps_it_from_starting_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = Folder::create();
    let text = ConfigText::to(&[free_address()]).bind(address).text();
    let used = folder.file("used.yaml", &text);
    let missing = folder.0.join("missing.yaml");
    for (path, texts) in [
        (
            &used,
            [format!("cannot listen on {address}"), "in use".into()],
        ),
        (&missing, ["missing.yaml".into(), "--config".into()]),
    ] {
        let output = command(path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for text in texts {
            assert!(said.contains(&text), "no {text:?} in {said}");
        }
    }
}
