//! The memory of the process: its limit, the number of connections that fit into it, and the threshold
//! above which new ones are refused.
//!
//! This file is pure: texts of files go in, numbers come out. The kernel kills a process whose cgroup
//! exceeds its limit, and every stream with it. So the budgets follow from that limit, and new
//! connections are refused shortly before it. The tightest limit counts on the way from the process's
//! own cgroup up to the root:
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files>, and for version 1
//! <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>.

use super::hysteresis::Hysteresis;

/// The memory of one connection, in bytes: two sockets with the kernel's data for each (10 to 12 KiB
/// when they are idle, charged to the cgroup), 1.3 KiB of its own, and a part of both sockets' buffers.
pub const CONNECTION: u64 = 16 * 1024;
/// The memory of a pipe with 16 pages, in bytes.
const PIPE: u64 = 64 * 1024;
/// The memory of the process without any connection: code, tables, the control thread.
const BASE: u64 = 24 * MIB;
/// The memory of a worker: its buffer, its stack, and the allocator's data for its thread.
const WORKER: u64 = 2 * MIB;
/// The memory of a log line that waits to be written.
const LOG_LINE: u64 = 512;
/// The largest part of the memory limit that one budget takes: one in this many.
const BUDGET_PART: u64 = 8;
/// The smallest part of the usable memory that connections get: one in this many. The other amounts are
/// maxima that are rarely reached together; in a small container they would leave nothing for
/// connections.
const CONNECTIONS_PART: u64 = 4;
/// A step against overload is given up this many percent below the use from which it is taken.
const HYSTERESIS: u64 = 5;
/// The part that is kept free when no threshold is set, in percent.
const RESERVE: u64 = 5;

const MIB: u64 = 1 << 20;

/// The version of cgroups that limits memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// The controller `memory` of version 1.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The version that limits the memory of the process with this `/proc/self/cgroup`, and the folders of
/// its cgroup and of those above it, its own first. Folders are paths from the root of the file system
/// without the leading `/`. The list includes folders that a container does not see.
pub fn cgroup_folders(proc_self_cgroup: &str) -> (CgroupVersion, Vec<String>) {
    let path_of = |wanted: fn(&str, &str) -> bool| {
        proc_self_cgroup.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            wanted(id, controllers).then_some(path)
        })
    };
    let controls_memory = |_: &str, list: &str| list.split(',').any(|one| one == "memory");
    let (version, mount, path) = match path_of(controls_memory) {
        Some(path) => (CgroupVersion::V1, "sys/fs/cgroup/memory", path),
        None => {
            let path = path_of(|id, list| id == "0" && list.is_empty());
            (CgroupVersion::V2, "sys/fs/cgroup", path.unwrap_or("/"))
        }
    };
    let mut folders = Vec::new();
    // A path that leads out of the namespace cannot be followed. The root of the mount is always
    // visible.
    if !path.split('/').any(|part| part == "..") {
        let mut rest = path.trim_end_matches('/');
        while !rest.is_empty() {
            folders.push(format!("{mount}{rest}"));
            rest = rest.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }
    folders.push(mount.to_owned());
    (version, folders)
}

/// The limit and the use of one cgroup in bytes; `None` for a value that it does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// The largest use that is allowed.
    pub limit: Option<u64>,
    /// The use without memory that the kernel drops first (`inactive_file`), as Kubernetes counts a
    /// container's working set.
    pub used: Option<u64>,
}

impl Level {
    /// Reads a level from the files of one folder; `read` returns a file by its name.
    pub fn of(version: CgroupVersion, read: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name| read(name).and_then(|text| text.trim().parse::<u64>().ok());
        let (limits, used, dropped_first) = match version {
            // memory.high does not kill, but above it the kernel slows the process down until it nearly
            // stands still, which helps no stream either.
            CgroupVersion::V2 => (
                ["memory.max", "memory.high"],
                "memory.current",
                "inactive_file",
            ),
            CgroupVersion::V1 => (
                ["memory.limit_in_bytes", "memory.limit_in_bytes"],
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
        };
        let limits = limits.into_iter().filter_map(number);
        let stat = read("memory.stat").unwrap_or_default();
        let dropped_first = stat.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == dropped_first).then(|| value.trim().parse::<u64>().ok())?
        });
        Self {
            // Version 1 writes "no limit" as a number larger than any machine's memory.
            limit: limits.filter(|limit| *limit < 1 << 60).min(),
            used: number(used).map(|used| used.saturating_sub(dropped_first.unwrap_or(0))),
        }
    }
}

