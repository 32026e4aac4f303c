//! The saved states of the other clusters: each fills in for what its API does not list, and is saved with a time
//! of its own, since one cluster may be away for long while the others are not.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::needs::OF_OTHERS;
use super::other_kinds::OtherKinds;
use super::restore::{ListAnswer, Restored};
use super::save::states;
use crate::config::KubernetesConfig;
use crate::metrics::{KindMetrics, Metrics};
use crate::source::kubernetes::cluster::{ClusterChange, Kind};
use crate::source::kubernetes::saved::{ClockTime, ClusterPart, SavedState};
use crate::source::kubernetes::translate::Translator;

/// The saved states of the other clusters.
pub(super) struct OtherStates {
    metrics: Arc<Metrics>,
    /// In the order of the config.
    clusters: Vec<OtherState>,
}

struct OtherState {
    name: Arc<str>,
    restored: Restored,
    /// The time when the API last confirmed what is known of each kind.
    confirmed: BTreeMap<Kind, Instant>,
}

impl OtherStates {
    /// Of the clusters of a policy, with what a source before has handed over.
    pub(super) fn new(
        policy: &KubernetesConfig,
        metrics: Arc<Metrics>,
        inherited: Vec<ClusterPart>,
    ) -> Self {
        let state = |name: Arc<str>| OtherState {
            restored: Restored::of_cluster(name.clone()),
            name,
            confirmed: BTreeMap::new(),
        };
        let names = policy.clusters.iter().map(|cluster| cluster.name.clone());
        let mut all = Self {
            metrics,
            clusters: names.map(state).collect(),
        };
        for part in inherited {
            if let Some((_, one)) = all.find(&part.name) {
                one.restored.take_over(part.into_state());
            }
        }
        all
    }

    /// Whether there are other clusters.
    pub(super) fn are_wanted(&self) -> bool {
        !self.clusters.is_empty()
    }

    /// Whether a state may still fill in.
    pub(super) fn are_waiting(&self) -> bool {
        let mut all = self.clusters.iter();
        all.any(|one| one.restored.waits_until().is_some())
    }

    /// Offers the state of a cluster, whose API has time until `until`.
    pub(super) fn offer(&mut self, name: &str, state: SavedState, until: Instant) {
        if let Some((_, one)) = self.find(name) {
            one.restored.offer(state, until);
        }
    }

    fn find(&mut self, name: &str) -> Option<(usize, &mut OtherState)> {
        let mut all = self.clusters.iter_mut().enumerate();
        all.find(|(_, one)| *one.name == *name)
    }

    fn metrics(&self, name: &Arc<str>, kind: Kind) -> Option<KindMetrics> {
        let position = self.clusters.iter().position(|one| one.name == *name)?;
        self.metrics.kubernetes.clusters.kind(position, name, kind)
    }

    /// Waits until [`OtherStates::fill`] may have something to do.
    pub(super) async fn next(&mut self) {
        let waiting = self.clusters.iter();
        match waiting.filter_map(|one| one.restored.waits_until()).min() {
            Some(until) => sleep_until(until).await,
            None => pending().await,
        }
    }

    /// The kinds that the clusters have not listed, from the states.
    pub(super) fn fill(&mut self, kinds: &OtherKinds) -> Vec<(Arc<str>, ClusterChange)> {
        let mut filled = Vec::new();
        for one in &mut self.clusters {
            let unknown = kinds.unknown_of(&one.name);
            let changes = one.restored.fill(unknown.iter()).into_iter();
            filled.extend(changes.map(|change| (one.name.clone(), change)));
        }
        for (name, change) in &filled {
            if let Some(metrics) = self.metrics(name, change.kind()) {
                metrics.restored();
            }
        }
        filled
    }

    /// Notes the last answer of a cluster's API about a kind that it does not list.
    pub(super) fn note_answer(&mut self, name: &str, kind: Kind, answer: ListAnswer) {
        if let Some((_, one)) = self.find(name) {
            one.restored.note_answer(kind, answer);
        }
    }

    /// Notes an answer of a cluster's API. Returns the change that follows from it.
    pub(super) fn answered(&mut self, name: &str, change: ClusterChange) -> ClusterChange {
        self.confirm(name, change.kind());
        let metrics = self.metrics.clone();
        let Some((position, one)) = self.find(name) else {
            return change;
        };
        let name = one.name.clone();
        let clusters = &metrics.kubernetes.clusters;
        one.restored
            .answered(change, |kind| clusters.kind(position, &name, kind))
    }

    /// Notes that a cluster's API has reported everything about a kind.
    pub(super) fn confirm(&mut self, name: &str, kind: Kind) {
        if let Some((_, one)) = self.find(name) {
            one.confirmed.insert(kind, Instant::now());
        }
    }

    /// Notes that another API server answers for a cluster. What the one before has said serves until this one has
    /// listed it, or refuses it, or does not have it.
    pub(super) fn moved(&mut self, name: &str, translator: &Translator) {
        let (Some(cluster), Some((_, one))) = (translator.other_cluster(name), self.find(name))
        else {
            return;
        };
        let known: Vec<Kind> = OF_OTHERS
            .into_iter()
            .filter(|kind| cluster.is_known(*kind))
            .collect();
        if let Some(confirmed) = one.confirmed_all(known.iter()) {
            let count = |kind| cluster.len(kind) + cluster.count_unreadable(kind);
            let kinds = known.iter().map(|kind| (*kind, count(*kind) > 0));
            one.restored.inherit(kinds, confirmed);
        }
    }

    /// The known content of each cluster, and the time for which it is known.
    pub(super) fn parts(&self, translator: &Translator) -> Vec<ClusterPart> {
        let part = |one: &OtherState| {
            let kinds = states(translator.other_cluster(&one.name)?, &OF_OTHERS);
            Some(ClusterPart {
                name: one.name.clone(),
                confirmed: one.confirmed_all(kinds.iter().map(|(kind, _)| kind))?,
                kinds,
            })
        };
        self.clusters.iter().filter_map(part).collect()
    }
}

impl OtherState {
    /// The time for which all of these kinds are known.
    fn confirmed_all<'k>(&self, kinds: impl Iterator<Item = &'k Kind>) -> Option<ClockTime> {
        let listed = kinds.filter(|kind| !self.restored.has(**kind));
        let times = listed.map(|kind| self.confirmed.get(kind).copied());
        let times: Option<Vec<Instant>> = times.collect();
        // The content of a file is older than all that this process has heard.
        let heard = times?.into_iter().min();
        let heard = heard.map(|time| ClockTime::now().before(time.elapsed()));
        self.restored.confirmed().or(heard)
    }
}
