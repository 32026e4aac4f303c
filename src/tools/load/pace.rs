//! The pace of connections: the time when each begins, and the largest number at once.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::attempt::{Attempt, AttemptResult};
use super::tally::LoadTally;

/// The delay above which a connection counts as late. A caller would have seen this wait, and no other
/// number shows it.
const LATE: Duration = Duration::from_millis(10);
/// The time between two updates of the progress bar.
const DRAW: Duration = Duration::from_millis(100);

/// The pace of connections.
#[derive(Debug)]
pub(super) struct LoadPace {
    /// Connections a second. 0: each place begins a new one as soon as the last one ends.
    pub rate: f64,
    /// The largest number of open connections.
    pub at_once: usize,
    /// The time during which connections begin.
    pub duration: Duration,
}

impl LoadPace {
    /// Makes connections until the time is over or somebody presses Ctrl-C. Then waits for those that
    /// are open.
    pub(super) async fn run(&self, attempt: Attempt, bar: &ProgressBar) -> io::Result<LoadTally> {
        let attempt = Rc::new(attempt);
        let mut tally = LoadTally::new(self.rate, self.at_once)?;
        let mut open = JoinSet::new();
        let start = Instant::now();
        let end = start + self.duration;
        let mut interrupt = Box::pin(tokio::signal::ctrl_c());
        let mut draw = tokio::time::interval(DRAW);
        let mut begun = 0;
        loop {
            let due = self.due(start, begun).unwrap_or(start);
            let is_free = open.len() < self.at_once;
            tokio::select! {
                // This comes first, so that a rate which is too high cannot delay the end.
                biased;
                () = sleep_until(end) => break,
                _ = &mut interrupt => break,
                _ = draw.tick() => show(bar, start, &tally),
                Some(done) = open.join_next(), if !open.is_empty() => finished(&mut tally, done)?,
                () = sleep_until(due), if is_free => {
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

    /// The time when the connection with this number should begin. `None`: at once.
    fn due(&self, start: Instant, number: usize) -> Option<Instant> {
        let after = Duration::try_from_secs_f64(number as f64 / self.rate).ok()?;
        start.checked_add(after)
    }
}

fn finished(
    tally: &mut LoadTally,
    done: Result<AttemptResult, tokio::task::JoinError>,
) -> io::Result<()> {
    tally.add(&done.map_err(io::Error::other)?);
    Ok(())
}

fn show(bar: &ProgressBar, start: Instant, tally: &LoadTally) {
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
        let pace = |rate| LoadPace {
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
