//! Lists and watches: from the API's objects to changes.
//!
//! One task a kind. It finds out in which version the API serves the kind, lists it in pages, and
//! watches it from there. [`ask`] puts the questions, [`item`] reads one object, and [`follow`] decides
//! when to list anew, how long to wait, and what counts as stale. Every question has an end: an API
//! server that falls silent is noticed within a minute. Nothing that fails takes away what is known:
//! an API server that starts says 403 and 404 of what it has not loaded yet.

mod ask;
mod client;
mod driver;
mod error;
mod follow;
mod istio;
mod item;
mod mailbox;
mod mesh;
mod needs;
mod object;
mod read;
mod served;
mod timing;

use std::fmt;
use std::sync::Arc;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::cluster::Kind;
use super::records::ObjectKey;
use super::status::Statuses;
use crate::config::{Kubeconfig, KubernetesConfig};
use crate::metrics::Metrics;
use crate::socket::OwnListeners;
use crate::supervise;
pub use client::KubernetesError;
use driver::{Driver, Told};
pub use mailbox::{Mailbox, Publication};
pub use timing::{ApiTiming, FIRST_LISTS};

/// Changes that may wait for the driver; a watcher that has more waits itself, and with it the API.
const QUEUE: usize = 1024;

/// A source that runs; stops when dropped.
pub struct KubernetesSource {
    client: Client,
    kubeconfig: Option<Kubeconfig>,
    kinds: Vec<Kind>,
    mesh_config: Option<ObjectKey>,
    told: mpsc::Sender<Told>,
    statuses: watch::Receiver<Arc<Statuses>>,
    _tasks: JoinSet<()>,
}

impl KubernetesSource {
    /// Starts to watch, and publishes into `mailbox` as soon as every kind that routing needs has been
    /// listed; until then `mailbox` says what is missing.
    ///
    /// # Errors
    /// Access to the API that cannot be set up. An API that cannot be reached is no error.
    pub async fn start(
        config: Arc<KubernetesConfig>,
        metrics: &Arc<Metrics>,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self, KubernetesError> {
        Self::start_with(config, metrics, mailbox, ApiTiming::DEFAULT).await
    }

    /// As [`KubernetesSource::start`], with other limits of time.
    ///
    /// # Errors
    /// As [`KubernetesSource::start`].
    pub async fn start_with(
        config: Arc<KubernetesConfig>,
        metrics: &Arc<Metrics>,
        mailbox: Arc<Mailbox>,
        timing: ApiTiming,
    ) -> Result<Self, KubernetesError> {
        let client = client::connect(config.kubeconfig.as_ref()).await?;
        let kinds = needs::watched(&config);
        let config = at_home(config, client.default_namespace());
        let kubeconfig = config.kubeconfig.clone();
        let mesh_config = mesh_config(&config);
        let (told, inbox) = mpsc::channel(QUEUE);
        let (statuses_sender, statuses) = watch::channel(Arc::default());
        Self::retire_metrics(metrics, &kinds);
        let mut tasks = JoinSet::new();
        for kind in &kinds {
            let (kind, told) = (*kind, told.clone());
            let only = mesh_config.clone().filter(|_| kind == Kind::MeshConfig);
            let (client, metrics) = (client.clone(), metrics.kubernetes.kind(kind.label()));
            follow::spawn(&mut tasks, (kind, only), client, told, metrics, timing);
        }
        let told_to = mailbox.clone();
        let driver = Driver::new(config, &kinds, metrics.clone(), told_to, statuses_sender);
        tasks.spawn(driver.run(inbox));
        let mut overseer = JoinSet::new();
        overseer.spawn(async move {
            // None of them ends as long as the source lives.
            if let Some(ended) = tasks.join_next().await {
                mailbox.set_broken(&supervise::why(ended));
            }
        });
        Ok(Self {
            client,
            kubeconfig,
            kinds,
            mesh_config,
            told,
            statuses,
            _tasks: overseer,
        })
    }

    /// Forgets the metrics of kinds that are not watched any more.
    pub fn retire_metrics(metrics: &Metrics, watched: &[Kind]) {
        for kind in Kind::ALL.iter().filter(|kind| !watched.contains(kind)) {
            metrics.kubernetes.retire_kind(kind.label());
        }
    }

    /// Whether it can go on with another policy: the API is reached as before, and as much of it is
    /// watched.
    pub fn serves(&self, config: &KubernetesConfig) -> bool {
        self.kubeconfig == config.kubeconfig
            && self.kinds == needs::watched(config)
            && self.mesh_config == mesh_config(config)
    }

    /// Goes on with another policy, for which [`KubernetesSource::serves`] holds, without listing
    /// anything anew.
    pub async fn adopt(&self, config: Arc<KubernetesConfig>) {
        // Fails only once the source's own tasks have ended, with the process.
        let config = at_home(config, self.client.default_namespace());
        let _ = self.told.send(Told::Policy(config)).await;
    }

    /// Tells what the gateway listens on: a Service whose pods it is among gets no connection from it,
    /// or the connection would come back.
    pub async fn listen_on(&self, own: OwnListeners) {
        // Fails only once the source's own tasks have ended, with the process.
        let _ = self.told.send(Told::Listeners(own)).await;
    }

    /// The status that each object of the Gateway API should have, as it changes.
    pub fn statuses(&self) -> watch::Receiver<Arc<Statuses>> {
        self.statuses.clone()
    }

    /// What the API is reached by.
    pub fn client(&self) -> Client {
        self.client.clone()
    }
}

/// The ConfigMap with the settings of the mesh.
fn mesh_config(config: &KubernetesConfig) -> Option<ObjectKey> {
    let name = config.istio.config_map.clone()?;
    let namespace = config.istio.namespace.clone();
    Some(ObjectKey { namespace, name })
}

impl fmt::Debug for KubernetesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesSource")
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

/// The policy with the namespace that strait runs in: its own Gateways come first.
fn at_home(mut config: Arc<KubernetesConfig>, namespace: &str) -> Arc<KubernetesConfig> {
    if config.gateway_api.is_some()
        && let Some(gateway_api) = &mut Arc::make_mut(&mut config).gateway_api
    {
        gateway_api.home = Some(namespace.into());
    }
    config
}
