//! A refusal: the reason why a connection gets no relay, and what its client gets.

use std::io;

use crate::client_hello::{Alert, HelloError};
use crate::outcome::Outcome;
use crate::route::RouteRefusal;

/// Why a connection got no further, and what its client is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reason.
    pub outcome: Outcome,
    /// What the client is told before the close.
    pub alert: Option<Alert>,
    /// What the log adds.
    pub detail: Option<Box<str>>,
}

impl Refusal {
    /// Closes without a word.
    pub(super) fn silent(outcome: Outcome) -> Self {
        Self {
            outcome,
            alert: None,
            detail: None,
        }
    }

    /// Closes without a word, and says more in the log.
    pub(super) fn noted(outcome: Outcome, detail: String) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::silent(outcome)
        }
    }

    /// Tells the client with `alert`.
    pub(super) fn told(outcome: Outcome, alert: Alert, detail: Option<String>) -> Self {
        Self {
            outcome,
            alert: Some(alert),
            detail: detail.map(String::into_boxed_str),
        }
    }

    /// A hello that names a server and gets no route.
    pub(super) fn unrouted(refusal: &RouteRefusal<'_>) -> Self {
        let alert = match refusal {
            RouteRefusal::NoRoute(_) => Alert::UnrecognizedName,
            // RFC 7301 section 3.2.
            RouteRefusal::AlpnRefused(_) => Alert::NoApplicationProtocol,
        };
        Self::told(refusal.outcome(), alert, refusal.detail())
    }

    /// A hello that is none, or that breaks a rule.
    pub(super) fn bad_hello(error: &HelloError) -> Self {
        let text = match error.hint() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        };
        Self {
            outcome: error.outcome(),
            alert: error.alert(),
            detail: Some(text.into()),
        }
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
