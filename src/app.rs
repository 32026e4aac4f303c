//! The only wiring: what is started, what changes while it runs, and how it all stops.
//!
//! Worker threads carry traffic. Everything here runs on the control thread:
//!
//! ```text
//!  Gateway      starts everything, asks for a reload, ends
//!     |
//!  tasks        what lasts as long as the gateway, each started again when it fails
//!     |-- servers     the admin servers
//!     |-- capacity    the memory of the process, and the limits that follow from it
//!     `-- owner       one change after the other: a config file, a discovery
//!            |
//!          plan       what can fail, then what cannot
//!            |-- merge       the file's config with what was discovered
//!            |-- listeners   sockets and tables
//!            |-- sources     DNS for upstreams
//!            |-- statuses    what is written back to Kubernetes
//!            `-- discovery   endpoints, and what people learn of a discovery
//!            |
//!          state      what is in force, owned by the one task
//! ```
//!
//! Everybody else reads what is in force as one immutable [`Snapshot`](crate::admin::Snapshot).

mod capacity;
mod control;
mod discovery;
mod ender;
mod error;
#[cfg(test)]
mod fixture;
mod listeners;
pub mod merge;
mod owner;
mod plan;
mod servers;
mod sources;
mod state;
mod statuses;
mod tasks;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::access_log::{AccessLog, AccessLogGuard};
pub use crate::admin::BoundListener;
use crate::config::Config;
use crate::drain::{DrainPhase, DrainWatcher};
use crate::log::LogControl;
use crate::metrics::Metrics;
use crate::proxy::{self, WorkerHandle};
use crate::socket;
use control::Control;
pub use ender::Ender;
pub use error::AppError;
use owner::Owner;
use servers::Servers;
use state::{Change, State};
use tasks::Tasks;

/// Where access-log lines go.
#[derive(Default)]
pub enum AccessLogSink {
    /// Standard output.
    #[default]
    Stdout,
    /// Wherever this writes.
    Writer(Box<dyn io::Write + Send>),
}

impl fmt::Debug for AccessLogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "Stdout",
            Self::Writer(_) => "Writer",
        })
    }
}

/// What a gateway is started with besides its config.
#[derive(Debug, Default)]
pub struct Options {
    /// Where access-log lines go.
    pub access_log: AccessLogSink,
    /// Where everything is counted; made anew when none is given.
    pub metrics: Option<Arc<Metrics>>,
    /// A folder that stands in for the root of the host's files, below which `proc` and `sys` are read
    /// for the memory limit.
    pub host_root: Option<PathBuf>,
    /// Changes the log level when the config or an operator says so.
    pub log: Option<LogControl>,
}

/// A running gateway.
pub struct Gateway {
    control: Arc<Control>,
    servers: Servers,
    workers: Vec<WorkerHandle>,
    tasks: Tasks,
    _access_log: AccessLogGuard,
}

impl Gateway {
    /// Starts a gateway on the caller's runtime, which becomes its control thread.
    ///
    /// # Errors
    /// [`AppError`]; nothing keeps running then.
    pub async fn start(config: impl Into<Arc<Config>>, options: Options) -> Result<Self, AppError> {
        let config = config.into();
        let metrics = match options.metrics {
            Some(metrics) => metrics,
            None => Arc::new(Metrics::new()?),
        };
        let (access_log, access_log_guard) = match options.access_log {
            AccessLogSink::Stdout => AccessLog::start(&config.access_log, &metrics),
            AccessLogSink::Writer(writer) => {
                AccessLog::to_writer(&config.access_log, &metrics, writer)
            }
        };
        let (host_root, log) = (options.host_root, options.log);
        let (control, inbox) = Control::new(&config, metrics, access_log, host_root, log)?;
        let workers = proxy::start(&control.shared, &control.watcher, config.busy_poll);
        let mut gateway = Self {
            servers: Servers::default(),
            workers: workers.map_err(AppError::Thread)?,
            tasks: Tasks::new(control.clone()),
            _access_log: access_log_guard,
            control,
        };
        // From here on dropping the gateway stops the workers.
        gateway.serve(config, inbox).await?;
        Ok(gateway)
    }

