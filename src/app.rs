//! The only wiring: what is started, what a new config changes, and how it all stops.
//!
//! Worker threads carry traffic. Everything here runs on the control thread: config, sources, admin.

mod listeners;
mod sources;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::access_log::{AccessLog, AccessLogGuard};
use crate::admin::{self, AdminContext, Readiness};
use crate::config::Config;
use crate::drain::{self, DrainPhase, DrainTrigger, DrainWatcher};
use crate::log::LogControl;
use crate::metrics::Metrics;
use crate::proxy::{self, Shared, WorkerHandle};
use crate::route::RouteError;
use crate::socket;
use crate::upstream::Upstreams;
use listeners::{Listeners, ListenersChange};
use sources::Sources;

/// Descriptors that are no connection's: logs, epoll, listeners, admin, resolver.
const RESERVED_FILES: u64 = 256;
/// A connection's two sockets.
const FILES_PER_CONNECTION: u64 = 2;
/// Connections when there is no limit of open files at all.
const MOST_CONNECTIONS: usize = 1_000_000;
/// How often is asked whether the last connection has ended, and whether a worker has.
const WATCH: Duration = Duration::from_millis(50);

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
    /// Changes the log level when the config or an operator says so.
    pub log: Option<LogControl>,
}

/// Why a gateway could not start, or could not take a new config. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address that cannot be bound.
    #[error("cannot listen on {address} ({what}): {error}")]
    Bind {
        /// The listener's name, or which server.
        what: String,
        /// What was to be bound.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A thread that cannot be made.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A route that is ambiguous or dangling.
    #[error("listener {listener}: {error}")]
    Route {
        /// The listener.
        listener: Arc<str>,
        /// What is wrong with its routes.
        error: RouteError,
    },
    /// Name resolution that cannot be set up.
    #[error("cannot set up the resolver: {0}")]
    Resolver(#[from] crate::source::dns::DnsError),
    /// A metric registered twice: a defect.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A log filter that does not parse.
    #[error("log.level: {0}")]
    Log(#[from] crate::log::LogError),
    /// The process is on its way out.
    #[error("the gateway is draining")]
    Draining,
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

/// Addresses of the admin servers that are really bound.
#[derive(Debug, Clone, Copy, Default)]
struct Servers {
    admin: Option<SocketAddr>,
    status: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
}

impl Servers {
    fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        [self.admin, self.status, self.metrics]
            .into_iter()
            .flatten()
    }
}

/// What a reload changes.
struct Control {
    shared: Arc<Shared>,
    upstreams: Upstreams,
    config: Arc<ArcSwap<Config>>,
    drain: DrainTrigger,
    watcher: DrainWatcher,
    readiness: Readiness,
    log: Option<LogControl>,
    servers: OnceLock<Servers>,
    /// One reload at a time.
    parts: Mutex<Parts>,
    bound: Arc<ArcSwap<Vec<BoundListener>>>,
}

struct Parts {
    listeners: Listeners,
    sources: Sources,
}

impl Gateway {
    /// Starts a gateway on the caller's runtime, which becomes its control thread.
    ///
    /// # Errors
    /// [`AppError`]; nothing keeps running then.
    pub async fn start(config: Config, options: Options) -> Result<Self, AppError> {
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
        let connections = connection_limit(&config);
        let shared = Shared::new(
            metrics.clone(),
            access_log,
            workers,
            connections,
            &config.limits,
        );
        let shared = Arc::new(shared);
        let (drain, watcher) = drain::channel();
        let upstreams = Upstreams::default();
        metrics.register(Box::new(upstreams.collector()?))?;
        let readiness = Readiness::new(upstreams.clone(), watcher.clone(), metrics.clone());
        let control = Arc::new(Control {
            upstreams,
            bound: Arc::default(),
            servers: OnceLock::new(),
            drain,
            readiness,
            log: options.log,
            parts: Mutex::new(Parts {
                listeners: Listeners::default(),
                sources: Sources::new(&config, metrics.clone())?,
            }),
            config: Arc::new(ArcSwap::from_pointee(config.clone())),
            shared: shared.clone(),
            watcher: watcher.clone(),
        });
        let workers =
            proxy::start(&shared, &watcher, config.busy_poll).map_err(AppError::Thread)?;
        let mut gateway = Self {
            control,
            workers,
            tasks: JoinSet::new(),
            _access_log: access_log_guard,
        };
        // From here on dropping the gateway stops the workers.
        gateway.serve_admin(&config)?;
        gateway.apply(config, Start::First).await?;
        gateway.control.readiness.set_listeners_bound();
        let control = gateway.control.clone();
        gateway
            .tasks
            .spawn(async move { control.stop_when_empty().await });
        Ok(gateway)
    }

    /// Makes the gateway run on `config`, without losing a connection. What needs a restart (workers,
    /// admin addresses) is said in the log and stays as it is.
    ///
    /// # Errors
    /// [`AppError`]; the old config keeps serving.
    pub async fn reload(&self, config: Config) -> Result<(), AppError> {
        self.warn_of_restart(&config);
        self.apply(config, Start::Reload).await
    }

    async fn apply(&self, config: Config, start: Start) -> Result<(), AppError> {
        let result = self.control.apply(&config, start, &self.workers).await;
        let metrics = &self.control.shared.metrics;
        metrics.config_loaded(result.is_ok());
        metrics.config_current.set(result.is_ok().into());
        if result.is_ok() {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            metrics
                .config_last_success
                .set(now.unwrap_or_default().as_secs_f64());
        } else {
            // What was prepared of it must not show.
            listeners::retire_metrics(metrics, &config, &self.control.config.load());
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
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            let watcher = self.control.watcher.clone();
            self.tasks.spawn(admin::serve(listener, router, watcher));
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

    /// The config that serves.
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

    /// Waits until the gateway has stopped and every thread has ended.
    ///
    /// # Errors
    /// A worker thread that failed; the others were stopped for it.
    pub async fn finished(mut self) -> io::Result<()> {
        let mut watcher = self.control.watcher.clone();
        let stopped = watcher.stopped();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = tokio::time::sleep(WATCH) => {
                    if self.workers.iter().any(WorkerHandle::is_finished) {
                        tracing::error!("a worker thread has ended; stopping");
                        self.stop();
                    }
                }
            }
        }
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

/// Whether a config is the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    First,
    Reload,
}

impl Control {
    /// Prepares everything that can fail, then changes over without a way to fail.
    async fn apply(
        &self,
        config: &Config,
        start: Start,
        workers: &[WorkerHandle],
    ) -> Result<(), AppError> {
        let mut parts = self.parts.lock().await;
        let Parts { listeners, sources } = &mut *parts;
        if start == Start::Reload && self.watcher.phase() != DrainPhase::Running {
            return Err(AppError::Draining);
        }
        let metrics = &self.shared.metrics;
        let upstreams = self.upstreams.prepare(config);
        let change = ListenersChange::prepare(listeners, config, &upstreams, &self.shared)?;
        if let Some(log) = &self.log
            && self.config.load().log.level != config.log.level
        {
            // Only then: a reload for another reason leaves what an operator has set.
            log.set(&config.log.level)?;
        }
        let servers = self.servers.get().copied().unwrap_or_default();
        sources.own_addresses(change.addresses().chain(servers.addresses()));
        sources.start_new(&upstreams);
        if start == Start::Reload {
            // A route swapped in before its upstream is resolved would refuse what the old one took.
            sources.first_answers(&upstreams).await;
        }
        let gone = self.upstreams.replace(upstreams, config);
        sources.keep_only(&self.upstreams.all());
        let bound = change.commit(listeners, workers);
        self.bound.store(Arc::new(bound));
        self.shared.connections.set_limit(connection_limit(config));
        self.shared
            .hello_memory
            .set_limit(config.limits.hello_memory);
        self.shared
            .carry_memory
            .set_limit(config.limits.carry_memory);
        self.shared.access_log.reconfigure(&config.access_log);
        let before = self.config.swap(Arc::new(config.clone()));
        for name in gone {
            metrics.retire_upstream(&name);
        }
        listeners::retire_metrics(metrics, &before, config);
        Ok(())
    }

    fn begin_drain(self: Arc<Self>) {
        if !self.drain.advance(DrainPhase::Announced) {
            return;
        }
        let drain = self.config.load().drain;
        tracing::info!(
            readiness_delay = ?drain.readiness_delay,
            window = ?drain.window,
            connections = self.shared.connections.used(),
            "draining"
        );
        self.shared.metrics.draining.set(1);
        tokio::spawn(async move {
            self.drain.run(drain.readiness_delay, drain.window).await;
        });
    }

    /// Once draining: stops as soon as the last connection has ended.
    async fn stop_when_empty(&self) {
        self.watcher.clone().draining().await;
        loop {
            // Before the first look, too: the listeners take what waits in their queues first.
            tokio::time::sleep(WATCH).await;
            if self.shared.connections.used() == 0 {
                self.drain.advance(DrainPhase::Stopped);
                return;
            }
        }
    }
}

/// How many connections may be open at once.
fn connection_limit(config: &Config) -> usize {
    let files = socket::raise_file_limit();
    let by_files = files.map_or(MOST_CONNECTIONS, |files| {
        let pairs = files.saturating_sub(RESERVED_FILES) / FILES_PER_CONNECTION;
        let pairs = usize::try_from(pairs).unwrap_or(MOST_CONNECTIONS);
        // A pipe is a pair, too.
        pairs.saturating_sub(proxy::pipes_beside(pairs)).max(1)
    });
    match config.limits.connections {
        Some(asked) if asked > by_files => {
            tracing::warn!(
                asked,
                allowed = by_files,
                "limits.connections is more than the limit of open files allows"
            );
            by_files
        }
        Some(asked) => asked,
        None => by_files,
    }
}
