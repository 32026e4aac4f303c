//! Connect: one endpoint after another until one answers, before any byte goes upstream.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::conduct;
use super::proxy_protocol;
use super::record::ConnectionRecord;
use super::refusal::Refusal;
use super::shared::Shared;
use super::states::{Connection, Routed};
use crate::config::{AddressKind, ProxyVersion, UpstreamConfig, UpstreamSource};
use crate::metrics::ConnectResult;
use crate::outcome::Outcome;
use crate::socket::{self, OwnAddresses};
use crate::upstream::{Conduct, Picked, Upstream};

/// Connects to an endpoint of the upstream that the connection is routed to.
///
/// # Errors
/// `no_endpoint`, the reason of the last attempt, `downstream_reset` when the client gave up, or
/// `overloaded` when the bytes to replay had to give way to other hellos meanwhile.
pub(super) async fn connect(shared: &Shared, routed: &mut Routed) -> Result<TcpStream, Refusal> {
    let started = Instant::now();
    let Connection { record, ticket } = &mut *routed.connection;
    let (downstream, upstream) = (&routed.downstream, &*routed.upstream);
    let config = upstream.config();
    let first = match config.proxy_protocol {
        Some(ProxyVersion::V2) => {
            let (source, destination) = (record.source(), record.announced_destination());
            proxy_protocol::header(downstream, source, destination, &routed.server_name)
        }
        None => Ok(Vec::new()),
    };
    let first = first.map_err(Refusal::silent)?;
    let work = attempt_each(shared, upstream, &config, &first, record);
    // A client that resets is not worth an endpoint's connection. One that only closed its sending
    // side still wants its answer.
    let result = tokio::select! {
        biased;
        _ = downstream.ready(Interest::ERROR) => Err(Outcome::DownstreamReset),
        () = routed.replay.evicted() => Err(Outcome::Overloaded),
        result = work => result,
    };
    record.connect_ended(ticket, started);
    result.map_err(|outcome| refusal(outcome, upstream))
}

/// The refusal of a connection whose upstream cannot be reached.
fn refusal(outcome: Outcome, upstream: &Upstream) -> Refusal {
    match outcome {
        Outcome::NoEndpoint => {
            let report = upstream.source_report();
            let empty = || report.empty_because.map(|why| why.to_string());
            let unanswered =
                || (!upstream.answered()).then(|| "its source has not answered yet".to_owned());
            let detail = report.last_error.or_else(empty).or_else(unanswered);
            Refusal {
                detail: detail.map(String::into_boxed_str),
                ..Refusal::silent(outcome)
            }
        }
        _ => Refusal::silent(outcome),
    }
}

/// Tries one endpoint after another. This is the only loop of the corridor.
async fn attempt_each(
    shared: &Shared,
    upstream: &Upstream,
    config: &UpstreamConfig,
    first: &[u8],
    record: &mut ConnectionRecord,
) -> Result<TcpStream, Outcome> {
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut reason = Outcome::NoEndpoint;
    let own = (!may_lead_here(config)).then_some(&shared.own);
    for _ in 0..config.connect.attempts.get() {
        let Some(mut picked) = upstream.pick(&tried) else {
            break;
        };
        let count = |result| shared.metrics.connect_attempts(&config.name, result);
        let mut turned = false;
        let attempt = loop {
            record.attempts += 1;
            let attempt = attempt(picked.address(), config, first, own).await;
            // A pod of both address families is one endpoint with two addresses.
            if let Err((outcome, _)) = &attempt
                && !turned
                && let Some(other) = upstream.other_address(&picked)
            {
                count(ConnectResult::Failed(*outcome)).inc();
                (picked, turned) = (other, true);
            } else {
                break attempt;
            }
        };
        match attempt {
            Ok(stream) => {
                if turned {
                    picked.prefer();
                }
                upstream.connected(|| count(ConnectResult::Connected)).inc();
                record.endpoint = Some(picked);
                return Ok(stream);
            }
            Err((outcome, detail)) => {
                count(ConnectResult::Failed(outcome)).inc();
                failed(upstream, &picked, outcome, record);
                record.note(detail);
                tried.push(picked.endpoint());
                record.endpoint = Some(picked);
                reason = outcome;
            }
        }
    }
    Err(reason)
}

