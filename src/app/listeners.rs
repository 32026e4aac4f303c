//! The listeners, and the changes that a new config makes to them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::AppError;
use crate::admin::BoundListener;
use crate::config::{Config, ListenerConfig, RouteConfig, TargetConfig, UpstreamConfig};
use crate::metrics::{KnownSeries, Metrics, SeriesRoute};
use crate::names::ListenerName;
use crate::proxy::{Listener, ListenerPolicy, ListenerState, Shared, WorkerInbox};
use crate::route::{Conflict, RouteMaker};
use crate::socket::{self, StreamOptions};
use crate::upstream::Upstreams;

/// The identity of a listener across reloads: its address; with port 0, also its name.
type Slot = (SocketAddr, Option<ListenerName>);

fn slot(config: &ListenerConfig) -> Slot {
    let unnamed = config.bind.port() != 0;
    (config.bind, (!unnamed).then(|| config.name.clone()))
}

/// A function that gives the sockets of an address, for so many workers. The last argument is true if sockets
/// of this process share the port, and go in a moment. It is a parameter so that a test needs no socket.
pub(super) type BindSockets =
    Box<dyn Fn(SocketAddr, usize, &StreamOptions, bool) -> io::Result<Vec<OwnedFd>> + Send + Sync>;

/// The listeners.
#[derive(Debug, Default)]
pub(super) struct Listeners(HashMap<Slot, Arc<Listener>>);

impl Listeners {
    /// Whether there are no listeners.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The current state of the listener of that name.
    #[cfg(test)]
    pub(super) fn state_of(&self, name: &str) -> Option<Arc<ListenerState>> {
        let mut states = self.0.values().map(|listener| listener.state());
        states.find(|state| &*state.policy.name == name)
    }

    /// The addresses of the listeners that `config` does not have.
    pub(super) fn going(&self, config: &Config) -> Vec<SocketAddr> {
        let stay: HashSet<Slot> = config.listeners.iter().map(|one| slot(one)).collect();
        let going = self.0.iter().filter(|(slot, _)| !stay.contains(slot));
        going.map(|(_, listener)| listener.address).collect()
    }

    /// The place of `config`: the listener that is bound already, or new sockets. The listeners at `going`
    /// close in a moment, so a new one may share their port until then.
    pub(super) fn place(
        &self,
        config: &ListenerConfig,
        workers: usize,
        going: &[SocketAddr],
        bind: &BindSockets,
    ) -> Result<ListenerSockets, AppError> {
        if let Some(bound) = self.0.get(&slot(config)) {
            return Ok(ListenerSockets::Bound(bound.clone()));
        }
        let failed = |error| AppError::Bind {
            what: config.name.to_string(),
            address: config.bind,
            error,
        };
        let options = StreamOptions::from(config.tcp);
        let beside_own = going
            .iter()
            .any(|going| socket::overlap(*going, config.bind));
        let sockets = bind(config.bind, workers, &options, beside_own).map_err(failed)?;
        let address = sockets
            .first()
            .map_or(Ok(config.bind), socket::local_address);
        Ok(ListenerSockets::New(address.map_err(failed)?, sockets))
    }

    /// All listeners.
    pub(super) fn all(&self) -> Vec<Arc<Listener>> {
        self.0.values().cloned().collect()
    }

    /// The ports of all listeners.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.values().map(|listener| listener.address.port())
    }

    /// Names that discovered routes do not get, each with its listener.
    pub(super) fn conflicts(&self) -> Vec<(ListenerName, Conflict)> {
        let states = self.0.values().map(|listener| listener.state());
        let conflicts = states.flat_map(|state| {
            let of_listener = |conflict: &Conflict| (state.policy.name.clone(), conflict.clone());
            let conflicts = state.routes.conflicts();
            conflicts.iter().map(of_listener).collect::<Vec<_>>()
        });
        conflicts.collect()
    }
}

/// A change of the listeners that can no longer fail.
pub(super) struct ListenersChange {
    /// The listeners in the config's order.
    listeners: Vec<Prepared>,
    conflicts_change: bool,
}

/// The config in force, from which a change goes on.
#[derive(Clone, Copy)]
pub(super) struct InForce<'a> {
    pub(super) config: &'a Config,
    /// Configs of the upstreams that are new, gone, or others than before, if nothing but what was found has
    /// changed; `None`: every table is built from nothing.
    pub(super) replaced: Option<&'a [Arc<UpstreamConfig>]>,
}

