//! The queue of bulk transfers: bulk directions move one after the other, and the driver is polled in
//! between.
//!
//! The runtime runs every task that is ready before it asks the kernel for news, so sixteen bulk
//! relays that are ready together would keep a small message waiting for sixteen turns
//! (`docs/src/internals/kernel.md#bulk-starves-small-messages`). Here they queue, and one task calls the
//! next of them after each poll of the driver; what that poll brought runs before.
//!
//! A turn may be as little as one message of 64 KiB. So the turns between two polls of the driver are
//! counted by their time: one, and then more of them as long as they take less than twice the time of all
//! other work since the poll before.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The time of the turns between two polls of the driver, as a multiple of the time of all other work: a bulk
/// turn moves a hundred times the bytes of a small message, and takes several times as long.
const SHARE: u32 = 2;
/// The longest time of the turns between two polls of the driver, but for the last turn. A worker that the
/// kernel did not run for long takes that time for work of its relays.
const LONGEST_ROUND: Duration = Duration::from_millis(2);

/// The bulk transfers of one worker that wait for their turn.
#[derive(Debug)]
pub(in crate::proxy) struct BulkQueue {
    queue: RefCell<VecDeque<Waker>>,
    /// The place of the first in the queue: all before it have been called.
    first: Cell<NonZeroU64>,
    /// The relay that had the last turn.
    last: Cell<usize>,
    caller: RefCell<Option<Waker>>,
    /// The time that turns took since the last poll of the driver, and the time that they may take.
    spent: Cell<Duration>,
    allowed: Cell<Duration>,
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
            spent: Cell::default(),
            allowed: Cell::default(),
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

    /// A turn is over, and took `time`. Calls the next relay if the time of this round is not used up.
    pub(in crate::proxy) fn turn_took(&self, time: Duration) {
        self.spent.set(self.spent.get().saturating_add(time));
        if self.spent.get() < self.allowed.get() {
            self.call_next();
        }
    }

    fn call_next(&self) {
        let next = self.queue.borrow_mut().pop_front();
        if let Some(next) = next {
            self.first.set(self.first.get().saturating_add(1));
            next.wake();
        }
    }

    /// Calls one relay after the other, for ever.
    pub(in crate::proxy) async fn run(&self) {
        let mut round: Option<Instant> = None;
        loop {
            poll_fn(|cx| {
                if self.queue.borrow().is_empty() {
                    *self.caller.borrow_mut() = Some(cx.waker().clone());
                    // The worker may sleep now, which is no work.
                    round = None;
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            // Comes back only when the driver has been polled and its news are queued to run.
            tokio::task::yield_now().await;
            let now = Instant::now();
            let since = round
                .replace(now)
                .map_or(Duration::ZERO, |before| now - before);
            self.allowed.set(time_of_round(since, self.spent.take()));
            self.call_next();
        }
    }
}

/// The time that turns may take until the next poll of the driver, by that of all other work in the last
/// round, which took `round` in all and `turns` for its turns.
fn time_of_round(round: Duration, turns: Duration) -> Duration {
    (round.saturating_sub(turns) * SHARE).min(LONGEST_ROUND)
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
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
    fn turns_get_twice_the_time_of_all_other_work_and_no_more() {
        let us = Duration::from_micros;
        for (round, turns, allowed) in [
            (0, 0, 0),
            (1, 0, 2),
            (500, 0, 1000),
            (700, 600, 200),
            (500, 500, 0),
            (500, 600, 0),
            (700_000, 1, 2000),
        ] {
            assert_eq!(time_of_round(us(round), us(turns)), us(allowed));
        }
    }

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn short_turns_follow_each_other_until_their_time_is_used_up() {
        let (line, calls) = (BulkQueue::default(), Arc::new(Calls::default()));
        let waker = Waker::from(calls.clone());
        let cx = Context::from_waker(&waker);
        for name in 1..=9 {
            let turn = line.poll_turn(&cx, name, &mut QueuePlace::default());
            assert!(turn.is_pending());
        }
        let called = || calls.0.load(Ordering::Relaxed);
        line.turn_took(Duration::from_micros(10));
        assert_eq!(called(), 0, "nothing is allowed beyond the first turn");
        line.spent.take();
        line.allowed.set(Duration::from_micros(25));
        for turn in 1..=2 {
            line.turn_took(Duration::from_micros(10));
            assert_eq!(called(), turn);
        }
        line.turn_took(Duration::from_micros(10));
        assert_eq!(called(), 2, "30 us are more than 25");
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
