//! The wiring of the gateway: its start, its changes while it runs, and its end.
//!
//! Worker threads carry traffic. Everything here runs on the control thread, but for the work that it has the
//! `builder` do:
//!
//! ```text
//!  Gateway      starts everything, asks for a reload, ends
//!     |
//!  tasks        tasks that last as long as the gateway, each started again when it fails
//!     |-- servers     the admin servers
//!     |-- takeover    the listening sockets, from one process to the next
//!     |-- overload    the steps against overload, and the limits that follow from the memory (capacity)
//!     `-- owner       one change after the other: a config file, a discovery
//!            |
//!          plan       first the steps that can fail, then those that cannot
//!            |-- merge       the file's config with what was discovered
//!            |-- listeners   sockets and tables
//!            |-- sources     DNS for upstreams
//!            |-- forget      metrics of what has gone
//!            |-- statuses    statuses that are written back to Kubernetes
//!            `-- discovery   endpoints of a discovery, and reports for people
//!            |
//!          state      the state in force, owned by that task
//! ```
//!
//! All others read the state in force as one immutable [`Snapshot`](crate::admin::Snapshot).

mod builder;
mod capacity;
mod change;
mod control;
mod discovery;
mod ender;
mod error;
mod explain;
mod file_report;
#[cfg(test)]
mod fixture;
mod forget;
mod limit_uses;
mod listeners;
pub mod merge;
mod near_names;
mod overload;
mod owner;
mod passable;
mod plan;
mod servers;
mod sources;
mod state;
mod statuses;
mod takeover;
mod tasks;
mod unbound;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::access_log::{AccessLog, AccessLogGuard};
pub use crate::admin::BoundListener;
use crate::config::{Config, ConfigError, ConfigSource};
use crate::drain::{DrainPhase, DrainWatcher};
use crate::log::LogControl;
use crate::metrics::Metrics;
use crate::open_connections::ConnectionAsker;
use crate::proxy::{self, WorkerHandle};
use crate::socket::{Inherited, StreamOptions};
use change::{Change, NewFile};
use control::Control;
pub use ender::Ender;
pub use error::AppError;
use owner::Owner;
use servers::Servers;
use state::State;
use takeover::{Predecessor, TakeoverSocket};
use tasks::Tasks;

/// The destination of access-log lines.
#[derive(Default)]
pub enum AccessLogSink {
    /// Standard output.
    #[default]
    Stdout,
    /// Another writer.
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

/// The inputs of a gateway besides its config.
#[derive(Debug, Default)]
pub struct Options {
    /// The destination of access-log lines.
    pub access_log: AccessLogSink,
    /// The metrics. They are created when none are given.
    pub metrics: Option<Arc<Metrics>>,
    /// A folder in place of the root of the host's files, below which `proc` and `sys` are read for the
    /// memory limit.
    pub host_root: Option<PathBuf>,
    /// The control of strait's own log, for changes by the config or an operator.
    pub log: Option<LogControl>,
    /// Listening sockets that another process has opened for this one.
    pub inherited: Inherited,
    /// The file that the config was loaded from.
    pub source: Option<ConfigSource>,
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
        let inherited = Arc::new(options.inherited);
        let (control, inbox) = Control::new(&config, metrics, access_log, host_root, log)?;
        let (socket, predecessor) = match config.takeover.as_deref() {
            Some(path) => find_predecessor(path, &inherited).await?,
            None => (None, None),
        };
        if predecessor.is_some() {
            control.shared.accept_gate.hold();
        }
        let workers = proxy::start(&control.shared, &control.watcher);
        let mut gateway = Self {
            servers: Servers::default(),
            workers: workers.map_err(AppError::Thread)?,
            tasks: Tasks::new(control.clone()),
            _access_log: access_log_guard,
            control,
        };
        // From here on, dropping the gateway stops the workers.
        let file = NewFile {
            config,
            source: options.source,
        };
        gateway.serve(file, inbox, &inherited).await?;
        takeover::take_over(&gateway.control, &inherited, predecessor).await;
        if let Some(mut socket) = socket {
            socket
                .publish()
                .map_err(|error| failed_at(&socket.path, error))?;
            gateway.tasks.pass_on(socket);
        }
        Ok(gateway)
    }

