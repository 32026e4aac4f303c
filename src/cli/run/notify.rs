//! Messages to the service manager that started this process: systemd, with `Type=notify` (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::drain::{DrainPhase, DrainWatcher};

/// The variable with the name of the service manager's socket.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// The longest wait for a service manager that does not read its messages.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the service manager. Without one, it sends nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Notifier(Option<Arc<UnixDatagram>>);

impl Notifier {
    /// The service manager that the environment names. If it cannot be reached, the log says so.
    pub(super) fn from_environment() -> Self {
        let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        Self::to(&name).unwrap_or_else(|error| {
            tracing::warn!(%error, ?name, "cannot reach the service manager that {VARIABLE} names");
            Self::default()
        })
    }

    /// `name` is the path of a socket, or an abstract name after `@`.
    fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                return Err(io::Error::other(
                    "it is neither a path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect_addr(&address)?;
        Ok(Self(Some(Arc::new(socket))))
    }

    /// The gateway accepts connections, or a reload is over.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reloads the config"
        ));
    }

    /// Sends the begin of the drain, and its end.
    pub(super) async fn follow(self, mut watcher: DrainWatcher) {
        loop {
            let status = match watcher.changed().await {
                DrainPhase::Running => continue,
                DrainPhase::Announced => "drains: not ready, still accepts connections",
                DrainPhase::Draining { .. } => "drains: open connections may finish",
                DrainPhase::Stopped => return self.send("STOPPING=1\nSTATUS=ends"),
            };
            self.send(&format!("STOPPING=1\nSTATUS={status}"));
        }
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::warn!(%error, message, "cannot send a message to the service manager");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service manager's socket with an abstract name, and a notifier for it.
    fn pair(name: &str) -> (UnixDatagram, Notifier) {
        let name = format!("strait-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        (manager, Notifier::to(format!("@{name}").as_ref()).unwrap())
    }

    fn message(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_reload_has_the_time_of_the_clock_that_systemd_compares_with() {
        let (manager, notifier) = pair("reload");
        let now = || {
            let now = clock_gettime(ClockId::Monotonic);
            now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
        };
        let before = now();
        notifier.reloading();
        let said = message(&manager);
        let (_, rest) = said.split_once("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let at: i64 = rest.split_once('\n').unwrap().0.parse().unwrap();
        assert!((before..=now()).contains(&at), "{said}");
    }

    #[tokio::test]
    async fn every_phase_of_the_drain_is_a_stop() {
        let (manager, notifier) = pair("drain");
        let (trigger, watcher) = crate::drain::channel();
        let follow = notifier.follow(watcher);
        trigger.advance(DrainPhase::Announced);
        trigger.advance(DrainPhase::Stopped);
        follow.await;
        assert_eq!(message(&manager), "STOPPING=1\nSTATUS=ends");
    }

    #[test]
    fn a_name_of_another_form_is_refused() {
        for name in ["", "relative", "vsock:2:1", "/no/such/socket"] {
            Notifier::to(name.as_ref()).unwrap_err();
        }
    }

    #[test]
    fn without_a_service_manager_nothing_is_sent() {
        Notifier::default().ready("serves");
    }
}
