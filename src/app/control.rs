//! The shared state of the control thread's tasks. Nothing here belongs to the config alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use super::AppError;
use super::builder::Builder;
use super::capacity::Capacity;
use super::change::{Change, ResultSender};
use super::limit_uses::limit_uses;
use super::passable::Passable;
use crate::access_log::AccessLog;
use crate::admin::overview::history::TrafficHistory;
use crate::admin::{ConfigReports, Readiness, Snapshots};
use crate::config::Config;
use crate::drain::{self, DrainPhase, DrainTrigger, DrainWatcher};
use crate::limits::LimitCollector;
use crate::log::LogControl;
use crate::metrics::{Metrics, gauge_value};
use crate::proxy::{Shared, pipes_beside};
use crate::source::kubernetes::{Mailbox, PodReporter};
use crate::upstream::{
    ConnectTimesCollector, EndpointCollector, EndpointTotalsCollector, IstioCollector, IstioFacts,
};

/// The time between two checks whether the last connection has ended.
const WATCH: Duration = Duration::from_millis(50);
/// Number of changes that may wait for their turn.
const QUEUE: usize = 4;

/// The shared state of the control thread's tasks.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) capacity: Capacity,
    /// The thread for work that takes long.
    pub(super) builder: Builder,
    /// The state in force, for all readers. Only a [`Plan`](super::plan::Plan) replaces it.
    pub(super) snapshots: Snapshots,
    /// The state of the config file, for all readers.
    pub(super) config_reports: ConfigReports,
    pub(super) drain: DrainTrigger,
    pub(super) watcher: DrainWatcher,
    pub(super) readiness: Readiness,
    pub(super) log: Option<LogControl>,
    /// The mailbox in which the running Kubernetes source leaves its results.
    pub(super) mailbox: Arc<Mailbox>,
    /// The last hour of the traffic.
    pub(super) history: Arc<TrafficHistory>,
    /// The writer of Events about this pod, while there is one.
    pub(super) pod_reporter: ArcSwapOption<PodReporter>,
    /// The sockets that a successor gets.
    pub(super) passable: Passable,
    changes: mpsc::Sender<Change>,
}

impl Control {
    /// The shared state of a gateway whose first config is `config`. The receiver yields the changes
    /// that are asked for.
    pub(super) fn new(
        config: &Arc<Config>,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        host_root: Option<PathBuf>,
        log: Option<LogControl>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Change>), AppError> {
        let capacity = Capacity::new(host_root);
        let shared = Shared::new(
            metrics.clone(),
            access_log,
            config.workers.get(),
            capacity.choose(config).connections,
            &config.limits,
        );
        let (drain, watcher) = drain::channel();
        let snapshots = Snapshots::before(config.clone());
        let upstreams = {
            let snapshots = snapshots.clone();
            move || snapshots.now().upstreams.clone()
        };
        metrics.register(Box::new(EndpointCollector::new(upstreams)?))?;
        let totals = {
            let snapshots = snapshots.clone();
            move || {
                let snapshot = snapshots.now();
                (snapshot.upstreams.clone(), snapshot.config.metric_endpoints)
            }
        };
        metrics.register(Box::new(ConnectTimesCollector::new(totals.clone())?))?;
        metrics.register(Box::new(EndpointTotalsCollector::new(totals)?))?;
        metrics.register(Box::new(IstioCollector::new(istio_facts(
            &metrics,
            snapshots.clone(),
        ))?))?;
        let readiness = Readiness::new(snapshots.clone(), watcher.clone(), metrics);
        let mailbox: Arc<Mailbox> = Arc::default();
        let waited_for = mailbox.clone();
        readiness.explain_discovery(move || waited_for.missing());
        let (changes, inbox) = mpsc::channel(QUEUE);
        let shared = Arc::new(shared);
        let uses = {
            // The shared state has the metrics, and they must not keep it.
            let (shared, snapshots) = (Arc::downgrade(&shared), snapshots.clone());
            move || {
                let shared = shared.upgrade();
                let uses = shared.map(|shared| limit_uses(&shared, &snapshots.now().upstreams));
                uses.unwrap_or_default()
            }
        };
        let limits = LimitCollector::new(uses)?;
        shared.metrics.register(Box::new(limits))?;
        let control = Self {
            shared,
            capacity,
            builder: Builder::start().map_err(AppError::Thread)?,
            snapshots,
            config_reports: ConfigReports::default(),
            drain,
            watcher,
            readiness,
            log,
            mailbox,
            history: Arc::default(),
            pod_reporter: ArcSwapOption::default(),
            passable: Passable::default(),
            changes,
        };
        Ok((Arc::new(control), inbox))
    }

