//! Statuses of the Gateway API's objects, written back while the process serves.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::GatewayApiConfig;
use crate::drain::DrainWatcher;
use crate::metrics::Metrics;
use crate::source::kubernetes::{KubernetesSource, StatusWriter};

/// What writes the statuses that a source gives. Stops when dropped, and when the process drains; its
/// Lease is left to other replicas then.
pub(super) struct StatusTask {
    controller: Arc<str>,
    class: Arc<str>,
    _stop: oneshot::Sender<()>,
}

impl StatusTask {
    /// What writes for `config`; `before`, if that does already and is of the same source.
    pub(super) fn keep_or_start(
        before: Option<Self>,
        source: &KubernetesSource,
        config: &GatewayApiConfig,
        metrics: &Arc<Metrics>,
        watcher: &DrainWatcher,
    ) -> Self {
        let same =
            |task: &Self| (&task.controller, &task.class) == (&config.controller, &config.class);
        if let Some(task) = before.filter(same) {
            return task;
        }
        let writer = StatusWriter::new(source, config, metrics.clone());
        let (stop, stopped) = oneshot::channel();
        let mut watcher = watcher.clone();
        tokio::spawn(Box::pin(writer.run(async move {
            tokio::select! {
                _ = stopped => {}
                _ = watcher.draining() => {}
            }
        })));
        Self {
            controller: config.controller.clone(),
            class: config.class.clone(),
            _stop: stop,
        }
    }
}
