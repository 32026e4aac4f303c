//! A change of the state in force: its preparation, which can fail, and its commit, which cannot.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::AppError;
use super::discovery;
use super::forget::{Differs, forget, forget_found};
use super::listeners::{InForce, ListenerSockets, ListenersChange, retire_metrics};
use super::merge::{Before, Merged, fill, fill_new, merge_after};
use super::sources::{SourceTasks, first_answers};
use super::state::{Change, State};
use super::statuses::StatusTask;
use super::unbound::NotBound;
use crate::admin::{DiscoveryReport, Snapshot};
use crate::config::{Config, KubernetesConfig, ListenerConfig};
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
    /// Addresses that still cannot be bound.
    failed_again: Vec<(SocketAddr, io::Error)>,
}

/// The parts that follow from a config with a discovery.
struct Tables {
    config: Arc<Config>,
    upstreams: Arc<Upstreams>,
    /// What differs, if that is a part of what was found.
    differs: Option<Differs>,
    listeners: ListenersChange,
    /// Sources of upstreams that are new, once they are asked.
    sources: SourceTasks,
    /// Listeners that Gateways ask for and that are not bound.
    not_bound: Vec<NotBound>,
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
                    let metrics = &state.control.shared.metrics;
                    retire_metrics(metrics, file, &state.control.snapshots.now().config);
                }
                plan
            }
            Change::Found(found) => Self::for_found(state, found),
            Change::Broken(_) => Self::for_broken(state).await,
            Change::Retry => Self::for_retry(state),
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
        let tables = Tables::new(state, file, found.as_deref(), Ready::new())?;
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

    fn for_found(state: &State, found: &Arc<Publication>) -> Result<Self, AppError> {
        let mut plan = Self::nothing(state);
        if state.file.kubernetes.is_none() {
            // A source that no longer runs has found it.
            return Ok(plan);
        }
        // While draining no listener is opened any more, and none needs another table.
        if !state.is_explained(found) && state.is_running() {
            let tables = Tables::new(state, &state.file, Some(found), Ready::new())?;
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
    fn for_retry(state: &State) -> Result<Self, AppError> {
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
            let found = state.found.as_deref();
            plan.tables = Some(Tables::new(state, &state.file, found, ready)?);
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
        let mut differs = None;
        if let Some(tables) = self.tables {
            differs = tables.commit(state, &mut snapshot);
        }
        state.unbound.failed_again(self.failed_again);
        state.file = self.file;
        state.found = self.found;
        control.snapshots.replace(snapshot);
        match differs {
            None => forget(state, &before),
            Some(differs) => forget_found(state, &before, &differs),
        }
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
    }
}

impl Tables {
    fn new(
        state: &State,
        file: &Arc<Config>,
        found: Option<&Publication>,
        ready: Ready,
    ) -> Result<Self, AppError> {
        let control = &state.control;
        let in_force = control.snapshots.now();
        let before = state.found.as_deref().filter(|before| {
            let same_zone = found.is_some_and(|found| found.zone == before.zone);
            same_zone && Arc::ptr_eq(file, &state.file)
        });
        let merged = before.map(|found| Before {
            config: &in_force.config,
            found,
        });
        let Merged { mut config, opened } = merge_after(merged, file, found);
        if before.is_none() {
            state.sources.prepare(&config)?;
        }
        let (places, not_bound) = places(state, &config, &opened, ready)?;
        if !not_bound.is_empty() {
            let is_bound =
                |name: &ListenerName| not_bound.iter().all(|one| one.listener.name != *name);
            let listeners = &mut Arc::make_mut(&mut config).listeners;
            listeners.retain(|listener| is_bound(&listener.name));
        }
        let change = before.map(|_| in_force.upstreams.follow(&in_force.config, &config));
        let (upstreams, replaced, differs) = match change {
            None => (in_force.upstreams.prepare(&config), None, None),
            Some(change) => {
                let name = |listener: &Arc<ListenerConfig>| listener.name.clone();
                let names = in_force.config.listeners.iter().map(name);
                let same_listeners = names.eq(config.listeners.iter().map(name));
                let differs = Differs {
                    changed: change.changed,
                    gone: change.gone,
                    same_listeners,
                };
                (change.upstreams, Some(change.replaced), Some(differs))
            }
        };
        let now = InForce {
            config: &in_force.config,
            replaced: replaced.as_deref(),
        };
        let listeners = ListenersChange::prepare(places, &config, now, &upstreams, &control.shared);
        if let Some(found) = found.map(|found| &found.discovered) {
            match &differs {
                None => fill_new(&upstreams, found),
                Some(differs) => fill(&upstreams, found, differs.changed.iter()),
            }
        }
        Ok(Self {
            config,
            upstreams: Arc::new(upstreams),
            differs,
            listeners,
            sources: SourceTasks::new(),
            not_bound,
        })
    }

    /// The addresses that the gateway will listen on.
    fn addresses(&self, state: &State) -> Vec<SocketAddr> {
        let servers = state.servers.iter().copied();
        self.listeners.addresses().chain(servers).collect()
    }

    /// Returns what differs, if that is a part of what was found.
    fn commit(self, state: &mut State, snapshot: &mut Snapshot) -> Option<Differs> {
        let control = &state.control;
        state.sources.take_over(self.sources, &self.upstreams);
        let conflicts_change = self.listeners.conflicts_change();
        let bound = self.listeners.commit(&mut state.listeners, &state.workers);
        control.passable.set_listeners(state.listeners.all());
        control.shared.listeners.replace(state.listeners.all());
        state.unbound.replace(self.not_bound);
        if conflicts_change {
            let conflicts = state.listeners.conflicts();
            let metrics = &control.shared.metrics;
            state.reporter.conflicts(&conflicts, metrics);
        }
        snapshot.bound = bound.into();
        if self.differs.is_some() {
            snapshot.config = self.config;
            return self.differs;
        }
        control.limit(&self.config);
        control
            .shared
            .access_log
            .reconfigure(&self.config.access_log);
        let hellos = &control.shared.hellos;
        hellos.reconfigure(self.config.hellos.as_ref());
        // Only if the file says so: a reload for another reason leaves what an operator has set.
        let level = &self.config.log.level;
        if let Some(log) = &control.log
            && snapshot.config.log.level != *level
            && let Err(error) = log.set(level)
        {
            tracing::error!(%error, "the level of the log stays as it was");
        }
        snapshot.config = self.config;
        None
    }
}

impl NextSource {
    async fn start(state: &State, policy: &Arc<KubernetesConfig>) -> Result<Self, AppError> {
        let control = &state.control;
        let (metrics, mailbox) = (&control.shared.metrics, control.mailbox.clone());
        // A saved state is older than what a source has found before.
        let restore = state.kubernetes.is_none() && state.found.is_none();
        let source = KubernetesSource::start(policy.clone(), metrics, mailbox, restore);
        Ok(Self::New(Box::new(Box::pin(source).await?)))
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

/// Places that were bound in advance, by address.
type Ready = HashMap<SocketAddr, ListenerSockets>;

/// The place of a listener for which a Gateway asks.
fn place(
    state: &State,
    listener: &ListenerConfig,
    going: &[SocketAddr],
) -> Result<ListenerSockets, io::Error> {
    // The workers that run: those of the config may be others, until a restart.
    let workers = state.workers.len();
    let place = state.listeners.place(listener, workers, going, &state.bind);
    place.map_err(|error| match error {
        AppError::Bind { error, .. } => error,
        other => io::Error::other(other),
    })
}

/// The place of each listener of `config`. A listener in `opened`, for which a Gateway asks, may be
/// left out: a port that cannot be bound must not affect the others.
fn places(
    state: &State,
    config: &Config,
    opened: &HashSet<ListenerName>,
    mut ready: Ready,
) -> Result<(Vec<ListenerSockets>, Vec<NotBound>), AppError> {
    let mut places = Vec::with_capacity(config.listeners.len());
    let mut not_bound = Vec::new();
    let going = state.listeners.going(config);
    for listener in &config.listeners {
        if let Some(place) = ready.remove(&listener.bind) {
            places.push(place);
            continue;
        }
        if !opened.contains(&listener.name) {
            let workers = state.workers.len();
            let place = state
                .listeners
                .place(listener, workers, &going, &state.bind);
            places.push(place?);
            continue;
        }
        let error = if state.unbound.rests(&listener.bind) {
            None
        } else {
            match place(state, listener, &going) {
                Ok(place) => {
                    places.push(place);
                    continue;
                }
                Err(error) => Some(error),
            }
        };
        not_bound.push(NotBound {
            listener: listener.clone(),
            error,
        });
    }
    Ok((places, not_bound))
}

#[cfg(test)]
mod tests;