    /// Asks for a change, and waits until it is in force or refused.
    pub(super) async fn change(
        &self,
        change: impl FnOnce(ResultSender) -> Change,
    ) -> Result<(), AppError> {
        let (answer, made) = oneshot::channel();
        let sent = self.changes.send(change(answer)).await;
        sent.map_err(|_| AppError::GivenUp)?;
        made.await.unwrap_or(Err(AppError::GivenUp))
    }

    /// Sets the limits of the process for `config` and the host.
    pub(super) fn limit(&self, config: &Config) {
        let shared = &self.shared;
        let chosen = self.capacity.choose(config);
        shared.connections.set_limit(chosen.connections);
        shared.hello_memory.set_limit(chosen.hello_memory);
        shared.carry_memory.set_limit(chosen.carry_memory);
        let pipes = pipes_beside(chosen.connections);
        shared.pipes.set_limit(pipes);
        shared.held_pipes.set_limit(pipes / 2);
        let gauge = &shared.metrics.connections_limit;
        gauge.set(gauge_value(chosen.connections));
    }

    /// Begins to drain, unless it has begun.
    pub(super) fn begin_drain(self: Arc<Self>) {
        let delay = self.snapshots.now().config.drain.readiness_delay;
        self.drain_after(delay);
    }

    /// As [`Control::begin_drain`], for a process whose sockets have a new owner: no load balancer has to
    /// move away first.
    pub(super) fn begin_drain_at_once(self: Arc<Self>) {
        self.drain_after(Duration::ZERO);
    }

    fn drain_after(self: Arc<Self>, readiness_delay: Duration) {
        if !self.drain.advance(DrainPhase::Announced) {
            return;
        }
        let drain = self.snapshots.now().config.drain;
        tracing::info!(
            ?readiness_delay,
            window = ?drain.window,
            connections = self.shared.connections.used(),
            "draining"
        );
        self.shared.metrics.draining.set(1);
        tokio::spawn(async move {
            tokio::join!(
                self.drain.run(readiness_delay, drain.window),
                self.stop_when_empty(),
            );
        });
    }

    /// After draining has begun, stops as soon as the last connection has ended.
    async fn stop_when_empty(&self) {
        self.watcher.clone().draining().await;
        loop {
            // This waits before the first look too: the listeners first accept the connections in their
            // queues.
            tokio::time::sleep(WATCH).await;
            if self.shared.connections.used() == 0 {
                self.drain.advance(DrainPhase::Stopped);
                return;
            }
        }
    }
}

/// The facts that the metrics with Istio's names show at each scrape.
fn istio_facts(metrics: &Arc<Metrics>, snapshots: Snapshots) -> impl Fn() -> IstioFacts + use<> {
    // The metrics have the collector, which must not keep them.
    let metrics = Arc::downgrade(metrics);
    move || {
        let snapshot = snapshots.now();
        let settings = snapshot.config.metric_istio.clone();
        let (Some(metrics), Some(settings)) = (metrics.upgrade(), settings) else {
            return IstioFacts::default();
        };
        let kubernetes = snapshot.config.kubernetes.as_deref();
        IstioFacts {
            settings: Some(settings),
            cluster_domain: kubernetes.map_or_else(
                || "cluster.local".to_owned(),
                |kubernetes| kubernetes.cluster_domain.to_string(),
            ),
            upstreams: snapshot.upstreams.clone(),
            counts: metrics.counts_by_upstream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::fixture::{World, file};

    #[test]
    fn pipes_follow_the_limit_of_connections() {
        let few = file("limits: { connections: 64 }");
        let world = World::before(&few);
        let control = &world.state.control;
        for connections in [64, 800, 64] {
            control.limit(&file(&format!("limits: {{ connections: {connections} }}")));
            let shared = &control.shared;
            assert_eq!(shared.connections.left(), connections);
            assert_eq!(shared.pipes.left(), pipes_beside(connections));
            assert_eq!(shared.held_pipes.left(), pipes_beside(connections) / 2);
        }
    }
}
