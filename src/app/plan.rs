//! A change of the state in force: its preparation, which can fail, and its commit, which cannot.

mod tables;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use self::tables::{Ready, Tables, place};
use super::AppError;
use super::change::Change;
use super::discovery;
use super::forget::Forgotten;
use super::listeners::retire_metrics;
use super::sources::first_answers;
use super::state::State;
use super::statuses::StatusTask;
use crate::admin::{DiscoveryReport, Snapshot};
use crate::config::{Config, KubernetesConfig};
use crate::source::dns::OwnListeners;
use crate::source::kubernetes::{KubernetesSource, Publication};

/// A change that can no longer fail. If it is dropped, nothing changes.
pub(super) struct Plan {
    file: Arc<Config>,
    found: Option<Arc<Publication>>,
    report: Option<Arc<DiscoveryReport>>,
    /// `None`: the tables that are in force stay.
    tables: Option<Tables>,
    source: NextSource,
    /// Addresses that still cannot be bound.
    failed_again: Vec<(SocketAddr, io::Error)>,
}

/// The next state of the Kubernetes source.
enum NextSource {
    /// It stays as it is.
    Keep,
    /// Stops it.
    None,
    /// The one that runs goes on with another policy.
    Adopt(Arc<KubernetesConfig>),
    /// Replaces it. Until the new one has found something, the discovery of the old one serves.
    New(Box<KubernetesSource>),
}

impl Plan {
    /// Does every step of a change that can fail. The state in force stays unchanged, whatever the
    /// result is.
    pub(super) async fn new(state: &State, change: &Change) -> Result<Self, AppError> {
        match change {
            Change::File(file, _) => {
                let file = &file.config;
                let plan = Self::for_file(state, file).await;
                if plan.is_err() {
                    // Series of listeners that were prepared must not show.
                    let (file, now) = (file.clone(), state.control.snapshots.now());
                    let metrics = state.control.shared.metrics.clone();
                    let retire = move || retire_metrics(&metrics, &file, &now.config);
                    let _ = state.control.builder.run(retire).await;
                }
                plan
            }
            Change::Found(found) => Self::for_found(state, found).await,
            Change::Broken(_) => Self::for_broken(state).await,
            Change::Retry => Self::for_retry(state).await,
        }
    }

    async fn for_file(state: &State, file: &Arc<Config>) -> Result<Self, AppError> {
        if !state.is_running() {
            return Err(AppError::Draining);
        }
        let source = match &file.kubernetes {
            None => NextSource::None,
            Some(policy) => match &state.kubernetes {
                Some(source) if source.serves(policy) => NextSource::Adopt(policy.clone()),
                _ => NextSource::start(state, policy).await?,
            },
        };
        let found = state.found.clone();
        let found = found.filter(|_| file.kubernetes.is_some());
        let tables = Tables::new(state, file, found.as_ref(), Ready::new()).await?;
        if let NextSource::New(source) = &source {
            source.listen_on(OwnListeners::of(&tables.addresses(state)));
        }
        let before = state.control.snapshots.now().report.clone();
        Ok(Self {
            file: file.clone(),
            report: before.filter(|_| found.is_some()),
            found,
            tables: Some(tables),
            source,
            failed_again: Vec::new(),
        })
    }

    async fn for_found(state: &State, found: &Arc<Publication>) -> Result<Self, AppError> {
        let mut plan = Self::nothing(state);
        if state.file.kubernetes.is_none() {
            // A source that no longer runs has found it.
            return Ok(plan);
        }
        // While draining no listener is opened any more, and none needs another table.
        if !state.is_explained(found) && state.is_running() {
            let tables = Tables::new(state, &state.file, Some(found), Ready::new()).await?;
            plan.tables = Some(tables);
        }
        plan.report = Some(Arc::new(discovery::report(found)));
        plan.found = Some(found.clone());
        Ok(plan)
    }

    async fn for_broken(state: &State) -> Result<Self, AppError> {
        let mut plan = Self::nothing(state);
        plan.source = match (&state.file.kubernetes, &state.kubernetes) {
            (Some(policy), Some(_)) => NextSource::start(state, policy).await?,
            // The source is gone, and must not start again.
            _ => NextSource::None,
        };
        if let NextSource::New(source) = &plan.source {
            source.listen_on(state.sources.own_listeners());
        }
        Ok(plan)
    }

    /// Tries to bind what is due. Only success makes new tables.
    async fn for_retry(state: &State) -> Result<Self, AppError> {
        let mut plan = Self::nothing(state);
        if !state.is_running() {
            return Ok(plan);
        }
        let (mut ready, mut failed) = (Ready::new(), Vec::new());
        for listener in state.unbound.due() {
            match place(state, listener, &[]) {
                Ok(place) => drop(ready.insert(listener.bind, place)),
                Err(error) => failed.push((listener.bind, error)),
            }
        }
        if !ready.is_empty() {
            let found = state.found.as_ref();
            plan.tables = Some(Tables::new(state, &state.file, found, ready).await?);
        }
        plan.failed_again = failed;
        Ok(plan)
    }

