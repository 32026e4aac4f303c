//! Medians and spreads of runs, and ratios of runs of the same round.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::Number;
use super::{NO_GATEWAY, OWN};
use crate::results::Slice;

/// The order of the columns; others follow by name.
const ORDER: &[&str] = &[OWN, "haproxy-splice", "haproxy", "envoy", "nginx"];

/// The median of some runs and their range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lowest run.
    pub min: f64,
    /// The highest run.
    pub max: f64,
}

impl Spread {
    /// The spread; `None` without runs.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, min, max })
    }
}

/// The runs of one setting.
#[derive(Debug, Default)]
pub struct Runs {
    /// The result of each round, by work, value and peer.
    rounds: BTreeMap<(String, String, String), BTreeMap<usize, f64>>,
    peers: BTreeSet<String>,
}

impl Runs {
    /// Collects the runs of these slices.
    pub fn new(slices: &[&Slice]) -> Self {
        let mut runs = Self::default();
        for slice in slices {
            for sample in &slice.samples {
                runs.peers.insert(sample.peer.clone());
                for (value, number) in &sample.values {
                    let key = (slice.work.clone(), value.clone(), sample.peer.clone());
                    runs.rounds
                        .entry(key)
                        .or_default()
                        .insert(sample.round, *number);
                }
            }
        }
        runs
    }

    /// Every gateway, strait first.
    pub fn gateways(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.peers.iter().map(String::as_str).collect();
        all.retain(|peer| *peer != NO_GATEWAY);
        let place = |peer: &str| {
            ORDER
                .iter()
                .position(|one| *one == peer)
                .unwrap_or(ORDER.len())
        };
        all.sort_by_key(|peer| place(peer));
        all
    }

    /// The gateways that are not builds of strait.
    pub fn others(&self) -> Vec<&str> {
        let mut all = self.gateways();
        all.retain(|peer| *peer != OWN && ORDER.contains(peer));
        all
    }

    fn rounds_of(&self, number: &Number, peer: &str) -> Option<&BTreeMap<usize, f64>> {
        let key = (
            number.work.to_owned(),
            number.value.to_owned(),
            peer.to_owned(),
        );
        self.rounds.get(&key)
    }

    /// The results of `peer`.
    pub fn spread(&self, number: &Number, peer: &str) -> Option<Spread> {
        Spread::of(self.rounds_of(number, peer)?.values().copied())
    }

    /// The results of strait divided by those of `peer` in the same round.
    pub fn ratio(&self, number: &Number, peer: &str) -> Option<Spread> {
        let (own, other) = (self.rounds_of(number, OWN)?, self.rounds_of(number, peer)?);
        let ratio = |(round, value): (&usize, &f64)| Some(value / other.get(round)?);
        Spread::of(own.iter().filter_map(ratio))
    }
}
