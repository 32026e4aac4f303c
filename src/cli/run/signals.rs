//! The effect of each signal on the gateway.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | the first drains, the second stops at once; before the gateway serves, the first stops |
//! | SIGHUP | reloads the config, once the gateway serves |
//! | SIGPIPE | none: the standard library ignores it, a write fails instead |
//! | [`WITHOUT_EFFECT`] | none; by default each would end the process |
//! | SIGQUIT, SIGABRT | end the process with a core file: that is what they are sent for |
//! | SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS | end the process: it is broken |
//! | SIGTSTP, SIGTTIN, SIGTTOU | stop the process until SIGCONT, as a shell expects |
//! | SIGCHLD, SIGURG, SIGWINCH | none, by default |
//! | real-time signals | end the process, by default: nothing sends them unasked |
//!
//! See signal(7).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that have no meaning for a gateway and would end it by default.
const WITHOUT_EFFECT: [libc::c_int; 10] = [
    // A log file has reached RLIMIT_FSIZE. The write fails, and is counted.
    libc::SIGXFSZ,
    // The soft RLIMIT_CPU is used up. The hard one still ends the process.
    libc::SIGXCPU,
    // Other servers reopen their log files or upgrade on these, so scripts may send them to any
    // process.
    libc::SIGUSR1,
    libc::SIGUSR2,
    // Signals of timers, profilers, terminals and power supplies.
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

/// The signals that have an effect.
pub(super) struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// A request that a signal makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    End,
}

impl Signals {
    /// Takes over every signal of the table above. From now on none is lost, even while nobody waits
    /// for one.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub(super) fn install() -> io::Result<Self> {
        let signals = Self {
            reload: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        for number in WITHOUT_EFFECT {
            // The handler stays when the stream is dropped. A handler, not SIG_IGN, because programs
            // that a kubeconfig names would inherit SIG_IGN.
            let _ = signal(SignalKind::from_raw(number))?;
        }
        Ok(signals)
    }

    /// Waits for the next request.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.reload.recv() => Asked::Reload,
        }
    }
}
