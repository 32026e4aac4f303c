//! Who writes the statuses of the Gateway API's objects, and how long.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::KubernetesConfig;
use crate::drain::DrainWatcher;
use crate::metrics::Metrics;
use crate::source::kubernetes::{KubernetesSource, StatusWriter};

/// A writer that runs; leaves the Lease to others when dropped.
#[derive(Debug)]
pub(super) struct StatusTask {
    controller: Arc<str>,
    class: Arc<str>,
    _stop: oneshot::Sender<()>,
}

impl StatusTask {
    /// A writer of what `source` finds, if Gateways are looked at at all. A replica that drains leaves
    /// the writing to its successors.
    pub(super) fn start(
        source: &KubernetesSource,
        policy: &KubernetesConfig,
        metrics: &Arc<Metrics>,
        watcher: &DrainWatcher,
    ) -> Option<Self> {
        let config = policy.gateway_api.as_ref()?;
        let writer = StatusWriter::new(source.client(), source.statuses(), config, metrics.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut watcher = watcher.clone();
        tokio::spawn(Box::pin(writer.run(async move {
            tokio::select! {
                _ = stopped => {}
                _ = watcher.draining() => {}
            }
        })));
        Some(Self {
            controller: config.controller.clone(),
            class: config.class.clone(),
            _stop: stop,
        })
    }

    /// Whether it writes for the class, and in the name, that a policy has.
    pub(super) fn serves(&self, policy: &KubernetesConfig) -> bool {
        policy.gateway_api.as_ref().is_some_and(|config| {
            (&config.controller, &config.class) == (&self.controller, &self.class)
        })
    }
}
