//! The limits and what is used of them, as metrics.

use std::fmt;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use crate::metrics::{LimitKind, LimitScope, exposition};

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
    pub fn of_process<C: TryInto<u64>>(limit: &'static str, most: C, used: C) -> Self {
        let count = |count: C| count.try_into().unwrap_or(u64::MAX);
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
        let [most, used] = HELP.map(|(name, help)| exposition::described(name, help, &LABELS));
        Ok(Self {
            uses: Box::new(uses),
            described: [most?, used?],
        })
    }
}

impl Collector for LimitCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let uses = (self.uses)();
        let family = |(name, help): (&str, &str), value: fn(&LimitUse) -> u64| {
            let gauge = |(name, one): &NamedUse| {
                let values = [one.limit, name, one.scope];
                exposition::gauge(LABELS.into_iter().zip(values), value(one))
            };
            let gauges = uses.iter().map(gauge).collect();
            exposition::family(name, help, MetricType::GAUGE, gauges)
        };
        let [most, used] = HELP;
        let families = [family(most, |one| one.most), family(used, |one| one.used)];
        families.into_iter().flatten().collect()
    }
}
