//! The machine: the choice of CPUs, and the resources that a process has used.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// The CPUs of the gateway, and those of the load.
#[derive(Debug, Clone)]
pub struct Cpus {
    gateway: CpuSet,
    load: CpuSet,
}

impl Cpus {
    /// Chooses CPUs. For one worker: the first CPU that this process may use for the gateway, the
    /// second for the load. For more workers, or when a single CPU is enough (`any`): all CPUs for
    /// both.
    pub fn choose(workers: usize, any: bool) -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| allowed.is_set(*cpu))
            .collect();
        let [first, second, ..] = usable[..] else {
            return match any {
                true => Ok(Self {
                    gateway: allowed,
                    load: allowed,
                }),
                false => Err(io::Error::other(
                    "two CPUs are needed: one for the gateway, one for the load",
                )),
            };
        };
        if workers > 1 {
            return Ok(Self {
                gateway: allowed,
                load: allowed,
            });
        }
        let only = |cpu| {
            let mut set = CpuSet::new();
            set.set(cpu);
            set
        };
        Ok(Self {
            gateway: only(first),
            load: only(second),
        })
    }

    /// Moves this thread, and everything that it starts later, to the CPUs of the load.
    pub fn enter_load(&self) -> io::Result<()> {
        Ok(sched_setaffinity(None, &self.load)?)
    }

    /// Calls `start` so that the programs that it starts run on the CPUs of the gateway.
    pub fn start_gateway<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        sched_setaffinity(None, &self.gateway)?;
        let started = start();
        self.enter_load()?;
        started
    }
}

/// Gives this thread precedence over all others on its CPU, if the process may do that. Returns whether
/// it did.
pub fn run_first() -> bool {
    let thread = gettid().as_raw_nonzero().to_string();
    Command::new("chrt")
        .args(["--fifo", "--pid", "1", &thread])
        .status()
        .is_ok_and(|status| status.success())
}

/// A process and its descendants, by id.
#[derive(Debug, Clone, Default)]
pub struct Processes(Vec<u32>);

impl Processes {
    /// `root` and its descendants at this moment.
    pub fn of(root: u32) -> Self {
        let mut all = vec![root];
        let mut next = 0;
        while let Some(process) = all.get(next) {
            let children = tasks(*process).into_iter().flat_map(|task| {
                let text = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
                let ids = text.split_whitespace().filter_map(|id| id.parse().ok());
                ids.collect::<Vec<u32>>()
            });
            let children: Vec<u32> = children.collect();
            all.extend(children);
            next += 1;
        }
        Self(all)
    }

    /// The CPU time used by the threads that exist now (`/proc/PID/task/TID/schedstat`).
    pub fn cpu_time(&self) -> Duration {
        let nanoseconds = self.0.iter().flat_map(|id| tasks(*id)).map(|task| {
            let text = fs::read_to_string(format!("{task}/schedstat")).unwrap_or_default();
            let first = text.split_whitespace().next();
            first
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0)
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Their ids, the first of all first.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }

    /// Their threads that carry traffic: those that are called workers, or all if none is.
    pub fn carriers(&self) -> Vec<Thread> {
        let paths = self.0.iter().flat_map(|id| tasks(*id));
        let threads = paths.filter_map(|path| {
            let id = path.rsplit('/').next()?.parse().ok()?;
            Some(Thread { path, id })
        });
        let all: Vec<Thread> = threads.collect();
        match all.iter().any(Thread::is_worker) {
            true => all.into_iter().filter(Thread::is_worker).collect(),
            false => all,
        }
    }

    /// The resident memory of all of them, in bytes.
    pub fn resident(&self) -> u64 {
        self.0.iter().map(|id| resident(*id)).sum()
    }
}

/// A thread of a process.
#[derive(Debug)]
pub struct Thread {
    path: String,
    /// Its id.
    pub id: u32,
}

impl Thread {
    fn is_worker(&self) -> bool {
        let name = fs::read_to_string(format!("{}/comm", self.path));
        name.is_ok_and(|name| name.contains("worker"))
    }

    /// Whether a tracer has attached to it.
    pub fn is_traced(&self) -> bool {
        let status = fs::read_to_string(format!("{}/status", self.path)).unwrap_or_default();
        let mut lines = status.lines();
        let tracer = lines.find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|id| id.trim() != "0")
    }
}

fn tasks(process: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .collect()
}

fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The machine on which the numbers were measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// The number of CPUs that this process may use.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The TCP congestion control of new sockets. Empty in results from before it was noted.
    #[serde(default)]
    pub congestion: String,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let processor = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        Self {
            processor: processor.to_owned(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: strait::socket::KernelReport::read().release,
            congestion: fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
                .unwrap_or_default()
                .trim()
                .to_owned(),
        }
    }
}

/// The path of a program with this name, found as a shell does.
pub fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Daemons are in sbin, which not every user has in PATH.
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
