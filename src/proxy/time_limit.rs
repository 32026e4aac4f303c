//! Time limits of the steps of a connection whose timer begins only when one has to wait.
//!
//! To begin a timer and to end it costs more than to ask whether a step is over, and most steps are over at their first
//! poll, or soon after it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// The poll of a step that begins its timer, if the step is not over then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The first.
    FirstPoll,
    /// The second: another timer, which ends earlier, polls the step again.
    SecondPoll,
}

/// The result of `step`; `None` if it is not over at `deadline`.
pub(super) async fn until<T>(
    deadline: Instant,
    timer: Timer,
    step: impl Future<Output = T>,
) -> Option<T> {
    let mut step = pin!(step);
    let mut sleep = pin!(None::<Sleep>);
    let mut waits = timer == Timer::SecondPoll;
    poll_fn(|cx| {
        if let Poll::Ready(result) = step.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        if std::mem::take(&mut waits) {
            return Poll::Pending;
        }
        if sleep.is_none() {
            sleep.set(Some(sleep_until(deadline)));
        }
        let over = sleep.as_mut().as_pin_mut();
        over.map_or(Poll::Ready(()), |over| over.poll(cx))
            .map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_step_ends_at_its_deadline_or_with_its_result() {
        let deadline = Instant::now() + LIMIT;
        assert_eq!(
            until(deadline, Timer::FirstPoll, async { 1 }).await,
            Some(1)
        );
        let late = async {
            advance(LIMIT).await;
            2
        };
        assert_eq!(until(deadline, Timer::FirstPoll, late).await, Some(2));
        let never = until(Instant::now() + LIMIT, Timer::FirstPoll, pending::<()>());
        let start = Instant::now();
        assert_eq!(never.await, None);
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_of_the_second_poll_begins_when_another_one_ends() {
        let start = Instant::now();
        let mut step = pin!(until(start + LIMIT, Timer::SecondPoll, pending::<()>()));
        let sooner = until(start + LIMIT / 2, Timer::FirstPoll, step.as_mut());
        assert_eq!(sooner.await, None);
        assert_eq!(start.elapsed(), LIMIT / 2);
        assert_eq!(step.await, None);
        assert_eq!(start.elapsed(), LIMIT);
    }
}
