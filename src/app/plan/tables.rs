//! The tables that follow from a config with a discovery, and their sockets.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::Snapshot;
use crate::app::AppError;
use crate::app::builder::Old;
use crate::app::control::Control;
use crate::app::forget::{Differs, FEW, Forgotten};
use crate::app::listeners::{InForce, ListenerSockets, ListenersChange};
use crate::app::merge::{Before, Merged, fill, fill_new, merge_after};
use crate::app::sources::SourceTasks;
use crate::app::state::State;
use crate::app::unbound::NotBound;
use crate::config::{Config, ListenerConfig};
use crate::names::ListenerName;
use crate::proxy::Shared;
use crate::source::kubernetes::Publication;
use crate::upstream::Upstreams;

/// The parts that follow from a config with a discovery.
pub(super) struct Tables {
    pub(super) config: Arc<Config>,
    pub(super) upstreams: Arc<Upstreams>,
    /// The difference to the tables in force; `None` if everything may differ.
    pub(super) differs: Option<Differs>,
    listeners: ListenersChange,
    /// The DNS sources of new upstreams; empty until [`Plan::resolve`](super::Plan::resolve) starts them.
    pub(super) sources: SourceTasks,
    /// Listeners that Gateways ask for and that are not bound.
    not_bound: Vec<NotBound>,
}

/// The input of tables. The builder can use it, since it has no reference to the state.
#[derive(Clone)]
struct TablesDraft {
    file: Arc<Config>,
    found: Option<Arc<Publication>>,
    /// The discovery in force, if only the discovery changes.
    before: Option<Arc<Publication>>,
    in_force: Arc<Snapshot>,
}

/// The tables of a draft.
struct MadeTables {
    upstreams: Upstreams,
    differs: Option<Differs>,
    listeners: ListenersChange,
}

impl TablesDraft {
    fn of(state: &State, file: &Arc<Config>, found: Option<&Arc<Publication>>) -> Self {
        let before = state.found.clone().filter(|before| {
            let same_zone = found.is_some_and(|found| found.zone == before.zone);
            same_zone && Arc::ptr_eq(file, &state.file)
        });
        Self {
            file: file.clone(),
            found: found.cloned(),
            before,
            in_force: state.control.snapshots.now(),
        }
    }

    /// Whether the tables are made from nothing, or many upstreams change.
    fn takes_long(&self) -> bool {
        let both = self.before.as_ref().zip(self.found.as_ref());
        both.is_none_or(|(before, found)| {
            let [before, found] = [before, found].map(|one| &one.discovered.routing.upstreams);
            before.diff(found, Arc::ptr_eq).len() > FEW
        })
    }

    fn merge(&self) -> Merged {
        let merged = self.before.as_deref().map(|found| Before {
            config: &self.in_force.config,
            found,
        });
        merge_after(merged, &self.file, self.found.as_deref())
    }

    /// Makes the tables of `config`. `places` are the sockets of its listeners.
    fn make(self, config: &Config, places: Vec<ListenerSockets>, shared: &Shared) -> MadeTables {
        let in_force = self.in_force;
        let change = self.before.as_ref();
        let change = change.map(|_| in_force.upstreams.follow(&in_force.config, config));
        let (upstreams, replaced, differs) = match change {
            None => (in_force.upstreams.prepare(config), None, None),
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
        let listeners = ListenersChange::prepare(places, config, now, &upstreams, shared);
        if let Some(found) = self.found.as_ref().map(|found| &found.discovered) {
            match &differs {
                None => fill_new(&upstreams, found),
                Some(differs) => fill(&upstreams, found, differs.changed.iter()),
            }
        }
        MadeTables {
            upstreams,
            differs,
            listeners,
        }
    }
}

impl Tables {
    /// Makes tables, on the builder if that takes long.
    pub(super) async fn new(
        state: &State,
        file: &Arc<Config>,
        found: Option<&Arc<Publication>>,
        ready: Ready,
    ) -> Result<Self, AppError> {
        let control = &state.control;
        let draft = TablesDraft::of(state, file, found);
        let takes_long = draft.takes_long();
        let merge = {
            let draft = draft.clone();
            move || draft.merge()
        };
        let Merged { mut config, opened } = control.builder.run_if(takes_long, merge).await?;
        if draft.before.is_none() {
            state.sources.prepare(&config)?;
        }
        let (places, not_bound) = places(state, &config, &opened, ready)?;
        if !not_bound.is_empty() {
            let is_bound =
                |name: &ListenerName| not_bound.iter().all(|one| one.listener.name != *name);
            let listeners = &mut Arc::make_mut(&mut config).listeners;
            listeners.retain(|listener| is_bound(&listener.name));
        }
        let make = {
            let (config, shared) = (config.clone(), control.shared.clone());
            move || draft.make(&config, places, &shared)
        };
        let MadeTables {
            upstreams,
            differs,
            listeners,
        } = control.builder.run_if(takes_long, make).await?;
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
    pub(super) fn addresses(&self, state: &State) -> Vec<SocketAddr> {
        let servers = state.servers.iter().copied();
        self.listeners.addresses().chain(servers).collect()
    }

    /// Puts the tables into force and into `snapshot`. Returns the part of `before` that is to be forgotten.
    pub(super) fn commit(
        self,
        state: &mut State,
        before: Arc<Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Forgotten {
        let control = &state.control;
        state.sources.take_over(self.sources, &self.upstreams);
        let conflicts_change = self.listeners.conflicts_change();
        let (bound, old) = self.listeners.commit(&mut state.listeners, &state.workers);
        let old = old.into_iter().map(|state| state as Old).collect();
        control.passable.set_listeners(state.listeners.all());
        control.shared.listeners.replace(state.listeners.all());
        state.unbound.replace(self.not_bound);
        if conflicts_change {
            let conflicts = state.listeners.conflicts();
            let metrics = &control.shared.metrics;
            state.reporter.conflicts(&conflicts, metrics);
        }
        if self.differs.is_none() {
            configure(control, &before.config, &self.config);
        }
        snapshot.bound = bound.into();
        snapshot.config = self.config;
        Forgotten {
            before,
            differs: self.differs,
            old,
        }
    }
}

/// Configures the parts of the process that do not depend on the discovery.
fn configure(control: &Control, before: &Config, config: &Config) {
    control.limit(config);
    control.shared.access_log.reconfigure(&config.access_log);
    control.shared.hellos.reconfigure(config.hellos.as_ref());
    // A reload that does not change the level leaves a level that an operator has set.
    let level = &config.log.level;
    if let Some(log) = &control.log
        && before.log.level != *level
        && let Err(error) = log.set(level)
    {
        tracing::error!(%error, "the level of the log stays as it was");
    }
}

/// Places of listeners that were bound before the tables are made, by address.
pub(super) type Ready = HashMap<SocketAddr, ListenerSockets>;

/// The place of a listener for which a Gateway asks.
pub(super) fn place(
    state: &State,
    listener: &ListenerConfig,
    going: &[SocketAddr],
) -> Result<ListenerSockets, io::Error> {
    // This is the number of workers that run. The config's may differ until a restart.
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
