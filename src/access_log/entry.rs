//! The content of a line: the facts about a connection, and the order in which a line has them.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::line::LineWriter;
use crate::client_hello::Offers;
use crate::clock;
use crate::config::SampleShare;
use crate::outcome::{EndedBy, Outcome};
use crate::verdict::{Confidence, Flights, Resumption, Side, alert_name, cipher_name, group_name};

/// The event that a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEvent {
    /// The relay of a connection has begun.
    Open,
    /// The connection is still open.
    Interval,
    /// The connection has ended.
    End(LineEnd),
}

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineEnd {
    /// The reason why it ended.
    pub outcome: Outcome,
    /// The party that ended it.
    pub ended_by: EndedBy,
    /// The certainty of the outcome. Written only if it is inferred.
    pub confidence: Confidence,
}

impl LineEvent {
    /// The word for it, of a connection that is open.
    pub(super) const fn label(self) -> Option<&'static str> {
        match self {
            Self::Open => Some("open"),
            Self::Interval => Some("interval"),
            Self::End(_) => None,
        }
    }

    /// Whether the connection is open or has ended without a failure.
    pub(super) fn is_well(self) -> bool {
        match self {
            Self::Open | Self::Interval => true,
            Self::End(end) => end.outcome == Outcome::Ok,
        }
    }
}

/// The content of one line.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The event that the line tells of.
    pub event: LineEvent,
    /// The time of the event.
    pub at: SystemTime,
    /// Its number, unique in the process.
    pub connection: u64,
    /// The listener's name.
    pub listener: &'a str,
    /// The client's address: the peer's, or the one that its PROXY header announced.
    pub source: SocketAddr,
    /// The peer that announced the client's address.
    pub proxy: Option<SocketAddr>,
    /// The name of the source group.
    pub source_group: &'a str,
    /// The server name that the client sent, valid or not. It is escaped, and cut after 512 bytes.
    pub server_name: Option<&'a str>,
    /// The ALPN offers of the client, valid or not. They are escaped, and cut after 512 bytes.
    pub alpn: Option<&'a str>,
    /// The versions and post-quantum groups that the client offered.
    pub offers: Offers,
    /// The flights of the TLS handshake, if the connection relayed.
    pub flights: Option<Flights>,
    /// The client's JA4, if the config asks for it.
    pub ja4: Option<&'a str>,
    /// The route that took it.
    pub route: Option<&'a str>,
    /// The upstream of that route.
    pub upstream: Option<&'a str>,
    /// The endpoint that it went to, or the last one that was tried.
    pub endpoint: Option<SocketAddr>,
    /// The namespace and the name of the endpoint's pod, if it is known.
    pub pod: Option<(&'a str, &'a str)>,
    /// The endpoint's zone, if it is known.
    pub zone: Option<&'a str>,
    /// The address that the client has connected to, if a proxy announced it, or if the connection relayed and
    /// the format of the lines has it.
    pub downstream_local: Option<SocketAddr>,
    /// The address from which strait has connected to the endpoint, if the connection relayed: the endpoint's own log
    /// has it as the peer.
    pub upstream_local: Option<SocketAddr>,
    /// The time from which on the source of the route or of the endpoints may be behind, if it is.
    pub stale_since: Option<SystemTime>,
    /// The number of endpoints tried.
    pub attempts: u32,
    /// Details of the reason, for people.
    pub detail: Option<&'a str>,
    /// Bytes that went from downstream to upstream so far.
    pub to_upstream: u64,
    /// Bytes that went from upstream to downstream so far.
    pub to_downstream: u64,
    /// The time from accept to the end of the hello.
    pub hello: Option<Duration>,
    /// The time from the first connect attempt to the connection, or to giving up.
    pub connect: Option<Duration>,
    /// The time from accept to the event.
    pub duration: Duration,
}

