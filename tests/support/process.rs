//! The `strait` binary as a process of its own, for what concerns a whole process.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, pipe_with};
use rustix::process::Uid;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, getuid, kill_process, prlimit};
use rustix::thread::set_thread_uid;
use strait::tools::scrape::{self, Samples};

use super::config_text::ConfigText;
use super::gateway::get;
use super::wait_until;

/// A folder of its own, gone with the test.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one.
    pub fn create() -> Self {
        static CREATED: AtomicUsize = AtomicUsize::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("strait-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of `name` in this folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, making the folders on the way to it.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
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

/// `strait run --config` of this file, not started yet.
pub fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
    command.args(["run", "--config"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped());
    command
}

/// A user without rights, and what pipes of its own this process holds.
pub struct SomeUser {
    id: u32,
    pipes: Vec<(OwnedFd, OwnedFd)>,
}

impl SomeUser {
    /// Has pipes until the kernel gives only small ones (pipe(7), `pipe-user-pages-soft`).
    pub fn with_all_pipes_used() -> Self {
        strait::socket::raise_file_limit();
        let own = getuid();
        // Nobody else's on this machine, and another one in each test process.
        let id = if own.is_root() {
            1 << 30 | std::process::id()
        } else {
            own.as_raw()
        };
        let use_up = move || {
            if own.is_root() {
                // The system call, unlike libc's function, changes this thread only.
                set_thread_uid(Uid::from_raw(id)).unwrap();
            }
            let mut pipes = Vec::new();
            loop {
                let pipe = pipe_with(PipeFlags::CLOEXEC).unwrap();
                if fcntl_getpipe_size(&pipe.0).unwrap() < 64 * 1024 {
                    return pipes;
                }
                pipes.push(pipe);
            }
        };
        let pipes = std::thread::spawn(use_up).join().unwrap();
        Self { id, pipes }
    }

    /// Closes them.
    pub fn give_back(self) {
        drop(self.pipes);
    }
}

/// `strait run`; killed when dropped.
pub struct Process {
    child: Child,
    stderr: Arc<Stderr>,
    /// The address of its first listener.
    pub address: SocketAddr,
    /// The config's, when it is not the test's.
    _folder: Option<Folder>,
}

/// Its standard error so far.
#[derive(Default)]
struct Stderr {
    lines: Mutex<Vec<String>>,
    /// Set while nobody reads it.
    unread: AtomicBool,
}

impl Stderr {
    /// Reads what a child says from now on.
    fn of(child: &mut Child) -> Arc<Self> {
        let stderr = Arc::new(Self::default());
        let (lines, kept) = (child.stderr.take().unwrap(), stderr.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                kept.lines.lock().unwrap().push(line);
                while kept.unread.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        stderr
    }
}

/// `strait run` that loads its config; killed when dropped.
pub struct Loading {
    child: Child,
    stderr: Arc<Stderr>,
}

impl Loading {
    /// Starts it, and returns while it loads its config, which must be large for that.
    pub fn start(config: &Path) -> Self {
        let mut child = command(config).spawn().unwrap();
        let stderr = Stderr::of(&mut child);
        // Beyond what the program does before it loads.
        wait_until("it loads", || {
            super::cpu_time_of(child.id()) >= Duration::from_millis(50)
        });
        Self { child, stderr }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it has said a line with `text` on standard error.
    pub fn said(&self, text: &str) -> bool {
        let lines = self.stderr.lines.lock().unwrap();
        lines.iter().any(|line| line.contains(text))
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        wait_end(&mut self.child)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a child has ended by itself.
#[track_caller]
fn wait_end(child: &mut Child) -> ExitStatus {
    let mut ended = None;
    wait_until("the process ends", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    ended.unwrap()
}

/// Stops a process in its tracks, as SIGSTOP does. The signal takes effect when a thread of the process is scheduled, so
/// this waits until each of them stands still.
pub fn freeze(child: &Child) {
    kill_process(Pid::from_child(child), Signal::STOP).unwrap();
    wait_until("the process stands still", || {
        let mut threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        threads.all(|thread| {
            let stat = fs::read_to_string(thread.unwrap().path().join("stat"));
            // proc(5): the state comes after the name, in brackets. A thread that has just ended has none.
            stat.is_ok_and(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        })
    });
}

impl Process {
    /// Starts it and waits until it serves.
    pub fn start(config: &ConfigText) -> Self {
        let folder = Folder::create();
        let path = folder.file("strait.yaml", &config.text());
        Self::of_file(&path).keeping(folder)
    }

    /// Starts it with at most this many open files.
    pub fn start_with_files(config: &ConfigText, files: u32) -> Self {
        let folder = Folder::create();
        let path = folder.file("strait.yaml", &config.text());
        let mut limited = Command::new("sh");
        limited
            .arg("-c")
            .arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_strait"))
            .args(["run", "--config"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self::spawn(limited).keeping(folder)
    }

    /// Starts it as another user.
    pub fn start_as(config: &ConfigText, user: &SomeUser) -> Self {
        let folder = Folder::create();
        let path = folder.file("strait.yaml", &config.text());
        // A place where that user may read it, in contrast to the build folder.
        let program = folder.path("strait");
        fs::copy(env!("CARGO_BIN_EXE_strait"), &program).unwrap();
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&path).uid(user.id);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Self::spawn(command).keeping(folder)
    }

    fn keeping(mut self, folder: Folder) -> Self {
        self._folder = Some(folder);
        self
    }

    /// Starts it with a config file that is the test's, and waits until it serves.
    pub fn of_file(config: &Path) -> Self {
        Self::spawn(command(config))
    }

    /// Starts `strait run` as this command has it, and waits until it serves.
    pub fn of_command(command: Command) -> Self {
        Self::spawn(command)
    }

    /// As [`Process::of_file`]; its standard output is for the test to read, or not.
    pub fn with_stdout(config: &Path) -> (Self, ChildStdout) {
        let mut command = command(config);
        command.stdout(Stdio::piped());
        let mut process = Self::spawn(command);
        let stdout = process.child.stdout.take().unwrap();
        (process, stdout)
    }

    /// As [`Process::of_file`]; its standard output is this file, and no file that it writes may be
    /// larger than so many KiB.
    pub fn with_file_size(config: &Path, stdout: &Path, kibibytes: u64) -> Self {
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("ulimit -f {kibibytes} && exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_strait"))
            .args(["run", "--config"])
            .arg(config)
            .stdout(fs::File::create(stdout).unwrap())
            .stderr(Stdio::piped());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = Stderr::of(&mut child);
        let mut process = Self {
            child,
            stderr,
            address: SocketAddr::from(([0; 4], 0)),
            _folder: None,
        };
        wait_until("the process serves", || {
            let ended = process.child.try_wait().unwrap();
            let lines = process.stderr.lines.lock().unwrap();
            assert!(ended.is_none(), "{ended:?}: {lines:?}");
            // The last of its addresses: all others are known then.
            lines
                .iter()
                .any(|line| line.contains("serving server=metrics"))
        });
        process.address = process.bound("serving listener=");
        process
    }

    fn bound(&self, text: &str) -> SocketAddr {
        let line = self.wait_for(text);
        let (_, address) = line.split_once("address=").unwrap();
        address.split(' ').next().unwrap().parse().unwrap()
    }

    /// The address of one of its servers: `admin`, `status` or `metrics`.
    pub fn server(&self, name: &str) -> SocketAddr {
        self.bound(&format!("serving server={name} "))
    }

    /// The last line on standard error that holds `text`; waits for one.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let mut found = None;
        wait_until(&format!("it says {text:?}"), || {
            let lines = self.stderr.lines.lock().unwrap();
            found = lines.iter().rfind(|line| line.contains(text)).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    /// Number of lines with `text` on its standard error so far.
    pub fn said(&self, text: &str) -> usize {
        let lines = self.stderr.lines.lock().unwrap();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// Leaves its standard error unread until it has ended.
    pub fn leave_stderr_unread(&self) {
        self.stderr.unread.store(true, Ordering::Relaxed);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        wait_end(&mut self.child)
    }

    /// All metrics now.
    pub fn samples(&self) -> Samples {
        let (status, text) = get(self.server("metrics"), "/metrics").unwrap();
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

    /// Number of its open files.
    pub fn files(&self) -> usize {
        self.descriptors().count()
    }

    /// The target of each of its descriptors, as `/proc` has it: `pipe:[1]`, `socket:[2]`, the path of a file.
    pub fn descriptor_targets(&self) -> Vec<String> {
        let path = format!("/proc/{}/fd", self.child.id());
        let links = fs::read_dir(path).unwrap();
        // One may be closed meanwhile.
        links
            .filter_map(|link| fs::read_link(link.unwrap().path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .collect()
    }

    /// A number in `/proc/PID/status`, such as `VmRSS`, in KiB where it is memory.
    pub fn status(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse().unwrap()
    }

    fn descriptors(&self) -> impl Iterator<Item = u64> {
        let path = format!("/proc/{}/fd", self.child.id());
        let entries = fs::read_dir(path).unwrap();
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
        self.limit_files(limit);
    }

    /// Leaves it as many descriptors as this process may have.
    pub fn allow_more_files(&self) {
        self.limit_files(getrlimit(Resource::Nofile).current.unwrap_or(1 << 20));
    }

    /// Sets the limit of its descriptors. The hard limit stays: only root could raise it again.
    pub fn limit_files(&self, current: u64) {
        let limit = Rlimit {
            current: Some(current),
            maximum: getrlimit(Resource::Nofile).maximum,
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
        freeze(&self.child);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn stat_after_name(&self, index: usize) -> String {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name, in brackets, may hold spaces.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(index).unwrap().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its thread reads on to the end, and ends.
        self.stderr.unread.store(false, Ordering::Relaxed);
    }
}
