//! The task that writes the statuses of the Gateway API's objects.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{GatewayApiConfig, KubernetesConfig};
use crate::drain::DrainWatcher;
use crate::metrics::{Metrics, TaskName};
use crate::source::kubernetes::{KubernetesSource, StatusWriter};
use crate::supervise;

/// A running writer, started again when it fails. It gives up the Lease when this is dropped.
#[derive(Debug)]
pub(super) struct StatusTask {
    controller: Arc<str>,
    class: Arc<str>,
    _stop: watch::Sender<()>,
}

impl StatusTask {
    /// Starts a writer of the statuses of `source`, if the policy has Gateways. A replica that drains
    /// leaves the writing to its successors.
    pub(super) fn start(
        source: &KubernetesSource,
        policy: &KubernetesConfig,
        metrics: &Arc<Metrics>,
        watcher: &DrainWatcher,
    ) -> Option<Self> {
        let config = policy.gateway_api.as_ref()?;
        let (client, statuses) = (source.client(), source.statuses());
        let pod = source.pod();
        let writer = StatusWriter::new(client, statuses, config, pod.as_deref(), metrics.clone());
        Some(Self::keep(writer, config, watcher))
    }

    fn keep(writer: StatusWriter, config: &GatewayApiConfig, watcher: &DrainWatcher) -> Self {
        let (stop, stopped) = watch::channel(());
        let restarts = writer.metrics.task_restarts(TaskName::Statuses);
        let watcher = watcher.clone();
        let make = move || {
            let (mut stopped, mut watcher) = (stopped.clone(), watcher.clone());
            let stop = async move {
                tokio::select! {
                    // Only the drop of the sender wakes it.
                    _ = stopped.changed() => {}
                    _ = watcher.draining() => {}
                }
            };
            writer.clone().run(stop)
        };
        tokio::spawn(Box::pin(supervise::keep(
            TaskName::Statuses.label(),
            restarts,
            make,
        )));
        Self {
            controller: config.controller.clone(),
            class: config.class.clone(),
            _stop: stop,
        }
    }

    /// Whether the writer serves the class and the controller of a policy.
    pub(super) fn serves(&self, policy: &KubernetesConfig) -> bool {
        policy.gateway_api.as_ref().is_some_and(|config| {
            (&config.controller, &config.class) == (&self.controller, &self.class)
        })
    }
}

#[cfg(all(test, feature = "kubernetes"))]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use hyper::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use tokio::time::timeout;

    use crate::config::samples;
    use crate::drain;

    #[tokio::test]
    async fn a_writer_of_statuses_that_panics_is_started_again() {
        let asked = Arc::new(AtomicUsize::new(0));
        let api = {
            let asked = asked.clone();
            tower::service_fn(move |_: Request<Body>| {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                async move {
                    assert!(number > 0, "on purpose");
                    pending::<Result<Response<Body>, Infallible>>().await
                }
            })
        };
        let (_sender, statuses) = watch::channel(Arc::default());
        let metrics = Arc::new(Metrics::new().unwrap());
        let config = samples::gateway_api();
        let client = Client::new(api, "strait");
        let writer = StatusWriter::new(client, statuses, &config, None, metrics.clone());
        let (_trigger, watcher) = drain::channel();
        let _task = StatusTask::keep(writer, &config, &watcher);
        let again = async {
            while asked.load(Ordering::Relaxed) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), again).await.unwrap();
        assert_eq!(metrics.task_restarts(TaskName::Statuses).get(), 1);
    }
}
