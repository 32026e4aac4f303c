//! Facts about the kernel, its settings and the limits of the container that the command runs in.

use std::fmt::Write as _;
use std::path::Path;

use crate::file;

/// The most bytes of one file.
const MOST: usize = 16 * 1024;

/// The files, each with what it says. Those of process 1 are the gateway's in its image.
const FILES: &[&str] = &[
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/nr_open",
    "/proc/sys/fs/pipe-max-size",
    "/proc/sys/fs/pipe-user-pages-soft",
    "/proc/sys/net/core/netdev_max_backlog",
    "/proc/sys/net/core/rmem_max",
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/net/core/wmem_max",
    "/proc/sys/net/ipv4/ip_local_port_range",
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    "/proc/sys/net/ipv4/tcp_max_syn_backlog",
    "/proc/sys/net/ipv4/tcp_mem",
    "/proc/sys/net/ipv4/tcp_migrate_req",
    "/proc/sys/net/ipv4/tcp_rmem",
    "/proc/sys/net/ipv4/tcp_syncookies",
    "/proc/sys/net/ipv4/tcp_tw_reuse",
    "/proc/sys/net/ipv4/tcp_wmem",
    "/proc/sys/net/ipv6/conf/all/disable_ipv6",
    "/proc/1/limits",
    "/proc/self/limits",
    "/proc/self/cgroup",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/sockstat",
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu.stat",
    "/sys/fs/cgroup/memory.current",
    "/sys/fs/cgroup/memory.high",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/pids.max",
];

pub(super) fn facts() -> String {
    let kernel = rustix::system::uname();
    let parts = [
        kernel.sysname(),
        kernel.release(),
        kernel.version(),
        kernel.machine(),
    ];
    let parts = parts.map(|part| part.to_string_lossy().into_owned());
    let mut text = format!("{}\n", parts.join(" "));
    match std::thread::available_parallelism() {
        Ok(cpus) => {
            let _ = writeln!(text, "CPUs that a process may use here: {cpus}");
        }
        Err(error) => {
            let _ = writeln!(text, "CPUs: {error}");
        }
    }
    for path in FILES {
        let read = file::read(Path::new(path), MOST);
        let content = match &read {
            Ok((bytes, _)) => String::from_utf8_lossy(bytes).into_owned(),
            Err(error) => format!("not there: {error}"),
        };
        let content = content.trim_end();
        // A content of one line stands behind its name.
        let separator = if content.contains('\n') { "\n" } else { " " };
        let _ = writeln!(text, "{path}:{separator}{content}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_and_what_is_not_says_so() {
        let facts = facts();
        for path in FILES {
            let line = format!("\n{path}:");
            assert_eq!(facts.matches(&line).count(), 1, "{path} in\n{facts}");
        }
        assert!(facts.starts_with("Linux "), "{facts}");
        assert!(facts.contains("Max open files"), "{facts}");
    }
}