/// The host's memory in bytes, from `/proc/meminfo`.
pub fn host_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The memory of the process, from its cgroups and the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The tightest limit in bytes and its place; `None` when no limit is known.
    pub limit: Option<(u64, String)>,
    /// Use and limit of the cgroup that is nearest to its limit.
    pub pressed: Option<(u64, u64)>,
}

impl Memory {
    /// Computes the memory from the cgroups, by their folders, and the host's memory.
    pub fn of(levels: &[(String, Level)], host: Option<u64>) -> Self {
        let limits = levels.iter().filter_map(|(folder, level)| {
            let limit = level.limit?;
            Some((limit, format!("/{folder}")))
        });
        let host = host.map(|bytes| (bytes, "the host".to_owned()));
        let pressed = levels.iter().filter_map(|(_, level)| {
            let (used, limit) = (level.used?, level.limit?);
            (limit > 0).then_some((used, limit))
        });
        Self {
            // The first of equal limits: the process's own.
            limit: limits.chain(host).min_by_key(|(limit, _)| *limit),
            pressed: pressed.max_by_key(|(used, limit)| per_mille(*used, *limit)),
        }
    }
}

/// The use of a limit in thousandths.
pub fn per_mille(used: u64, limit: u64) -> u64 {
    used.saturating_mul(1000) / limit.max(1)
}

/// The size of a budget: `asked` bytes, or less where only `memory` bytes exist.
pub fn budget_within(memory: Option<u64>, asked: usize) -> usize {
    let most = memory.map(|bytes| bytes / BUDGET_PART);
    most.map_or(asked, |most| {
        asked.min(usize::try_from(most).unwrap_or(usize::MAX))
    })
}

/// The memory that is used beside connections.
#[derive(Debug, Clone, Copy)]
pub struct Reserved {
    /// Worker threads.
    pub workers: usize,
    /// The bytes of hellos and of short writes together.
    pub budgets: usize,
    /// The number of lines that may wait for the access log.
    pub log_lines: usize,
    /// The largest number of pipes.
    pub pipes: usize,
    /// The number of connections for each pipe.
    pub connections_per_pipe: usize,
}

