//! Whose turn it is: bulk directions move one after the other, and the driver is polled in between.
//!
//! The runtime runs every task that is ready before it asks the kernel for news, so sixteen bulk
//! relays that are ready together would keep a small message waiting for sixteen turns
//! (`kernel-notes.md` 8). Here they queue, and one task calls the next of them after each poll of the
//! driver; what that poll brought runs before.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The bulk turns of one worker.
#[derive(Debug)]
pub(in crate::proxy) struct Turns {
    queue: RefCell<VecDeque<Waker>>,
    /// The place of the queue's first: everyone before it has been called.
    first: Cell<NonZeroU64>,
    /// Who had the last turn.
    last: Cell<usize>,
    caller: RefCell<Option<Waker>>,
}

/// A relay's place in the queue, if it has one. A relay that goes away just leaves it.
#[derive(Debug, Default)]
pub(super) struct Place(Option<NonZeroU64>);

impl Default for Turns {
    fn default() -> Self {
        Self {
            queue: RefCell::default(),
            first: Cell::new(NonZeroU64::MIN),
            last: Cell::new(0),
            caller: RefCell::default(),
        }
    }
}

impl Turns {
    /// Whether the relay known as `relay` may have its turn now; if not, its task is woken when it
    /// may. Who had the last turn and meets nobody else here need not queue.
    pub(super) fn poll_turn(&self, cx: &Context<'_>, relay: usize, place: &mut Place) -> Poll<()> {
        match place.0 {
            Some(own) if own < self.first.get() => {
                place.0 = None;
                self.last.set(relay);
                Poll::Ready(())
            }
            Some(_) => Poll::Pending,
            None => {
                let mut queue = self.queue.borrow_mut();
                if queue.is_empty() && self.last.get() == relay {
                    return Poll::Ready(());
                }
                place.0 = self.first.get().checked_add(queue.len() as u64);
                queue.push_back(cx.waker().clone());
                if let Some(caller) = self.caller.borrow_mut().take() {
                    caller.wake();
                }
                Poll::Pending
            }
        }
    }

    /// Calls one after the other, for ever.
    pub(in crate::proxy) async fn call(&self) {
        loop {
            poll_fn(|cx| {
                if self.queue.borrow().is_empty() {
                    *self.caller.borrow_mut() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            // Comes back only when the driver has been polled and its news are queued to run.
            tokio::task::yield_now().await;
            let next = self.queue.borrow_mut().pop_front();
            if let Some(next) = next {
                self.first.set(self.first.get().saturating_add(1));
                next.wake();
            }
        }
    }
}

/// Wakes the task of `cx` after the next poll of the driver, behind everything that it brings.
pub(super) fn wake_after_driver(cx: &mut Context<'_>) {
    // Hands over the waker, and needs no second poll for that.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}
