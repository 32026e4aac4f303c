//! The `strait` binary as a process of its own, for what concerns a whole process.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use strait::cli::demo::scrape::{self, Samples};

use super::config_text::ConfigText;
use super::gateway::get;
use super::wait_until;

/// `strait run`; killed when dropped.
pub struct Process {
    child: Child,
    config: PathBuf,
    /// What it has said on standard error.
    said: Arc<Mutex<Vec<String>>>,
    /// Where its listener accepts.
    pub address: SocketAddr,
    metrics: SocketAddr,
}

impl Process {
    /// Starts it and waits until it serves.
    pub fn start(config: &ConfigText) -> Self {
        Self::start_with_shell(config, "")
    }

    /// Starts it with at most this many open files.
    pub fn start_with_files(config: &ConfigText, files: u32) -> Self {
        Self::start_with_shell(config, &format!("ulimit -n {files} &&"))
    }

    fn start_with_shell(config: &ConfigText, before: &str) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let file = format!("strait-test-{}-{number}.yaml", std::process::id());
        let path = std::env::temp_dir().join(file);
        // Which port the kernel chose for this one, no log line tells.
        let metrics = free_address();
        let chosen = format!("metrics: {{ bind: '{metrics}' }}");
        let text = config.text();
        let text = text.replace("metrics: { bind: '127.0.0.1:0' }", &chosen);
        std::fs::write(&path, text).unwrap();
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{before} exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_strait"))
            .args(["run", "--config"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, kept) = (child.stderr.take().unwrap(), said.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let mut address = None;
        wait_until("the process serves", || {
            address = served_address(&said.lock().unwrap());
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {:?}", said.lock().unwrap());
            address.is_some()
        });
        Self {
            child,
            config: path,
            said,
            address: address.unwrap(),
            metrics,
        }
    }

    /// How many lines with `text` it has said on standard error.
    pub fn said(&self, text: &str) -> usize {
        let said = self.said.lock().unwrap();
        said.iter().filter(|line| line.contains(text)).count()
    }

    /// All metrics now.
    pub fn samples(&self) -> Samples {
        let (status, text) = get(self.metrics, "/metrics").unwrap();
        assert_eq!(status, 200);
        scrape::parse(&text)
    }

    /// The sum of the series called `name` that have all of `labels`.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        scrape::total(&self.samples(), name, labels)
    }

    /// Connections that ended with `outcome`.
    pub fn closed(&self, outcome: &str) -> f64 {
        self.metric("strait_connections_closed_total", &[("outcome", outcome)])
    }

    /// How many files it has open.
    pub fn files(&self) -> usize {
        self.descriptors().count()
    }

    fn descriptors(&self) -> impl Iterator<Item = u64> {
        let path = format!("/proc/{}/fd", self.child.id());
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
    }

    /// Leaves it no descriptor beyond those that it has.
    pub fn forbid_more_files(&self) {
        // The limit is one of numbers, not of how many there are (getrlimit(2)).
        let used: HashSet<u64> = self.descriptors().collect();
        let limit = (0..).find(|number| !used.contains(number)).unwrap();
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        prlimit(Some(self.pid()), Resource::Nofile, limit).unwrap();
    }

    /// CPU time that it has used, to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        // proc(5): utime and stime are fields 14 and 15 of all.
        let ticks = [11, 12].map(|index| self.stat_after_name(index).parse::<u64>().unwrap());
        Duration::from_millis(ticks.iter().sum::<u64>() * 10)
    }

    /// Stops it in its tracks, as SIGSTOP does.
    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        wait_until("the process stands still", || {
            self.stat_after_name(0) == "T"
        });
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn stat_after_name(&self, index: usize) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name, in brackets, may hold spaces.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(index).unwrap().to_owned()
    }
}

/// An address for another process to bind.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

/// From the line that says that a listener serves.
fn served_address(said: &[String]) -> Option<SocketAddr> {
    let line = said.iter().find(|line| line.contains(" serving "))?;
    let (_, address) = line.split_once("address=")?;
    address.split(' ').next()?.parse().ok()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}
