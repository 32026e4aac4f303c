//! The counters of one listener's hellos, by the offers in them.

use prometheus::{IntCounter, IntCounterVec};

use crate::tls_version::TlsVersion;

/// The labels of the metric.
pub(super) const LABELS: &[&str] = &["listener", "tls_version", "post_quantum"];
/// The values of `post_quantum`.
const POST_QUANTUM: [&str; 2] = ["no", "yes"];

/// The counters of one listener's hellos.
#[derive(Debug, Clone)]
pub struct HelloSeries([[IntCounter; POST_QUANTUM.len()]; TlsVersion::ALL.len()]);

impl HelloSeries {
    pub(super) fn of(hellos: &IntCounterVec, listener: &str) -> Self {
        Self(TlsVersion::ALL.map(|version| {
            POST_QUANTUM.map(|pq| hellos.with_label_values(&[listener, version.label(), pq]))
        }))
    }

    pub(super) fn retire(hellos: &IntCounterVec, listener: &str) {
        for version in TlsVersion::ALL {
            for pq in POST_QUANTUM {
                let _ = hellos.remove_label_values(&[listener, version.label(), pq]);
            }
        }
    }

    /// Counts a hello whose newest version is `newest`.
    pub fn count(&self, newest: TlsVersion, post_quantum: bool) {
        self.0[newest.index()][usize::from(post_quantum)].inc();
    }
}
