//! The start from a saved state: it fills in for kinds that the API does not list in time.
//!
//! The API comes first. Only when it has not answered for a moment, or is away, the kinds that it has not
//! listed are taken from the file, but for those that it refuses. From then on a kind from the file counts
//! as listed until the API lists it. If the API refuses it again and again, nothing is known of it any more;
//! if the API does not have it again and again, it has no objects any more.
//!
//! Another cluster has two further sources beside the file: the source before a reload, and the API server before
//! another one. Neither waits, since both are what serves already.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::reread::reread;
use crate::config::{KubernetesConfig, SavedStateConfig};
use crate::file::Patience;
use crate::metrics::KindMetrics;
use crate::source::kubernetes::cluster::{ClusterChange, Kind};
use crate::source::kubernetes::mailbox::FromFile;
use crate::source::kubernetes::saved::{self, ClockTime, KindState, SavedState, StateOrigin};

/// The time that the API has to list every kind before the file fills in.
const API_FIRST: Duration = Duration::from_secs(5);
/// The time limit for a read of the file, and for a write.
const ACCESS: Duration = Duration::from_secs(60);
/// The number of refusals in a row after which a kind from the file is forgotten. Each of them comes after
/// several answers of 403, and a starting API server gives such answers too.
const REFUSALS: u32 = 2;
/// The number of times in a row that the API must not have a kind until the objects from the file count as gone: a
/// starting API server does not have all kinds at once.
const NOT_FOUND: u32 = 3;

/// The turns of all sources: reads and writes of the file that hang must not pile up.
pub(super) static PATIENCE: LazyLock<Patience> = LazyLock::new(|| Patience::new(ACCESS));

/// The origin of states that this program saves under a policy.
pub(super) fn origin(policy: &KubernetesConfig) -> io::Result<StateOrigin> {
    let policy = KubernetesConfig {
        // Another path or age does not change what the file says.
        saved_state: None,
        ..policy.clone()
    };
    let hash = digest(&SHA256, &serde_json::to_vec(&policy)?);
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Ok(StateOrigin {
        strait: env!("CARGO_PKG_VERSION"),
        policy: digits.collect(),
    })
}

/// Reads the state; `None` if there is none that can be used. The log says why.
async fn load(config: SavedStateConfig, origin: StateOrigin) -> Option<SavedState> {
    let SavedStateConfig {
        path,
        max_age,
        max_size,
    } = config;
    let shown = path.display().to_string();
    let read = move || {
        let Some(bytes) = saved::read(&path, max_size)? else {
            return Ok(None);
        };
        let state = saved::decode(&bytes, &origin, &ClockTime::now(), max_age, reread);
        state.map(Some).map_err(io::Error::other)
    };
    match PATIENCE.ask(read).await {
        Ok(state) => state,
        Err(error) => {
            tracing::warn!(
                path = shown, %error,
                "strait does not use the saved state of the cluster; it waits for the Kubernetes API"
            );
            None
        }
    }
}

/// The last answer of the API about a kind that it does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListAnswer {
    /// That the kind is forbidden.
    Refused,
    /// None that decides anything. `away`: the API is away, or cannot answer now.
    None { away: bool },
}

/// The source of kinds that the API has not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownFrom {
    File,
    /// The source that ran before a reload.
    Reload,
    /// The API server that answered for the cluster before this one.
    Server,
}

impl KnownFrom {
    const fn in_words(self) -> &'static str {
        match self {
            Self::File => "the saved state",
            Self::Reload => "before the reload",
            Self::Server => "another API server",
        }
    }
}

/// The stage of the start.
enum RestoreStage {
    Reading(JoinHandle<Option<SavedState>>),
    /// The state is there, and the API has time until this.
    Waiting(SavedState, Instant),
    /// There is no state, or it is in use, or it is not needed.
    Over,
}

/// The doubts of the API about a kind that it has not listed.
#[derive(Debug, Clone, Copy, Default)]
struct Doubts {
    /// The number of refusals in a row.
    refusals: u32,
    /// The number of times in a row that it did not have the kind.
    not_found: u32,
    /// Whether objects of the kind are known.
    has_objects: bool,
}