/// The number of connections that fit into `memory` bytes, when `percent` of it may be used and
/// `reserved` is used beside them. At least 1.
pub fn connections_within(memory: u64, percent: Option<u32>, reserved: &Reserved) -> usize {
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let percent = percent.map_or(100 - RESERVE, u64::from);
    let usable = memory / 100 * percent;
    let beside = [
        BASE,
        WORKER.saturating_mul(wide(reserved.workers)),
        wide(reserved.budgets),
        LOG_LINE.saturating_mul(wide(reserved.log_lines)),
    ];
    let left = beside.into_iter().fold(usable, u64::saturating_sub);
    let left = left.max(usable / CONNECTIONS_PART);
    let pipes = wide(reserved.pipes);
    let with_a_part_of_a_pipe =
        left / (CONNECTION + PIPE / wide(reserved.connections_per_pipe).max(1));
    let connections = if with_a_part_of_a_pipe / wide(reserved.connections_per_pipe).max(1) < pipes
    {
        with_a_part_of_a_pipe
    } else {
        left.saturating_sub(pipes.saturating_mul(PIPE)) / CONNECTION
    };
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

/// The bounds of a step that is taken from `percent` of the memory on, in thousandths.
pub fn step_bounds(percent: u32) -> Hysteresis<u64> {
    let percent = u64::from(percent);
    Hysteresis {
        from: percent * 10,
        until: percent.saturating_sub(HYSTERESIS) * 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_folders_of_the_own_cgroup_and_of_those_above_it() {
        fn v1<'a>(folders: &[&'a str]) -> (CgroupVersion, Vec<&'a str>) {
            (CgroupVersion::V1, folders.to_vec())
        }
        fn v2<'a>(folders: &[&'a str]) -> (CgroupVersion, Vec<&'a str>) {
            (CgroupVersion::V2, folders.to_vec())
        }
        let hybrid = "5:devices:/x\n4:cpu,memory:/pod/own\n0::/\n";
        for (text, (version, folders)) in [
            ("0::/\n", v2(&["sys/fs/cgroup"])),
            ("", v2(&["sys/fs/cgroup"])),
            ("0::/../other\n", v2(&["sys/fs/cgroup"])),
            (
                "0::/kubepods.slice/pod1.slice/own.scope\n",
                v2(&[
                    "sys/fs/cgroup/kubepods.slice/pod1.slice/own.scope",
                    "sys/fs/cgroup/kubepods.slice/pod1.slice",
                    "sys/fs/cgroup/kubepods.slice",
                    "sys/fs/cgroup",
                ]),
            ),
            (
                hybrid,
                v1(&[
                    "sys/fs/cgroup/memory/pod/own",
                    "sys/fs/cgroup/memory/pod",
                    "sys/fs/cgroup/memory",
                ]),
            ),
        ] {
            let (found, of) = cgroup_folders(text);
            let of: Vec<&str> = of.iter().map(String::as_str).collect();
            assert_eq!((found, of), (version, folders));
        }
    }

    fn level(version: CgroupVersion, files: &[(&str, &str)]) -> Level {
        let files: HashMap<&str, &str> = files.iter().copied().collect();
        Level::of(version, |name| files.get(name).map(ToString::to_string))
    }

    #[test]
    fn the_files_of_a_cgroup() {
        use CgroupVersion::{V1, V2};
        let says = |limit, used| Level { limit, used };
        for (version, files, expected) in [
            (V2, &[][..], says(None, None)),
            (
                V2,
                &[("memory.max", "max\n"), ("memory.high", "max\n")],
                says(None, None),
            ),
            (
                V2,
                &[("memory.max", "1000\n"), ("memory.high", "max\n")],
                says(Some(1000), None),
            ),
            (
                V2,
                &[("memory.max", "1000\n"), ("memory.high", "900\n")],
                says(Some(900), None),
            ),
            (
                V2,
                &[
                    ("memory.max", "1000\n"),
                    ("memory.current", "800\n"),
                    (
                        "memory.stat",
                        "anon 1\nfile 2\ninactive_file 300\nactive_file 4\n",
                    ),
                ],
                says(Some(1000), Some(500)),
            ),
            (V2, &[("memory.current", "many\n")], says(None, None)),
            (
                V1,
                &[("memory.limit_in_bytes", "9223372036854771712\n")],
                says(None, None),
            ),
            (
                V1,
                &[
                    ("memory.limit_in_bytes", "1000\n"),
                    ("memory.usage_in_bytes", "800\n"),
                    ("memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"),
                ],
                says(Some(1000), Some(500)),
            ),
        ] {
            assert_eq!(level(version, files), expected, "{files:?}");
        }
    }

    #[test]
    fn the_tightest_limit_counts_and_the_cgroup_nearest_to_its_own() {
        let level = |limit, used| Level { limit, used };
        let levels = [
            ("own".to_owned(), level(Some(500), Some(100))),
            ("pod".to_owned(), level(Some(900), Some(800))),
            (String::new(), level(None, Some(5000))),
        ];
        let memory = Memory::of(&levels, Some(10_000));
        assert_eq!(memory.limit, Some((500, "/own".to_owned())));
        assert_eq!(memory.pressed, Some((800, 900)));
        let host = Memory::of(&levels[2..], Some(10_000));
        assert_eq!(host.limit, Some((10_000, "the host".to_owned())));
        assert_eq!(host.pressed, None);
        assert_eq!(Memory::of(&[], None), Memory::default());
    }

    #[test]
    fn the_hosts_memory() {
        let text = "MemTotal:        8052012 kB\nMemFree:          105196 kB\n";
        assert_eq!(host_memory(text), Some(8_052_012 * 1024));
        assert_eq!(host_memory("MemFree: 1 kB\n"), None);
        assert_eq!(host_memory("MemTotal: much\n"), None);
    }

    #[test]
    fn connections_take_what_the_budgets_leave() {
        let connections = |mebibytes: u64| {
            let memory = mebibytes * MIB;
            let budget = budget_within(Some(memory), 64 << 20);
            let reserved = Reserved {
                workers: 2,
                budgets: 2 * budget,
                log_lines: 16_384,
                pipes: 512,
                connections_per_pipe: 16,
            };
            let connections = connections_within(memory, Some(90), &reserved);
            // All of it together stays below the threshold.
            let pipes = u64::try_from((connections / 16).clamp(2, 512)).unwrap();
            let taken = BASE
                + 2 * WORKER
                + 2 * u64::try_from(budget).unwrap()
                + 16_384 * LOG_LINE
                + pipes * PIPE
                + u64::try_from(connections).unwrap() * CONNECTION;
            let usable = memory / 10 * 9;
            if mebibytes > 128 {
                assert!(
                    taken <= usable && usable - taken < MIB,
                    "{mebibytes} MiB: {taken}"
                );
            }
            connections
        };
        for (mebibytes, least, most) in [
            (16, 100, 300),
            (72, 500, 2000),
            (256, 5000, 10_000),
            (1024, 40_000, 60_000),
            (16_384, 900_000, 950_000),
        ] {
            let connections = connections(mebibytes);
            assert!(
                (least..most).contains(&connections),
                "{mebibytes} MiB: {connections}"
            );
        }
    }
}
