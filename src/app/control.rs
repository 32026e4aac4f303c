//! What a new config, or a new discovery, changes.
//!
//! Both lead to the same change-over: the file's config with everything discovered. A discovery that
//! changes only endpoints touches no table.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Mutex;

use super::capacity::Capacity;
use super::discovery::{self, Reporter};
use super::listeners::{self, Listeners, ListenersChange};
use super::merge::{Merged, fill_new, merge};
use super::sources::Sources;
use super::statuses::StatusTask;
use super::{AppError, BoundListener};
use crate::admin::{DiscoveryReport, Readiness};
use crate::config::{Config, KubernetesConfig};
use crate::drain::{DrainPhase, DrainTrigger, DrainWatcher};
use crate::log::LogControl;
use crate::metrics::gauge_value;
use crate::proxy::{Shared, WorkerInbox};
use crate::source::kubernetes::{KubernetesSource, Mailbox, Publication};
use crate::upstream::Upstreams;

/// How often is asked whether the last connection has ended.
const WATCH: Duration = Duration::from_millis(50);

/// Addresses of the admin servers that are really bound.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Servers {
    pub(super) admin: Option<SocketAddr>,
    pub(super) status: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
}

impl Servers {
    fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        [self.admin, self.status, self.metrics]
            .into_iter()
            .flatten()
    }
}

/// What a reload changes.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) capacity: Capacity,
    pub(super) upstreams: Upstreams,
    /// With everything discovered.
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) drain: DrainTrigger,
    pub(super) watcher: DrainWatcher,
    pub(super) readiness: Readiness,
    pub(super) log: Option<LogControl>,
    pub(super) servers: OnceLock<Servers>,
    /// One change-over at a time.
    pub(super) parts: Mutex<Parts>,
    pub(super) bound: Arc<ArcSwap<Vec<BoundListener>>>,
    /// Where the Kubernetes source, whichever runs, leaves what it has found.
    pub(super) mailbox: Arc<Mailbox>,
    /// The newest that was found.
    pub(super) found: ArcSwapOption<Publication>,
    pub(super) report: Arc<ArcSwapOption<DiscoveryReport>>,
}

pub(super) struct Parts {
    /// As the file has it.
    pub(super) file: Arc<Config>,
    pub(super) listeners: Listeners,
    pub(super) sources: Sources,
    pub(super) kubernetes: Option<KubernetesSource>,
    pub(super) statuses: Option<StatusTask>,
    pub(super) workers: Vec<WorkerInbox>,
    pub(super) reporter: Reporter,
}

/// What makes a change-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The first config.
    Start,
    /// Another config file.
    Reload,
    /// Something was discovered.
    Discovery,
}

/// What becomes of the Kubernetes source.
enum NextSource {
    None,
    /// The one that runs, with another policy.
    Same(Arc<KubernetesConfig>),
    New(Box<KubernetesSource>),
}

impl Control {
    /// Takes the file's config into use: prepares everything that can fail, then changes over without a
    /// way to fail.
    pub(super) async fn apply(&self, file: Arc<Config>, cause: Cause) -> Result<(), AppError> {
        let mut parts = self.parts.lock().await;
        if cause == Cause::Reload && self.watcher.phase() != DrainPhase::Running {
            return Err(AppError::Draining);
        }
        let next = self.next_source(&parts, &file).await?;
        if cause == Cause::Start && file.kubernetes.is_some() {
            self.readiness.await_discovery();
        }
        let in_force = self.found.load_full();
        self.change_over(&mut parts, &file, in_force.as_deref(), cause)
            .await?;
        match next {
            NextSource::None => {
                (parts.kubernetes, parts.statuses) = (None, None);
                self.found.store(None);
                self.report.store(None);
                self.readiness.discovered();
                KubernetesSource::retire_metrics(&self.shared.metrics, &[]);
            }
            NextSource::Same(policy) => {
                if let Some(source) = &parts.kubernetes {
                    source.adopt(policy);
                }
            }
            // What the one before has found serves until this one has found something.
            NextSource::New(source) => (parts.kubernetes, parts.statuses) = (Some(*source), None),
        }
        self.write_statuses(&mut parts, &file);
        parts.file = file;
        Ok(())
    }

    fn write_statuses(&self, parts: &mut Parts, file: &Config) {
        let (Some(source), Some(policy)) = (&parts.kubernetes, &file.kubernetes) else {
            return;
        };
        if parts
            .statuses
            .as_ref()
            .is_none_or(|task| !task.serves(policy))
        {
            let metrics = &self.shared.metrics;
            parts.statuses = StatusTask::start(source, policy, metrics, &self.watcher);
        }
    }

    async fn next_source(&self, parts: &Parts, file: &Config) -> Result<NextSource, AppError> {
        let Some(policy) = &file.kubernetes else {
            return Ok(NextSource::None);
        };
        if parts
            .kubernetes
            .as_ref()
            .is_some_and(|source| source.serves(policy))
        {
            return Ok(NextSource::Same(policy.clone()));
        }
        let metrics = &self.shared.metrics;
        let source = KubernetesSource::start(policy.clone(), metrics, self.mailbox.clone());
        Ok(NextSource::New(Box::new(Box::pin(source).await?)))
    }