/// The place where a listener is bound.
#[derive(Debug)]
pub(super) enum ListenerSockets {
    /// It is bound already.
    Bound(Arc<Listener>),
    /// It was bound a moment ago: the address and its sockets.
    New(SocketAddr, Vec<OwnedFd>),
}

struct Prepared {
    slot: Slot,
    name: ListenerName,
    listener: Arc<Listener>,
    change: PreparedChange,
}

enum PreparedChange {
    /// A listener that is bound for the first time.
    Open(Vec<Arc<OwnedFd>>),
    /// A listener that is bound already.
    Update(StreamOptions, Box<ListenerState>),
}

impl ListenersChange {
    /// Makes the tables of all listeners of `config`, which are bound at `places`, in the same order. The bound ones
    /// are as `in_force` has them.
    pub(super) fn prepare(
        places: Vec<ListenerSockets>,
        config: &Config,
        in_force: InForce<'_>,
        upstreams: &Upstreams,
        shared: &Shared,
    ) -> Self {
        let before = in_force.config.listeners.iter();
        let before: HashMap<Slot, &ListenerConfig> =
            before.map(|one| (slot(one), &**one)).collect();
        let mut conflicts_change = in_force.config.listeners.len() != config.listeners.len();
        let mut prepare = |(listener, place): (&Arc<ListenerConfig>, ListenerSockets)| {
            let bound = match &place {
                ListenerSockets::Bound(bound) => before.get(&slot(listener)).zip(Some(bound)),
                ListenerSockets::New(..) => None,
            };
            let now = bound.map(|(config, bound)| (*config, bound.state()));
            let state = state(listener, config, now.as_ref(), in_force, upstreams, shared);
            let same = now.is_some_and(|(_, now)| state.routes.has_conflicts_of(&now.routes));
            conflicts_change |= !same;
            let options = StreamOptions::from(listener.tcp);
            let (listener_now, change) = match place {
                ListenerSockets::Bound(bound) => {
                    (bound, PreparedChange::Update(options, Box::new(state)))
                }
                ListenerSockets::New(address, sockets) => {
                    let sockets: Vec<_> = sockets.into_iter().map(Arc::new).collect();
                    let opened = Listener::new(address, options, state, &sockets);
                    (Arc::new(opened), PreparedChange::Open(sockets))
                }
            };
            Prepared {
                slot: slot(listener),
                name: listener.name.clone(),
                listener: listener_now,
                change,
            }
        };
        let listeners = config.listeners.iter().zip(places);
        let listeners = listeners.map(&mut prepare).collect();
        Self {
            listeners,
            conflicts_change,
        }
    }

    /// Whether the names that discovered routes do not get may change.
    pub(super) fn conflicts_change(&self) -> bool {
        self.conflicts_change
    }

    /// The addresses that this change will bind.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|one| one.listener.address)
    }

    /// Puts the change into force. Returns the name and bound address of every listener, and the states that are no
    /// longer in force.
    pub(super) fn commit(
        self,
        current: &mut Listeners,
        workers: &[WorkerInbox],
    ) -> (Vec<BoundListener>, Vec<Arc<ListenerState>>) {
        let mut after = HashMap::new();
        let mut bound = Vec::new();
        let mut old = Vec::new();
        for prepared in self.listeners {
            match prepared.change {
                PreparedChange::Update(options, state) => {
                    old.push(prepared.listener.update(options, *state));
                }
                PreparedChange::Open(sockets) => {
                    let address = prepared.listener.address;
                    tracing::info!(listener = %prepared.name, %address, "strait listens on this address");
                    // Sockets of another process may be more or fewer than the workers. A worker without one gets
                    // connections from the others.
                    for (worker, socket) in workers.iter().cycle().zip(sockets) {
                        if let Err(error) = socket::listen(&socket) {
                            tracing::error!(listener = %prepared.name, %error, "strait cannot accept on a socket that it has bound");
                            continue;
                        }
                        worker.listen(prepared.listener.clone(), socket);
                    }
                }
            }
            bound.push((prepared.name, prepared.listener.address));
            after.insert(prepared.slot, prepared.listener);
        }
        for (slot, listener) in std::mem::take(&mut current.0) {
            if !after.contains_key(&slot) {
                tracing::info!(address = %listener.address, "strait closes a listener");
                listener.close();
                old.push(listener.state());
            }
        }
        current.0 = after;
        (bound, old)
    }
}

