//! The limits and what is used of them, as metrics.

use std::collections::HashMap;
use std::fmt;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::metrics::{LimitKind, LimitScope};

/// The use of one limit at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    /// The scope of the limit: `process`, or a label of [`LimitScope`].
    pub scope: &'static str,
    /// The limit in a word.
    pub limit: &'static str,
    /// The limit.
    pub most: u64,
    /// The part of it that is used.
    pub used: u64,
}

impl LimitUse {
    /// The use of a limit of the config.
    pub fn new(scope: LimitScope, limit: LimitKind, most: u64, used: u64) -> Self {
        Self {
            scope: scope.label(),
            limit: limit.label(),
            most,
            used,
        }
    }

    /// The use of a limit of the whole process.
    pub fn of_process(limit: &'static str, most: usize, used: usize) -> Self {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self {
            scope: "process",
            limit,
            most: count(most),
            used: count(used),
        }
    }

    /// Whether nothing is left.
    pub fn is_reached(&self) -> bool {
        self.used >= self.most
    }
}

/// The use of a limit with the name of what it limits: a listener, a route, a source group or an upstream. Empty for
/// the process.
pub type NamedUse = (String, LimitUse);

const LABELS: [&str; 3] = ["limit", "name", "scope"];
const HELP: [(&str, &str); 2] = [
    (
        "strait_limit",
        "A limit that is in force. scope is process, listener, route, source (each source address of a listener), source_group, upstream or endpoint (each endpoint of an upstream); name is that of the listener, route, source group or upstream.",
    ),
    (
        "strait_limit_used",
        "The part of a limit that is used now, with the labels of strait_limit. For source and endpoint it is that of the one that uses most.",
    ),
];

/// Reads limits and what is used of them when scraped.
pub struct LimitCollector {
    uses: Box<dyn Fn() -> Vec<NamedUse> + Send + Sync>,
    described: [Desc; 2],
}

impl fmt::Debug for LimitCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitCollector").finish_non_exhaustive()
    }
}

impl LimitCollector {
    /// A collector of `strait_limit` and `strait_limit_used`.
    ///
    /// # Errors
    /// Never in practice: names and labels are fixed.
    pub fn new(
        uses: impl Fn() -> Vec<NamedUse> + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        let [most, used] = HELP.map(|(name, help)| {
            let labels = LABELS.map(str::to_owned).to_vec();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
        });
        Ok(Self {
            uses: Box::new(uses),
            described: [most?, used?],
        })
    }
}

fn gauge(name: &str, one: &LimitUse, value: u64) -> Metric {
    let values = [one.limit, name, one.scope];
    let label = |(name, value): (&str, &str)| {
        let mut label = LabelPair::default();
        label.set_name(name.into());
        label.set_value(value.into());
        label
    };
    let mut gauge = Gauge::default();
    #[expect(
        clippy::cast_precision_loss,
        reason = "metrics are floating-point numbers"
    )]
    gauge.set_value(value as f64);
    let labels = LABELS.into_iter().zip(values).map(label);
    let mut metric = Metric::from_label(labels.collect());
    metric.set_gauge(gauge);
    metric
}

impl Collector for LimitCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let uses = (self.uses)();
        // A family without a metric is not valid in the exposition.
        if uses.is_empty() {
            return Vec::new();
        }
        let family = |(name, help): (&str, &str), value: fn(&LimitUse) -> u64| {
            let metrics = uses.iter().map(|(name, one)| gauge(name, one, value(one)));
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(MetricType::GAUGE);
            family.set_metric(metrics.collect());
            family
        };
        let [most, used] = HELP;
        vec![family(most, |one| one.most), family(used, |one| one.used)]
    }
}
