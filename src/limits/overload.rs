//! Overload: the steps that strait takes one after another, by the use of a resource.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::hysteresis::Hysteresis;
use crate::metrics::OverloadCause;

/// The number of rounds by which the lag of a worker is judged. All of them must come late, so that one pause of the
/// whole machine does not count as lag.
const ROUNDS: usize = 4;

/// A step against overload. Each one includes those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum OverloadStep {
    /// Nothing is done.
    #[default]
    Normal,
    /// New connections are refused.
    Refuse,
    /// The connections that are quiet longest end.
    EndQuiet,
}

impl OverloadStep {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Normal,
            1 => Self::Refuse,
            _ => Self::EndQuiet,
        }
    }

    /// The words of the status page; `None` if nothing is done.
    pub fn words(self) -> Option<&'static str> {
        match self {
            Self::Normal => None,
            Self::Refuse => Some("new connections are refused"),
            Self::EndQuiet => {
                Some("new connections are refused, and those that are quiet longest end")
            }
        }
    }
}

/// A step that one thread sets and others read.
#[derive(Debug, Default)]
pub struct SharedStep(AtomicU8);

impl SharedStep {
    /// The step in force.
    pub fn get(&self) -> OverloadStep {
        OverloadStep::of(self.0.load(Ordering::Relaxed))
    }

    /// Puts `step` into force.
    pub fn set(&self, step: OverloadStep) {
        self.0.store(step as u8, Ordering::Relaxed);
    }
}

/// The steps in force, by their causes. The step for lag is that of the worker that is behind most.
#[derive(Debug, Default)]
pub struct Overload {
    memory: SharedStep,
    worker_lag: SharedStep,
    /// Use and limit of the memory of the cgroup that is nearest to its limit; zeros without a limit.
    memory_use: [AtomicU64; 2],
}

impl Overload {
    /// The step in force because of `cause`.
    pub fn step(&self, cause: OverloadCause) -> &SharedStep {
        match cause {
            OverloadCause::Memory => &self.memory,
            OverloadCause::WorkerLag => &self.worker_lag,
        }
    }

    /// Notes use and limit of the memory of the cgroup that is nearest to its limit. [`Overload::memory_use`] reads them.
    pub fn note_memory(&self, pressed: Option<(u64, u64)>) {
        let (used, limit) = pressed.unwrap_or_default();
        for (kept, now) in self.memory_use.iter().zip([used, limit]) {
            kept.store(now, Ordering::Relaxed);
        }
    }

    /// The last note: use and limit. `None` without a limit.
    pub fn memory_use(&self) -> Option<(u64, u64)> {
        let memory_use = self.memory_use.each_ref();
        let [used, limit] = memory_use.map(|number| number.load(Ordering::Relaxed));
        (limit > 0).then_some((used, limit))
    }
}

/// The step that a value asks for, with some distance between taking a step and giving it up.
#[derive(Debug, Default)]
pub struct StepGate(OverloadStep);

impl StepGate {
    /// Judges `value` by the bounds of refusing and, if that is on, of ending. Returns the step from now on if
    /// it has changed.
    pub fn judge(
        &mut self,
        value: u64,
        refuse: Option<Hysteresis<u64>>,
        end: Option<Hysteresis<u64>>,
    ) -> Option<OverloadStep> {
        let before = self.0;
        let reached = |bounds: Option<Hysteresis<u64>>, step: OverloadStep| {
            bounds.is_some_and(|bounds| bounds.holds(&value, before >= step))
        };
        let step = if !reached(refuse, OverloadStep::Refuse) {
            OverloadStep::Normal
        } else if reached(end, OverloadStep::EndQuiet) {
            OverloadStep::EndQuiet
        } else {
            OverloadStep::Refuse
        };
        self.0 = step;
        (step != before).then_some(step)
    }
}

/// The lag of a worker: the time by which its rounds come late.
#[derive(Debug, Default)]
pub struct LagMeter {
    last: Option<Instant>,
    late: VecDeque<Duration>,
}

impl LagMeter {
    /// Notes a round at `now`, which should come `period` after the one before. Returns the least time by which
    /// one of the last rounds came late.
    pub fn round(&mut self, now: Instant, period: Duration) -> Duration {
        if let Some(last) = self.last.replace(now) {
            let late = now.saturating_duration_since(last).saturating_sub(period);
            self.late.truncate(ROUNDS - 1);
            self.late.push_front(late);
        }
        match self.late.len() {
            ROUNDS => self.late.iter().min().copied().unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_taken_one_after_another_and_given_up_later() {
        use OverloadStep::{EndQuiet, Normal, Refuse};
        let bounds = |from, until| Some(Hysteresis { from, until });
        let (refuse, end) = (bounds(90, 85), bounds(95, 90));
        let mut gate = StepGate::default();
        for (value, changed) in [
            (89, None),
            (90, Some(Refuse)),
            (94, None),
            (95, Some(EndQuiet)),
            (90, None),
            (89, Some(Refuse)),
            (85, None),
            (99, Some(EndQuiet)),
            (84, Some(Normal)),
            (89, None),
        ] {
            assert_eq!(gate.judge(value, refuse, end), changed, "{value}");
        }
        assert_eq!(gate.judge(99, refuse, None), Some(Refuse));
        assert_eq!(gate.judge(99, None, end), Some(Normal), "it is off");
    }

    #[test]
    fn a_pause_of_the_machine_is_no_lag() {
        let (start, period) = (Instant::now(), Duration::from_millis(250));
        let mut meter = LagMeter::default();
        let mut now = start;
        let mut round = |late: u64| {
            now += period + Duration::from_millis(late);
            meter.round(now, period).as_millis()
        };
        assert_eq!([0, 0, 60_000, 0, 0].map(&mut round), [0; 5]);
        assert_eq!([70, 80, 90, 60].map(&mut round), [0, 0, 0, 60]);
        assert_eq!([500, 0].map(&mut round), [60, 0]);
    }
}