    /// Starts the Kubernetes source anew after it has broken down. What it had found stays in use.
    pub(super) async fn restart_source(&self) -> Result<(), AppError> {
        let mut parts = self.parts.lock().await;
        self.mailbox.set_whole();
        let file = parts.file.clone();
        let (Some(policy), Some(_)) = (&file.kubernetes, &parts.kubernetes) else {
            return Ok(());
        };
        let (metrics, mailbox) = (&self.shared.metrics, self.mailbox.clone());
        let source = KubernetesSource::start(policy.clone(), metrics, mailbox);
        let source = match Box::pin(source).await {
            Ok(source) => source,
            Err(error) => {
                self.mailbox.set_broken(&error.to_string());
                return Err(error.into());
            }
        };
        source.listen_on(parts.sources.own_listeners());
        (parts.kubernetes, parts.statuses) = (Some(source), None);
        self.write_statuses(&mut parts, &file);
        Ok(())
    }

    /// Takes into use what a source has found.
    pub(super) async fn discovered(&self, publication: Publication) {
        let publication = Arc::new(publication);
        let before = self.found.swap(Some(publication.clone()));
        let same_routes = before.as_ref().is_some_and(|before| {
            let routing = &before.discovered.routing;
            Arc::ptr_eq(routing, &publication.discovered.routing) && before.zone == publication.zone
        });
        if same_routes {
            discovery::update_endpoints(
                &self.upstreams.all(),
                &publication.discovered,
                before.as_deref().map(|before| &*before.discovered),
            );
        } else if self.watcher.phase() == DrainPhase::Running {
            let mut parts = self.parts.lock().await;
            let file = parts.file.clone();
            let in_force = before.as_deref();
            let result = self
                .change_over(&mut parts, &file, in_force, Cause::Discovery)
                .await;
            let metrics = &self.shared.metrics.kubernetes;
            metrics.refused.set(result.is_err().into());
            if let Err(error) = result {
                tracing::error!(%error, "what was discovered is refused, the routes before it stay");
                // So that the next publication is not taken for one that changes endpoints only.
                self.found.store(before);
                return;
            }
        }
        self.readiness.discovered();
        let report = discovery::report(&publication);
        discovery::count(&report, &self.shared.metrics);
        self.report.store(Some(Arc::new(report)));
        for arrival in &publication.arrivals {
            let waited = arrival.elapsed().as_secs_f64();
            self.shared
                .metrics
                .kubernetes
                .event_to_route
                .observe(waited);
        }
    }

    /// Makes everything as `file`, and what was found, say. Upstreams that stay have the endpoints of
    /// `in_force`, what was found before.
    async fn change_over(
        &self,
        parts: &mut Parts,
        file: &Arc<Config>,
        in_force: Option<&Publication>,
        cause: Cause,
    ) -> Result<(), AppError> {
        let metrics = &self.shared.metrics;
        let found = self.found.load_full();
        let Merged { mut config, opened } = merge(file, found.as_deref());
        let upstreams = self.upstreams.prepare(&config);
        let listeners = &mut parts.listeners;
        let change = loop {
            match ListenersChange::prepare(listeners, &config, &upstreams, &self.shared) {
                // A Gateway may ask for a port that cannot be had; the others must not suffer.
                Err(AppError::Bind { what, error, .. }) if opened.contains(&*what) => {
                    parts.reporter.not_opened(&what, &error);
                    let listeners = &mut Arc::make_mut(&mut config).listeners;
                    listeners.retain(|listener| *listener.name != *what);
                }
                result => break result?,
            }
        };
        if let Some(log) = &self.log
            && self.config.load().log.level != config.log.level
        {
            // Only then: a reload for another reason leaves what an operator has set.
            log.set(&config.log.level)?;
        }
        let servers = self.servers.get().copied().unwrap_or_default();
        let sources = &mut parts.sources;
        let own = sources.own_addresses(change.addresses().chain(servers.addresses()));
        if let Some(source) = &parts.kubernetes {
            source.listen_on(own);
        }
        sources.start_new(&upstreams);
        if let Some(found) = &found {
            fill_new(&upstreams, &found.discovered);
        }
        if cause != Cause::Start {
            // A route swapped in before its upstream is resolved would refuse what the old one took.
            sources.first_answers(&upstreams).await;
        }
        let gone = self.upstreams.replace(upstreams, &config);
        // What was found while waiting, too.
        if let Some(found) = self.found.load_full().or(found) {
            let in_force = in_force.map(|publication| &*publication.discovered);
            discovery::update_endpoints(&self.upstreams.all(), &found.discovered, in_force);
        }
        sources.keep_only(&self.upstreams.all());
        let bound = change.commit(listeners, &parts.workers);
        parts.reporter.conflicts(&listeners.conflicts(), metrics);
        self.bound.store(Arc::new(bound));
        self.limit(&config);
        self.shared.access_log.reconfigure(&config.access_log);
        let before = self.config.swap(config.clone());
        for name in gone {
            metrics.retire_upstream(&name);
        }
        listeners::retire_metrics(metrics, &before, &config);
        Ok(())
    }

    /// Makes the limits of the process as `config` and the host say.
    pub(super) fn limit(&self, config: &Config) {
        let shared = &self.shared;
        let chosen = self.capacity.choose(config);
        shared.connections.set_limit(chosen.connections);
        shared.hello_memory.set_limit(chosen.hello_memory);
        shared.carry_memory.set_limit(chosen.carry_memory);
        let gauge = &shared.metrics.connections_limit;
        gauge.set(gauge_value(chosen.connections));
    }

    pub(super) fn begin_drain(self: Arc<Self>) {
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
            tokio::join!(
                self.drain.run(drain.readiness_delay, drain.window),
                self.stop_when_empty(),
            );
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
