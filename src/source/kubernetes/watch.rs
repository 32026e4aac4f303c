//! Lists and watches of the Kubernetes API. They turn its objects into changes.
//!
//! Each kind has one task. The task finds the version in which the API serves the kind, lists it in
//! pages, and watches it from there. [`ask`] sends the requests, [`item`] reads one object, and
//! [`follow`] decides when to list again, how long to wait, and what counts as stale. Every request has
//! a time limit: an API server that falls silent is noticed within a minute. No failure removes
//! anything that is known: a starting API server answers 403 and 404 for kinds that it has not loaded
//! yet.

mod ask;
mod client;
mod connections;
mod copies;
mod counts;
mod dns_tasks;
mod driver;
mod entry;
mod error;
mod follow;
mod input;
mod istio;
mod item;
mod look;
mod mesh;
mod needs;
mod object;
mod other_clusters;
mod other_kinds;
mod other_states;
mod outage;
mod own_kinds;
mod pace;
mod read;
mod reread;
mod restore;
mod save;
mod served;
mod timing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::cluster::Kind;
use super::mailbox::{Mailbox, SourcePost};
use super::ports::Ports;
use super::records::ObjectKey;
use super::saved::ClusterPart;
use super::status::{PodReporter, Statuses};
use crate::config::{Kubeconfig, KubernetesConfig, OtherClusterConfig};
use crate::metrics::Metrics;
use crate::socket::OwnListeners;
use crate::supervise;
pub use client::KubernetesError;
use driver::Driver;
use follow::Outbox;
use input::{DriverInput, Terms};
pub use look::ApiReader;
use outage::Outages;
use restore::Restored;
use served::ApiDiscovery;
pub use timing::ApiTiming;

/// The number of changes that may wait for the driver. A watcher with more waits itself, and with it
/// the API.
const QUEUE: usize = 1024;

/// The time limit for a source to hand over what it knows.
const HAND_OVER: Duration = Duration::from_secs(2);

/// The running Kubernetes source. It stops when dropped.
pub struct KubernetesSource {
    client: Client,
    server: Arc<str>,
    pod: Option<Arc<str>>,
    kubeconfig: Option<Kubeconfig>,
    kinds: Vec<Kind>,
    mesh_config: Option<ObjectKey>,
    clusters: Vec<OtherClusterConfig>,
    inputs: mpsc::WeakSender<DriverInput>,
    post: SourcePost,
    terms: watch::Sender<Terms>,
    statuses: watch::Receiver<Arc<Statuses>>,
    _tasks: JoinSet<()>,
}

/// The settings that a source begins with beside its policy.
struct Begin {
    /// Whether the saved state fills in.
    restore: bool,
    /// From a source that goes.
    inherited: Vec<ClusterPart>,
}

impl KubernetesSource {
    /// Starts watching. It publishes into `mailbox` as soon as every kind that routing needs has been
    /// listed; until then `mailbox` says what is missing. With `restore` the saved state that the config
    /// names fills in for an API that does not answer.
    ///
    /// # Errors
    /// Access to the API cannot be set up. An API that cannot be reached is no error.
    pub async fn start(
        config: Arc<KubernetesConfig>,
        metrics: &Arc<Metrics>,
        mailbox: Arc<Mailbox>,
        restore: bool,
    ) -> Result<Self, KubernetesError> {
        Self::start_with(config, metrics, mailbox, restore, ApiTiming::DEFAULT).await
    }

