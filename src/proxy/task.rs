//! The task of a connection, from accept to the end of its relay.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::corridor::corridor;
use super::listener::ListenerState;
use super::refuse;
use super::relay::Relaying;
use super::seat::Seat;
use super::states::Arrival;
use super::worker::Worker;

/// Serves a connection until it has ended.
pub(super) fn serve(worker: Rc<Worker>, arrival: Arrival, state: Arc<ListenerState>) -> Serving {
    let seat = arrival.seat().clone();
    Serving::Opening(seat, Box::pin(open(worker, arrival, state)))
}

/// A connection's future. It is written by hand: what the compiler makes of an async block keeps a place
/// for everything that was moved through it, and each idle connection would pay for that. Here only
/// [`Relaying`] is left while a connection relays.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what a connection is for nearly all of its life"
)]
pub(super) enum Serving {
    /// Everything before the relay, with the seat through which it can be ended.
    Opening(Rc<Seat>, Pin<Box<dyn Future<Output = Option<Relaying>>>>),
    Relaying(Relaying),
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self {
                Self::Opening(seat, opening) => {
                    seat.wakes(cx.waker());
                    if seat.cut_reason().is_some() {
                        // Its record is written when it is dropped.
                        return Poll::Ready(());
                    }
                    match ready!(opening.as_mut().poll(cx)) {
                        Some(relaying) => self.set(Self::Relaying(relaying)),
                        None => return Poll::Ready(()),
                    }
                }
                Self::Relaying(relaying) => return relaying.poll(cx),
            }
        }
    }
}

/// Everything before the relay. A connection that is refused ends here.
async fn open(worker: Rc<Worker>, arrival: Arrival, state: Arc<ListenerState>) -> Option<Relaying> {
    match corridor(&worker, arrival, state).await {
        Ok(relaying) => Some(relaying),
        Err(refused) => {
            // A connection that was refused unread just closes.
            if let Some(downstream) = refused.downstream {
                refuse::send(&worker, downstream, refused.alert).await;
            }
            // Until here it had a place among its worker's connections.
            drop(refused.connection);
            None
        }
    }
}
