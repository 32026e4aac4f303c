//! The admin servers. They listen from the start of the gateway to its end.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;

use super::AppError;
use super::control::Control;
use super::explain::explain;
use super::limit_uses::limit_uses;
use super::near_names::named_failures;
use super::tasks::Tasks;
use crate::admin::{self, AdminContext, ExplainQuestion, ProcessPlace};
use crate::config::Config;
use crate::metrics::TaskName;
use crate::open_connections::ConnectionAsker;
use crate::socket::{self, Inherited};

/// The bound addresses of the admin servers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Servers {
    pub(super) admin: Option<SocketAddr>,
    pub(super) status: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
}

impl Servers {
    pub(super) fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        [self.admin, self.status, self.metrics]
            .into_iter()
            .flatten()
    }

    /// Binds the servers that `config` has, and serves them among `tasks`.
    pub(super) fn start(
        config: &Config,
        control: &Arc<Control>,
        inherited: &Inherited,
        connections: ConnectionAsker,
        tasks: &mut Tasks,
    ) -> Result<Self, AppError> {
        let context = Arc::new(context(control, connections));
        let mut serve = |what, address: Option<SocketAddr>, router| {
            let Some(address) = address else {
                return Ok::<_, AppError>(None);
            };
            let failed = |error| AppError::Bind {
                what: TaskName::label(what).into(),
                address,
                error,
            };
            let taken = inherited.take(address).pop().map(TcpListener::from);
            let is_taken = taken.is_some();
            let socket = taken.map_or_else(|| socket::bind(address), Ok);
            let socket = Arc::new(socket.map_err(failed)?);
            let bound = socket.local_addr().map_err(failed)?;
            control.passable.add_server(&socket);
            serve(what, socket, is_taken, router, tasks);
            Ok(Some(bound))
        };
        Ok(Self {
            admin: serve(
                TaskName::Admin,
                config.admin,
                admin::admin_router(context.clone()),
            )?,
            status: serve(
                TaskName::Status,
                config.status,
                admin::status_router(context.clone()),
            )?,
            metrics: serve(
                TaskName::Metrics,
                config.metrics,
                admin::metrics_router(context),
            )?,
        })
    }
}

fn context(control: &Arc<Control>, connections: ConnectionAsker) -> AdminContext {
    let draining = control.clone();
    AdminContext {
        metrics: control.shared.metrics.clone(),
        snapshots: control.snapshots.clone(),
        config_reports: control.config_reports.clone(),
        log: control.log.clone(),
        readiness: control.readiness.clone(),
        drain: Arc::new(move || draining.clone().begin_drain()),
        overload: control.shared.overload.clone(),
        connections,
        hellos: control.shared.hellos.clone(),
        traces: control.shared.traces.clone(),
        explain: {
            let control = control.clone();
            Arc::new(move |question: &ExplainQuestion| explain(&control, question))
        },
        limits: {
            let control = control.clone();
            Arc::new(move || {
                let upstreams = control.snapshots.now().upstreams.clone();
                limit_uses(&control.shared, &upstreams)
            })
        },
        failures: {
            let shared = control.shared.clone();
            Arc::new(move || named_failures(&shared))
        },
        slow_connects: {
            let shared = control.shared.clone();
            Arc::new(move || shared.recent.slow_connects.list(SystemTime::now()))
        },
        history: control.history.clone(),
        place: ProcessPlace::of_this_process(),
        started: SystemTime::now(),
    }
}

/// Serves on a socket until a successor has it. A socket from a predecessor (`is_taken`) is served once that
/// process has stopped to.
fn serve(
    what: TaskName,
    socket: Arc<TcpListener>,
    is_taken: bool,
    router: Router,
    tasks: &mut Tasks,
) {
    tasks.keep(what, move |control| {
        // The server gets a copy of the descriptor, which is closed when the server fails.
        let listener = socket.try_clone();
        let listener = listener.and_then(tokio::net::TcpListener::from_std);
        let (router, control) = (router.clone(), control.clone());
        async move {
            let listener = listener?;
            if is_taken {
                control.shared.accept_gate.open().await;
            }
            tokio::select! {
                () = admin::serve(listener, router, control.watcher.clone()) => {}
                () = control.passable.passed() => {}
            }
            Ok(())
        }
    });
}