impl Doubts {
    fn of(has_objects: bool) -> Self {
        Self {
            has_objects,
            ..Self::default()
        }
    }
}

/// The kinds that something else fills in for.
pub(super) struct Restored {
    /// The cluster that it is about, if it is not the own one.
    cluster: Option<Arc<str>>,
    from: KnownFrom,
    stage: RestoreStage,
    api_first: Instant,
    confirmed: Option<ClockTime>,
    /// Each kind that is known, and that the API has not listed.
    kinds: BTreeMap<Kind, Doubts>,
    /// Kinds that were among those, until the API refused them.
    forgotten: BTreeSet<Kind>,
    answers: BTreeMap<Kind, ListAnswer>,
}

impl Restored {
    /// No state is used.
    pub(super) fn never() -> Self {
        Self {
            cluster: None,
            from: KnownFrom::File,
            stage: RestoreStage::Over,
            api_first: Instant::now(),
            confirmed: None,
            kinds: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            answers: BTreeMap::new(),
        }
    }

    /// The state of another cluster, which may be offered later.
    pub(super) fn of_cluster(name: Arc<str>) -> Self {
        Self {
            cluster: Some(name),
            ..Self::never()
        }
    }

    /// Takes a state, for which the API has time until `until`.
    pub(super) fn offer(&mut self, state: SavedState, until: Instant) {
        self.stage = RestoreStage::Waiting(state, until);
    }

    /// Takes what a source before a reload has handed over. The API gets no time: it serves already.
    pub(super) fn take_over(&mut self, state: SavedState) {
        self.from = KnownFrom::Reload;
        self.stage = RestoreStage::Waiting(state, Instant::now());
    }

