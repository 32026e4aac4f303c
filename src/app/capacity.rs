//! The capacity of the process: the number of connections, and the memory of its budgets.
//!
//! It follows from the limits of open files and of memory. The log gives it at start and when it
//! changes, since a container may get more memory while it runs.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::config::Config;
use crate::limits::memory::{self, Level, Memory, Reserved};
use crate::proxy;
use crate::socket;

/// The number of descriptors for other things than connections: logs, epoll, listeners, admin,
/// resolver, the Kubernetes API.
const RESERVED_FILES: u64 = 256;
/// The number of sockets of a connection.
const FILES_PER_CONNECTION: u64 = 2;
/// The number of connections when neither open files nor memory are limited.
const MOST_CONNECTIONS: usize = 1_000_000;
/// Computes the capacity.
#[derive(Debug)]
pub(super) struct Capacity {
    /// The folder that contains `proc` and `sys`.
    root: PathBuf,
    /// The limit of open files.
    files: Option<u64>,
    /// The capacity that was last logged.
    said: Mutex<Option<Chosen>>,
}

/// The capacity and its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The number of open connections.
    pub(super) connections: usize,
    /// The bytes for hellos in progress.
    pub(super) hello_memory: usize,
    /// The bytes that short writes left waiting.
    pub(super) carry_memory: usize,
    asked: Option<usize>,
    by_files: usize,
    by_memory: usize,
    memory: Option<(u64, String)>,
}

impl Capacity {
    /// For the host with the root folder `root`. Raises the limit of open files.
    pub(super) fn new(root: Option<PathBuf>) -> Self {
        Self {
            root: root.unwrap_or_else(|| "/".into()),
            files: socket::raise_file_limit(),
            said: Mutex::default(),
        }
    }

    /// The capacity for `config` at this moment.
    pub(super) fn choose(&self, config: &Config) -> Chosen {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.as_ref().and_then(|chosen| chosen.memory.clone());
        let memory = self.memory().map_or(before, |memory| memory.limit);
        let chosen = choose(config, self.files, memory);
        if said.as_ref() != Some(&chosen) {
            chosen.say(config);
            *said = Some(chosen.clone());
        }
        chosen
    }

    /// The kernel's figures for the memory of this process; `None` while they cannot be read, for
    /// instance for lack of descriptors.
    pub(super) fn memory(&self) -> Option<Memory> {
        let failed = Cell::new(false);
        let read = |path: &Path| {
            let text = fs::read_to_string(path);
            let error = text.as_ref().err().and_then(io::Error::raw_os_error);
            // Any other error means that the file does not exist, or not for this process.
            let short = [libc::EMFILE, libc::ENFILE, libc::ENOMEM].map(Some);
            failed.set(failed.get() || short.contains(&error));
            text.ok()
        };
        let own = read(&self.root.join("proc/self/cgroup")).unwrap_or_default();
        let (version, folders) = memory::cgroup_folders(&own);
        let levels: Vec<(String, Level)> = folders
            .into_iter()
            .map(|folder| {
                let files = self.root.join(&folder);
                (folder, Level::of(version, |name| read(&files.join(name))))
            })
            .collect();
        let host = read(&self.root.join("proc/meminfo"));
        let memory = Memory::of(&levels, host.and_then(|text| memory::host_memory(&text)));
        (!failed.get()).then_some(memory)
    }
}

fn choose(config: &Config, files: Option<u64>, memory: Option<(u64, String)>) -> Chosen {
    let limits = &config.limits;
    let by_files = files.map_or(MOST_CONNECTIONS, |files| {
        let pairs = files.saturating_sub(RESERVED_FILES) / FILES_PER_CONNECTION;
        let pairs = usize::try_from(pairs).unwrap_or(MOST_CONNECTIONS);
        // A pipe is a pair of descriptors too.
        pairs.saturating_sub(proxy::pipes_beside(pairs)).max(1)
    });
    let bytes = memory.as_ref().map(|(bytes, _)| *bytes);
    let hello_memory = memory::budget_within(bytes, limits.hello_memory);
    let carry_memory = memory::budget_within(bytes, limits.carry_memory);
    let reserved = Reserved {
        workers: config.workers.get(),
        budgets: hello_memory.saturating_add(carry_memory),
        log_lines: {
            let otlp = config.access_log.otlp.as_ref();
            config.access_log.queue + otlp.map_or(0, |otlp| otlp.queue)
        },
        pipes: proxy::MAX_PIPES,
        connections_per_pipe: proxy::CONNECTIONS_PER_PIPE,
    };
    let by_memory = bytes.map_or(MOST_CONNECTIONS, |bytes| {
        memory::connections_within(bytes, limits.memory_percent, &reserved)
    });
    Chosen {
        connections: limits.connections.unwrap_or(by_memory).min(by_files),
        hello_memory,
        carry_memory,
        asked: limits.connections,
        by_files,
        by_memory,
        memory,
    }
}