    /// Puts the first config into force.
    async fn serve(
        &mut self,
        file: NewFile,
        inbox: mpsc::Receiver<Change>,
        inherited: &Arc<Inherited>,
    ) -> Result<(), AppError> {
        let (control, config) = (&self.control, &file.config);
        let asker = ConnectionAsker::new(self.workers.iter().map(WorkerHandle::questions));
        self.servers = Servers::start(config, control, inherited, asker, &mut self.tasks)?;
        if config.kubernetes.is_some() {
            control.readiness.await_discovery();
        }
        let inboxes = self.workers.iter().map(WorkerHandle::inbox);
        let inherited = inherited.clone();
        let bind = move |address, count, options: &StreamOptions, beside_own| {
            inherited.take_or_bind(address, count, options, beside_own)
        };
        let state = State::new(
            control.clone(),
            config.clone(),
            self.servers.addresses().collect(),
            inboxes.clone().collect(),
            Box::new(bind),
        );
        let mut owner = Owner::new(state, inbox);
        let (answer, made) = oneshot::channel();
        Box::pin(owner.make(Change::File(file, answer))).await;
        made.await.unwrap_or(Err(AppError::GivenUp))?;
        control.readiness.set_listeners_bound();
        self.tasks.keep_all(inboxes, owner);
        Ok(())
    }

    /// Applies `config` without losing a connection. Keys that need a restart (workers, admin
    /// addresses) keep their value; the log names them.
    ///
    /// # Errors
    /// [`AppError`]; the old config keeps serving.
    pub async fn reload(&self, config: impl Into<Arc<Config>>) -> Result<(), AppError> {
        self.reload_file(config, None).await
    }

    /// As [`Gateway::reload`], of a config that was loaded from a file.
    ///
    /// # Errors
    /// As [`Gateway::reload`].
    pub async fn reload_file(
        &self,
        config: impl Into<Arc<Config>>,
        source: Option<ConfigSource>,
    ) -> Result<(), AppError> {
        let config = config.into();
        let file = NewFile { config, source };
        self.control
            .change(|answer| Change::File(file, answer))
            .await
    }

    /// Does work that takes long on the thread that makes the tables of a reload, so that this one answers probes.
    ///
    /// # Errors
    /// [`AppError::GivenUp`]: the work panicked, which is a defect.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppError> {
        self.control.builder.run(work).await
    }

    /// Reports a config file that could not be read or is not a valid config. `source` is `None` if it
    /// could not be read.
    pub fn config_refused(&self, error: &ConfigError, source: Option<&ConfigSource>) {
        file_report::unusable(&self.control, error, source);
    }

    /// The listeners with their bound addresses.
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

    /// The config in force, including everything discovered.
    pub fn config(&self) -> Arc<Config> {
        self.control.snapshots.now().config.clone()
    }

    /// Begins to drain, unless it has begun.
    pub fn drain(&self) {
        self.control.clone().begin_drain();
    }

    /// Stops at once and cuts open connections.
    pub fn stop(&self) {
        self.control.drain.advance(DrainPhase::Stopped);
    }

    /// A watcher of the drain phases.
    pub fn watcher(&self) -> DrainWatcher {
        self.control.watcher.clone()
    }

    /// A handle to end the gateway from another thread.
    pub fn ender(&self) -> Ender {
        Ender(self.control.clone())
    }

    /// Waits until the gateway has stopped and every thread has ended.
    ///
    /// # Errors
    /// A worker thread failed, and the others were stopped for that.
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

/// Binds the Unix socket of this process, and asks its predecessor, if there is one, for its sockets.
async fn find_predecessor(
    path: &Path,
    inherited: &Inherited,
) -> Result<(Option<TakeoverSocket>, Option<Predecessor>), AppError> {
    let socket = TakeoverSocket::bind(path).map_err(|error| failed_at(path, error))?;
    let predecessor = Predecessor::find(path, inherited).await;
    let predecessor = predecessor.map_err(|error| failed_at(path, error))?;
    Ok((Some(socket), predecessor))
}

fn failed_at(path: &Path, error: io::Error) -> AppError {
    AppError::Takeover {
        path: path.display().to_string(),
        error,
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
    /// Stops the threads of a gateway that is dropped.
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
