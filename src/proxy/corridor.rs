//! The corridor: the one function that a connection walks through from accept to its relay.

use std::sync::Arc;

use super::connect::connect;
use super::listener::ListenerState;
use super::preread::preread;
use super::proxy_protocol;
use super::relay::Relaying;
use super::states::{Arrival, Refused};
use super::worker::Worker;

/// Leads a connection from accept to its relay.
///
/// # Errors
/// The connection is refused, and its record is written.
pub(super) async fn corridor(
    worker: &Worker,
    arrival: Arrival,
    state: Arc<ListenerState>,
) -> Result<Relaying, Refused> {
    let ListenerState { policy, routes } = &*state;
    let deadline = (arrival.accepted() + policy.client_hello.timeout).into();

    // The source policy and the limits, for the source that a trusted proxy announces if one is in front.
    let admitted = if policy.announces(arrival.source().ip()) {
        let unannounced = arrival.expect_header()?;
        let header = proxy_protocol::read(worker, unannounced.downstream(), deadline).await;
        unannounced.admit(header)?
    } else {
        arrival.admit()?
    };

    // The ClientHello, and the route that the table has for it.
    let hello = preread(worker, admitted.downstream(), policy, deadline, routes).await;
    let mut routed = admitted.route(hello)?;
    // The table may be an old one by the time an endpoint answers.
    drop(state);

    // One endpoint after another.
    let endpoint = connect(&mut routed).await;
    let connected = routed.connected(endpoint)?;

    // Bytes both ways.
    Ok(Relaying::new(connected))
}
