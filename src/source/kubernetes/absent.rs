//! The Kubernetes source in a build without the feature `kubernetes`: its types, of which no value exists.
//!
//! A config with the section `kubernetes` is refused at the start. Such a build is for `strait demo`, fuzzing and
//! sanitizers, which need no cluster and so need not build a client of its API.

#![expect(
    clippy::needless_pass_by_value,
    clippy::unused_async,
    reason = "the functions look as those of the real source"
)]

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::mailbox::Mailbox;
use super::ports::Ports;
use crate::config::{GatewayApiConfig, KubernetesConfig};
use crate::metrics::Metrics;
use crate::socket::OwnListeners;

/// The reason why the source does not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "this build of strait has no Kubernetes source; build it with the cargo feature `kubernetes`, which is on by \
     default"
)]
pub struct KubernetesError;

/// The reader of objects, which does not exist.
#[derive(Debug)]
pub struct ApiReader(Infallible);

impl ApiReader {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub async fn open(_kubeconfig: &Path) -> Result<Self, KubernetesError> {
        Err(KubernetesError)
    }

    /// Never returns.
    ///
    /// # Errors
    /// None.
    pub async fn get(&self, _path: &str) -> Result<Option<Value>, String> {
        match self.0 {}
    }

    /// Never returns.
    ///
    /// # Errors
    /// None.
    pub async fn list(&self, _path: &str) -> Result<Option<Vec<Value>>, String> {
        match self.0 {}
    }
}

/// The source, which does not exist.
#[derive(Debug)]
pub struct KubernetesSource(Infallible);

impl KubernetesSource {
    /// Refuses to start.
    ///
    /// # Errors
    /// Always.
    pub async fn start(
        _config: Arc<KubernetesConfig>,
        _metrics: &Arc<Metrics>,
        _mailbox: Arc<Mailbox>,
        _restore: bool,
    ) -> Result<Self, KubernetesError> {
        Err(KubernetesError)
    }

    /// Starts another one in its place.
    ///
    /// # Errors
    /// Always.
    pub async fn start_after(
        &self,
        _config: Arc<KubernetesConfig>,
        _metrics: &Arc<Metrics>,
        _mailbox: Arc<Mailbox>,
    ) -> Result<Self, KubernetesError> {
        match self.0 {}
    }

    /// Comes into force.
    pub fn put_in_force(&self) {
        match self.0 {}
    }

    /// Does nothing, since no kind was watched.
    pub fn retire_metrics(_metrics: &Metrics, _watched: &[Infallible]) {}

    /// Removes the metrics of what it does not watch.
    pub fn retire_metrics_of(&self, _before: Option<&Self>, _metrics: &Metrics) {
        match self.0 {}
    }

    /// Whether it can go on with another policy.
    pub fn serves(&self, _config: &KubernetesConfig) -> bool {
        match self.0 {}
    }

    /// Goes on with another policy.
    pub fn adopt(&self, _config: Arc<KubernetesConfig>) {
        match self.0 {}
    }

    /// Takes the addresses on which the gateway listens.
    pub fn listen_on(&self, _own: OwnListeners) {
        match self.0 {}
    }

    /// Takes the result of opening ports.
    pub fn set_ports(&self, _ports: Ports) {
        match self.0 {}
    }

    /// The statuses to write.
    pub fn statuses(&self) -> Statuses {
        match self.0 {}
    }

    /// The writer of Events about the pod that strait runs in.
    pub fn pod_reporter(&self) -> Option<PodReporter> {
        match self.0 {}
    }

    /// The address of the API server.
    pub fn server(&self) -> &str {
        match self.0 {}
    }

    /// The pod that strait runs in.
    pub fn pod(&self) -> Option<Arc<str>> {
        match self.0 {}
    }

    /// The client of the API.
    pub fn client(&self) -> Client {
        match self.0 {}
    }
}

impl Drop for KubernetesSource {
    fn drop(&mut self) {
        match self.0 {}
    }
}

/// The writer of Events about the pod, which does not exist.
#[derive(Debug, Clone)]
pub struct PodReporter(Infallible);

impl PodReporter {
    /// Writes a warning.
    pub async fn warn(self, _reason: &'static str, _note: String) {
        match self.0 {}
    }
}

/// The client of the API, which does not exist.
#[derive(Debug)]
pub struct Client(Infallible);

/// The statuses to write, which do not exist.
#[derive(Debug)]
pub struct Statuses(Infallible);

/// The writer of statuses, which does not exist.
#[derive(Debug, Clone)]
pub struct StatusWriter {
    /// The metrics that count writes.
    pub metrics: Arc<Metrics>,
    never: Infallible,
}

impl StatusWriter {
    /// A writer for a source.
    pub fn new(
        client: Client,
        _statuses: Statuses,
        _config: &GatewayApiConfig,
        _pod: Option<&str>,
        _metrics: Arc<Metrics>,
    ) -> Self {
        match client.0 {}
    }

    /// Writes until `stop` ends.
    ///
    /// # Errors
    /// Never returns.
    pub async fn run(self, _stop: impl Future<Output = ()>) -> io::Result<()> {
        match self.never {}
    }
}