    /// Puts the first config into force.
    async fn serve(
        &mut self,
        config: Arc<Config>,
        inbox: mpsc::Receiver<Change>,
    ) -> Result<(), AppError> {
        let control = &self.control;
        self.servers = Servers::start(&config, control, &mut self.tasks)?;
        if config.kubernetes.is_some() {
            control.readiness.await_discovery();
        }
        let inboxes = self.workers.iter().map(WorkerHandle::inbox);
        let state = State::new(
            control.clone(),
            config.clone(),
            self.servers.addresses().collect(),
            inboxes.clone().collect(),
            socket::bind_shared,
        )?;
        let mut owner = Owner::new(state, inbox);
        let (answer, made) = oneshot::channel();
        Box::pin(owner.make(Change::File(config, answer))).await;
        made.await.unwrap_or(Err(AppError::GivenUp))?;
        control.readiness.set_listeners_bound();
        self.tasks.keep_all(inboxes, owner);
        Ok(())
    }

    /// Makes the gateway run on `config`, without losing a connection. What needs a restart (workers,
    /// admin addresses) is said in the log and stays as it is.
    ///
    /// # Errors
    /// [`AppError`]; the old config keeps serving.
    pub async fn reload(&self, config: impl Into<Arc<Config>>) -> Result<(), AppError> {
        let config = config.into();
        self.warn_of_restart(&config);
        let change = |answer| Change::File(config, answer);
        self.control.change(change).await
    }

    /// Counts a config file that could not even be read or parsed.
    pub fn config_refused(&self) {
        let metrics = &self.control.shared.metrics;
        metrics.config_loaded(false);
        metrics.config_current.set(0);
    }

    fn warn_of_restart(&self, config: &Config) {
        let running = self.config();
        for (key, changed) in [
            ("workers", running.workers != config.workers),
            ("busy_poll", running.busy_poll != config.busy_poll),
            ("admin", running.admin != config.admin),
            ("status", running.status != config.status),
            ("metrics", running.metrics != config.metrics),
            ("resolver", running.resolver != config.resolver),
            (
                "access_log.queue",
                running.access_log.queue != config.access_log.queue,
            ),
            ("log.format", running.log.format != config.log.format),
        ] {
            if changed {
                tracing::warn!(key, "this change takes a restart; the old value stays");
            }
        }
    }

    /// The listeners with the addresses that are really bound.
    pub fn listeners(&self) -> Vec<BoundListener> {
        self.control.snapshots.now().bound.to_vec()
    }

    /// The admin server's address.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.servers.admin
    }

    /// The status server's address.
    pub fn status(&self) -> Option<SocketAddr> {
        self.servers.status
    }

    /// The metrics server's address.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.servers.metrics
    }

    /// The config that serves, with everything that was discovered.
    pub fn config(&self) -> Arc<Config> {
        self.control.snapshots.now().config.clone()
    }

    /// Begins to drain; does nothing when it has begun.
    pub fn drain(&self) {
        self.control.clone().begin_drain();
    }

    /// Stops at once: what still runs is cut.
    pub fn stop(&self) {
        self.control.drain.advance(DrainPhase::Stopped);
    }

    /// Sees the drain phases.
    pub fn watcher(&self) -> DrainWatcher {
        self.control.watcher.clone()
    }

    /// Ends the gateway from another thread.
    pub fn ender(&self) -> Ender {
        Ender(self.control.clone())
    }

    /// Waits until the gateway has stopped and every thread has ended.
    ///
    /// # Errors
    /// A worker thread that failed; the others were stopped for it.
    pub async fn finished(mut self) -> io::Result<()> {
        let mut watcher = self.control.watcher.clone();
        watcher.stopped().await;
        let workers = std::mem::take(&mut self.workers);
        let joined = tokio::task::spawn_blocking(|| {
            let results: Vec<io::Result<()>> =
                workers.into_iter().map(WorkerHandle::join).collect();
            results.into_iter().collect()
        });
        joined
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("listeners", &self.listeners())
            .finish_non_exhaustive()
    }
}

impl Drop for Gateway {
    /// A gateway that nobody waits for must not leave threads behind.
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
