//! The counts of a run: calls, changes and faults, and the calls that failed though nothing was wrong with them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::samples::Samples;
use crate::support::process::Process;

/// The counts of each kind.
type Counts = Mutex<BTreeMap<&'static str, u64>>;

pub(super) struct Report {
    begun: Instant,
    stopped: AtomicBool,
    calls: Counts,
    changes: Counts,
    faults: Counts,
    lost: Mutex<Vec<String>>,
}

/// Stops all when it is dropped, also by a panic: threads that a scope waits for must end.
pub(super) struct Stop<'a>(&'a Report);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

fn count(counts: &Counts, kind: &'static str) {
    *counts.lock().unwrap().entry(kind).or_default() += 1;
}

impl Report {
    pub(super) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            stopped: AtomicBool::new(false),
            calls: Counts::default(),
            changes: Counts::default(),
            faults: Counts::default(),
            lost: Mutex::default(),
        }
    }

    /// The time since the begin, in seconds.
    pub(super) fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Whether callers, faults and changes go on.
    pub(super) fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    /// Has them go on until the value is dropped.
    pub(super) fn go_on(&self) -> Stop<'_> {
        self.stopped.store(false, Ordering::Relaxed);
        Stop(self)
    }

    /// Waits for so long, or until all stop.
    pub(super) fn wait(&self, time: Duration) {
        let begun = Instant::now();
        while self.goes_on() && begun.elapsed() < time {
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
    }

    /// The result of a call that must succeed.
    pub(super) fn call(&self, kind: &'static str, result: io::Result<()>) {
        count(&self.calls, kind);
        if let Err(error) = result {
            let line = format!("after {:.1} s: {kind}: {error}", self.now());
            println!("LOST {line}");
            self.lost.lock().unwrap().push(line);
        }
    }

    pub(super) fn change(&self, kind: &'static str) {
        count(&self.changes, kind);
    }

    pub(super) fn fault(&self, kind: &'static str) {
        count(&self.faults, kind);
    }

    /// Prints everything.
    pub(super) fn tell(&self, samples: &Samples, process: &Process) {
        println!("after {:.0} s:", self.now());
        for (what, counts) in [
            ("calls", &self.calls),
            ("changes", &self.changes),
            ("faults", &self.faults),
        ] {
            let counts = counts.lock().unwrap();
            println!("  {what}: {} {counts:?}", counts.values().sum::<u64>());
        }
        println!("  calls lost: {}", self.lost.lock().unwrap().len());
        println!("  outcomes: {:?}", outcomes(process));
        println!("  CPU time of strait: {:?}", process.cpu_time());
        samples.tell();
    }

    pub(super) fn assert_no_call_lost(&self) {
        let lost = self.lost.lock().unwrap();
        assert!(
            lost.is_empty(),
            "{} calls lost: {:?}",
            lost.len(),
            &lost[..lost.len().min(20)]
        );
        assert!(self.calls.lock().unwrap().values().sum::<u64>() > 100);
        assert!(self.faults.lock().unwrap().len() > 10);
    }
}

/// Connections that have ended, by outcome.
fn outcomes(process: &Process) -> BTreeMap<String, f64> {
    let mut outcomes = BTreeMap::new();
    for (series, value) in process.samples() {
        if let Some(labels) = series.strip_prefix("strait_connections_closed_total") {
            let (_, outcome) = labels.split_once("outcome=\"").unwrap();
            let outcome = outcome.split('"').next().unwrap().to_owned();
            *outcomes.entry(outcome).or_default() += value;
        }
    }
    outcomes
}
