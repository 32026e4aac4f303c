//! When connections begin, and how many at once.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::attempt::{Attempt, Outcome};
use super::tally::Tally;

/// A connection that begins this much later than it should is late: the wait is part of what a
/// caller would have seen, and none of the numbers shows it.
const LATE: Duration = Duration::from_millis(10);
/// How often the progress is drawn.
const DRAW: Duration = Duration::from_millis(100);

/// How connections follow each other.
#[derive(Debug)]
pub(super) struct Pace {
    /// A second; 0 for one after another in each of the places.
    pub rate: f64,
    /// How many may be open.
    pub at_once: usize,
    /// For how long connections begin.
    pub duration: Duration,
}

impl Pace {
    /// Makes connections until the time is over or somebody presses Ctrl-C, then waits for those that
    /// are open.
    pub(super) async fn run(&self, attempt: Attempt, bar: &ProgressBar) -> io::Result<Tally> {
        let attempt = Rc::new(attempt);
        let mut tally = Tally::new(self.rate, self.at_once)?;
        let mut open = JoinSet::new();
        let start = Instant::now();
        let end = start + self.duration;
        let mut interrupt = Box::pin(tokio::signal::ctrl_c());
        let mut draw = tokio::time::interval(DRAW);
        let mut begun = 0;
        loop {
            let due = self.due(start, begun).unwrap_or(start);
            let room = open.len() < self.at_once;
            tokio::select! {
                // A rate that cannot be kept must not keep the end from coming.
                biased;
                () = sleep_until(end) => break,
                _ = &mut interrupt => break,
                _ = draw.tick() => show(bar, start, &tally),
                Some(done) = open.join_next(), if !open.is_empty() => finished(&mut tally, done)?,
                () = sleep_until(due), if room => {
                    if self.rate > 0.0 && due.elapsed() > LATE {
                        tally.late += 1;
                    }
                    let attempt = attempt.clone();
                    open.spawn_local(async move { attempt.make(begun).await });
                    begun += 1;
                }
            }
        }
        tally.begun = begun;
        tally.time = start.elapsed();
        while let Some(done) = open.join_next().await {
            finished(&mut tally, done)?;
        }
        Ok(tally)
    }

    /// When the connection with this number should begin; `None`: at once.
    fn due(&self, start: Instant, number: usize) -> Option<Instant> {
        let after = Duration::try_from_secs_f64(number as f64 / self.rate).ok()?;
        start.checked_add(after)
    }
}

fn finished(tally: &mut Tally, done: Result<Outcome, tokio::task::JoinError>) -> io::Result<()> {
    tally.add(&done.map_err(io::Error::other)?);
    Ok(())
}

fn show(bar: &ProgressBar, start: Instant, tally: &Tally) {
    bar.set_position(start.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
    bar.set_message(format!(
        "{} done, {} failed",
        tally.succeeded,
        tally.failed()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_due_evenly_and_at_once_without_a_rate() {
        let pace = |rate| Pace {
            rate,
            at_once: 1,
            duration: Duration::ZERO,
        };
        let start = Instant::now();
        let due = pace(4.0).due(start, 6);
        assert_eq!(due, Some(start + Duration::from_millis(1500)));
        assert_eq!(pace(0.0).due(start, 0), None, "0 divided by 0");
        assert_eq!(pace(0.0).due(start, 6), None);
    }
}
