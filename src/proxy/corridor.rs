//! The corridor: the one function that a connection walks through from accept to relay.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;

use super::connect;
use super::ending::Ending;
use super::listener::{Accepted, ListenerState};
use super::preread::preread;
use super::proxy_protocol;
use super::record::ConnectionRecord;
use super::refusal::Refusal;
use super::refuse;
use super::relay::Relaying;
use super::replay::Replay;
use super::ticket::Ticket;
use super::worker::Worker;
use crate::client_hello::Alert;
use crate::outcome::Outcome;

/// Serves one connection from accept to its record.
pub(super) fn serve_connection(
    ticket: Ticket,
    accepted: Accepted,
    state: Arc<ListenerState>,
    overloaded: Option<&'static str>,
) -> Connection {
    let record = ConnectionRecord::open(ticket, accepted.source, accepted.at);
    // The listener's state holds a route table, and a connection may outlive both by days.
    drop(accepted.listener);
    let opening = open(record, accepted.socket, state, overloaded);
    Connection::Opening(Box::pin(opening))
}

/// A connection's future. Written by hand, since what the compiler makes of an async block keeps room
/// for everything that was moved through it: here all that is left while it relays is [`Relaying`],
/// which is memory for every idle connection.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what a connection is for nearly all of its life"
)]
pub(super) enum Connection {
    /// Everything before the relay, until it is refused or opened.
    Opening(Pin<Box<dyn Future<Output = Option<Relaying>>>>),
    Relaying(Relaying),
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Opening(opening) = &mut *self {
            match ready!(opening.as_mut().poll(cx)) {
                Some(relaying) => self.set(Self::Relaying(relaying)),
                None => return Poll::Ready(()),
            }
        }
        match &mut *self {
            Self::Relaying(relaying) => relaying.poll(cx),
            Self::Opening(_) => Poll::Pending,
        }
    }
}

/// Everything before the relay. A connection that is refused ends here.
async fn open(
    mut record: ConnectionRecord,
    socket: std::net::TcpStream,
    state: Arc<ListenerState>,
    overloaded: Option<&'static str>,
) -> Option<Relaying> {
    let worker = record.worker().clone();
    if let Some(why) = overloaded {
        record.refused(Outcome::Overloaded, Some(why.into()));
        return None;
    }
    let announces = record.policy().announces(record.source().ip());
    if !announces && let Err(refusal) = admit(&mut record) {
        record.refused(refusal.outcome, refusal.detail);
        return None;
    }
    let Ok(downstream) = TcpStream::from_std(socket) else {
        record.close(Ending::of(Outcome::Overloaded));
        return None;
    };
    match establish(&worker, &downstream, announces, state, &mut record).await {
        Ok((upstream, replay)) => Some(Relaying::new(downstream, upstream, replay, record)),
        Err(refusal) => {
            record.refused(refusal.outcome, refusal.detail);
            refuse::send(&worker, downstream, refusal.alert).await;
            None
        }
    }
}

/// From the first byte to a connected upstream, and the bytes that it must get first.
async fn establish(
    worker: &Worker,
    downstream: &TcpStream,
    announces: bool,
    state: Arc<ListenerState>,
    record: &mut ConnectionRecord,
) -> Result<(TcpStream, Replay), Refusal> {
    let limits = record.policy().client_hello;
    let deadline = (record.accepted() + limits.timeout).into();
    if announces {
        let header = proxy_protocol::read(worker, downstream, deadline).await?;
        if let Some(proxied) = header.proxied {
            record.announced(&proxied);
        }
        admit(record)?;
    }
    let hello = preread(worker, downstream, &limits, deadline, &state.routes).await;
    if !matches!(&hello, Err(refusal) if refusal.outcome == Outcome::Probe) {
        record.hello_ended();
    }
    let mut hello = hello?;
    record.offered(hello.offers, hello.ja4.take());
    record.server_name = Some(hello.server_name);
    record.alpn = hello.alpn.take();
    let route = hello.route?;
    // The table may be an old one by the time the endpoint answers.
    drop(state);
    let target = route.targets.choose();
    record.routed(&route, target).map_err(|over| {
        let detail = Some(over.to_string());
        Refusal::told(Outcome::OverLimit, Alert::InternalError, detail)
    })?;
    let (shared, replay) = (&worker.shared, hello.replay);
    let upstream = connect::connect(shared, downstream, &target.upstream, &replay, record).await;
    let upstream = upstream.map_err(|outcome| match outcome {
        Outcome::DownstreamReset | Outcome::Overloaded => Refusal::silent(outcome),
        Outcome::NoEndpoint => {
            let why = target.upstream.source_report().empty_because;
            Refusal::told(
                outcome,
                Alert::InternalError,
                why.map(|why| why.to_string()),
            )
        }
        _ => Refusal::told(outcome, Alert::InternalError, None),
    })?;
    Ok((upstream, replay))
}

/// Whether the source may connect, and has not too many connections: decided before a byte of the
/// client's is read.
fn admit(record: &mut ConnectionRecord) -> Result<(), Refusal> {
    if !record.policy().source_policy.admits(record.source().ip()) {
        return Err(Refusal::silent(Outcome::SourceDenied));
    }
    record
        .admit()
        .map_err(|over| Refusal::noted(Outcome::OverLimit, over.to_string()))
}
