//! The supervision of tasks and threads that must not end: one that panics or fails is started again.
//!
//! Connections are not supervised: a panic there ends one connection. The main tasks of a worker are
//! not supervised either: when one of them ends, the process ends.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use prometheus::IntCounter;
use tokio::task::JoinError;

/// The first pause before a task is started again. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// The running time after which a task counts as working.
const SETTLED: Duration = Duration::from_secs(60);

/// The recent restarts of one task, and so the wait before the next.
#[derive(Debug)]
pub struct Restarts {
    task: &'static str,
    counter: IntCounter,
    in_a_row: u32,
    started: Instant,
}

impl Restarts {
    /// Creates the count for `task`, which starts now. Restarts are also counted in `counter`.
    pub fn new(task: &'static str, counter: IntCounter) -> Self {
        Self {
            task,
            counter,
            in_a_row: 0,
            started: Instant::now(),
        }
    }

    /// Counts and logs that the task has ended for the reason `why`. Returns the wait before the
    /// restart.
    pub fn ended(&mut self, why: &dyn Display) -> Duration {
        if self.started.elapsed() >= SETTLED {
            self.in_a_row = 0;
        }
        let pause = pause(self.in_a_row);
        self.in_a_row += 1;
        self.counter.inc();
        let task = self.task;
        tracing::error!(task, %why, ?pause, "a task of strait has failed and starts again after a pause; this is a defect, please report this line");
        pause
    }

    /// Notes that the task starts again now.
    pub fn started(&mut self) {
        self.started = Instant::now();
    }

    /// Runs the task to its end. Returns whether it has ended well. If it has failed or panicked, this
    /// returns when it is time to start it again.
    pub async fn attempt(&mut self, run: impl Future<Output = io::Result<()>>) -> bool {
        // State that the panic left half done belongs to the task.
        let ended = AssertUnwindSafe(run).catch_unwind().await;
        let pause = match ended {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => self.ended(&error),
            Err(panic) => self.ended(&panic_text(&*panic)),
        };
        tokio::time::sleep(pause).await;
        self.started();
        false
    }
}

/// The wait after `in_a_row` failures in a row.
fn pause(in_a_row: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << in_a_row.min(16))
        .min(LAST_PAUSE)
}

/// Runs the future of `make` until it ends well. After a failure or a panic it runs a new one.
pub async fn keep<F>(task: &'static str, counter: IntCounter, mut make: impl FnMut() -> F)
where
    F: Future<Output = io::Result<()>>,
{
    let mut restarts = Restarts::new(task, counter);
    while !restarts.attempt(make()).await {}
}

/// The reason why a task has ended that should not have.
pub fn why(ended: Result<(), JoinError>) -> String {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(()) => "it has come to its end".to_owned(),
        Err(Ok(panic)) => panic_text(&*panic).to_owned(),
        Err(Err(error)) => error.to_string(),
    }
}

/// The text of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn counter() -> IntCounter {
        IntCounter::new("restarts", "Not registered.").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_panics_or_fails_is_made_anew_until_it_ends_well() {
        let (made, counter) = (Cell::new(0), counter());
        let start = tokio::time::Instant::now();
        let make = || {
            made.set(made.get() + 1);
            let number = made.get();
            async move {
                match number {
                    1 => panic!("on purpose"),
                    2 => Err(io::Error::other("failed")),
                    _ => Ok(()),
                }
            }
        };
        keep("test", counter.clone(), make).await;
        assert_eq!((made.get(), counter.get()), (3, 2));
        assert!(start.elapsed() >= pause(0) + pause(1));
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        assert_eq!([0, 1, 2].map(|n| pause(n).as_millis()), [100, 200, 400]);
        assert_eq!([20, u32::MAX].map(pause), [LAST_PAUSE; 2]);
    }

    #[test]
    fn a_panic_is_quoted() {
        let panics: [fn(); 2] = [|| panic!("plain"), || panic!("number {}", 7)];
        let texts = panics.map(|panics| {
            let panic = std::panic::catch_unwind(panics).unwrap_err();
            panic_text(&*panic).to_owned()
        });
        assert_eq!(texts, ["plain", "number 7"]);
    }
}