fn failed(upstream: &Upstream, picked: &Picked, outcome: Outcome, record: &ConnectionRecord) {
    // Our own shortage of ports or descriptors says nothing about the endpoint.
    if matches!(outcome, Outcome::NoLocalPort | Outcome::Overloaded) {
        let (name, endpoint) = (&upstream.config().name, picked.address());
        tracing::warn!(upstream = %name, %endpoint, outcome = outcome.label(), "strait cannot connect: this host lacks local ports or descriptors");
        return;
    }
    let source = record.source().ip();
    conduct::report(upstream, picked, Conduct::Failed, source, outcome);
}

/// Whether the config asks by name for endpoints that are the gateway's own.
fn may_lead_here(config: &UpstreamConfig) -> bool {
    match &config.source {
        UpstreamSource::Dns(dns) => dns.allow.contains(&AddressKind::OwnListener),
        UpstreamSource::Static(_) | UpstreamSource::Kubernetes(_) => false,
    }
}

/// The outcome of an attempt that failed, and a detail for the log.
type NotConnected = (Outcome, Option<Box<str>>);

async fn attempt(
    address: SocketAddr,
    config: &UpstreamConfig,
    first: &[u8],
    own: Option<&OwnAddresses>,
) -> Result<TcpStream, NotConnected> {
    match timeout(config.connect.timeout, open(address, config, first, own)).await {
        Ok(result) => result,
        Err(_) => {
            let after = config.connect.timeout;
            Err((Outcome::ConnectTimeout, Some(format!("{address} did not answer within {after:?}: a NetworkPolicy, or its node is gone?").into())))
        }
    }
}

/// A connection on which `first` is sent: the gateway's own bytes, none of the client's.
async fn open(
    address: SocketAddr,
    config: &UpstreamConfig,
    first: &[u8],
    own: Option<&OwnAddresses>,
) -> Result<TcpStream, NotConnected> {
    let failed = |error: io::Error| {
        let outcome = outcome_of(&error);
        (outcome, Some(detail_of(outcome, address, &error).into()))
    };
    let mut stream = dial(address, config).await.map_err(failed)?;
    // Without this one hello would become connections up to the limit.
    let local = || stream.local_addr().ok().map(|local| local.ip());
    if own.is_some_and(|own| own.led_to(address, local)) {
        let detail = format!("{address} is this gateway itself: a loop");
        return Err((Outcome::ConnectUnreachable, Some(detail.into())));
    }
    stream.write_all(first).await.map_err(failed)?;
    Ok(stream)
}

async fn dial(address: SocketAddr, config: &UpstreamConfig) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The options that find out that a peer is gone come later (`Seat::look_after`).
    socket::set_nodelay(&socket)?;
    socket::set_buffers(&socket, &config.tcp.into())?;
    socket.connect(address).await
}

/// The outcome of a failed attempt, if it was the last.
fn outcome_of(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET) => Outcome::ConnectRefused,
        Some(libc::ETIMEDOUT) => Outcome::ConnectTimeout,
        // connect(2): every local port towards this endpoint is taken, many by TIME_WAIT.
        Some(libc::EADDRNOTAVAIL) => Outcome::NoLocalPort,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Outcome::Overloaded,
        _ => Outcome::ConnectUnreachable,
    }
}

/// The reason for a failed attempt, and the place to look at.
fn detail_of(outcome: Outcome, address: SocketAddr, error: &io::Error) -> String {
    match outcome {
        Outcome::ConnectRefused => format!(
            "nothing listens at {address}: the pod starts, its sidecar has no SVID yet (no registration entry), \
             or the port is wrong"
        ),
        Outcome::ConnectTimeout => format!("{address} did not answer: {error}"),
        Outcome::NoLocalPort => format!("no local port is left towards {address}"),
        _ => format!("{address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_connect_has_its_outcome() {
        for (errno, outcome) in [
            (libc::ECONNREFUSED, Outcome::ConnectRefused),
            (libc::ETIMEDOUT, Outcome::ConnectTimeout),
            (libc::EADDRNOTAVAIL, Outcome::NoLocalPort),
            (libc::EMFILE, Outcome::Overloaded),
            (libc::EHOSTUNREACH, Outcome::ConnectUnreachable),
            (libc::ENETUNREACH, Outcome::ConnectUnreachable),
            (libc::EACCES, Outcome::ConnectUnreachable),
        ] {
            assert_eq!(outcome_of(&io::Error::from_raw_os_error(errno)), outcome);
        }
    }
}
