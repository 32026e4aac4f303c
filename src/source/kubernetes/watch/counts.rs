//! The numbers of known objects, and the first of those that cannot be read.

use std::sync::Arc;

use super::needs::OF_OTHERS;
use super::other_kinds::OtherKinds;
use crate::metrics::Metrics;
use crate::source::kubernetes::cluster::{Cluster, Kind, Unreadable};
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::translate::Translator;

/// The number of unreadable objects that are shown one by one.
const MAX_SHOWN: usize = 32;

/// The first objects that cannot be read: kind, name and problem.
pub(super) fn unreadable(cluster: &Cluster) -> Vec<Arc<str>> {
    let text = |(key, object): (&ObjectKey, &Unreadable)| {
        let ObjectKey { namespace, name } = key;
        let (kind, problem) = (object.kind.label(), &object.problem);
        format!("{kind} {namespace}/{name}: {problem}").into()
    };
    cluster.unreadable().take(MAX_SHOWN).map(text).collect()
}

/// Sets the gauges of the numbers of objects, in this cluster and in the others.
pub(super) fn count_objects(
    metrics: &Metrics,
    translator: &Translator,
    kinds: &[Kind],
    others: &OtherKinds,
) {
    let (cluster, metrics) = (translator.cluster(), &metrics.kubernetes);
    for kind in kinds {
        metrics.objects(*kind, cluster.len(*kind));
        metrics.unreadable(*kind, cluster.count_unreadable(*kind));
    }
    for name in others.names() {
        let Some(cluster) = translator.other_cluster(name) else {
            continue;
        };
        for kind in OF_OTHERS {
            metrics.clusters.objects(name, kind, cluster.len(kind));
        }
    }
}
