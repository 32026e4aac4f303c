//! The queue of bulk transfers: bulk directions move one after the other, and the driver is polled in
//! between.
//!
//! The runtime runs every task that is ready before it asks the kernel for news, so sixteen bulk
//! relays that are ready together would keep a small message waiting for sixteen turns
//! (`docs/src/internals/kernel.md#bulk-starves-small-messages`). Here they queue, and one task calls the
//! next of them after each poll of the driver; what that poll brought runs before.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The bulk transfers of one worker that wait for their turn.
#[derive(Debug)]
pub(in crate::proxy) struct BulkQueue {
    queue: RefCell<VecDeque<Waker>>,
    /// The place of the first in the queue: all before it have been called.
    first: Cell<NonZeroU64>,
    /// The relay that had the last turn.
    last: Cell<usize>,
    caller: RefCell<Option<Waker>>,
}

/// A relay's place in the queue, if it has one. A relay that goes away just leaves it.
#[derive(Debug, Default)]
pub(in crate::proxy) struct QueuePlace(Option<NonZeroU64>);

impl Default for BulkQueue {
    fn default() -> Self {
        Self {
            queue: RefCell::default(),
            first: Cell::new(NonZeroU64::MIN),
            last: Cell::new(0),
            caller: RefCell::default(),
        }
    }
}

impl BulkQueue {
    /// Polls for the turn of the relay known as `relay`. If the turn is not free, its task is woken
    /// later. The relay that had the last turn need not queue while the queue is empty.
    pub(in crate::proxy) fn poll_turn(
        &self,
        cx: &Context<'_>,
        relay: usize,
        place: &mut QueuePlace,
    ) -> Poll<()> {
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

    /// Calls one relay after the other, for ever.
    pub(in crate::proxy) async fn run(&self) {
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
pub(in crate::proxy) fn wake_after_driver(cx: &mut Context<'_>) {
    // Hands over the waker, and needs no second poll for that.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::net::UnixDatagram;

    /// Takes `turns` turns, one after the other.
    async fn bulk(line: Rc<BulkQueue>, name: usize, turns: usize, since_news: Rc<Cell<usize>>) {
        let mut place = QueuePlace::default();
        for _ in 0..turns {
            poll_fn(|cx| line.poll_turn(cx, name, &mut place)).await;
            since_news.set(since_news.get() + 1);
            assert!(
                since_news.get() <= 1,
                "two turns without a poll of the driver"
            );
            // There is more to do at once.
            let mut deferred = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut deferred, true) {
                    return Poll::Ready(());
                }
                wake_after_driver(cx);
                Poll::Pending
            })
            .await;
        }
    }

    #[test]
    fn what_the_driver_brings_runs_between_any_two_turns() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let line = Rc::new(BulkQueue::default());
            let since_news = Rc::new(Cell::new(0));
            let caller = line.clone();
            tokio::task::spawn_local(async move { caller.run().await });
            // Has news at every poll of the driver.
            let (mut this, mut other) = UnixDatagram::pair().unwrap();
            let news = since_news.clone();
            tokio::task::spawn_local(async move {
                loop {
                    this.send(&[1]).await.unwrap();
                    other.recv(&mut [0]).await.unwrap();
                    news.set(0);
                    std::mem::swap(&mut this, &mut other);
                }
            });
            let relays: Vec<_> = (1..=5)
                .map(|name| {
                    let relay = bulk(line.clone(), name, 50, since_news.clone());
                    tokio::task::spawn_local(relay)
                })
                .collect();
            for relay in relays {
                relay.await.unwrap();
            }
        });
    }

    #[test]
    fn a_relay_that_left_the_queue_holds_nobody_up() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let line = Rc::new(BulkQueue::default());
            let caller = line.clone();
            tokio::task::spawn_local(async move { caller.run().await });
            for name in 1..=3 {
                let cx = Context::from_waker(Waker::noop());
                let turn = line.poll_turn(&cx, name, &mut QueuePlace::default());
                assert!(turn.is_pending());
            }
            bulk(line.clone(), 8, 1, Rc::default()).await;
        });
    }
}
