//! The ports that Gateways ask for and that could not be bound.
//!
//! A port is tried again by itself, at growing intervals, and not with every change: a change must not
//! cost more because of ports that another process has. Nothing else depends on such a port.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ListenerConfig;

/// The time until the first new attempt. It doubles with each failure, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(5);

/// Listeners that cannot be bound, by address.
#[derive(Debug, Default)]
pub(super) struct Unbound(BTreeMap<SocketAddr, BindFailure>);

/// A listener that cannot be bound.
#[derive(Debug)]
struct BindFailure {
    listener: Arc<ListenerConfig>,
    error: Arc<str>,
    /// The time since which the last wait runs, and its length.
    since: Instant,
    wait: Duration,
}

impl BindFailure {
    fn due(&self) -> Instant {
        self.since + self.wait
    }
}

/// A listener that an attempt did not bind.
#[derive(Debug)]
pub(super) struct NotBound {
    pub(super) listener: Arc<ListenerConfig>,
    /// `None` if the address was not tried, since the last failure was too short a time ago.
    pub(super) error: Option<io::Error>,
}

impl Unbound {
    /// Whether an attempt to bind the address has failed and the next one is not due.
    pub(super) fn rests(&self, address: &SocketAddr) -> bool {
        let failure = self.0.get(address);
        failure.is_some_and(|failure| Instant::now() < failure.due())
    }

    /// The time of the next attempt, if there is anything to try.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().map(BindFailure::due).min()
    }

    /// The listeners whose next attempt is due.
    pub(super) fn due(&self) -> impl Iterator<Item = &Arc<ListenerConfig>> {
        let now = Instant::now();
        let due = self.0.values().filter(move |failure| failure.due() <= now);
        due.map(|failure| &failure.listener)
    }

    /// The ports, each with the error.
    pub(super) fn ports(&self) -> impl Iterator<Item = (u16, Arc<str>)> {
        let all = self.0.iter();
        all.map(|(address, failure)| (address.port(), failure.error.clone()))
    }

    /// Replaces everything by the listeners that are not bound now.
    pub(super) fn replace(&mut self, not_bound: Vec<NotBound>) {
        let mut before = std::mem::take(&mut self.0);
        for NotBound { listener, error } in not_bound {
            let known = before.remove(&listener.bind);
            let failure = match (error, known) {
                (Some(error), known) => failed(listener, &error, known.as_ref()),
                (None, Some(known)) => BindFailure { listener, ..known },
                (None, None) => continue,
            };
            self.0.insert(failure.listener.bind, failure);
        }
    }

    /// Notes attempts that have failed again.
    pub(super) fn failed_again(&mut self, failures: Vec<(SocketAddr, io::Error)>) {
        for (address, error) in failures {
            if let Some(known) = self.0.get_mut(&address) {
                *known = failed(known.listener.clone(), &error, Some(known));
            }
        }
    }
}

fn failed(
    listener: Arc<ListenerConfig>,
    error: &io::Error,
    known: Option<&BindFailure>,
) -> BindFailure {
    let error: Arc<str> = error.to_string().into();
    if known.is_none_or(|known| known.error != error) {
        tracing::warn!(
            listener = %listener.name, %error,
            "strait cannot listen on the port that a Gateway asks for, and tries again; the other listeners serve"
        );
    }
    BindFailure {
        listener,
        error,
        since: Instant::now(),
        wait: known.map_or(FIRST, |known| known.wait.saturating_mul(2).min(LONGEST)),
    }
}
