//! The check of `/healthz/live`: it finds worker threads that hang.
//!
//! Each worker counts its rounds, four a second. A worker whose count stands still for [`STALLED`]
//! hangs. A worker with much work or little CPU is late by less than that.

use std::time::{Duration, Instant};

/// The time for which a worker's count must stand still before the worker counts as hanging.
pub const STALLED: Duration = Duration::from_secs(30);
/// The largest time that counts between two looks. A longer gap means that the whole process was
/// stopped or got no CPU, and says nothing about a worker.
const STEP: Duration = Duration::from_secs(2);

/// Compares the workers' counts over time. It looks about once a second.
#[derive(Debug, Default)]
pub struct Judge {
    last_look: Option<Instant>,
    workers: Vec<Seen>,
}

/// The last look at a worker.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    rounds: u64,
    silent: Duration,
}

impl Judge {
    /// Takes the count of each worker at `now`. Returns the numbers of those that have stood still for
    /// [`STALLED`].
    pub fn look(&mut self, now: Instant, rounds: impl Iterator<Item = u64>) -> Vec<usize> {
        let last_look = self.last_look.replace(now).unwrap_or(now);
        let step = now.saturating_duration_since(last_look).min(STEP);
        let mut stalled = Vec::new();
        for (worker, rounds) in rounds.enumerate() {
            if self.workers.len() <= worker {
                self.workers.push(Seen {
                    rounds,
                    silent: Duration::ZERO,
                });
            }
            let seen = &mut self.workers[worker];
            if seen.rounds == rounds {
                seen.silent = seen.silent.saturating_add(step);
            } else {
                (seen.rounds, seen.silent) = (rounds, Duration::ZERO);
            }
            if seen.silent >= STALLED {
                stalled.push(worker);
            }
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these seconds, with these counts of two workers. Returns the result of the last look.
    fn judged(looks: impl IntoIterator<Item = (u64, [u64; 2])>) -> Vec<usize> {
        let start = Instant::now();
        let mut judge = Judge::default();
        let mut said = Vec::new();
        for (second, rounds) in looks {
            said = judge.look(start + Duration::from_secs(second), rounds.into_iter());
        }
        said
    }

    #[test]
    fn who_stands_still_for_half_a_minute_is_named() {
        let none: Vec<usize> = Vec::new();
        assert_eq!(judged((0..=29).map(|s| (s, [s, 7]))), none);
        assert_eq!(judged((0..=30).map(|s| (s, [s, 7]))), [1]);
        assert_eq!(judged((0..=300).map(|s| (s, [7, 7]))), [0, 1]);
    }

    #[test]
    fn a_worker_that_is_slow_lives() {
        let none: Vec<usize> = Vec::new();
        // One round in 29 seconds instead of four a second.
        assert_eq!(judged((0..=300).map(|s| (s, [s / 29, s]))), none);
        // The worker hangs and then continues.
        let late = |s: u64| if s < 100 { 7 } else { 8 };
        assert_eq!(judged((0..=100).map(|s| (s, [late(s), s]))), none);
    }

    #[test]
    fn time_in_which_the_judge_stood_still_too_does_not_count() {
        let none: Vec<usize> = Vec::new();
        // SIGSTOP, a suspended machine, no CPU at all: no worker has counted, and no look took place.
        assert_eq!(judged([(0, [7, 7]), (1, [7, 7]), (3600, [7, 7])]), none);
        // Throttled all the time: a look every ten seconds, of which two seconds count.
        assert_eq!(judged((0..15).map(|n| (10 * n, [7, 7]))), none);
        assert_eq!(judged((0..16).map(|n| (10 * n, [7, 7]))), [0, 1]);
    }
}
