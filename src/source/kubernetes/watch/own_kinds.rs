//! The knowledge of which kinds of the own cluster are listed, and of those that routing needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::needs;
use super::restore::Restored;
use crate::config::KubernetesConfig;
use crate::source::kubernetes::cluster::Kind;

/// The kinds of the own cluster that are watched.
#[derive(Debug)]
pub(super) struct OwnKinds {
    kinds: Vec<Kind>,
    /// Kinds of which nothing is known, each with the reason: they are neither listed nor known not to
    /// be installed.
    unknown: BTreeMap<Kind, Arc<str>>,
    /// Kinds that the first publication waits for. For those that routing can do without it waits a moment only.
    awaited: BTreeSet<Kind>,
    /// Kinds that routing needs.
    needed: BTreeSet<Kind>,
}

fn needed(kinds: &[Kind], config: &KubernetesConfig) -> BTreeSet<Kind> {
    let kinds = kinds.iter().copied();
    kinds
        .filter(|kind| needs::is_needed(*kind, config))
        .collect()
}

impl OwnKinds {
    /// Nothing is known of these kinds, for this reason.
    pub(super) fn new(kinds: &[Kind], policy: &KubernetesConfig, reason: &Arc<str>) -> Self {
        let unknown = kinds.iter().map(|kind| (*kind, reason.clone()));
        Self {
            kinds: kinds.to_vec(),
            unknown: unknown.collect(),
            awaited: kinds.iter().copied().collect(),
            needed: needed(kinds, policy),
        }
    }

    /// Notes the kinds that routing needs under a policy.
    pub(super) fn set_policy(&mut self, policy: &KubernetesConfig) {
        self.needed = needed(&self.kinds, policy);
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Kind] {
        &self.kinds
    }

    /// Those that routing needs.
    pub(super) fn needed(&self) -> &BTreeSet<Kind> {
        &self.needed
    }

    /// Those of which nothing is known.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &Kind> + Clone {
        self.unknown.keys()
    }

    /// The reason why nothing is known of a kind.
    pub(super) fn reason(&self, kind: Kind) -> Option<&Arc<str>> {
        self.unknown.get(&kind)
    }

    /// Whether the first publication waits for some.
    pub(super) fn are_awaited(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Those that the first publication waits for, though routing can do without them.
    pub(super) fn late(&self) -> impl Iterator<Item = &Kind> {
        let awaited = self.awaited.iter();
        awaited.filter(|kind| !self.needed.contains(kind))
    }

    /// Notes that the API has listed a kind, or does not serve it.
    pub(super) fn listed(&mut self, kind: Kind) {
        self.awaited.remove(&kind);
        self.unknown.remove(&kind);
    }

    /// Notes that the API refuses a kind.
    pub(super) fn refused(&mut self, kind: Kind, reason: &Arc<str>) {
        if !self.needed.contains(&kind) {
            self.awaited.remove(&kind);
        }
        self.trouble(kind, reason);
    }

    /// Notes the reason why a kind cannot be listed.
    pub(super) fn trouble(&mut self, kind: Kind, problem: &Arc<str>) {
        if let Some(known) = self.unknown.get_mut(&kind) {
            known.clone_from(problem);
        }
    }

    /// Notes that nothing is known of a kind any more.
    pub(super) fn forget(&mut self, kind: Kind, reason: Arc<str>) {
        self.unknown.insert(kind, reason);
    }

    /// The kinds that routing needs and that are not known.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&Kind, &Arc<str>)> {
        let unknown = self.unknown.iter();
        unknown.filter(|(kind, _)| self.needed.contains(kind))
    }

    /// The kinds whose state is saved: those that the API has listed. None as long as routing needs another
    /// one.
    pub(super) fn to_save(&self, restored: &Restored) -> Vec<Kind> {
        let listed = |kind: &&Kind| !self.unknown.contains_key(kind) && !restored.has(**kind);
        if !self.needed.iter().all(|kind| listed(&kind)) {
            return Vec::new();
        }
        self.kinds.iter().filter(listed).copied().collect()
    }

    /// Logs the kinds that the first publication does not wait for any longer.
    pub(super) fn complain(&self) {
        let labels = |kinds: &mut dyn Iterator<Item = &Kind>| {
            let kinds: Vec<&str> = kinds.map(|kind| kind.label()).collect();
            (!kinds.is_empty()).then(|| kinds.join(", "))
        };
        let mut missing = self.missing().map(|(kind, _)| kind);
        if let Some(kinds) = labels(&mut missing) {
            let why = self.missing().next().map(|(_, why)| &**why);
            tracing::warn!(
                kinds,
                why,
                "the Kubernetes API has not listed these kinds yet; this gateway stays not ready until it has"
            );
        }
        if let Some(kinds) = labels(&mut self.late()) {
            tracing::warn!(
                kinds,
                "the Kubernetes API has not listed these kinds yet; this gateway continues without them"
            );
        }
    }
}
