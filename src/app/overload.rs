//! The steps against overload: they are judged by the use of memory and by the lag of each worker, put into force,
//! and logged when they change.

use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use crate::config::Limits;
use crate::limits::memory::{self, step_bounds};
use crate::limits::{Hysteresis, OverloadStep, StepGate};
use crate::metrics::{OverloadCause, gauge_value};
use crate::proxy::{Shared, WorkerLoad};

/// The time between two looks at the memory in use.
const LOOK: Duration = Duration::from_millis(250);

/// Judges whether memory is nearly used up.
#[derive(Debug, Default)]
pub(super) struct MemoryWatch(StepGate);

impl MemoryWatch {
    /// Judges the use of memory (`used`, `limit`) of the cgroup that is nearest to its limit.
    pub(super) fn judge(&mut self, pressed: Option<(u64, u64)>, limits: &Limits, shared: &Shared) {
        let (used, limit) = pressed.unwrap_or((0, 0));
        let refuse = limits.memory_percent;
        let end = not_before(refuse, limits.end_quiet.memory_percent);
        let use_of_it = memory::per_mille(used, limit);
        let [refusing, ending] = [refuse, end].map(|percent| percent.map(step_bounds));
        let Some(step) = self.0.judge(use_of_it, refusing, ending) else {
            return;
        };
        put_into_force(step, OverloadCause::Memory, shared);
        let metrics = &shared.metrics;
        metrics
            .memory_full
            .set((step >= OverloadStep::Refuse).into());
        let connections = shared.connections.used();
        match step {
            OverloadStep::Normal => tracing::info!(
                used,
                limit,
                connections,
                "memory use has fallen: strait accepts new connections again"
            ),
            OverloadStep::Refuse => tracing::warn!(
                used,
                limit,
                percent = refuse,
                connections,
                "memory is nearly used up: strait refuses new connections as overloaded until use falls; raise the memory limit or lower limits.connections"
            ),
            OverloadStep::EndQuiet => tracing::warn!(
                used,
                limit,
                percent = end,
                connections,
                "memory is nearly used up although new connections are refused: strait ends those that are quiet longest, as overloaded, until use falls"
            ),
        }
    }
}

/// Judges whether workers are behind their work.
#[derive(Debug, Default)]
pub(super) struct LagWatch {
    /// The gate of each worker.
    gates: Vec<StepGate>,
    step: OverloadStep,
}

impl LagWatch {
    /// Judges the lag of each worker.
    pub(super) fn judge(&mut self, limits: &Limits, shared: &Shared) {
        self.gates
            .resize_with(shared.loads.len(), StepGate::default);
        let refuse = limits.worker_lag;
        let end = not_before(refuse, limits.end_quiet.worker_lag);
        let [refusing, ending] = [refuse, end].map(|lag| lag.map(lag_bounds));
        for (gate, load) in self.gates.iter_mut().zip(&shared.loads) {
            if let Some(step) = gate.judge(micros(load.lag()), refusing, ending) {
                load.lag_step.set(step);
            }
        }
        let steps = shared.loads.iter().map(|load| load.lag_step.get());
        let step = steps.max().unwrap_or_default();
        if std::mem::replace(&mut self.step, step) == step {
            return;
        }
        put_into_force(step, OverloadCause::WorkerLag, shared);
        let lag = shared.loads.iter().map(WorkerLoad::lag).max();
        match step {
            OverloadStep::Normal => tracing::info!(
                ?lag,
                "no worker thread is far behind its work any more: all accept new connections again"
            ),
            OverloadStep::Refuse => tracing::warn!(
                ?lag,
                limit = ?refuse,
                "a worker thread is behind its work: it refuses new connections as overloaded until it catches up; give strait more CPU"
            ),
            OverloadStep::EndQuiet => tracing::warn!(
                ?lag,
                limit = ?end,
                "a worker thread is behind its work although it refuses new connections: it ends those that are quiet longest, as overloaded"
            ),
        }
    }
}

/// The value from which quiet connections end, if they do: at least the one from which new ones are refused.
fn not_before<T: Ord>(refuse: Option<T>, end: Option<T>) -> Option<T> {
    end.map(|end| match refuse {
        Some(refuse) => end.max(refuse),
        None => end,
    })
}

fn put_into_force(step: OverloadStep, cause: OverloadCause, shared: &Shared) {
    shared.overload.step(cause).set(step);
    let gauge = shared.metrics.overload.step(cause);
    gauge.set((step as u8).into());
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The bounds of a step that is taken from `lag` on.
fn lag_bounds(lag: Duration) -> Hysteresis<u64> {
    Hysteresis {
        from: micros(lag),
        until: micros(lag / 2),
    }
}

/// Takes the steps against overload, and follows changes of the memory limit. Never returns.
pub(super) async fn watch_memory(control: Arc<Control>) {
    let metrics = &control.shared.metrics;
    let mut memory_watch = MemoryWatch::default();
    let mut lag_watch = LagWatch::default();
    let mut limit_before = None;
    loop {
        let config = control.snapshots.now().config.clone();
        lag_watch.judge(&config.limits, &control.shared);
        let Some(memory) = control.capacity.memory() else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let limit = memory.limit.as_ref().map_or(0, |(bytes, _)| *bytes);
        metrics.memory_limit.set(gauge_value(limit));
        let used = memory.pressed.map_or(0, |(used, _)| used);
        metrics.memory_used.set(gauge_value(used));
        if limit_before
            .replace(limit)
            .is_some_and(|before| before != limit)
        {
            control.limit(&config);
        }
        control.shared.overload.note_memory(memory.pressed);
        memory_watch.judge(memory.pressed, &config.limits, &control.shared);
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access_log::AccessLog;
    use crate::config::Config;
    use crate::metrics::Metrics;

    #[test]
    fn a_worker_that_is_behind_refuses_and_the_others_do_not() {
        use OverloadStep::{EndQuiet, Normal, Refuse};
        let text = "listeners: [{ name: l, bind: '127.0.0.1:0' }]\nlimits: { end_quiet: { worker_lag: 9s } }";
        let limits = Config::parse(text, "test").unwrap().limits;
        let metrics = Arc::new(Metrics::new().unwrap());
        let shared = Shared::new(metrics, AccessLog::off(), 2, 10, &limits);
        let mut watch = LagWatch::default();
        let mut steps = |seconds| {
            shared.loads[1].round(Duration::from_secs(seconds));
            watch.judge(&limits, &shared);
            let in_force = shared.overload.step(OverloadCause::WorkerLag).get();
            let gauge = shared.metrics.overload.step(OverloadCause::WorkerLag).get();
            assert_eq!(gauge, i64::from(in_force as u8));
            let of_each = [0, 1].map(|worker: usize| shared.loads[worker].lag_step.get());
            assert_eq!(of_each[0], Normal);
            assert_eq!(of_each[1], in_force);
            in_force
        };
        let expected = [Normal, Refuse, EndQuiet, Refuse, Normal];
        assert_eq!([4, 5, 9, 3, 2].map(&mut steps), expected);
    }
}
