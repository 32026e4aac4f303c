//! The builder: a thread for work that takes long, such as the tables of a large config.
//!
//! The control thread answers probes, so nothing may keep it busy for long. The builder has the priority of a worker:
//! beside workers that are never idle it gets as much of a CPU as one of them, and a reload ends soon. It does one piece
//! of work after the other.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::AppError;

/// The number of orders that may wait. A change gives at most five, one after another.
const QUEUE: usize = 16;
/// The pause before another attempt to give an order while the queue is full.
const PAUSE: Duration = Duration::from_millis(10);
/// The stack size: the default of a process's main thread.
const STACK: usize = 8 << 20;
/// The time between two looks at values that others still use.
const LOOK: Duration = Duration::from_millis(100);
/// The time after which the builder no longer keeps a value although others use it. The last of these drops it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest number of values that the builder keeps until others no longer use them.
const MAX_KEPT: usize = 64;

/// A value that is in force no longer.
pub(super) type Old = Arc<dyn Any + Send + Sync>;

/// A handle to the builder. The thread ends after the last handle has been dropped.
#[derive(Clone)]
pub(super) struct Builder(SyncSender<Order>);

enum Order {
    Work(Box<dyn FnOnce() + Send>),
    Drop(Vec<Old>),
}

impl Builder {
    /// Starts the thread, with the priority of the caller.
    pub(super) fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::sync_channel(QUEUE);
        thread::Builder::new()
            .name("builder".to_owned())
            .stack_size(STACK)
            .spawn(move || run(&inbox))?;
        Ok(Self(orders))
    }

    /// Has the builder do `work`, and waits for the result.
    ///
    /// # Errors
    /// [`AppError::GivenUp`]: the work panicked, which is a defect.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppError> {
        let (answer, result) = oneshot::channel();
        // No caller may wait any more, if the process ends.
        let mut order = Order::Work(Box::new(move || drop(answer.send(work()))));
        loop {
            order = match self.0.try_send(order) {
                Ok(()) => break,
                Err(TrySendError::Full(order)) => order,
                Err(TrySendError::Disconnected(_)) => return Err(AppError::GivenUp),
            };
            sleep(PAUSE).await;
        }
        result.await.map_err(|_| AppError::GivenUp)
    }

    /// Has the builder do `work` if that takes long; otherwise the caller does it at once.
    ///
    /// # Errors
    /// As [`Builder::run`].
    pub(super) async fn run_if<T: Send + 'static>(
        &self,
        takes_long: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppError> {
        match takes_long {
            true => self.run(work).await,
            false => Ok(work()),
        }
    }

    /// Has the builder drop values that are in force no longer, once it is their only user. To drop a table of 100,000
    /// routes takes some tens of milliseconds, and otherwise a worker may be its last user.
    pub(super) fn drop_unused(&self, old: Vec<Old>) {
        // If the queue is full, the caller drops them.
        let _ = self.0.try_send(Order::Drop(old));
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Builder")
    }
}

fn run(inbox: &Receiver<Order>) {
    let mut kept: Vec<(Instant, Old)> = Vec::new();
    loop {
        let order = match kept.is_empty() {
            true => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => inbox.recv_timeout(LOOK),
        };
        match order {
            // After a panic the caller gets an error, and the log has the panic.
            Ok(Order::Work(work)) => drop(catch_unwind(AssertUnwindSafe(work))),
            Ok(Order::Drop(old)) => {
                let now = Instant::now();
                kept.extend(old.into_iter().map(|old| (now, old)));
                kept.drain(..kept.len().saturating_sub(MAX_KEPT));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        kept.retain(|(since, old)| Arc::strong_count(old) > 1 && since.elapsed() < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    #[tokio::test]
    async fn work_that_panics_is_given_up_and_the_next_one_is_done() {
        let builder = Builder::start().unwrap();
        let failed = builder.run(|| panic!("on purpose")).await;
        let failed: Result<(), AppError> = failed;
        assert!(matches!(failed, Err(AppError::GivenUp)), "{failed:?}");
        assert_eq!(builder.run(|| 7).await.unwrap(), 7);
    }

    /// A value that tells the name of the thread that drops it.
    struct DropTeller(Sender<Option<String>>);

    impl Drop for DropTeller {
        fn drop(&mut self) {
            let name = thread::current().name().map(str::to_owned);
            self.0.send(name).unwrap();
        }
    }

    #[tokio::test]
    async fn a_value_is_dropped_by_the_builder_once_its_last_user_has_gone() {
        let builder = Builder::start().unwrap();
        let (tell, told) = channel();
        let value = Arc::new(DropTeller(tell));
        builder.drop_unused(vec![value.clone()]);
        builder.run(|| ()).await.unwrap();
        assert!(told.try_recv().is_err(), "it is used");
        drop(value);
        let name = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(name.as_deref(), Some("builder"));
    }
}
