//! A state for unit tests of changes. It binds no socket and runs no worker.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::change::Change;
use super::control::Control;
use super::owner::Owner;
use super::state::State;
use crate::access_log::AccessLog;
use crate::admin::Snapshot;
use crate::config::{
    AlpnPolicy, Config, ConnectionLimits, EndpointSpec, Exports, ObjectRef, Origin, RouteConfig,
    RouteMatch, RouteTimeouts, SniPattern, TargetConfigs, Weight,
};
use crate::metrics::Metrics;
use crate::server_name::ServerName;
use crate::socket::StreamOptions;
use crate::source::kubernetes::{Discovered, Publication, Routing};
use tokio::sync::{mpsc, oneshot};

/// A port that another process has.
pub(super) const TAKEN: u16 = 666;

thread_local! {
    /// The number of times that a test's thread has tried to bind [`TAKEN`].
    pub(super) static ATTEMPTS: Cell<usize> = const { Cell::new(0) };
    /// True once the other process has gone.
    pub(super) static FREE: Cell<bool> = const { Cell::new(false) };
}

fn bind(address: SocketAddr, _: usize, _: &StreamOptions, _: bool) -> io::Result<Vec<OwnedFd>> {
    if address.port() == TAKEN {
        ATTEMPTS.set(ATTEMPTS.get() + 1);
        if !FREE.get() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
    }
    Ok(Vec::new())
}

/// A file with two listeners (the first with one route) and with `more`.
pub(super) fn file(more: &str) -> Arc<Config> {
    let text = format!(
        "
workers: 2
listeners:
  - name: first
    bind: '127.0.0.1:15443'
    routes: [{{ sni: a.example, alpn: any, upstream: a }}]
  - {{ name: second, bind: '127.0.0.1:15444' }}
upstreams: {{ a: {{ endpoints: ['127.0.0.1:1'] }} }}
{more}
"
    );
    Config::parse(&text, "test").unwrap().into()
}

/// A file whose Kubernetes source exports to the first listener, and serves Gateways.
pub(super) fn discovering() -> Arc<Config> {
    file(
        "kubernetes:
  kubeconfig: /nonexistent/kubeconfig
  export: { mode: all, alpn: any, listeners: [first] }
  gateway_api: { address: 127.0.0.1, namespaces: all, ports: [1-65535] }",
    )
}

/// A state with a config in force.
pub(super) struct World {
    pub(super) state: State,
    pub(super) inbox: mpsc::Receiver<Change>,
}

impl World {
    /// A world before the first config.
    pub(super) fn before(file: &Arc<Config>) -> Self {
        ATTEMPTS.set(0);
        FREE.set(false);
        let metrics = Arc::new(Metrics::new().unwrap());
        let (control, inbox) = Control::new(file, metrics, AccessLog::off(), None, None).unwrap();
        let state = State::new(
            control,
            file.clone(),
            Vec::new(),
            Vec::new(),
            Box::new(bind),
        );
        Self { state, inbox }
    }

    /// A world with `file` in force. Its Kubernetes source, if it has one, does not run.
    pub(super) async fn with(file: &Arc<Config>) -> Self {
        let mut without = file.clone();
        Arc::make_mut(&mut without).kubernetes = None;
        let mut world = Self::before(&without);
        world
            .change(Change::File(without.into(), answer()))
            .await
            .unwrap();
        world.state.file = file.clone();
        world
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.state.control.snapshots.now()
    }

    /// The metrics as they are scraped.
    pub(super) fn metrics(&self) -> String {
        let mut text = Vec::new();
        self.state.control.shared.metrics.encode(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// The names of the routes of a listener, in the table that workers use.
    pub(super) fn routes(&self, listener: &str) -> Vec<String> {
        let table = self.state.listeners.state_of(listener).unwrap();
        let names = table.routes.routes();
        names.map(|route| route.name.to_string()).collect()
    }

    /// The ports of the endpoints of an upstream that is in force.
    pub(super) fn ports(&self, upstream: &str) -> Vec<u16> {
        let set = self.snapshot().upstreams[upstream].endpoints();
        set.iter().map(|one| one.spec.address.port()).collect()
    }

    pub(super) fn into_owner(self) -> Owner {
        Owner::new(self.state, self.inbox)
    }
}

/// The channel of a change for whose result no caller waits.
pub(super) fn answer() -> oneshot::Sender<Result<(), super::AppError>> {
    oneshot::channel().0
}

/// A route of the name to the upstream `apps/b:80`.
pub(super) fn route(name: &str, origin: Origin) -> Arc<RouteConfig> {
    Arc::new(RouteConfig {
        name: name.into(),
        matches: RouteMatch::Sni(SniPattern::Exact(
            ServerName::parse(name.as_bytes()).unwrap(),
        )),
        alpn: AlpnPolicy::Any,
        targets: TargetConfigs::only("apps/b:80".into()),
        limits: ConnectionLimits::OFF,
        timeouts: RouteTimeouts::default(),
        origin,
        dry_run: None,
    })
}

/// The object that a route is found in.
pub(super) fn object() -> ObjectRef {
    ObjectRef {
        namespace: "apps".into(),
        name: "b".into(),
        resource_version: "7".into(),
    }
}

/// An exported route.
pub(super) fn exported(name: &str) -> Arc<RouteConfig> {
    route(name, Origin::Export(object()))
}

/// A route that no source gives: it says that it is the file's, and claims a name that the file has.
pub(super) fn impossible() -> Arc<RouteConfig> {
    route("a.example", Origin::File)
}

/// Routes of exports and of a Gateway's port 443 to the upstream `apps/b:80`.
pub(super) fn routing(routes: Vec<Arc<RouteConfig>>, gateway_port: u16) -> Arc<Routing> {
    let mut exports = Exports::default();
    exports.set(&("apps".into(), "b".into()), routes.into());
    let file = discovering();
    let upstream = file.kubernetes.as_ref().unwrap().upstream.clone();
    Arc::new(Routing {
        exports,
        gateways: [(gateway_port, Arc::new(vec![exported("g.example")]))].into(),
        upstreams: [("apps/b:80".into(), upstream)].into(),
        ..Routing::default()
    })
}

/// A publication with these routes, and one endpoint of their upstream on this port.
pub(super) fn publication(routing: &Arc<Routing>, port: u16) -> Publication {
    let endpoint = EndpointSpec {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        other: None,
        zone: None,
        node: None,
        hostname: None,
        weight: Weight::MIN,
        terminating: false,
        origin: None,
    };
    publishing(Arc::new(Discovered {
        routing: routing.clone(),
        endpoints: [("apps/b:80".into(), [endpoint].into())].into(),
        ..Discovered::default()
    }))
}

/// A whole publication of what was discovered, with nothing else to say.
pub(super) fn publishing(discovered: Arc<Discovered>) -> Publication {
    Publication {
        discovered,
        zone: None,
        missing: Vec::new(),
        clusters: Vec::new(),
        unreadable: Vec::new(),
        arrivals: Vec::new(),
        from_file: None,
        complete: true,
    }
}