    /// As [`KubernetesSource::start`] without a saved state, in place of a source that runs: what that one knows of
    /// clusters that this one watches too, by the same file, serves until their APIs have listed it.
    ///
    /// # Errors
    /// As [`KubernetesSource::start`].
    pub async fn start_after(
        &self,
        config: Arc<KubernetesConfig>,
        metrics: &Arc<Metrics>,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self, KubernetesError> {
        let mut inherited = self.hand_over().await;
        inherited.retain(|part| {
            let file = |all: &[OtherClusterConfig]| {
                let found = all.iter().find(|one| one.name == part.name);
                found.map(|one| one.kubeconfig.clone())
            };
            file(&self.clusters) == file(&config.clusters)
        });
        let begin = Begin {
            restore: false,
            inherited,
        };
        Self::begin(config, metrics, mailbox, begin, ApiTiming::DEFAULT).await
    }

    /// The known content of the other clusters; nothing if the source does not answer in time.
    async fn hand_over(&self) -> Vec<ClusterPart> {
        let (to, answer) = oneshot::channel();
        let ask = async {
            let inputs = self.inputs.upgrade()?;
            inputs.send(DriverInput::HandOver(to)).await.ok()?;
            answer.await.ok()
        };
        let answer = timeout(HAND_OVER, ask).await;
        answer.ok().flatten().unwrap_or_default()
    }

    /// As [`KubernetesSource::start`], with other time limits.
    ///
    /// # Errors
    /// As [`KubernetesSource::start`].
    pub async fn start_with(
        config: Arc<KubernetesConfig>,
        metrics: &Arc<Metrics>,
        mailbox: Arc<Mailbox>,
        restore: bool,
        timing: ApiTiming,
    ) -> Result<Self, KubernetesError> {
        let begin = Begin {
            restore,
            inherited: Vec::new(),
        };
        Self::begin(config, metrics, mailbox, begin, timing).await
    }

    async fn begin(
        config: Arc<KubernetesConfig>,
        metrics: &Arc<Metrics>,
        mailbox: Arc<Mailbox>,
        begin: Begin,
        timing: ApiTiming,
    ) -> Result<Self, KubernetesError> {
        let access = client::connect(config.kubeconfig.as_ref()).await?;
        let client = access.client.clone();
        let kinds = needs::watched(&config);
        let config = at_home(config, client.default_namespace());
        let (kubeconfig, mesh_config) = (config.kubeconfig.clone(), mesh_config(&config));
        let (inputs, inbox) = mpsc::channel(QUEUE);
        let (statuses_sender, statuses) = watch::channel(Arc::default());
        let mut tasks = JoinSet::new();
        let api = follow::Api {
            discovery: Arc::new(ApiDiscovery::new(client.clone(), timing)),
            renewals: access.renewals,
            outages: Arc::new(Outages::new(access.server.clone())),
            timing,
        };
        let outbox = Outbox {
            inputs: inputs.clone(),
            cluster: None,
        };
        for kind in &kinds {
            let only = mesh_config.clone().filter(|_| *kind == Kind::MeshConfig);
            let (outbox, metrics) = (outbox.clone(), metrics.kubernetes.kind(*kind));
            let kind = (*kind, only);
            follow::spawn(&mut tasks, kind, api.clone(), outbox, metrics, false);
        }
        let clusters = config.clusters.clone();
        for other in clusters.iter().cloned().enumerate() {
            other_clusters::spawn(&mut tasks, other, timing, inputs.clone(), metrics);
        }
        let restored = match begin.restore {
            true => Restored::begin(&config),
            false => Restored::never(),
        };
        let (terms, agreed) = watch::channel(Terms {
            policy: config,
            own: OwnListeners::default(),
            ports: Ports::default(),
        });
        let (weak, post) = (inputs.downgrade(), mailbox.enter());
        let driver = Driver::new(
            agreed,
            weak.clone(),
            &kinds,
            metrics.clone(),
            post.clone(),
            statuses_sender,
            (restored, begin.inherited),
        );
        tasks.spawn(driver.run(inbox));
        let mut overseer = JoinSet::new();
        overseer.spawn(async move {
            // None of them ends while the source lives.
            if let Some(ended) = tasks.join_next().await {
                mailbox.set_broken(&supervise::why(ended));
            }
        });
        Ok(Self {
            client,
            server: access.server,
            pod: access.pod,
            kubeconfig,
            kinds,
            mesh_config,
            clusters,
            inputs: weak,
            post,
            terms,
            statuses,
            _tasks: overseer,
        })
    }

    /// Lets `app` get what it finds, from now on in place of the source before it.
    pub fn put_in_force(&self) {
        self.post.put_in_force();
    }

    /// Removes the metrics of kinds that are no longer watched, and of other clusters.
    pub fn retire_metrics(metrics: &Metrics, watched: &[Kind]) {
        for kind in Kind::ALL.iter().filter(|kind| !watched.contains(kind)) {
            metrics.kubernetes.retire_kind(*kind);
        }
        metrics.kubernetes.clusters.retire();
    }

    /// Removes the metrics of kinds that this source does not watch, and of the clusters that `before` watched and
    /// this source does not.
    pub fn retire_metrics_of(&self, before: Option<&Self>, metrics: &Metrics) {
        for kind in Kind::ALL.iter().filter(|kind| !self.kinds.contains(kind)) {
            metrics.kubernetes.retire_kind(*kind);
        }
        let before = before.map_or(&[][..], |before| &before.clusters);
        let metrics = &metrics.kubernetes.clusters;
        for (position, one) in before.iter().enumerate() {
            let is_same = |new: &OtherClusterConfig| new.name == one.name;
            if !self.clusters.get(position).is_some_and(is_same) {
                metrics.forget_place(position);
            }
            if !self.clusters.iter().any(is_same) {
                metrics.retire_cluster(&one.name);
            }
        }
    }

    /// Whether the source can continue with another policy: the API is reached as before, and the same
    /// kinds are watched.
    pub fn serves(&self, config: &KubernetesConfig) -> bool {
        self.kubeconfig == config.kubeconfig
            && self.kinds == needs::watched(config)
            && self.mesh_config == mesh_config(config)
            && self.clusters == config.clusters
    }

    /// Continues with another policy, for which [`KubernetesSource::serves`] is true, without listing
    /// anything again.
    pub fn adopt(&self, config: Arc<KubernetesConfig>) {
        let policy = at_home(config, self.client.default_namespace());
        self.terms.send_if_modified(|terms| {
            let other = terms.policy != policy;
            if other {
                terms.policy = policy;
            }
            other
        });
    }

    /// Sets the addresses that the gateway listens on. A Service whose pods include this gateway gets
    /// no connection from it, since the connection would come back.
    pub fn listen_on(&self, own: OwnListeners) {
        self.terms.send_if_modified(|terms| {
            let other = terms.own != own;
            if other {
                terms.own = own;
            }
            other
        });
    }

    /// Sets the result of opening ports. The statuses of Gateways show it.
    pub fn set_ports(&self, ports: Ports) {
        self.terms.send_if_modified(|terms| {
            let other = terms.ports != ports;
            if other {
                terms.ports = ports;
            }
            other
        });
    }

    /// The wanted statuses of the Gateway API's objects, as they change.
    pub fn statuses(&self) -> watch::Receiver<Arc<Statuses>> {
        self.statuses.clone()
    }

    /// The client of the API.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The address of the API server, as messages have it.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The writer of Events about the pod that strait runs in, if the service account's token names the pod.
    pub fn pod_reporter(&self) -> Option<PodReporter> {
        PodReporter::new(self.client.clone(), self.pod.as_deref()?)
    }

    /// The pod that strait runs in, by name and UID, if the service account's token says so.
    pub fn pod(&self) -> Option<Arc<str>> {
        self.pod.clone()
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

/// The policy with the namespace that strait runs in. Gateways of that namespace come first.
fn at_home(mut config: Arc<KubernetesConfig>, namespace: &str) -> Arc<KubernetesConfig> {
    if config.gateway_api.is_some()
        && let Some(gateway_api) = &mut Arc::make_mut(&mut config).gateway_api
    {
        gateway_api.home = Some(namespace.into());
    }
    config
}
