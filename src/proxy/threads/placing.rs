//! Placing: the choice of the worker that serves a connection.

use std::rc::Rc;

use super::super::listener::Accepted;
use super::super::refusal::Refusal;
use super::super::shared::WorkerLoad;
use super::super::states::Arrival;
use super::super::task::serve;
use super::super::ticket::Ticket;
use super::super::worker::Worker;
use crate::limits::OverloadStep;
use crate::metrics::{OverloadAction, OverloadCause};
use crate::outcome::Outcome;

/// A connection moves to another worker when its own has this many more than the least loaded one
/// (`docs/src/internals/kernel.md#handing-a-socket-to-another-worker`: it costs 4 us).
const IMBALANCE: usize = 2;

/// Serves a connection that `worker` accepted, or hands it to the least loaded worker when
/// its own share is over.
pub(super) fn place(worker: &Rc<Worker>, accepted: Accepted) {
    let loads = &worker.shared.loads;
    let own = loads.get(worker.index).map_or(0, WorkerLoad::connections);
    let least = (0..loads.len()).min_by_key(|index| loads[*index].connections());
    let target = match least {
        Some(least) if own >= loads[least].connections() + IMBALANCE => least,
        _ => worker.index,
    };
    match worker.peers.get(target).filter(|_| target != worker.index) {
        None => serve_own(worker, accepted),
        Some(peer) => {
            // Counted now, not when it arrives: a burst would all go to one worker otherwise.
            loads[target].add();
            if let Err(refused) = peer.try_send(accepted) {
                loads[target].remove();
                serve_own(worker, refused.into_inner());
            }
        }
    }
}

fn serve_own(worker: &Rc<Worker>, accepted: Accepted) {
    worker.load().add();
    serve_here(worker, accepted);
}

/// Serves a connection whose load is counted already.
pub(super) fn serve_here(worker: &Rc<Worker>, accepted: Accepted) {
    let Accepted {
        socket,
        source,
        at,
        state,
    } = accepted;
    let connection = worker.shared.connections.take(1);
    let overloaded = match connection {
        None => Some("as many connections are open as may be"),
        Some(_) => refused_by_step(worker),
    };
    let connection = connection.unwrap_or_else(|| worker.shared.connections.force(1));
    let policy = state.policy.clone();
    let ticket = Ticket::take(worker.clone(), policy, connection, at);
    let arrival = Arrival::new(ticket, socket, source, at);
    match overloaded {
        Some(why) => drop(arrival.refuse(Refusal::noted(Outcome::Overloaded, why.to_owned()))),
        None => {
            tokio::task::spawn_local(serve(worker.clone(), arrival, state));
        }
    }
}

/// The reason to refuse a connection that a step against overload gives.
fn refused_by_step(worker: &Worker) -> Option<&'static str> {
    let cause = worker.overload(OverloadStep::Refuse)?;
    let metrics = &worker.shared.metrics.overload;
    metrics.connections(cause, OverloadAction::Refused).inc();
    Some(match cause {
        OverloadCause::Memory => "memory is nearly used up",
        OverloadCause::WorkerLag => "a worker thread is behind its work",
    })
}
