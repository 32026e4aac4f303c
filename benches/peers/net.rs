//! The network between the load and the gateways: loopback, or a veth pair.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

/// The congestion control of most servers.
pub const USUAL_CONGESTION: &str = "cubic";
/// The address of the load's end of the veth pair, and that of the gateways' end. Both ends are in
/// network namespaces of their own.
const LOAD_END: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);
const GATEWAY_END: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 2);
/// Sysctls that keep short connections from running out of ports off loopback
/// (`docs/src/internals/kernel.md#local-ports-run-out`). The operator of a gateway must set them too.
const SYSCTLS: &[(&str, &str)] = &[("net/ipv4/tcp_tw_reuse", "1"), PORTS];
const PORTS: (&str, &str) = ("net/ipv4/ip_local_port_range", "1024 65535");
/// The sysctl of the congestion control that sockets of a namespace get.
const CONGESTION: &str = "net/ipv4/tcp_congestion_control";
/// The sysctl of those that a namespace other than the first may have as its own.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
/// The environment variable that tells a process that it runs in the load's namespace already.
const INSIDE: &str = "STRAIT_BENCH_INSIDE";

/// The network between the two ends.
#[derive(Debug)]
pub enum Net {
    /// All addresses are 127.0.0.1.
    Loopback,
    /// The gateways are in the namespace of that name, with an MTU of 1500 in between.
    Veth(String),
}

impl Net {
    /// Runs this program again in a network namespace of its own, which may have that congestion control, unless
    /// it is in one. Returns whether it has done so, and that run has succeeded.
    ///
    /// # Errors
    /// The namespace cannot be had, or the run has failed.
    pub fn isolate(congestion: &str) -> io::Result<bool> {
        if std::env::var_os(INSIDE).is_some() {
            return Ok(false);
        }
        allow(congestion);
        let mut command = Command::new("unshare");
        command.arg("--net");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let status = command
            .arg(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(INSIDE, "1")
            .status()?;
        match status.success() {
            true => Ok(true),
            false => Err(io::Error::other(format!("in a namespace: {status}"))),
        }
    }

    /// Opens the loopback of this namespace, which must be the bench's own, with that congestion control.
    pub fn loopback(congestion: &str) -> io::Result<Self> {
        ip("link set lo up".split(' '))?;
        set_congestion(congestion)?;
        Ok(Self::Loopback)
    }

    /// Gives this namespace, which must be the bench's own, as many local ports as there are.
    pub fn widen_ports() -> io::Result<()> {
        let (path, value) = PORTS;
        fs::write(format!("/proc/sys/{path}"), value)
    }

    /// Creates a veth pair from this namespace, which must be the load's own, to one for the gateways.
    pub fn veth(congestion: &str) -> io::Result<Self> {
        let name = format!("strait-bench-{}", std::process::id());
        let made = Self::Veth(name.clone());
        let (load, gateway) = (format!("{LOAD_END}/24"), format!("{GATEWAY_END}/24"));
        for arguments in [
            "link set lo up",
            &format!("netns add {name}"),
            &format!("link add load type veth peer name gateway netns {name}"),
            &format!("addr add {load} dev load"),
            "link set load up",
            &format!("-n {name} addr add {gateway} dev gateway"),
            &format!("-n {name} link set gateway up"),
            &format!("-n {name} link set lo up"),
        ] {
            ip(arguments.split(' '))?;
        }
        set_congestion(congestion)?;
        for (path, value) in [SYSCTLS, &[(CONGESTION, congestion)]].concat() {
            let file = format!("/proc/sys/{path}");
            fs::write(&file, value)?;
            let script = format!("echo {value} > {file}");
            ip(["netns", "exec", &name, "sh", "-c", &script])?;
        }
        Ok(made)
    }

    /// The address of the backends.
    pub fn load(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Veth(_) => LOAD_END.into(),
        }
    }

    /// The address of the gateways.
    pub fn gateway(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Veth(_) => GATEWAY_END.into(),
        }
    }

    /// `command` as a command that runs in the gateways' namespace.
    pub fn around(&self, command: &Command) -> Command {
        let mut outer = match self {
            Self::Loopback => Command::new(command.get_program()),
            Self::Veth(name) => {
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", name]).arg(command.get_program());
                ip
            }
        };
        outer.args(command.get_args());
        outer
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Self::Veth(name) = self {
            let _ = ip(["netns", "del", name]);
        }
    }
}

/// Lets other namespaces have that congestion control. Without the right to do so, setting it says what is wrong.
fn allow(name: &str) {
    let allowed = fs::read_to_string(ALLOWED).unwrap_or_default();
    if !allowed.split_whitespace().any(|one| one == name) {
        let _ = fs::write(ALLOWED, format!("{} {name}", allowed.trim()));
    }
}

/// Sets the congestion control of new sockets in this namespace.
fn set_congestion(name: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{CONGESTION}"), name).map_err(|error| {
        io::Error::other(format!(
            "the kernel does not take {name} as congestion control ({error}); see --congestion"
        ))
    })
}

fn ip(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> io::Result<()> {
    let mut command = Command::new("ip");
    let status = command.args(arguments).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{command:?}: {status}"))),
    }
}
