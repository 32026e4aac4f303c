//! A change of the state in force: its preparation, which can fail, and its commit, which cannot.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::AppError;
use super::discovery;
use super::listeners::{ListenerSockets, ListenersChange, retire_metrics};
use super::merge::{Merged, fill_new, merge};
use super::sources::{SourceTasks, first_answers};
use super::state::{Change, State};
use super::statuses::StatusTask;
use crate::admin::{DiscoveryReport, Snapshot};
use crate::config::{Config, KubernetesConfig};
use crate::drain::DrainPhase;
use crate::names::ListenerName;
use crate::source::dns::OwnListeners;
use crate::source::kubernetes::{KubernetesSource, Publication};
use crate::upstream::Upstreams;

/// A change that can no longer fail. If it is dropped, nothing changes.
pub(super) struct Plan {
    file: Arc<Config>,
    found: Option<Arc<Publication>>,
    report: Option<Arc<DiscoveryReport>>,
    /// `None`: the tables that are in force stay.
    tables: Option<Tables>,
    source: NextSource,
}

/// The parts that follow from a config with a discovery.
struct Tables {
    config: Arc<Config>,
    upstreams: Arc<Upstreams>,
    listeners: ListenersChange,
    /// Sources of upstreams that are new, once they are asked.
    sources: SourceTasks,
    /// Listeners that Gateways ask for and that cannot be bound.
    not_opened: Vec<(ListenerName, io::Error)>,
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
                let plan = Self::for_file(state, file).await;
                if plan.is_err() {
                    // Series of listeners that were prepared must not show.
                    let metrics = &state.control.shared.metrics;
                    retire_metrics(metrics, file, &state.control.snapshots.now().config);
                }
                plan
            }
            Change::Found(found) => Self::for_found(state, found),
            Change::Broken(_) => Self::for_broken(state).await,
        }
    }

    async fn for_file(state: &State, file: &Arc<Config>) -> Result<Self, AppError> {
        if !is_running(state) {
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
        let tables = Tables::new(state, file, found.as_deref())?;
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
        })
    }

    fn for_found(state: &State, found: &Arc<Publication>) -> Result<Self, AppError> {
        let mut plan = Self::nothing(state);
        if state.file.kubernetes.is_none() {
            // A source that no longer runs has found it.
            return Ok(plan);
        }
        // While draining no listener is opened any more, and none needs another table.
        if !state.is_routed(found) && is_running(state) {
            plan.tables = Some(Tables::new(state, &state.file, Some(found))?);
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

    /// A plan that changes nothing.
    fn nothing(state: &State) -> Self {
        Self {
            file: state.file.clone(),
            found: state.found.clone(),
            report: state.control.snapshots.now().report.clone(),
            tables: None,
            source: NextSource::Keep,
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
        tables.sources = state.sources.start_new(&tables.upstreams);
        if !state.listeners.is_empty() {
            first_answers(&tables.upstreams).await;
        }
    }

    /// Puts the change into force.
    pub(super) fn commit(self, state: &mut State) {
        let control = state.control.clone();
        let before = control.snapshots.now();
        let news = self.found.clone();
        let news = news.filter(|found| !is_same(state.found.as_ref(), found));
        let mut snapshot = Snapshot {
            report: self.report,
            ..Snapshot::clone(&before)
        };
        if let Some(tables) = &self.tables {
            tables.upstreams.adopt(&tables.config);
            snapshot.upstreams = tables.upstreams.clone();
        }
        if let Some(found) = &news {
            // This comes before the tables: no route may lead to an upstream without its endpoints.
            let before = state.found.as_deref().map(|found| &*found.discovered);
            discovery::update_endpoints(&snapshot.upstreams, &found.discovered, before);
        }
        if let Some(tables) = self.tables {
            tables.commit(state, &mut snapshot);
        }
        state.file = self.file;
        state.found = self.found;
        control.snapshots.replace(snapshot);
        forget(state, &before);
        self.source.commit(state);
        if let Some(found) = news {
            control.readiness.discovered();
            let metrics = &control.shared.metrics;
            if let Some(report) = &control.snapshots.now().report {
                discovery::count(report, metrics);
            }
            discovery::observe(&found.arrivals, metrics);
        }
    }
}

impl Tables {
    fn new(
        state: &State,
        file: &Arc<Config>,
        found: Option<&Publication>,
    ) -> Result<Self, AppError> {
        let control = &state.control;
        let in_force = control.snapshots.now();
        let Merged { mut config, opened } = merge(file, found);
        let (places, not_opened) = places(state, &config, &opened)?;
        if !not_opened.is_empty() {
            let is_bound =
                |name: &ListenerName| not_opened.iter().all(|(without, _)| without != name);
            let listeners = &mut Arc::make_mut(&mut config).listeners;
            listeners.retain(|listener| is_bound(&listener.name));
        }
        let upstreams = in_force.upstreams.prepare(&config);
        let listeners = ListenersChange::prepare(places, &config, &upstreams, &control.shared);
        if let Some(found) = found {
            fill_new(&upstreams, &found.discovered);
        }
        Ok(Self {
            config,
            upstreams: Arc::new(upstreams),
            listeners,
            sources: SourceTasks::new(),
            not_opened,
        })
    }

    /// The addresses that the gateway will listen on.
    fn addresses(&self, state: &State) -> Vec<SocketAddr> {
        let servers = state.servers.iter().copied();
        self.listeners.addresses().chain(servers).collect()
    }

    fn commit(self, state: &mut State, snapshot: &mut Snapshot) {
        let control = &state.control;
        state.sources.take_over(self.sources, &self.upstreams);
        let bound = self.listeners.commit(&mut state.listeners, &state.workers);
        for (listener, error) in &self.not_opened {
            state.reporter.not_opened(listener, error);
        }
        let conflicts = state.listeners.conflicts();
        state
            .reporter
            .conflicts(&conflicts, &control.shared.metrics);
        control.limit(&self.config);
        control
            .shared
            .access_log
            .reconfigure(&self.config.access_log);
        // Only if the file says so: a reload for another reason leaves what an operator has set.
        let level = &self.config.log.level;
        if let Some(log) = &control.log
            && snapshot.config.log.level != *level
            && let Err(error) = log.set(level)
        {
            tracing::error!(%error, "the level of the log stays as it was");
        }
        snapshot.bound = bound.into();
        snapshot.config = self.config;
    }
}

impl NextSource {
    async fn start(state: &State, policy: &Arc<KubernetesConfig>) -> Result<Self, AppError> {
        let control = &state.control;
        let (metrics, mailbox) = (&control.shared.metrics, control.mailbox.clone());
        let source = KubernetesSource::start(policy.clone(), metrics, mailbox);
        Ok(Self::New(Box::new(Box::pin(source).await?)))
    }

    fn commit(self, state: &mut State) {
        let control = &state.control;
        match self {
            Self::Keep => {}
            Self::None => {
                (state.kubernetes, state.statuses) = (None, None);
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
                control.mailbox.set_whole();
                (state.kubernetes, state.statuses) = (Some(*source), None);
            }
        }
        let (Some(source), Some(policy)) = (&state.kubernetes, &state.file.kubernetes) else {
            return;
        };
        source.listen_on(state.sources.own_listeners());
        let statuses = state.statuses.as_ref();
        if statuses.is_none_or(|task| !task.serves(policy)) {
            let metrics = &control.shared.metrics;
            state.statuses = StatusTask::start(source, policy, metrics, &control.watcher);
        }
    }
}

fn is_running(state: &State) -> bool {
    state.control.watcher.phase() == DrainPhase::Running
}

fn is_same(before: Option<&Arc<Publication>>, now: &Arc<Publication>) -> bool {
    before.is_some_and(|before| Arc::ptr_eq(before, now))
}

/// Listeners that cannot be bound, each with the reason.
type NotOpened = Vec<(ListenerName, io::Error)>;

/// The place of each listener of `config`. A listener in `opened`, for which a Gateway asks, may be
/// left out: a port that cannot be bound must not affect the others.
fn places(
    state: &State,
    config: &Config,
    opened: &HashSet<ListenerName>,
) -> Result<(Vec<ListenerSockets>, NotOpened), AppError> {
    let mut places = Vec::with_capacity(config.listeners.len());
    let mut not_opened = Vec::new();
    for listener in &config.listeners {
        let place = state
            .listeners
            .place(listener, config.workers.get(), state.bind);
        match place {
            Ok(place) => places.push(place),
            Err(AppError::Bind { error, .. }) if opened.contains(&listener.name) => {
                not_opened.push((listener.name.clone(), error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((places, not_opened))
}

/// Removes the metrics of objects that were in force before and no longer are.
fn forget(state: &State, before: &Snapshot) {
    let now = state.control.snapshots.now();
    let metrics = &state.control.shared.metrics;
    if !Arc::ptr_eq(&before.upstreams, &now.upstreams) {
        for name in before.upstreams.gone(&now.upstreams) {
            metrics.retire_upstream(name);
        }
    }
    if !Arc::ptr_eq(&before.config, &now.config) {
        retire_metrics(metrics, &before.config, &now.config);
    }
}

#[cfg(test)]
mod tests;
