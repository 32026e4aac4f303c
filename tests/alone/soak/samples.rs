//! The size of the process over time.

use std::fmt::Write;
use std::thread::sleep;
use std::time::Duration;

use super::report::Report;
use super::slope::Slope;
use crate::support::process::Process;
use strait::tools::scrape;

type Measure = fn(&Sample) -> f64;

/// The measures, each with the largest growth that passes over the last three quarters of a run.
const BOUNDS: [(&str, Measure, f64); 4] = [
    ("RSS, KiB", |sample| sample.rss, 2048.0),
    ("descriptors", |sample| sample.files, 10.0),
    ("pipes", |sample| sample.pipes, 4.0),
    ("threads", |sample| sample.threads, 1.0),
];

/// The process at one time.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    at: f64,
    rss: f64,
    files: f64,
    /// Descriptors of pipes, two for each.
    pipes: f64,
    pub threads: f64,
    /// `strait_connections_active`.
    active: f64,
    /// `strait_hello_memory_bytes`.
    hello_memory: f64,
    /// `strait_carry_memory_bytes`.
    carry_memory: f64,
}

impl Sample {
    pub(super) fn of(process: &Process, report: &Report) -> Self {
        let metrics = process.samples();
        let gauge = |name| scrape::total(&metrics, name, &[]);
        let (files, pipes) = descriptors(process);
        Self {
            at: report.now(),
            rss: process.status("VmRSS"),
            files,
            pipes,
            threads: process.status("Threads"),
            active: gauge("strait_connections_active"),
            hello_memory: gauge("strait_hello_memory_bytes"),
            carry_memory: gauge("strait_carry_memory_bytes"),
        }
    }

    /// The process without load: of some samples the one with the fewest descriptors, since a question to DNS and the
    /// connection of the scrape before have some too.
    pub(super) fn idle(process: &Process, report: &Report) -> Self {
        let samples = (0..20).map(|_| {
            sleep(Duration::from_millis(50));
            Self::of(process, report)
        });
        let few = samples.min_by(|a, b| a.files_but_pipes().total_cmp(&b.files_but_pipes()));
        few.unwrap()
    }

    pub(super) fn files_but_pipes(&self) -> f64 {
        self.files - self.pipes
    }
}

/// The number of descriptors, and that of the pipes among them.
fn descriptors(process: &Process) -> (f64, f64) {
    let links = process.descriptor_targets();
    let pipes = links.iter().filter(|target| target.starts_with("pipe:"));
    (links.len() as f64, pipes.count() as f64)
}

/// The number of descriptors but pipes, and of threads. The kernel tells it, so that the process has nothing to do: threads
/// that wrote a scrape would not end while others are asked for.
pub(super) fn held(process: &Process) -> (f64, f64) {
    let (files, pipes) = descriptors(process);
    (files - pipes, process.status("Threads"))
}

#[derive(Default)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// Whether there are enough of them for a slope.
    pub(super) fn suffice(&self) -> bool {
        self.0.len() >= 16
    }

    /// The slope over the last three quarters of the time, and those quarters in seconds.
    fn slope(&self, of: Measure) -> (Slope, f64) {
        let end = self.0.last().unwrap().at;
        let from = self.0[0].at + (end - self.0[0].at) / 4.0;
        let late = self.0.iter().filter(|sample| sample.at >= from);
        let points: Vec<_> = late.map(|sample| (sample.at, of(sample))).collect();
        (Slope::of(&points), end - from)
    }

    /// Prints the slopes.
    pub(super) fn tell(&self) {
        if !self.suffice() {
            return;
        }
        for (what, of, bound) in BOUNDS {
            let (slope, time) = self.slope(of);
            let mut values = self.0.iter().map(of);
            println!(
                "  {what}: {:.0} to {:.0}, last {:.0}; slope {:+.2} +- {:.2} an hour; growth {:+.2} +- {:.2}, at most {bound}",
                values.clone().fold(f64::INFINITY, f64::min),
                values.clone().fold(0.0, f64::max),
                values.next_back().unwrap(),
                slope.per_second * 3600.0,
                slope.error * 3600.0,
                slope.per_second * time,
                slope.error * time,
            );
        }
    }

    /// Writes all samples to the file that `STRAIT_SOAK_SAMPLES` names.
    pub(super) fn write(&self) {
        let Some(file) = std::env::var_os("STRAIT_SOAK_SAMPLES") else {
            return;
        };
        let mut text = String::from(
            "seconds,rss_kib,descriptors,pipes,threads,active,hello_memory,carry_memory\n",
        );
        for sample in &self.0 {
            let Sample {
                at,
                rss,
                files,
                pipes,
                threads,
                active,
                hello_memory,
                carry_memory,
            } = sample;
            writeln!(
                text,
                "{at:.1},{rss},{files},{pipes},{threads},{active},{hello_memory},{carry_memory}"
            )
            .unwrap();
        }
        std::fs::write(file, text).unwrap();
    }

    /// Asserts that nothing grows beyond its bound, with two standard errors to spare. The error itself must be small
    /// enough to see such a growth.
    pub(super) fn assert_no_growth(&self) {
        for (what, of, bound) in BOUNDS {
            let (slope, time) = self.slope(of);
            let (growth, error) = (slope.per_second * time, slope.error * time);
            assert!(
                growth - 2.0 * error <= bound,
                "{what} grew by {growth:.1} +- {error:.1} in {time:.0} s"
            );
            assert!(
                error <= bound,
                "{what}: {growth:.1} +- {error:.1} says nothing"
            );
        }
    }

    pub(super) fn assert_spliced(&self) {
        assert!(
            self.0.iter().any(|sample| sample.pipes > 0.0),
            "bytes were spliced"
        );
    }
}
