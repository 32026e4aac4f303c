//! Busy polling: a worker looks for news a little longer before it sleeps.
//!
//! Waking an idle core takes most of the latency of a small message on an idle gateway. While this
//! spins, the runtime never sleeps: it polls the driver, runs all that is ready, and comes back here.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// The busy polling of one worker.
#[derive(Debug)]
pub(in crate::proxy) struct BusyPoll {
    /// The time that it spins after the last bytes.
    time: Duration,
    until: Cell<Instant>,
    asleep: RefCell<Option<Waker>>,
}

impl BusyPoll {
    pub(in crate::proxy) fn new(time: Duration) -> Self {
        Self {
            time,
            until: Cell::new(Instant::now()),
            asleep: RefCell::default(),
        }
    }

    /// Bytes flowed at `now`: more may come soon.
    pub(in crate::proxy) fn wake(&self, now: Instant) {
        self.until.set(now + self.time);
        if let Some(asleep) = self.asleep.borrow_mut().take() {
            asleep.wake();
        }
    }

    /// Spins while it should, for ever.
    pub(in crate::proxy) async fn run(&self) {
        loop {
            while Instant::now() < self.until.get() {
                // Behind everything that is ready now, and one poll of the driver.
                tokio::task::yield_now().await;
            }
            let slept_from = self.until.get();
            poll_fn(|cx| {
                if self.until.get() != slept_from {
                    return Poll::Ready(());
                }
                *self.asleep.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }
}
