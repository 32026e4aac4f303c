//! The features and limits of this host's kernel, read once at start and logged.

use std::fmt;
use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one (containerd 2 starts pods with 1,024). Returns
/// the limit in force; `None` without a limit.
pub fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// The features of the kernel. A value that cannot be read (this kernel or this sandbox hides the
/// sysctl) is `None`.
#[derive(Debug, Clone, Default)]
pub struct KernelReport {
    /// `uname -r`.
    pub release: String,
    /// True if IPv6 sockets can be created.
    pub ipv6: bool,
    /// The longest accept queue.
    pub somaxconn: Option<u64>,
    /// The first and the last port for outgoing connections.
    pub local_ports: Option<(u64, u64)>,
    /// True if connections that wait on a closing SO_REUSEPORT member move to another member.
    pub migrates_requests: Option<bool>,
    /// The number of pages that an unprivileged user's pipes may hold before new ones shrink.
    pub pipe_user_pages: Option<u64>,
}

impl KernelReport {
    /// Reads them from the kernel.
    pub fn read() -> Self {
        let ports = sysctl("net/ipv4/ip_local_port_range");
        let ports = ports.as_deref().and_then(|text| {
            let mut numbers = text.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        });
        let ipv6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        Self {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            ipv6: ipv6.is_ok() && number("net/ipv6/conf/all/disable_ipv6") != Some(1),
            somaxconn: number("net/core/somaxconn"),
            local_ports: ports,
            migrates_requests: number("net/ipv4/tcp_migrate_req").map(|value| value == 1),
            pipe_user_pages: number("fs/pipe-user-pages-soft"),
        }
    }
}

fn sysctl(path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{path}")).ok()
}

fn number(path: &str) -> Option<u64> {
    sysctl(path)?.trim().parse().ok()
}

impl fmt::Display for KernelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |value: Option<u64>| value.map_or("unknown".into(), |value| value.to_string());
        write!(
            f,
            "Linux {}, IPv6 {}, somaxconn {}, local ports {}, tcp_migrate_req {}, pipe-user-pages-soft {}",
            self.release,
            if self.ipv6 { "on" } else { "off" },
            known(self.somaxconn),
            match self.local_ports {
                Some((first, last)) => format!("{first}-{last}"),
                None => "unknown".into(),
            },
            match self.migrates_requests {
                Some(true) => "on",
                Some(false) => "off",
                None => "unknown",
            },
            known(self.pipe_user_pages),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_file_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, limit);
    }

    #[test]
    fn the_report_names_the_kernel() {
        let report = KernelReport::read();
        assert!(!report.release.is_empty());
        assert!(report.to_string().contains(&report.release));
    }
}
