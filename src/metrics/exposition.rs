//! Metrics as they are written, for collectors that read their values when scraped.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::core::Desc;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// The description of a metric that a collector registers.
///
/// # Errors
/// The name, the help or a label is not valid.
pub fn described(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Desc> {
    let labels = labels.iter().map(|label| (*label).to_owned());
    Desc::new(
        name.to_owned(),
        help.to_owned(),
        labels.collect(),
        HashMap::new(),
    )
}

fn labelled<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Metric {
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.into());
        pair.set_value(value.into());
        pair
    };
    Metric::from_label(labels.into_iter().map(pair).collect())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
fn float(value: u64) -> f64 {
    value as f64
}

/// A gauge with these labels, which are sorted by name.
pub fn gauge<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: u64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(float(value));
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

/// A counter with these labels, which are sorted by name.
pub fn counter<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(float(value));
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

/// A histogram of times with these labels, which are sorted by name: the upper end of each bucket in seconds with the
/// number of times up to there, and the sum of all times. The last bucket has all.
pub fn histogram<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    buckets: &[(f64, u64)],
    sum: Duration,
) -> Metric {
    let bucket = |(end, count): &(f64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*end);
        bucket.set_cumulative_count(*count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_sample_count(buckets.last().map_or(0, |(_, count)| *count));
    histogram.set_sample_sum(sum.as_secs_f64());
    histogram.set_bucket(buckets.iter().map(bucket).collect());
    let mut metric = labelled(labels);
    metric.set_histogram(histogram);
    metric
}

/// The metrics of a name, which are sorted by their labels. `None` without a metric: such a family is not valid in the
/// exposition.
pub fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: Vec<Metric>,
) -> Option<MetricFamily> {
    if metrics.is_empty() {
        return None;
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    Some(family)
}
