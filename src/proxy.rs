//! The corridor: one connection, top to bottom.
//!
//! ```text
//! listener::run -> serve_connection -> source policy -> [PROXY header] -> preread -> client_hello
//!               -> RouteTable::find -> Upstream::pick -> connect -> relay -> ConnectionRecord
//! ```
//!
//! Stages take and return values; none calls back. What a connection holds before the relay is boxed
//! and gone before the relay begins, so that thousands of idle connections stay small.

mod connect;
#[cfg(test)]
mod footprint;
mod hellos;
mod listener;
mod preread;
mod proxy_protocol;
mod record;
mod refuse;
mod relay;
mod seat;
mod shared;
mod worker;

use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

pub use listener::{Listener, ListenerPolicy, ListenerState};
pub use shared::{Shared, pipes_beside};
pub use worker::{WorkerHandle, WorkerInbox, start};

use crate::client_hello::Alert;
use crate::outcome::Outcome;
use crate::route::{Route, RouteRefusal, RouteTable};
use listener::Accepted;
use preread::{Preread, Replay, preread};
use record::{ConnectionRecord, EndedBy};
use refuse::Refusal;
use relay::relay;
use seat::Ticket;
use worker::Worker;

/// Serves one connection from accept to its record.
///
/// Not an async fn, whose future would hold its arguments beside what is made of them.
fn serve_connection(
    worker: Rc<Worker>,
    ticket: Ticket,
    accepted: Accepted,
    state: Arc<ListenerState>,
    overloaded: bool,
) -> impl Future<Output = ()> {
    let Accepted {
        socket,
        source,
        at,
        listener,
    } = accepted;
    // Its state holds a route table, and a connection may outlive both by days.
    drop(listener);
    let (shared, policy) = (worker.shared.clone(), state.policy.clone());
    let mut record = ConnectionRecord::open(shared, ticket, policy, source, at);
    async move {
        if overloaded {
            return record.close(Outcome::Overloaded, EndedBy::Gateway);
        }
        let announces = record.policy().announces(record.source().ip());
        if !announces && let Err(refusal) = admit(&mut record) {
            record.detail = refusal.detail;
            return record.close(refusal.outcome, EndedBy::Gateway);
        }
        let Ok(downstream) = TcpStream::from_std(socket) else {
            return record.close(Outcome::Overloaded, EndedBy::Gateway);
        };
        let established = establish(&worker, &downstream, announces, state, &mut record);
        match Box::pin(established).await {
            Ok((upstream, replay)) => {
                let ending = relay(&worker, downstream, upstream, replay, &mut record).await;
                record.close(ending.outcome, ending.ended_by);
            }
            Err(refusal) => {
                record.detail = refusal.detail;
                record.close(refusal.outcome, ended_by(refusal.outcome));
                Box::pin(refuse::send(&worker, downstream, refusal.alert)).await;
            }
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
    let hello = preread(worker, downstream, &limits, deadline).await;
    if !matches!(&hello, Err(refusal) if refusal.outcome == Outcome::Probe) {
        record.hello_ended();
    }
    let mut hello = hello?;
    record.offered(hello.offers, hello.ja4.take());
    record.server_name = Some(hello.server_name.clone());
    record.alpn = offers(&hello);
    let route = decide(&state.routes, &hello)?;
    // The table may be an old one by the time the endpoint answers.
    drop(state);
    let target = route.targets.choose();
    record.routed(&route, target).map_err(|over| {
        let detail = Some(over.to_string());
        Refusal::told(Outcome::OverLimit, Alert::InternalError, detail)
    })?;
    let upstream = connect::connect(&worker.shared, downstream, &target.upstream, record).await;
    let upstream = upstream.map_err(|outcome| match outcome {
        Outcome::DownstreamReset => Refusal::silent(outcome),
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
    Ok((upstream, hello.replay))
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

/// The route of a hello, or what its client is told.
fn decide(routes: &RouteTable, hello: &Preread) -> Result<Arc<Route>, Refusal> {
    let offers = hello.alpn.iter().map(|offer| &**offer);
    match routes.decide(&hello.server_name, offers) {
        Ok(route) => Ok(route.clone()),
        Err(refusal) => {
            let alert = match refusal {
                RouteRefusal::NoRoute(_) => Alert::UnrecognizedName,
                // RFC 7301 section 3.2.
                RouteRefusal::AlpnRefused(_) => Alert::NoApplicationProtocol,
            };
            Err(Refusal::told(refusal.outcome(), alert, refusal.detail()))
        }
    }
}

fn offers(hello: &Preread) -> Option<Box<str>> {
    let offers: Vec<_> = hello
        .alpn
        .iter()
        .map(|offer| String::from_utf8_lossy(offer))
        .collect();
    (!offers.is_empty()).then(|| offers.join(",").into())
}

/// Whose doing a refusal is.
fn ended_by(outcome: Outcome) -> EndedBy {
    match outcome {
        Outcome::Probe
        | Outcome::ClientGoneBeforeHello
        | Outcome::DownstreamReset
        | Outcome::DownstreamTimeout => EndedBy::Downstream,
        _ => EndedBy::Gateway,
    }
}
