//! The saving of the state, on another thread: the control thread only copies the records, whose texts are
//! shared.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::restore::{PATIENCE, origin};
use crate::config::KubernetesConfig;
use crate::metrics::Metrics;
use crate::source::kubernetes::cluster::{Cluster, Kind};
use crate::source::kubernetes::saved::{self, ClockTime, ClusterPart, KindState, SaveSchedule};

/// Saves the state from time to time.
pub(super) struct Saving {
    metrics: Arc<Metrics>,
    schedule: SaveSchedule,
    /// The time when the API last confirmed what is known of each kind.
    confirmed: BTreeMap<Kind, Instant>,
    /// The write that runs, which yields the time that it took.
    running: Option<JoinHandle<io::Result<(usize, Duration)>>>,
    /// The problem that was last logged.
    said: Option<String>,
}

/// The states to save: of the kinds that the API has listed, or does not serve, and does not refuse.
pub(super) fn states(cluster: &Cluster, kinds: &[Kind]) -> Vec<(Kind, KindState)> {
    let state = |kind: &Kind| {
        let records = cluster.list(*kind);
        let state = match (cluster.is_installed(*kind), cluster.absent(*kind)) {
            (true, None) => KindState::Listed(records),
            // The records of a kind stay known after it was uninstalled.
            (false, _) if !records.is_empty() => KindState::Listed(records),
            (false, _) => KindState::NotInstalled,
            (true, Some(_)) => return None,
        };
        Some((*kind, state))
    };
    let known = kinds.iter().filter(|kind| cluster.is_known(**kind));
    known.filter_map(state).collect()
}

impl Saving {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            schedule: SaveSchedule::default(),
            confirmed: BTreeMap::new(),
            running: None,
            said: None,
        }
    }

    /// Notes a change that the API has reported, or a refusal.
    pub(super) fn changed(&mut self, kind: Kind) {
        self.schedule.changed();
        self.confirm(kind);
    }

    /// Notes a change in another cluster.
    pub(super) fn others_changed(&mut self) {
        self.schedule.changed();
    }

    /// Notes that the API has reported everything about a kind.
    pub(super) fn confirm(&mut self, kind: Kind) {
        self.confirmed.insert(kind, Instant::now());
    }

    /// The time for which the API has confirmed all of `kinds`.
    fn confirmed(&self, kinds: &[(Kind, KindState)]) -> Option<Instant> {
        let of_kind = |(kind, _): &(Kind, KindState)| self.confirmed.get(kind).copied();
        let times: Option<Vec<Instant>> = kinds.iter().map(of_kind).collect();
        times?.into_iter().min()
    }

    /// The time of the next write of what is known of `kinds`.
    pub(super) fn due(&self, policy: &KubernetesConfig, kinds: &[Kind]) -> Option<Instant> {
        let config = policy.saved_state.as_ref()?;
        if self.running.is_some() {
            return None;
        }
        let times = kinds.iter().filter_map(|kind| self.confirmed.get(kind));
        self.schedule.due(*times.min()?, config.max_age)
    }

    /// Waits until a write is due, or the running one has ended.
    pub(super) async fn next(&mut self, due: Option<Instant>) {
        match (&mut self.running, due) {
            (Some(running), _) => {
                let ended = running
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error)));
                self.running = None;
                self.ended(ended);
            }
            (None, Some(due)) => sleep_until(due).await,
            (None, None) => pending().await,
        }
    }

    fn ended(&mut self, ended: io::Result<(usize, Duration)>) {
        let metrics = &self.metrics.kubernetes;
        match ended {
            Ok((bytes, took)) => {
                metrics.saved(Some(bytes));
                self.schedule.ended(took, true);
                self.said = None;
            }
            Err(error) => {
                metrics.saved(None);
                self.schedule.ended(Duration::ZERO, false);
                let problem = error.to_string();
                if self.said.as_ref() != Some(&problem) {
                    tracing::warn!(
                        problem,
                        "strait cannot save the state of the cluster; a restart while the Kubernetes API is away \
                         would not be ready"
                    );
                    self.said = Some(problem);
                }
            }
        }
    }

    /// Begins to save what is known of `kinds`, and of other clusters.
    pub(super) fn begin(
        &mut self,
        policy: &KubernetesConfig,
        cluster: &Cluster,
        kinds: &[Kind],
        others: Vec<ClusterPart>,
    ) {
        let (Some(config), Ok(origin)) = (policy.saved_state.clone(), origin(policy)) else {
            return;
        };
        let states = states(cluster, kinds);
        let Some(confirmed) = self.confirmed(&states) else {
            return;
        };
        self.schedule.begins(Instant::now(), confirmed);
        let write = move || {
            let began = Instant::now();
            let at = ClockTime::now().before(confirmed.elapsed());
            let max_size = config.max_size;
            let bytes = saved::write(&config.path, |to| {
                saved::encode(to, max_size, &origin, &at, (&states, &others))
            });
            Ok((bytes?, began.elapsed()))
        };
        self.running = Some(tokio::spawn(PATIENCE.ask(write)));
    }
}
