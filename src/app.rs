//! The only wiring: what is started, what a new config changes, and how it all stops.
//!
//! Worker threads carry traffic. Everything here runs on the control thread: config, sources, admin.

mod capacity;
mod control;
mod discovery;
mod ender;
mod error;
mod listeners;
pub mod merge;
mod sources;
mod statuses;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::access_log::{AccessLog, AccessLogGuard};
use crate::admin::{self, AdminContext, Judge, Readiness};
use crate::clock;
use crate::config::Config;
use crate::drain::{self, DrainPhase, DrainWatcher};
use crate::log::LogControl;
use crate::metrics::Metrics;
use crate::proxy::{self, Shared, WorkerHandle, WorkerLoad};
use crate::socket;
use crate::source::kubernetes::Mailbox;
use crate::supervise;
use crate::upstream::Upstreams;
use capacity::{Capacity, watch_memory};
use control::{Cause, Control, Parts, Servers};
use discovery::Reporter;
pub use ender::Ender;
pub use error::AppError;
use listeners::Listeners;
use sources::Sources;

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

/// A listener's name, and the address that is really bound.
pub type BoundListener = (Arc<str>, SocketAddr);

/// A running gateway.
pub struct Gateway {
    control: Arc<Control>,
    workers: Vec<WorkerHandle>,
    tasks: JoinSet<()>,
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
        let workers = config.workers.get();
        let capacity = Capacity::new(options.host_root);
        let chosen = capacity.choose(&config);
        let shared = Shared::new(
            metrics.clone(),
            access_log,
            workers,
            chosen.connections,
            &config.limits,
        );
        let shared = Arc::new(shared);
        let (drain, watcher) = drain::channel();
        let upstreams = Upstreams::default();
        metrics.register(Box::new(upstreams.collector()?))?;
        let readiness = Readiness::new(upstreams.clone(), watcher.clone(), metrics.clone());
        let workers =
            proxy::start(&shared, &watcher, config.busy_poll).map_err(AppError::Thread)?;
        let control = Arc::new(Control {
            upstreams,
            bound: Arc::default(),
            servers: OnceLock::new(),
            drain,
            mailbox: explaining_mailbox(&readiness),
            readiness,
            log: options.log,
            parts: Mutex::new(Parts {
                file: config.clone(),
                listeners: Listeners::default(),
                sources: Sources::new(&config, &shared)?,
                kubernetes: None,
                statuses: None,
                workers: workers.iter().map(WorkerHandle::inbox).collect(),
                reporter: Reporter::default(),
            }),
            found: ArcSwapOption::empty(),
            report: Arc::default(),
            config: Arc::new(ArcSwap::new(config.clone())),
            shared: shared.clone(),
            capacity,
            watcher: watcher.clone(),
        });
        let mut gateway = Self {
            control,
            workers,
            tasks: JoinSet::new(),
            _access_log: access_log_guard,
        };
        // From here on dropping the gateway stops the workers.
        gateway.serve_admin(&config)?;
        gateway.apply(config, Cause::Start).await?;
        gateway.control.readiness.set_listeners_bound();
        gateway.keep_all();
        Ok(gateway)
    }

    /// Runs what goes on as long as the gateway does.
    fn keep_all(&mut self) {
        for worker in &self.workers {
            let (worker, control) = (worker.inbox(), self.control.clone());
            self.tasks.spawn(async move {
                worker.ended().await;
                if control.drain.advance(DrainPhase::Stopped) {
                    tracing::error!("a worker thread has ended, so the process stops");
                }
            });
        }
        self.keep("discovery", |control| follow(control.clone()));
        self.keep("liveness", |control| judge(control.clone()));
        self.keep("memory", |control| {
            let watched = watch_memory(control.clone());
            async move {
                watched.await;
                Ok(())
            }
        });
        self.keep("kubernetes", |control| revive(control.clone()));
    }

    /// Runs a task for ever.
    fn keep<F>(&mut self, task: &'static str, make: impl Fn(&Arc<Control>) -> F + Send + 'static)
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let control = self.control.clone();
        let restarts = control.shared.metrics.task_restarts(task);
        let make = move || make(&control);
        self.tasks.spawn(supervise::keep(task, restarts, make));
    }

    /// Makes the gateway run on `config`, without losing a connection. What needs a restart (workers,
    /// admin addresses) is said in the log and stays as it is.
    ///
    /// # Errors
    /// [`AppError`]; the old config keeps serving.
    pub async fn reload(&self, config: impl Into<Arc<Config>>) -> Result<(), AppError> {
        let config = config.into();
        self.warn_of_restart(&config);
        self.apply(config, Cause::Reload).await
    }

    async fn apply(&self, config: Arc<Config>, cause: Cause) -> Result<(), AppError> {
        let prepared = config.clone();
        let result = Box::pin(self.control.apply(config, cause)).await;
        let metrics = &self.control.shared.metrics;
        metrics.config_loaded(result.is_ok());
        metrics.config_current.set(result.is_ok().into());
        if result.is_ok() {
            metrics.config_last_success.set(clock::seconds());
        } else {
            // What was prepared of it must not show.
            listeners::retire_metrics(metrics, &prepared, &self.control.config.load());
        }
        result
    }

    /// Counts a config file that could not even be read or parsed.
    pub fn config_refused(&self) {
        let metrics = &self.control.shared.metrics;
        metrics.config_loaded(false);
        metrics.config_current.set(0);
    }

    fn warn_of_restart(&self, config: &Config) {
        let running = self.control.config.load();
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

    fn serve_admin(&mut self, config: &Config) -> Result<(), AppError> {
        let control = self.control.clone();
        let bound = control.bound.clone();
        let context = AdminContext {
            metrics: control.shared.metrics.clone(),
            upstreams: control.upstreams.clone(),
            config: control.config.clone(),
            log: control.log.clone(),
            readiness: control.readiness.clone(),
            listeners: Arc::new(move || bound.load().to_vec()),
            discovery: control.report.clone(),
            drain: Arc::new(move || control.clone().begin_drain()),
            started: SystemTime::now(),
        };
        let context = Arc::new(context);
        let mut servers = Servers::default();
        for (what, address, router, bound) in [
            (
                "admin",
                config.admin,
                admin::admin_router(context.clone()),
                &mut servers.admin,
            ),
            (
                "status",
                config.status,
                admin::status_router(context.clone()),
                &mut servers.status,
            ),
            (
                "metrics",
                config.metrics,
                admin::metrics_router(context),
                &mut servers.metrics,
            ),
        ] {
            let Some(address) = address else { continue };
            let failed = |error| AppError::Bind {
                what: what.into(),
                address,
                error,
            };
            let listener = socket::bind(address).map_err(failed)?;
            *bound = Some(listener.local_addr().map_err(failed)?);
            self.keep(what, move |control| {
                // Its descriptor goes with a server that fails.
                let listener = listener.try_clone();
                let listener = listener.and_then(tokio::net::TcpListener::from_std);
                let (router, watcher) = (router.clone(), control.watcher.clone());
                async move {
                    admin::serve(listener?, router, watcher).await;
                    Ok(())
                }
            });
        }
        // Called once, at start.
        let _ = self.control.servers.set(servers);
        Ok(())
    }

    /// The listeners with the addresses that are really bound.
    pub fn listeners(&self) -> Vec<BoundListener> {
        self.control.bound.load().to_vec()
    }

    /// The admin server's address.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.control.servers.get()?.admin
    }

    /// The status server's address.
    pub fn status(&self) -> Option<SocketAddr> {
        self.control.servers.get()?.status
    }

    /// The metrics server's address.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.control.servers.get()?.metrics
    }

    /// The config that serves, with everything that was discovered.
    pub fn config(&self) -> Arc<Config> {
        self.control.config.load_full()
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

/// Starts the Kubernetes source anew if it has broken down; fails when it breaks down.
async fn revive(control: Arc<Control>) -> io::Result<()> {
    if control.mailbox.is_broken() {
        control.restart_source().await.map_err(io::Error::other)?;
    }
    let why = control.mailbox.broken().await;
    Err(io::Error::other(why.to_string()))
}

/// How often the workers are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks whether the workers still work, for ever.
async fn judge(control: Arc<Control>) -> io::Result<()> {
    let mut judge = Judge::default();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = looks.tick().await;
        let rounds = control.shared.loads.iter().map(WorkerLoad::rounds);
        control
            .readiness
            .set_stalled(judge.look(now.into_std(), rounds));
    }
}

/// A mailbox of the Kubernetes source that tells `readiness` what the source waits for.
fn explaining_mailbox(readiness: &Readiness) -> Arc<Mailbox> {
    let mailbox: Arc<Mailbox> = Arc::default();
    let discovery = mailbox.clone();
    readiness.explain_discovery(move || discovery.awaited());
    mailbox
}

/// Takes into use what the Kubernetes source finds, for ever.
async fn follow(control: Arc<Control>) -> io::Result<()> {
    loop {
        let publication = control.mailbox.take().await;
        let started = Instant::now();
        control.discovered(publication).await;
        control.mailbox.spend(started.elapsed());
    }
}

#[cfg(test)]
mod tests;
