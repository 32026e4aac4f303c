//! The time of the next write: soon after a change, and from time to time without one, since the state of a
//! quiet cluster must not become too old.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between the starts of two writes.
const PAUSE: Duration = Duration::from_secs(30);
/// The part of the time that writes may take, as its inverse.
const SHARE: u32 = 100;
/// The part of the largest age after which a state that has not changed is written again, as its inverse.
const RENEWALS: u32 = 4;

/// The writes so far.
#[derive(Debug, Default)]
pub(in crate::source::kubernetes) struct SaveSchedule {
    /// True if something has changed since the last write began.
    changed: bool,
    /// The start of the last write, and the time that it took.
    last: Option<(Instant, Duration)>,
    /// The time for which the API had confirmed what was written last.
    confirmed: Option<Instant>,
}

impl SaveSchedule {
    /// Notes a change of the state.
    pub(in crate::source::kubernetes) fn changed(&mut self) {
        self.changed = true;
    }

    /// The time from which a state that the API has confirmed at `confirmed` should be written.
    pub(in crate::source::kubernetes) fn due(
        &self,
        confirmed: Instant,
        max_age: Duration,
    ) -> Option<Instant> {
        let Some((began, took)) = self.last else {
            return Some(confirmed);
        };
        let pause = PAUSE.max(took.saturating_mul(SHARE));
        if self.changed {
            return began.checked_add(pause);
        }
        // While the API is away nothing is confirmed, and nothing is written.
        let is_newer = self.confirmed.is_none_or(|before| before < confirmed);
        let renewal = began.checked_add(pause.max(max_age / RENEWALS));
        renewal.filter(|_| is_newer)
    }

    /// Notes that a write begins.
    pub(in crate::source::kubernetes) fn begins(&mut self, now: Instant, confirmed: Instant) {
        self.changed = false;
        self.last = Some((now, Duration::ZERO));
        self.confirmed = Some(confirmed);
    }

    /// Notes that the write has ended.
    pub(in crate::source::kubernetes) fn ended(&mut self, took: Duration, written: bool) {
        self.changed |= !written;
        if let Some((_, last)) = &mut self.last {
            *last = took;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn changes_are_written_with_pauses_and_a_quiet_state_from_time_to_time() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        let mut schedule = SaveSchedule::default();
        assert_eq!(schedule.due(start, HOUR), Some(start), "the first at once");
        schedule.begins(start, start);
        schedule.ended(seconds(0), true);
        assert_eq!(schedule.due(start, HOUR), None, "nothing is new");
        let quarter = start + HOUR / 4;
        assert_eq!(schedule.due(start + seconds(1), HOUR), Some(quarter));
        schedule.changed();
        assert_eq!(schedule.due(start, HOUR), Some(start + PAUSE));
        // A write that takes long makes the pause longer.
        schedule.begins(start, start);
        schedule.ended(seconds(2), true);
        schedule.changed();
        assert_eq!(schedule.due(start, HOUR), Some(start + seconds(200)));
        // One that fails is tried again.
        schedule.begins(start, start);
        schedule.ended(seconds(0), false);
        assert_eq!(schedule.due(start, HOUR), Some(start + PAUSE));
    }
}
