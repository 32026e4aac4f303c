//! The parts of a record: the fields that few connections need, and what depends on the ticket alone.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use super::ending::Ending;
use super::refusal::RefusedHello;
use super::ticket::Ticket;
use crate::access_log::{self, Entry};
use crate::client_hello::Offers;
use crate::config::{SourceGroupId, UpstreamSource};
use crate::kept_hellos::KeptHello;
use crate::limits::{Held, OverLimit};
use crate::outcome::Outcome;
use crate::recent_connections::{RecentConnection, RecentFailure};
use crate::route::Target;
use crate::traces::Followed;
use crate::verdict::SeenCertificate;

/// The addresses that a PROXY header has replaced.
#[derive(Debug)]
pub(super) struct Announced {
    /// The peer of the socket.
    pub proxy: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

/// The addresses of this host in a connection that relays, as far as its line needs them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LocalAddresses {
    /// The address that the client has connected to.
    pub downstream: Option<SocketAddr>,
    /// The address from which strait has connected to the endpoint.
    pub upstream: Option<SocketAddr>,
}

/// Fields that few connections need.
#[derive(Debug, Default)]
pub(super) struct RareFields {
    pub announced: Option<Announced>,
    /// Goes back with the record; empty when the config limits nothing.
    pub held: Held,
    pub detail: Option<Cow<'static, str>>,
    pub ja4: Option<Box<str>>,
    /// The time since which the connection would not be let in.
    pub disallowed: Option<Instant>,
    /// The traces that follow it, or may.
    pub followed: Option<Box<Followed>>,
}

/// As much of a detail as the log shows.
pub(super) fn shown(detail: Cow<'static, str>) -> Cow<'static, str> {
    match detail {
        Cow::Borrowed(text) => Cow::Borrowed(access_log::shown(text)),
        Cow::Owned(text) => Cow::Owned(access_log::shown(&text).to_owned()),
    }
}

/// A duration of a quarter of the size: from 1 us up to 71 minutes, which a longer one counts as.
#[derive(Debug, Clone, Copy)]
pub(super) struct StageTime(NonZeroU32);

impl StageTime {
    pub(super) fn of(duration: Duration) -> Self {
        let micros = duration.as_micros().try_into().unwrap_or(u32::MAX);
        Self(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN))
    }

    pub(super) fn duration(self) -> Duration {
        Duration::from_micros(self.0.get().into())
    }
}

/// Counts a connection that a limit stands against.
pub(super) fn count_refusal(ticket: &Ticket, over: OverLimit) {
    let (metrics, listener) = (&ticket.shared().metrics, &ticket.policy().name);
    let refusals = metrics.limit_refusals(listener, over.scope, over.kind);
    refusals.inc();
}

/// The time from which on the source of the route and the endpoints may be behind, if the connection failed.
pub(super) fn stale_since(
    ticket: &Ticket,
    target: Option<&Target>,
    outcome: Outcome,
) -> Option<SystemTime> {
    let kubernetes = &ticket.shared().metrics.kubernetes;
    match (target, outcome) {
        (_, Outcome::Ok) => None,
        (Some(target), _) => match target.upstream.config().source {
            UpstreamSource::Kubernetes(_) => kubernetes.stale_since(),
            UpstreamSource::Dns(_) | UpstreamSource::Static(_) => target.upstream.stale_since(),
        },
        (None, Outcome::NoRoute | Outcome::AlpnRefused) => kubernetes.own_stale_since(),
        (None, _) => None,
    }
}

/// A valid hello in words.
pub(super) fn hello_in_words(name: Option<&str>, alpn: Option<&str>, offers: Offers) -> String {
    let (name, alpn) = (name.unwrap_or("none"), alpn.unwrap_or("none"));
    let versions = offers.versions();
    let versions = versions.map_or_else(String::new, |it| format!(", TLS {it}"));
    format!("server name {name}, ALPN {alpn}{versions}")
}

/// Tells strait's own log what the certificates say that came in the clear.
pub(super) fn log_certificates(connection: u64, certificates: &[SeenCertificate; 2]) {
    let [downstream, upstream] = certificates.map(|certificate| certificate.to_string());
    tracing::debug!(
        connection,
        downstream,
        upstream,
        "certificates in the TLS 1.2 handshake, which nobody has verified"
    );
}

/// The part of a connection that has ended which is kept beside its line.
pub(super) struct Ended<'a> {
    pub target: Option<&'a Target>,
    pub source_group: SourceGroupId,
    pub detail: Option<Cow<'static, str>>,
    /// Whether its hello had the label of `strait doctor`.
    pub doctors: bool,
    pub ending: Ending,
}

/// Keeps a connection that has ended among the recent ones, for operators.
pub(super) fn note_recent(ticket: &Ticket, entry: &Entry<'_>, ended: Ended<'_>) {
    let Ended { target, ending, .. } = ended;
    let (policy, kept) = (ticket.policy(), &ticket.shared().recent);
    let recent = RecentConnection {
        ended: entry.at,
        connection: entry.connection,
        source: entry.source,
        route: target.map(|target| target.route.clone()),
        endpoint: entry.endpoint,
        outcome: ending.outcome,
        ended_by: ending.ended_by,
        detail: ended.detail,
        duration: entry.duration,
    };
    if ending.outcome.is_failure() {
        let group = policy.sources.get(ended.source_group);
        kept.note_failure(RecentFailure {
            listener: policy.name.clone(),
            server_name: entry.server_name.map(Box::from),
            source_group: group.map(|group| group.name.clone()),
            upstream: target.map(|target| target.name.clone()),
            confidence: ending.confidence,
            doctors: ended.doctors,
            ended: recent.clone(),
        });
    }
    kept.note(&policy.name, entry.server_name.unwrap_or_default(), recent);
}

/// Tells strait's own log of a connection that has ended.
pub(super) fn report_end(entry: &Entry<'_>, outcome: Outcome) {
    if outcome == Outcome::InternalError {
        tracing::error!(
            connection = entry.connection,
            "a defect of strait ended a connection; please report it"
        );
    }
    tracing::debug!(
        connection = entry.connection,
        listener = entry.listener,
        source = %entry.source,
        server_name = entry.server_name,
        route = entry.route,
        endpoint = entry.endpoint.map(tracing::field::display),
        outcome = outcome.label(),
        detail = entry.detail,
        "connection closed"
    );
}

impl RefusedHello {
    /// The hello of the connection with that number.
    pub(super) fn kept(
        self,
        ticket: &Ticket,
        connection: u64,
        source: SocketAddr,
        outcome: Outcome,
        detail: Option<Box<str>>,
    ) -> KeptHello {
        KeptHello {
            id: 0,
            at: SystemTime::now(),
            connection,
            listener: ticket.policy().name.clone(),
            source,
            outcome,
            detail,
            bytes: self.bytes.into(),
            cut: self.cut,
        }
    }
}
