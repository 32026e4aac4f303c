//! The admin servers. They listen from the start of the gateway to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;

use super::AppError;
use super::control::Control;
use super::tasks::Tasks;
use crate::admin::{self, AdminContext};
use crate::config::Config;
use crate::metrics::TaskName;
use crate::socket;

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
        tasks: &mut Tasks,
    ) -> Result<Self, AppError> {
        let context = Arc::new(context(control));
        let mut serve = |what, address: Option<SocketAddr>, router| match address {
            Some(address) => serve(what, address, router, tasks).map(Some),
            None => Ok(None),
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

fn context(control: &Arc<Control>) -> AdminContext {
    let draining = control.clone();
    AdminContext {
        metrics: control.shared.metrics.clone(),
        snapshots: control.snapshots.clone(),
        log: control.log.clone(),
        readiness: control.readiness.clone(),
        drain: Arc::new(move || draining.clone().begin_drain()),
        started: SystemTime::now(),
    }
}

/// Serves on an address. Returns the address that is bound.
fn serve(
    what: TaskName,
    address: SocketAddr,
    router: Router,
    tasks: &mut Tasks,
) -> Result<SocketAddr, AppError> {
    let failed = |error| AppError::Bind {
        what: what.label().into(),
        address,
        error,
    };
    let listener = socket::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tasks.keep(what, move |control| {
        // The server gets a copy of the descriptor, which is closed when the server fails.
        let listener = listener.try_clone();
        let listener = listener.and_then(tokio::net::TcpListener::from_std);
        let (router, watcher) = (router.clone(), control.watcher.clone());
        async move {
            admin::serve(listener?, router, watcher).await;
            Ok(())
        }
    });
    Ok(bound)
}
