//! The connect times of each upstream, as a histogram with few buckets: a slow one hides among those of its listener.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::Upstreams;
use crate::metrics::exposition;

const NAME: &str = "strait_upstream_connect_duration_seconds";
const HELP: &str = "Time to connect to an endpoint of an upstream, of attempts that succeeded. Upstreams that strait has used, as many as metrics.endpoints says.";

/// The upper ends of the buckets but the last, in microseconds.
const ENDS: [u32; 8] = [
    500, 2_000, 5_000, 20_000, 100_000, 500_000, 1_000_000, 5_000_000,
];

/// Connect times, counted in buckets.
#[derive(Debug, Default)]
pub(super) struct ConnectHistogram {
    /// The last one is for times beyond all ends.
    counts: [AtomicU64; ENDS.len() + 1],
    micros: AtomicU64,
}

impl ConnectHistogram {
    pub(super) fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = ENDS.partition_point(|end| u64::from(*end) < micros);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The upper end of each bucket in seconds, with the number of times up to there.
    fn cumulative(&self) -> Vec<(f64, u64)> {
        let ends = ENDS.iter().map(|end| f64::from(*end) / 1e6);
        let mut sum = 0;
        let counts = ends.chain([f64::INFINITY]).zip(&self.counts);
        let add = |(end, count): (f64, &AtomicU64)| {
            sum += count.load(Ordering::Relaxed);
            (end, sum)
        };
        counts.map(add).collect()
    }

    /// The sum of all times.
    fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// Reads the connect times of upstreams when scraped.
pub struct ConnectTimesCollector {
    upstreams: Box<dyn Fn() -> (Arc<Upstreams>, usize) + Send + Sync>,
    described: Desc,
}

impl fmt::Debug for ConnectTimesCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectTimesCollector")
            .finish_non_exhaustive()
    }
}

impl ConnectTimesCollector {
    /// A collector of `strait_upstream_connect_duration_seconds`. `upstreams` gives the upstreams, and the number of
    /// them that have series.
    ///
    /// # Errors
    /// Never in practice: names and labels are fixed.
    pub fn new(
        upstreams: impl Fn() -> (Arc<Upstreams>, usize) + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        Ok(Self {
            upstreams: Box::new(upstreams),
            described: exposition::described(NAME, HELP, &["upstream"])?,
        })
    }
}

impl Collector for ConnectTimesCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.described]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (upstreams, most) = (self.upstreams)();
        let used = upstreams.iter().filter_map(|(name, upstream)| {
            let times = upstream.load.connect_times()?;
            let labels = [("upstream", &**name)];
            Some(exposition::histogram(
                labels,
                &times.cumulative(),
                times.sum(),
            ))
        });
        let metrics = used.take(most).collect();
        let family = exposition::family(NAME, HELP, MetricType::HISTOGRAM, metrics);
        family.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_whose_end_it_does_not_exceed() {
        let times = ConnectHistogram::default();
        for micros in [0, 500, 501, 2_000, 5_000_001, 60_000_000] {
            times.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = times.cumulative().iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 4, 4, 4, 4, 4, 4, 4, 6]);
        assert_eq!(times.sum(), Duration::from_micros(65_003_002));
    }
}
