//! The tally: counts and times of the connections.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::attempt::{AttemptResult, AttemptStep};

/// The most kinds of failure that are listed one by one. All others are counted together.
const MAX_KINDS: usize = 50;
/// Columns of the longest bar.
const BAR: u64 = 50;
/// Microseconds at which the first bucket of the picture ends. Each further bucket is twice as wide.
const FIRST_BUCKET: u64 = 125;

/// Counts and times of connections.
#[derive(Debug)]
pub(super) struct LoadTally {
    /// Connections begun.
    pub begun: usize,
    /// Connections of which every step succeeded.
    pub succeeded: u64,
    /// Connections that began later than the rate asked for.
    pub late: u64,
    /// From the beginning of the first connection to that of the last one.
    pub time: Duration,
    asked: String,
    failures: BTreeMap<String, u64>,
    steps: Vec<(AttemptStep, Histogram<u64>)>,
    /// Connect and handshake together: the time that a caller waits before it can send.
    ready: Histogram<u64>,
}

/// A histogram of microseconds, with three digits, up to an hour.
fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(3_600_000_000, 3).map_err(io::Error::other)
}

fn record(into: &mut Histogram<u64>, time: Duration) {
    into.saturating_record(time.as_micros().try_into().unwrap_or(u64::MAX));
}

impl LoadTally {
    /// An empty tally.
    pub(super) fn new(rate: f64, at_once: usize) -> io::Result<Self> {
        let asked = match rate {
            0.0 => format!("as many as go with {at_once} at once"),
            _ => format!("{rate}/s asked for, at most {at_once} at once"),
        };
        let steps = AttemptStep::ALL
            .into_iter()
            .map(|step| Ok((step, histogram()?)));
        Ok(Self {
            begun: 0,
            succeeded: 0,
            late: 0,
            time: Duration::ZERO,
            asked,
            failures: BTreeMap::new(),
            steps: steps.collect::<io::Result<_>>()?,
            ready: histogram()?,
        })
    }

    /// Adds one connection.
    pub(super) fn add(&mut self, outcome: &AttemptResult) {
        let mut ready = Duration::ZERO;
        for (step, time) in &outcome.steps {
            let all = self.steps.iter_mut();
            for (_, times) in all.filter(|(one, _)| one == step) {
                record(times, *time);
            }
            if matches!(step, AttemptStep::Connect | AttemptStep::Handshake) {
                ready += *time;
            }
            if *step == AttemptStep::Handshake {
                record(&mut self.ready, ready);
            }
        }
        let Some((step, why)) = &outcome.failure else {
            self.succeeded += 1;
            return;
        };
        let mut kind = format!("{}: {why}", step.label());
        if self.failures.len() >= MAX_KINDS && !self.failures.contains_key(&kind) {
            "others".clone_into(&mut kind);
        }
        *self.failures.entry(kind).or_default() += 1;
    }

    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Whether there was a connection, and all of them succeeded.
    pub(super) fn all_succeeded(&self) -> bool {
        self.succeeded > 0 && self.failures.is_empty()
    }

    /// Writes the tally for a person.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let rate = self.begun as f64 / self.time.as_secs_f64();
        let time = self.time.as_secs_f64();
        let Self {
            begun,
            succeeded,
            asked,
            ..
        } = self;
        writeln!(
            out,
            "connections  {begun} in {time:.1} s: {rate:.1}/s; {asked}"
        )?;
        if self.late > 0 {
            writeln!(
                out,
                "late         {} began late: all places were taken, or this machine was too slow",
                self.late
            )?;
        }
        writeln!(out, "succeeded    {succeeded}")?;
        writeln!(out, "failed       {}", self.failed())?;
        for (kind, count) in &self.failures {
            writeln!(out, "  {count:>9}  {kind}")?;
        }
        self.write_times(out)?;
        self.write_picture(out)
    }

    fn write_times(&self, out: &mut dyn Write) -> io::Result<()> {
        let steps = self.steps.iter().map(|(step, times)| (step.label(), times));
        let ready = ("connect + handshake", &self.ready);
        let mut rows = steps
            .chain([ready])
            .filter(|(_, times)| !times.is_empty())
            .peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        writeln!(
            out,
            "\n{:<20}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "milliseconds", "count", "p50", "p90", "p99", "p999", "max"
        )?;
        for (label, times) in rows {
            write!(out, "{label:<20}{:>9}", times.len())?;
            for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
                write!(
                    out,
                    "{:>10.3}",
                    milliseconds(times.value_at_quantile(quantile))
                )?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_picture(&self, out: &mut dyn Write) -> io::Result<()> {
        let buckets: Vec<(u64, u64)> = self
            .ready
            .iter_log(FIRST_BUCKET, 2.0)
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
            .skip_while(|(_, count)| *count == 0)
            .collect();
        let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(0);
        if most == 0 {
            return Ok(());
        }
        writeln!(out, "\nconnect + handshake, up to so many milliseconds")?;
        for (up_to, count) in buckets {
            let stars = (count * BAR).div_ceil(most);
            let bar = "#".repeat(usize::try_from(stars).unwrap_or(0));
            writeln!(out, "{:>12.3} {count:>9} {bar}", milliseconds(up_to + 1))?;
        }
        Ok(())
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(tally: &LoadTally) -> String {
        let mut text = Vec::new();
        tally.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn outcome(failure: Option<&str>) -> AttemptResult {
        AttemptResult {
            steps: vec![
                (AttemptStep::Connect, Duration::from_millis(1)),
                (AttemptStep::Handshake, Duration::from_millis(2)),
            ],
            failure: failure.map(|why| (AttemptStep::Close, why.to_owned())),
        }
    }

    #[test]
    fn tells_counts_times_and_each_kind_of_failure() {
        let mut tally = LoadTally::new(10.0, 5).unwrap();
        (tally.begun, tally.time) = (3, Duration::from_secs(1));
        tally.add(&outcome(None));
        assert!(tally.all_succeeded());
        tally.add(&outcome(Some("TLS alert BadCertificate")));
        tally.add(&outcome(Some("TLS alert BadCertificate")));
        assert!(!tally.all_succeeded());
        let text = tell(&tally);
        for part in [
            "3 in 1.0 s: 3.0/s; 10/s asked for, at most 5 at once",
            "succeeded    1\nfailed       2\n",
            "        2  close: TLS alert BadCertificate\n",
            "connect                     3     1.000     1.000",
            "connect + handshake         3     3.0",
            "4.000         3 ##########",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains("late"), "{text}");
    }

    #[test]
    fn nothing_begun_is_no_success_and_can_be_written() {
        let tally = LoadTally::new(0.0, 5).unwrap();
        assert!(!tally.all_succeeded());
        assert!(tell(&tally).contains("as many as go with 5 at once"));
    }

    #[test]
    fn kinds_of_failure_are_bounded() {
        let mut tally = LoadTally::new(0.0, 5).unwrap();
        for number in 0..2 * MAX_KINDS {
            tally.add(&outcome(Some(&number.to_string())));
        }
        assert_eq!(tally.failures.len(), MAX_KINDS + 1);
        assert_eq!(tally.failed(), 2 * MAX_KINDS as u64);
    }
}
