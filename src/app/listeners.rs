//! The listeners, and the changes that a new config makes to them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::AppError;
use crate::admin::BoundListener;
use crate::config::{Config, ListenerConfig, RouteConfig, TargetConfig};
use crate::metrics::{Metrics, NONE, OTHER};
use crate::names::{ListenerName, RouteName, UpstreamName};
use crate::proxy::{Listener, ListenerPolicy, ListenerState, Shared, WorkerInbox};
use crate::route::{Conflict, RouteTable};
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
            let conflicts = state.routes.conflicts().iter();
            conflicts.map(of_listener).collect::<Vec<_>>()
        });
        conflicts.collect()
    }
}

/// A change of the listeners that can no longer fail.
pub(super) struct ListenersChange {
    /// The listeners in the config's order.
    listeners: Vec<Prepared>,
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
    /// Builds the tables of all listeners of `config`, which are bound at `places`, in the same order.
    pub(super) fn prepare(
        places: Vec<ListenerSockets>,
        config: &Config,
        upstreams: &Upstreams,
        shared: &Shared,
    ) -> Self {
        let prepare = |(listener, place): (&Arc<ListenerConfig>, ListenerSockets)| {
            let state = state(listener, config, upstreams, shared);
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
        let listeners = config.listeners.iter().zip(places).map(prepare);
        Self {
            listeners: listeners.collect(),
        }
    }

    /// The addresses that this change will bind.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|one| one.listener.address)
    }

    /// Puts the change into force. Returns the name and bound address of every listener.
    pub(super) fn commit(
        self,
        current: &mut Listeners,
        workers: &[WorkerInbox],
    ) -> Vec<BoundListener> {
        let mut after = HashMap::new();
        let mut bound = Vec::new();
        for prepared in self.listeners {
            match prepared.change {
                PreparedChange::Update(options, state) => prepared.listener.update(options, *state),
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
            }
        }
        current.0 = after;
        bound
    }
}

pub(super) fn state(
    listener: &ListenerConfig,
    config: &Config,
    upstreams: &Upstreams,
    shared: &Shared,
) -> ListenerState {
    let upstream = |name: &str| upstreams.get(name).cloned();
    let routes = RouteTable::build(listener, &config.sources, &shared.scopes, upstream);
    for error in routes.left_out() {
        tracing::error!(listener = %listener.name, %error, "a route is left out");
    }
    let policy = ListenerPolicy::new(listener, &config.sources, &shared.metrics, &shared.scopes);
    ListenerState {
        policy: Arc::new(policy),
        routes,
    }
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
    let routes: HashSet<(ListenerName, RouteName, UpstreamName)> = after
        .listeners
        .iter()
        .flat_map(|listener| {
            let keys = |route: &'_ Arc<RouteConfig>| {
                let key = |target: &TargetConfig| {
                    let (name, upstream) = (route.name.clone(), target.upstream.clone());
                    (listener.name.clone(), name, upstream)
                };
                route.targets.iter().map(key).collect::<Vec<_>>()
            };
            listener.routes.iter().flat_map(keys)
        })
        .collect();
    let sources = after
        .sources
        .ids()
        .map(|id| after.sources.name(id).to_owned());
    let sources: HashSet<String> = sources.collect();
    metrics.retire_routes(move |key| {
        let of_no_route = [NONE, OTHER].contains(&&*key.route);
        let route = || {
            (
                key.listener.clone(),
                key.route.clone(),
                key.upstream.clone(),
            )
        };
        sources.contains(&*key.source)
            && listeners.contains(&key.listener)
            && (of_no_route || routes.contains(&route()))
    });
}