/// The state of `listener`. If it is bound, `now` is its config in force, with its state.
pub(super) fn state(
    listener: &ListenerConfig,
    config: &Config,
    now: Option<&(&ListenerConfig, Arc<ListenerState>)>,
    in_force: InForce<'_>,
    upstreams: &Upstreams,
    shared: &Shared,
) -> ListenerState {
    let same_sources = in_force.config.sources == config.sources;
    let now = now.filter(|(before, _)| same_sources && before.has_policy_of(listener));
    let maker = RouteMaker {
        listener,
        sources: &config.sources,
        scopes: &shared.scopes,
        upstream: |name: &str| upstreams.get(name).cloned(),
    };
    let policy = match now {
        // Connections keep their policy. One that stays the same is in memory once.
        Some((_, now)) => now.policy.clone(),
        None => {
            let (metrics, scopes) = (&shared.metrics, &shared.scopes);
            ListenerPolicy::new(listener, &config.sources, metrics, scopes).into()
        }
    };
    let routes = match (now, in_force.replaced) {
        (Some((before, now)), Some(replaced)) if before.routes.shares_own(&listener.routes) => {
            now.routes.change(before, replaced, &maker)
        }
        _ => maker.table(),
    };
    for error in routes.left_out() {
        tracing::error!(listener = %listener.name, %error, "a route is left out");
    }
    ListenerState { policy, routes }
}

/// Removes the metrics of routes and listeners that are in `before` and not in `after`.
pub(super) fn retire_metrics(metrics: &Metrics, before: &Config, after: &Config) {
    let listeners = after.listeners.iter().map(|one| one.name.clone());
    let listeners: HashSet<ListenerName> = listeners.collect();
    for listener in &before.listeners {
        if !listeners.contains(&listener.name) {
            metrics.retire_listener(&listener.name);
        }
    }
    let mut routes = HashSet::new();
    for listener in &after.listeners {
        for route in listener.routes.iter() {
            routes.extend(series_of(listener, &route));
        }
    }
    let sources = after.sources.ids().map(|id| after.sources.name(id).into());
    metrics.retire_routes(KnownSeries {
        sources: sources.collect(),
        listeners,
        routes,
    });
}

/// As [`retire_metrics`], if the listeners are the same and `after` differs in what was found only.
pub(super) fn retire_found(metrics: &Metrics, before: &Config, after: &Config) {
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for (before, after) in before.listeners.iter().zip(&after.listeners) {
        // The routes of the file are the same, and so are the names that they leave to others.
        let series = |found: &[Arc<RouteConfig>], others: &[Arc<RouteConfig>]| {
            let others: HashSet<_> = others.iter().map(Arc::as_ptr).collect();
            let found = found.iter();
            let found = found.filter(|route| !others.contains(&Arc::as_ptr(route)));
            let named = found.map(|route| after.routes.named(route));
            named
                .flat_map(|route| series_of(after, &route))
                .collect::<Vec<_>>()
        };
        let mut take = |one: &[Arc<RouteConfig>], other: &[Arc<RouteConfig>]| {
            gone.extend(series(one, other));
            new.extend(series(other, one));
        };
        let (one, other) = (&before.routes, &after.routes);
        for service in one.exports().changed(other.exports()) {
            take(one.exports().of(service), other.exports().of(service));
        }
        if !Arc::ptr_eq(one.attached(), other.attached()) {
            take(one.attached(), other.attached());
        }
    }
    // A route that was made again has the series that it had.
    let both: HashSet<SeriesRoute> = new.iter().cloned().collect();
    gone.retain(|route| !both.contains(route));
    if !(gone.is_empty() && new.is_empty()) {
        metrics.change_routes(&gone, &new);
    }
}

/// The route of each series of `route`, one for each upstream.
pub(super) fn series_of(listener: &ListenerConfig, route: &RouteConfig) -> Vec<SeriesRoute> {
    let of_target = |target: &TargetConfig| {
        let (listener, route) = (listener.name.clone(), route.name.clone());
        (listener, route, target.upstream.clone())
    };
    route.targets.iter().map(of_target).collect()
}
