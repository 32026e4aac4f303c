//! The knowledge of which kinds of other clusters are listed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::needs::OF_OTHERS;
use crate::config::KubernetesConfig;
use crate::source::kubernetes::cluster::{ClusterChange, Kind};
use crate::source::kubernetes::mailbox::ClusterState;
use crate::source::kubernetes::translate::Translator;

/// Kinds of which nothing is known, each with the reason.
type Unknown = BTreeMap<Kind, Arc<str>>;

/// The kinds of other clusters of which nothing is known, each with the reason.
#[derive(Debug)]
pub(super) struct OtherKinds {
    /// In the order of the config.
    clusters: Vec<(Arc<str>, Unknown)>,
    /// Those that the first publication waits for a moment for: nothing has gone wrong with them yet.
    awaited: BTreeSet<(Arc<str>, Kind)>,
}

impl OtherKinds {
    /// Nothing is known of the clusters of a policy, for this reason.
    pub(super) fn new(policy: &KubernetesConfig, reason: &Arc<str>) -> Self {
        let names = policy.clusters.iter().map(|cluster| cluster.name.clone());
        let unknown = OF_OTHERS.map(|kind| (kind, reason.clone()));
        let awaited = |name: Arc<str>| OF_OTHERS.map(|kind| (name.clone(), kind));
        Self {
            awaited: names.clone().flat_map(awaited).collect(),
            clusters: names.map(|name| (name, unknown.clone().into())).collect(),
        }
    }

    /// Whether the first publication should wait for them.
    pub(super) fn are_awaited(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Notes what a change says about its kind.
    pub(super) fn note_change(&mut self, cluster: &Arc<str>, change: &ClusterChange) {
        let kind = change.kind();
        match change {
            ClusterChange::All(..) | ClusterChange::NotInstalled(_) => {
                self.awaited.remove(&(cluster.clone(), kind));
                if let Some(unknown) = self.unknown(cluster) {
                    unknown.remove(&kind);
                }
            }
            ClusterChange::Absent(_, reason) => self.note_trouble(cluster, kind, reason),
            ClusterChange::Set(..) | ClusterChange::Removed(..) | ClusterChange::Forgotten(..) => {}
        }
    }

    /// Notes the reason why a kind cannot be listed.
    pub(super) fn note_trouble(&mut self, cluster: &Arc<str>, kind: Kind, problem: &Arc<str>) {
        self.awaited.remove(&(cluster.clone(), kind));
        let unknown = self.unknown(cluster);
        if let Some(reason) = unknown.and_then(|unknown| unknown.get_mut(&kind)) {
            reason.clone_from(problem);
        }
    }

    /// The kinds of a cluster of which nothing is known.
    pub(super) fn unknown_of(&self, cluster: &str) -> Vec<Kind> {
        let mut all = self.clusters.iter();
        let found = all.find(|(name, _)| **name == *cluster);
        found.map_or_else(Vec::new, |(_, unknown)| unknown.keys().copied().collect())
    }

    /// Notes that nothing is known of a kind any more.
    pub(super) fn forget(&mut self, cluster: &str, kind: Kind, reason: Arc<str>) {
        if let Some(unknown) = self.unknown(cluster) {
            unknown.insert(kind, reason);
        }
    }

    fn unknown(&mut self, cluster: &str) -> Option<&mut Unknown> {
        let mut all = self.clusters.iter_mut();
        let (_, unknown) = all.find(|(name, _)| **name == *cluster)?;
        Some(unknown)
    }

    /// The names of the clusters.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.clusters.iter().map(|(name, _)| name)
    }

    /// The state of each cluster: the kinds that are not watched, as the own cluster's are shown.
    pub(super) fn states(&self, translator: &Translator) -> Vec<ClusterState> {
        let state = |(name, unknown): &(Arc<str>, Unknown)| {
            let cluster = translator.other_cluster(name);
            let missing = OF_OTHERS.iter().filter_map(|kind| {
                let absent = cluster.and_then(|cluster| cluster.absent(*kind));
                let reason = absent.or_else(|| unknown.get(kind))?;
                Some((kind.label(), reason.clone()))
            });
            ClusterState {
                name: name.clone(),
                missing: missing.collect(),
            }
        };
        self.clusters.iter().map(state).collect()
    }
}