impl Entry<'_> {
    /// The time of accept.
    pub(super) fn start(&self) -> SystemTime {
        self.at.checked_sub(self.duration).unwrap_or(self.at)
    }

    /// Writes every field that has a value. `sampled` is the share of such connections that have lines, if it is
    /// not all.
    pub(super) fn write(&self, line: &mut LineWriter<'_>, sampled: Option<SampleShare>) {
        timestamp(line, "time", self.at);
        timestamp(line, "start", self.start());
        if let Some(event) = self.event.label() {
            line.text("event", event);
        }
        line.number("connection", self.connection);
        if let Some(share) = sampled {
            line.decimal("sampled", share);
        }
        self.client(line);
        self.way(line);
        if let LineEvent::End(end) = self.event {
            line.label("outcome", end.outcome.label());
            line.label("flags", end.outcome.envoy_flag());
        }
        if let Some(detail) = self.detail {
            line.text("detail", detail);
        }
        if let LineEvent::End(end) = self.event {
            line.text("ended_by", end.ended_by.label());
            if end.confidence == Confidence::Inferred {
                line.text("confidence", end.confidence.label());
            }
        }
        line.number("to_upstream_bytes", self.to_upstream);
        line.number("to_downstream_bytes", self.to_downstream);
        for (key, value) in [
            ("hello_ms", self.hello),
            ("connect_ms", self.connect),
            ("duration_ms", Some(self.duration)),
        ] {
            if let Some(value) = value {
                line.milliseconds(key, value);
            }
        }
    }

    /// Writes the fields about the client and its handshake.
    fn client(&self, line: &mut LineWriter<'_>) {
        line.text("listener", self.listener);
        line.address("source", self.source);
        if let Some(proxy) = self.proxy {
            line.address("proxy", proxy);
        }
        line.text("source_group", self.source_group);
        for (key, value) in [("server_name", self.server_name), ("alpn", self.alpn)] {
            if let Some(value) = value {
                line.text(key, value);
            }
        }
        if let Some(versions) = self.offers.versions() {
            line.plain("tls_versions", versions);
        }
        if let Some(groups) = self.offers.groups() {
            line.plain("pq_groups", groups);
        }
        if let Some(flights) = &self.flights {
            session(line, flights, self.offers.resumes());
        }
        if let Some(ja4) = self.ja4 {
            line.text("ja4", ja4);
        }
    }

    /// Writes the fields about the route and the endpoint.
    fn way(&self, line: &mut LineWriter<'_>) {
        for (key, value) in [("route", self.route), ("upstream", self.upstream)] {
            if let Some(value) = value {
                line.text(key, value);
            }
        }
        if let Some(endpoint) = self.endpoint {
            line.address("endpoint", endpoint);
        }
        if let Some((namespace, name)) = self.pod {
            line.text("pod", name);
            line.text("namespace", namespace);
        }
        if let Some(zone) = self.zone {
            line.text("zone", zone);
        }
        if let Some(local) = self.upstream_local {
            line.address("upstream_local", local);
        }
        if let Some(since) = self.stale_since {
            timestamp(line, "stale_since", since);
        }
        line.number("attempts", self.attempts);
    }
}

/// Writes a time in RFC 3339, UTC.
pub(super) fn timestamp(line: &mut LineWriter<'_>, key: &'static str, time: SystemTime) {
    let time = clock::writable(time);
    line.plain(key, humantime::format_rfc3339_millis(time));
}

/// Writes the TLS parameters that the two sides have agreed on.
fn session(line: &mut LineWriter<'_>, flights: &Flights, asks_to_resume: bool) {
    if let Some(version) = flights.version() {
        line.label("tls_version", version.label());
    }
    for (key, number, name) in [
        (
            "tls_cipher",
            flights.cipher(),
            cipher_name as fn(u16) -> Option<&'static str>,
        ),
        ("tls_group", flights.group(), group_name),
    ] {
        if let Some(number) = number {
            named(line, key, number, name(number));
        }
    }
    if flights.retried() {
        line.text("hello_retry", "yes");
    }
    let resumes = match flights.resumption() {
        Some(Resumption::Accepted) => Some("yes"),
        Some(Resumption::Declined) if asks_to_resume => Some("no"),
        None if asks_to_resume => Some("asked"),
        _ => None,
    };
    if let Some(resumes) = resumes {
        line.text("resumes", resumes);
    }
    if let Some((by, code)) = flights.plain_alert() {
        named(line, "alert", code.into(), alert_name(code));
        line.plain("alert_by", by);
    }
    certificates(line, flights);
}

/// Writes what the certificates say that came in the clear. Nobody has verified it, and the keys say so.
fn certificates(line: &mut LineWriter<'_>, flights: &Flights) {
    for (side, key) in [
        (Side::Downstream, "downstream_certificate_unauthenticated"),
        (Side::Upstream, "upstream_certificate_unauthenticated"),
    ] {
        let certificate = flights.certificate(side);
        if certificate.is_known() {
            line.text(key, &certificate.to_string());
        }
    }
}

/// A number of TLS by its name, or in hex.
fn named(line: &mut LineWriter<'_>, key: &'static str, number: u16, name: Option<&'static str>) {
    match name {
        Some(name) => line.text(key, name),
        None => line.plain(key, format_args!("{number:#06x}")),
    }
}
