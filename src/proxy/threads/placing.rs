//! Placing: which worker serves a connection that was accepted.

use std::rc::Rc;

use super::super::listener::Accepted;
use super::super::refusal::Refusal;
use super::super::shared::WorkerLoad;
use super::super::states::Arrival;
use super::super::task::serve;
use super::super::ticket::Ticket;
use super::super::worker::Worker;
use crate::outcome::Outcome;

/// A connection moves to another worker when its own has this many more than the least loaded one
/// (`docs/src/internals/kernel.md#handing-a-socket-to-another-worker`: it costs 4 us).
const IMBALANCE: usize = 2;

impl Worker {
    /// Serves a connection that this worker accepted, or hands it to the least loaded worker when
    /// its own share is over.
    pub(super) fn place(self: &Rc<Self>, accepted: Accepted) {
        let loads = &self.shared.loads;
        let own = loads.get(self.index).map_or(0, WorkerLoad::connections);
        let least = (0..loads.len()).min_by_key(|worker| loads[*worker].connections());
        let target = match least {
            Some(least) if own >= loads[least].connections() + IMBALANCE => least,
            _ => self.index,
        };
        match self.peers.get(target).filter(|_| target != self.index) {
            None => self.serve_own(accepted),
            Some(peer) => {
                // Counted now, not when it arrives: a burst would all go to one worker otherwise.
                loads[target].add();
                if let Err(refused) = peer.try_send(accepted) {
                    loads[target].remove();
                    self.serve_own(refused.into_inner());
                }
            }
        }
    }

    fn serve_own(self: &Rc<Self>, accepted: Accepted) {
        self.load().add();
        self.serve(accepted);
    }

    /// Serves a connection whose load is counted already.
    pub(super) fn serve(self: &Rc<Self>, accepted: Accepted) {
        let state = accepted.listener.state();
        let connection = self.shared.connections.take(1);
        let overloaded = if connection.is_none() {
            Some("as many connections are open as may be")
        } else if self.shared.is_memory_full() {
            Some("memory is nearly used up")
        } else {
            None
        };
        let connection = connection.unwrap_or_else(|| self.shared.connections.force(1));
        let ticket = Ticket::take(self.clone(), state.policy.clone(), connection);
        let arrival = Arrival::new(ticket, accepted);
        match overloaded {
            Some(why) => drop(arrival.refuse(Refusal::noted(Outcome::Overloaded, why.to_owned()))),
            None => {
                tokio::task::spawn_local(serve(self.clone(), arrival, state));
            }
        }
    }
}
