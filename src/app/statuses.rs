//! Who writes the statuses of the Gateway API's objects, and how long.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::KubernetesConfig;
use crate::drain::DrainWatcher;
use crate::metrics::Metrics;
use crate::source::kubernetes::{KubernetesSource, LeaseHolder, LeaseTiming, StatusWriter};

/// The Lease that says which replica writes.
const LEASE: &str = "strait-status";

/// A writer that runs; leaves the Lease to others when dropped.
#[derive(Debug)]
pub(super) struct StatusTask {
    controller: Arc<str>,
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
        let controller = policy.gateway_api.as_ref()?.controller.clone();
        let client = source.client();
        let writer = StatusWriter {
            lease: LeaseHolder {
                // In a pod, its own; else that of the kubeconfig's context.
                namespace: client.default_namespace().to_owned(),
                name: LEASE,
                identity: identity(),
                timing: LeaseTiming::DEFAULT,
            },
            client,
            controller: controller.clone(),
            statuses: source.statuses(),
            metrics: metrics.clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let mut watcher = watcher.clone();
        tokio::spawn(writer.run(async move {
            tokio::select! {
                _ = stopped => {}
                _ = watcher.draining() => {}
            }
        }));
        Some(Self {
            controller,
            _stop: stop,
        })
    }

    /// Whether it writes in the name that a policy has.
    pub(super) fn serves(&self, policy: &KubernetesConfig) -> bool {
        let controller = policy.gateway_api.as_ref().map(|config| &config.controller);
        controller == Some(&self.controller)
    }
}

/// Unique, also after a restart: the pod's name is its host name.
fn identity() -> String {
    let system = rustix::system::uname();
    format!(
        "{}_{:016x}",
        system.nodename().to_string_lossy(),
        fastrand::u64(..)
    )
}