    /// The end of the time that the API has, if there is a state.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        match &self.stage {
            RestoreStage::Waiting(_, until) => Some(*until),
            RestoreStage::Reading(_) | RestoreStage::Over => None,
        }
    }

    /// Whether the file is being read.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.stage, RestoreStage::Reading(_))
    }

    /// Takes the states of other clusters that the file has, with the end of the time that their APIs have.
    pub(super) fn take_others(&mut self) -> (Vec<(Arc<str>, SavedState)>, Instant) {
        let others = match &mut self.stage {
            RestoreStage::Waiting(state, _) => std::mem::take(&mut state.others),
            RestoreStage::Reading(_) | RestoreStage::Over => Vec::new(),
        };
        (others, self.api_first)
    }

    /// The time when the API last confirmed the state, while some of it is in force.
    pub(super) fn confirmed(&self) -> Option<ClockTime> {
        self.confirmed.clone().filter(|_| !self.kinds.is_empty())
    }

    /// Begins to read the state that the policy names, if it names one.
    pub(super) fn begin(policy: &KubernetesConfig) -> Self {
        let mut restored = Self::never();
        if let (Some(config), Ok(origin)) = (&policy.saved_state, origin(policy)) {
            restored.stage = RestoreStage::Reading(tokio::spawn(load(config.clone(), origin)));
            restored.api_first = Instant::now() + API_FIRST;
        }
        restored
    }

    /// Waits until [`Restored::fill`] may have something to do. Never ends once that cannot be.
    pub(super) async fn next(&mut self) {
        match &mut self.stage {
            RestoreStage::Reading(reading) => {
                self.stage = match reading.await {
                    Ok(Some(state)) => RestoreStage::Waiting(state, self.api_first),
                    _ => RestoreStage::Over,
                };
            }
            RestoreStage::Waiting(_, until) => sleep_until(*until).await,
            RestoreStage::Over => pending().await,
        }
    }

    /// Ends the use of a state that was not needed.
    pub(super) fn dispense(&mut self) {
        if matches!(self.stage, RestoreStage::Waiting(..)) {
            self.stage = RestoreStage::Over;
        }
    }

    /// Notes the last answer of the API about a kind that it does not list.
    pub(super) fn note_answer(&mut self, kind: Kind, answer: ListAnswer) {
        self.answers.insert(kind, answer);
        if let (ListAnswer::None { .. }, Some(doubts)) = (answer, self.kinds.get_mut(&kind)) {
            (doubts.refusals, doubts.not_found) = (0, 0);
        }
    }

    /// The kinds of the state that the API has not listed, once the API had its time, or at once if it is away for all
    /// that it has not listed. A kind that the API refuses is left out.
    pub(super) fn fill<'a>(
        &mut self,
        unknown: impl Iterator<Item = &'a Kind> + Clone,
    ) -> Vec<ClusterChange> {
        let RestoreStage::Waiting(_, until) = &self.stage else {
            return Vec::new();
        };
        let away = ListAnswer::None { away: true };
        let mut of_unknown = unknown.clone().map(|kind| self.answers.get(kind));
        let all_away = of_unknown.all(|answer| answer == Some(&away));
        if !all_away && Instant::now() < *until {
            return Vec::new();
        }
        let unknown: BTreeSet<Kind> = unknown.copied().collect();
        let RestoreStage::Waiting(state, _) =
            std::mem::replace(&mut self.stage, RestoreStage::Over)
        else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        for (kind, known) in state.kinds {
            let refused = self.answers.get(&kind) == Some(&ListAnswer::Refused);
            if unknown.contains(&kind) && !refused {
                let has_objects = matches!(&known, KindState::Listed(of) if !of.is_empty());
                self.kinds.insert(kind, Doubts::of(has_objects));
                changes.push(match known {
                    KindState::Listed(records) => ClusterChange::All(kind, records),
                    KindState::NotInstalled => ClusterChange::NotInstalled(kind),
                });
            }
        }
        if !changes.is_empty() {
            let (cluster, kinds) = (self.cluster.as_deref(), self.labels().join(", "));
            match self.from {
                KnownFrom::Reload => tracing::info!(
                    cluster,
                    kinds,
                    "strait serves what it knew of the cluster before the reload until the Kubernetes API has listed \
                     these kinds"
                ),
                KnownFrom::File | KnownFrom::Server => tracing::warn!(
                    cluster,
                    kinds,
                    age = ?state.age,
                    "the Kubernetes API does not answer; strait serves the saved state of the cluster until the API \
                     has listed these kinds"
                ),
            }
            self.confirmed = Some(state.confirmed);
        }
        changes
    }

    /// Takes over what another API server had said of kinds, and last confirmed then. Each kind says whether it has
    /// objects.
    pub(super) fn inherit(
        &mut self,
        kinds: impl IntoIterator<Item = (Kind, bool)>,
        confirmed: ClockTime,
    ) {
        for (kind, has_objects) in kinds {
            self.kinds.insert(kind, Doubts::of(has_objects));
        }
        self.from = KnownFrom::Server;
        self.confirmed = Some(confirmed);
    }

    /// Whether a kind is known, and the API has not listed it.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains_key(&kind)
    }

    /// Notes an answer of the API. Returns the change that follows from it.
    pub(super) fn answered(
        &mut self,
        change: ClusterChange,
        metrics: impl Fn(Kind) -> Option<KindMetrics>,
    ) -> ClusterChange {
        match change {
            // The objects would stay for ever: only what has listed them finds out that they are gone.
            ClusterChange::NotInstalled(kind) if self.has_objects(kind) => {
                if !self.lacking(kind) {
                    return change;
                }
                if let Some(metrics) = metrics(kind) {
                    metrics.forgotten();
                }
                ClusterChange::All(kind, Vec::new())
            }
            ClusterChange::All(kind, _) | ClusterChange::NotInstalled(kind) => {
                if self.listed(kind)
                    && let Some(metrics) = metrics(kind)
                {
                    metrics.replaced();
                }
                change
            }
            ClusterChange::Absent(kind, reason) if self.refused(kind) => {
                if let Some(metrics) = metrics(kind) {
                    metrics.forgotten();
                }
                ClusterChange::Forgotten(kind, reason)
            }
            change => change,
        }
    }

    /// Notes that the API has listed a kind. Returns whether it was known without that.
    fn listed(&mut self, kind: Kind) -> bool {
        self.forgotten.remove(&kind);
        let was_restored = self.kinds.remove(&kind).is_some();
        if was_restored && self.kinds.is_empty() {
            tracing::info!(
                cluster = self.cluster.as_deref(),
                "what strait knew of the cluster from {} is no longer in use: the Kubernetes API has answered for \
                 every kind",
                self.from.in_words()
            );
        }
        was_restored
    }

    fn has_objects(&self, kind: Kind) -> bool {
        let doubts = self.kinds.get(&kind);
        doubts.is_some_and(|doubts| doubts.has_objects)
    }

    /// Notes that the API does not have a kind. Returns whether its objects are gone.
    fn lacking(&mut self, kind: Kind) -> bool {
        let Some(doubts) = self.kinds.get_mut(&kind) else {
            return false;
        };
        doubts.refusals = 0;
        doubts.not_found = doubts.not_found.saturating_add(1);
        doubts.not_found >= NOT_FOUND && self.listed(kind)
    }

    /// Notes that the API refuses a kind. Returns whether nothing is known of it any more.
    fn refused(&mut self, kind: Kind) -> bool {
        let Some(doubts) = self.kinds.get_mut(&kind) else {
            return false;
        };
        doubts.not_found = 0;
        doubts.refusals = doubts.refusals.saturating_add(1);
        if doubts.refusals < REFUSALS {
            return false;
        }
        self.kinds.remove(&kind);
        self.forgotten.insert(kind);
        tracing::warn!(
            cluster = self.cluster.as_deref(),
            kind = kind.label(),
            "the Kubernetes API refuses a kind that strait knows from {} only; strait forgets the kind, and refuses \
             what it may forbid",
            self.from.in_words()
        );
        true
    }

    /// Whether none of the kinds that routing needs was forgotten.
    pub(super) fn is_complete(&self, needed: &BTreeSet<Kind>) -> bool {
        self.forgotten.is_disjoint(needed)
    }

    fn labels(&self) -> Vec<&'static str> {
        self.kinds.keys().map(|kind| kind.label()).collect()
    }

    /// The part of the state that is in force.
    pub(super) fn in_force(&self) -> Option<FromFile> {
        let confirmed = self.confirmed.as_ref().filter(|_| !self.kinds.is_empty())?;
        Some(FromFile {
            confirmed: confirmed.wall(),
            kinds: self.labels(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ExportMode, samples};
    use crate::metrics::Metrics;

    fn waiting(kinds: &[Kind]) -> Restored {
        let kinds = kinds.iter().map(|kind| (*kind, KindState::NotInstalled));
        let state = SavedState {
            confirmed: ClockTime::now(),
            age: Duration::from_secs(60),
            kinds: kinds.collect(),
            others: Vec::new(),
        };
        let api_first = Instant::now() + API_FIRST;
        Restored {
            stage: RestoreStage::Waiting(state, api_first),
            api_first,
            ..Restored::never()
        }
    }

    fn kinds(changes: &[ClusterChange]) -> Vec<Kind> {
        changes.iter().map(ClusterChange::kind).collect()
    }

    const AWAY: ListAnswer = ListAnswer::None { away: true };

    #[tokio::test(start_paused = true)]
    async fn the_api_has_its_time_and_what_it_lists_or_refuses_is_not_filled_in() {
        let all = [Kind::Service, Kind::Slice, Kind::Pod, Kind::Node];
        // The API has listed nodes.
        let unknown = &all[..3];
        let mut restored = waiting(&all);
        restored.note_answer(Kind::Pod, ListAnswer::Refused);
        restored.note_answer(Kind::Service, AWAY);
        assert!(restored.fill(unknown.iter()).is_empty());
        let start = Instant::now();
        restored.next().await;
        assert!(start.elapsed() >= API_FIRST);
        let filled = restored.fill(unknown.iter());
        assert_eq!(kinds(&filled), [Kind::Service, Kind::Slice]);
        assert!(restored.fill(all.iter()).is_empty(), "once only");
        // An API that is away gets no more time.
        let mut restored = waiting(&all);
        for kind in all {
            assert!(restored.fill(all.iter()).is_empty());
            restored.note_answer(kind, AWAY);
        }
        assert_eq!(kinds(&restored.fill(all.iter())), all);
        let mut restored = waiting(&all);
        restored.dispense();
        tokio::time::sleep(2 * API_FIRST).await;
        assert!(restored.fill(all.iter()).is_empty(), "not needed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_ends_by_a_list_or_by_refusals_in_a_row() {
        let metrics = Metrics::new().unwrap();
        let (pod, service) = (Kind::Pod, Kind::Service);
        let mut restored = waiting(&[service, pod]);
        assert_eq!(restored.in_force(), None);
        restored.next().await;
        restored.fill([service, pod].iter());
        assert_eq!(restored.in_force().unwrap().kinds, ["service", "pod"]);
        let forgets = |restored: &mut Restored, kind| {
            let change = ClusterChange::Absent(kind, "forbidden".into());
            let after = restored.answered(change, |kind| Some(metrics.kubernetes.kind(kind)));
            matches!(after, ClusterChange::Forgotten(..))
        };
        for _ in 0..3 {
            assert!(!forgets(&mut restored, Kind::Node), "the API's own");
        }
        assert!(!forgets(&mut restored, pod));
        restored.note_answer(pod, AWAY);
        assert!(!forgets(&mut restored, pod));
        assert!(forgets(&mut restored, pod) && !restored.has(pod));
        assert!(!restored.is_complete(&[pod].into()));
        assert!(restored.is_complete(&[service].into()));
        for kind in [pod, service] {
            let list = ClusterChange::All(kind, Vec::new());
            restored.answered(list, |kind| Some(metrics.kubernetes.kind(kind)));
        }
        assert!(restored.is_complete(&[pod].into()));
        assert_eq!(restored.in_force(), None);
    }

    #[test]
    fn objects_of_a_kind_that_the_api_does_not_have_any_more_are_gone() {
        let metrics = Metrics::new().unwrap();
        let of = |kind| Some(metrics.kubernetes.kind(kind));
        let (rule, entry) = (Kind::DestinationRule, Kind::WorkloadEntry);
        let mut restored = Restored::never();
        restored.inherit([(rule, false), (entry, true)], ClockTime::now());
        let are_gone = |restored: &mut Restored, kind| {
            let change = ClusterChange::NotInstalled(kind);
            match restored.answered(change, of) {
                ClusterChange::NotInstalled(_) => false,
                ClusterChange::All(_, records) => records.is_empty(),
                other => panic!("{other:?}"),
            }
        };
        assert!(!are_gone(&mut restored, rule));
        assert!(!restored.has(rule), "it never had objects");
        // A starting API server does not have all kinds at once.
        for _ in 0..2 {
            assert!(!are_gone(&mut restored, entry));
        }
        restored.note_answer(entry, AWAY);
        for _ in 0..2 {
            assert!(!are_gone(&mut restored, entry) && restored.has(entry));
        }
        assert!(are_gone(&mut restored, entry) && !restored.has(entry));
        assert!(!are_gone(&mut restored, entry));
    }

    #[test]
    fn a_state_belongs_to_a_policy_and_not_to_a_path() {
        let policy = samples::kubernetes();
        let of = |policy: &KubernetesConfig| origin(policy).unwrap();
        let moved = KubernetesConfig {
            saved_state: Some(SavedStateConfig {
                path: "/x".into(),
                max_age: API_FIRST,
                max_size: 1,
            }),
            ..policy.clone()
        };
        assert_eq!(of(&moved), of(&policy));
        let mut wider = policy.clone();
        wider.export.mode = ExportMode::All;
        assert_ne!(of(&wider), of(&policy));
    }
}