    /// A plan that changes nothing.
    fn nothing(state: &State) -> Self {
        Self {
            file: state.file.clone(),
            found: state.found.clone(),
            report: state.control.snapshots.now().report.clone(),
            tables: None,
            source: NextSource::Keep,
            failed_again: Vec::new(),
        }
    }

    /// Asks DNS for the endpoints of new upstreams, and waits for the first answers. If something
    /// serves already, the wait has a limit. From here on, the addresses that will be bound count as
    /// our own.
    pub(super) async fn resolve(&mut self, state: &State) {
        let Some(tables) = &mut self.tables else {
            return;
        };
        state.sources.listen_on(tables.addresses(state));
        if tables.differs.is_some() {
            // Nothing that Kubernetes finds asks DNS.
            return;
        }
        tables.sources = state.sources.start_new(&tables.upstreams);
        if !state.listeners.is_empty() {
            first_answers(&tables.upstreams).await;
        }
    }

    /// Puts the change into force. Returns the part that is to be forgotten; `None` if the tables stay.
    #[must_use]
    pub(super) fn commit(self, state: &mut State) -> Option<Forgotten> {
        let control = state.control.clone();
        let before = control.snapshots.now();
        let news = self.found.clone();
        let news = news.filter(|found| !is_same(state.found.as_ref(), found));
        let mut snapshot = Snapshot {
            report: self.report,
            ..Snapshot::clone(&before)
        };
        if let Some(tables) = &self.tables {
            match &tables.differs {
                None => tables.upstreams.adopt(&tables.config),
                Some(differs) => {
                    let (names, config) = (&differs.changed, &tables.config);
                    tables.upstreams.adopt_changed(names, config);
                }
            }
            snapshot.upstreams = tables.upstreams.clone();
        }
        if let Some(found) = &news {
            // This comes before the tables: no route may lead to an upstream without its endpoints.
            let before = state.found.as_deref().map(|found| &*found.discovered);
            discovery::update_endpoints(&snapshot.upstreams, &found.discovered, before);
        }
        let tables = self.tables;
        let forgotten = tables.map(|tables| tables.commit(state, before, &mut snapshot));
        state.unbound.failed_again(self.failed_again);
        state.file = self.file;
        state.found = self.found;
        control.snapshots.replace(snapshot);
        self.source.commit(state);
        if let Some(found) = news {
            if found.complete {
                control.readiness.discovered();
            } else {
                control.readiness.await_discovery();
            }
            let metrics = &control.shared.metrics;
            if let Some(report) = &control.snapshots.now().report {
                discovery::count(report, metrics);
            }
            discovery::observe(&found.arrivals, metrics);
        }
        forgotten
    }
}

impl NextSource {
    async fn start(state: &State, policy: &Arc<KubernetesConfig>) -> Result<Self, AppError> {
        let control = &state.control;
        let (metrics, mailbox) = (&control.shared.metrics, control.mailbox.clone());
        let policy = policy.clone();
        let source = match &state.kubernetes {
            Some(before) => Box::pin(before.start_after(policy, metrics, mailbox)).await?,
            None => {
                // A saved state is older than what a source has found before.
                let restore = state.found.is_none();
                let source = KubernetesSource::start(policy, metrics, mailbox, restore);
                Box::pin(source).await?
            }
        };
        Ok(Self::New(Box::new(source)))
    }

    fn commit(self, state: &mut State) {
        let control = &state.control;
        match self {
            Self::Keep => {}
            Self::None => {
                (state.kubernetes, state.statuses) = (None, None);
                control.pod_reporter.store(None);
                control.mailbox.set_whole();
                control.readiness.discovered();
                KubernetesSource::retire_metrics(&control.shared.metrics, &[]);
            }
            Self::Adopt(policy) => {
                if let Some(source) = &state.kubernetes {
                    source.adopt(policy);
                }
            }
            Self::New(source) => {
                source.put_in_force();
                control.mailbox.set_whole();
                control
                    .pod_reporter
                    .store(source.pod_reporter().map(Arc::new));
                // Not before: a reload that is refused leaves the metrics of the source that goes on.
                source.retire_metrics_of(state.kubernetes.as_ref(), &control.shared.metrics);
                (state.kubernetes, state.statuses) = (Some(*source), None);
            }
        }
        let (Some(source), Some(policy)) = (&state.kubernetes, &state.file.kubernetes) else {
            return;
        };
        source.listen_on(state.sources.own_listeners());
        source.set_ports(state.ports());
        let statuses = state.statuses.as_ref();
        if statuses.is_none_or(|task| !task.serves(policy)) {
            let metrics = &control.shared.metrics;
            state.statuses = StatusTask::start(source, policy, metrics, &control.watcher);
        }
    }
}

fn is_same(before: Option<&Arc<Publication>>, now: &Arc<Publication>) -> bool {
    before.is_some_and(|before| Arc::ptr_eq(before, now))
}

#[cfg(test)]
mod tests;
