//! A refusal: the reason why a connection gets no relay, and what its client gets.

use std::io;

use crate::client_hello::{Alert, HelloError};
use crate::config::Refuse;
use crate::kept_hellos::KeptHellos;
use crate::outcome::Outcome;
use crate::route::RouteRefusal;

/// The reason why a connection gets no relay, and the alert for its client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reason.
    pub outcome: Outcome,
    /// The alert that says the reason; [`Refusal::answer`] is what the client gets.
    pub alert: Option<Alert>,
    /// More for the log.
    pub detail: Option<Box<str>>,
    /// The first bytes of the client, if such are kept.
    pub hello: Option<RefusedHello>,
}

/// The first bytes of a client that is refused for them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefusedHello {
    /// The bytes.
    pub bytes: Box<[u8]>,
    /// True if there were more.
    pub cut: bool,
}

impl Refusal {
    /// The alert that the client gets before the close; `None` if it gets the close alone. This is the
    /// one place that chooses between the two.
    pub(super) fn answer(&self, refuse: Refuse) -> Option<Alert> {
        match refuse {
            Refuse::Alert => self.alert,
            Refuse::Close => None,
        }
    }

    /// Closes without an alert.
    pub(super) fn silent(outcome: Outcome) -> Self {
        Self {
            outcome,
            alert: None,
            detail: None,
            hello: None,
        }
    }

    /// Closes without an alert, and says more in the log.
    pub(super) fn noted(outcome: Outcome, detail: String) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::silent(outcome)
        }
    }

    /// Closes with an alert.
    pub(super) fn alerted(outcome: Outcome, alert: Alert, detail: Option<String>) -> Self {
        Self {
            outcome,
            alert: Some(alert),
            detail: detail.map(String::into_boxed_str),
            hello: None,
        }
    }

    /// A valid hello that gets no route.
    pub(super) fn unrouted(refusal: &RouteRefusal<'_>) -> Self {
        let alert = match refusal {
            RouteRefusal::NoSni => Alert::HandshakeFailure,
            RouteRefusal::NoRoute(_) => Alert::UnrecognizedName,
            // RFC 7301 section 3.2.
            RouteRefusal::AlpnRefused(_) => Alert::NoApplicationProtocol,
        };
        Self::alerted(refusal.outcome(), alert, refusal.detail())
    }

    /// Bytes that are not a hello, or a hello that breaks a rule.
    pub(super) fn bad_hello(error: &HelloError) -> Self {
        let text = match error.hint() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        };
        Self {
            outcome: error.outcome(),
            alert: error.alert(),
            detail: Some(text.into()),
            hello: None,
        }
    }

    /// The refusal of the client that has sent `wire`. `kept` takes as much of it as it has place for.
    pub(super) fn of_bytes(mut self, kept: &KeptHellos, wire: &[u8]) -> Self {
        self.hello = kept.part(wire).map(|part| RefusedHello {
            bytes: part.into(),
            cut: part.len() < wire.len(),
        });
        self
    }
}

/// An error before the hello was whole: a load balancer's check may end with RST, too.
pub(super) fn gone(error: &io::Error, received: usize) -> Refusal {
    tracing::debug!(%error, received, "the client went away before its hello");
    Refusal::silent(match (received, error.kind()) {
        (0, _) => Outcome::Probe,
        (_, io::ErrorKind::TimedOut) => Outcome::DownstreamTimeout,
        _ => Outcome::ClientGoneBeforeHello,
    })
}
