//! The counters of one listener's hellos, by the offers in them.

use prometheus::{IntCounter, IntCounterVec};

use crate::tls_version::TlsVersion;

/// The labels of the metric.
pub(super) const LABELS: &[&str] = &["listener", "tls_version", "post_quantum"];
/// The values of `post_quantum`.
const POST_QUANTUM: [&str; 2] = ["no", "yes"];

/// The counters of one listener's hellos.
#[derive(Debug, Clone)]
pub struct HelloSeries {
    each: [[IntCounter; POST_QUANTUM.len()]; TlsVersion::ALL.len()],
    doctors: IntCounter,
}

impl HelloSeries {
    pub(super) fn of(hellos: &IntCounterVec, doctors: &IntCounterVec, listener: &str) -> Self {
        Self {
            each: TlsVersion::ALL.map(|version| {
                POST_QUANTUM.map(|pq| hellos.with_label_values(&[listener, version.label(), pq]))
            }),
            doctors: doctors.with_label_values(&[listener]),
        }
    }

    pub(super) fn retire(hellos: &IntCounterVec, doctors: &IntCounterVec, listener: &str) {
        let _ = doctors.remove_label_values(&[listener]);
        for version in TlsVersion::ALL {
            for pq in POST_QUANTUM {
                let _ = hellos.remove_label_values(&[listener, version.label(), pq]);
            }
        }
    }

    /// Counts a hello whose newest version is `newest`. `doctors`: it has the label of `strait doctor`.
    pub fn count(&self, newest: TlsVersion, post_quantum: bool, doctors: bool) {
        self.each[newest.index()][usize::from(post_quantum)].inc();
        if doctors {
            self.doctors.inc();
        }
    }
}