impl Chosen {
    fn follows_from(&self) -> &'static str {
        match self.asked {
            Some(asked) if asked <= self.by_files => "limits.connections",
            None if self.by_memory < self.by_files => "memory",
            _ => "open files",
        }
    }

    fn say(&self, config: &Config) {
        let (memory, memory_from) = match &self.memory {
            Some((bytes, from)) => (Some(*bytes), from.as_str()),
            None => (None, "unknown"),
        };
        tracing::info!(
            connections = self.connections,
            follows_from = self.follows_from(),
            open_files_allow = self.by_files,
            memory_allows = self.by_memory,
            memory_bytes = memory,
            memory_from,
            hello_memory_bytes = self.hello_memory,
            carry_memory_bytes = self.carry_memory,
            "connection limit"
        );
        if self.asked.is_some_and(|asked| asked > self.by_files) {
            tracing::warn!(
                asked = self.asked,
                allowed = self.by_files,
                "limits.connections is more than the limit of open files allows"
            );
        }
        if self.connections > self.by_memory {
            tracing::warn!(
                connections = self.connections,
                memory_allows = self.by_memory,
                memory_bytes = memory,
                memory_from,
                "limits.connections is more than the memory limit allows: the kernel may kill the process before that many are open"
            );
        }
        let asked = [
            (
                "limits.hello_memory",
                config.limits.hello_memory,
                self.hello_memory,
            ),
            (
                "limits.carry_memory",
                config.limits.carry_memory,
                self.carry_memory,
            ),
        ];
        for (key, asked, used) in asked.into_iter().filter(|(_, asked, used)| asked > used) {
            tracing::info!(
                key,
                asked,
                used,
                "the key is more than an eighth of the memory limit; strait uses an eighth instead"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn chosen(connections: &str, files: Option<u64>, memory: Option<u64>) -> Chosen {
        let listeners = "listeners: [{ name: l, bind: '127.0.0.1:0' }]";
        let text = format!("workers: 2\n{listeners}\nlimits: {{ connections: {connections} }}\n");
        let config = Config::parse(&text, "test").unwrap();
        choose(&config, files, memory.map(|bytes| (bytes, "/x".to_owned())))
    }

    #[test]
    fn the_tighter_of_files_and_memory_counts_unless_the_config_says_a_number() {
        for (connections, files, memory, most, from) in [
            ("auto", Some(1024), None, 360, "open files"),
            ("auto", Some(1024), Some(GIB), 360, "open files"),
            ("auto", Some(1 << 20), Some(GIB), 50_000, "memory"),
            ("auto", None, None, MOST_CONNECTIONS, "open files"),
            ("300", Some(1024), Some(GIB), 300, "limits.connections"),
            ("3000", Some(1024), Some(GIB), 360, "open files"),
            (
                "90000",
                Some(1 << 20),
                Some(GIB),
                90_000,
                "limits.connections",
            ),
        ] {
            let chosen = chosen(connections, files, memory);
            let (count, why) = (chosen.connections, chosen.follows_from());
            assert!((most - most / 8..=most).contains(&count), "{chosen:?}");
            assert_eq!(why, from, "{chosen:?}");
        }
    }

    #[test]
    fn a_budget_is_an_eighth_of_memory_at_most() {
        let small = chosen("auto", None, Some(72 << 20));
        assert_eq!((small.hello_memory, small.carry_memory), (9 << 20, 9 << 20));
        let large = chosen("auto", None, Some(GIB));
        assert_eq!(
            (large.hello_memory, large.carry_memory),
            (64 << 20, 64 << 20)
        );
    }
}
