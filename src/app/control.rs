//! What the tasks of the control thread share: nothing here belongs to the config alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::AppError;
use super::capacity::Capacity;
use super::state::Change;
use crate::access_log::AccessLog;
use crate::admin::{Readiness, Snapshots};
use crate::config::Config;
use crate::drain::{self, DrainPhase, DrainTrigger, DrainWatcher};
use crate::log::LogControl;
use crate::metrics::{Metrics, gauge_value};
use crate::proxy::Shared;
use crate::source::kubernetes::Mailbox;
use crate::upstream::EndpointCollector;

/// How often is asked whether the last connection has ended.
const WATCH: Duration = Duration::from_millis(50);
/// Changes that may wait for their turn.
const QUEUE: usize = 4;

/// What the tasks of the control thread share.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) capacity: Capacity,
    /// What is in force, for everybody who reads it. [`State`](super::state::State) alone replaces it.
    pub(super) snapshots: Snapshots,
    pub(super) drain: DrainTrigger,
    pub(super) watcher: DrainWatcher,
    pub(super) readiness: Readiness,
    pub(super) log: Option<LogControl>,
    /// Where the Kubernetes source, whichever runs, leaves what it has found.
    pub(super) mailbox: Arc<Mailbox>,
    changes: mpsc::Sender<Change>,
}

impl Control {
    /// Of a gateway whose first config is `config`. Changes that are asked for come out of the receiver.
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
        let readiness = Readiness::new(snapshots.clone(), watcher.clone(), metrics);
        let mailbox: Arc<Mailbox> = Arc::default();
        let awaited = mailbox.clone();
        readiness.explain_discovery(move || awaited.awaited());
        let (changes, inbox) = mpsc::channel(QUEUE);
        let control = Self {
            shared: Arc::new(shared),
            capacity,
            snapshots,
            drain,
            watcher,
            readiness,
            log,
            mailbox,
            changes,
        };
        Ok((Arc::new(control), inbox))
    }

    /// Has a change made, and waits until it is in force or refused.
    pub(super) async fn change(
        &self,
        change: impl FnOnce(Answer) -> Change,
    ) -> Result<(), AppError> {
        let (answer, made) = oneshot::channel();
        let sent = self.changes.send(change(answer)).await;
        sent.map_err(|_| AppError::GivenUp)?;
        made.await.unwrap_or(Err(AppError::GivenUp))
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
        let drain = self.snapshots.now().config.drain;
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

/// Where the one who asked for a change learns what has become of it.
pub(super) type Answer = oneshot::Sender<Result<(), AppError>>;
