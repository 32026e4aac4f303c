//! How the API is reached.

use std::time::Duration;

use kube::config::{
    InClusterError, KubeConfigOptions, Kubeconfig as KubeconfigFile, KubeconfigError,
};
use kube::{Client, Config};

use crate::config::Kubeconfig;

/// How long a connection to the API may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Why access to the API cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Not in a pod, or its service account is not mounted.
    #[error(
        "no access to the Kubernetes API: {0}; outside a pod, name a file by `kubernetes.kubeconfig`"
    )]
    InCluster(#[from] InClusterError),
    /// The kubeconfig cannot be read, or lacks what is asked of it.
    #[error("no access to the Kubernetes API by its kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// A certificate, token or address that cannot be used.
    #[error("no access to the Kubernetes API: {0}")]
    Client(#[from] Box<kube::Error>),
}

/// A client; nothing is asked yet.
pub(super) async fn connect(kubeconfig: Option<&Kubeconfig>) -> Result<Client, KubernetesError> {
    let mut config = match kubeconfig {
        // By address: the name of the API may not resolve while the cluster starts.
        None => Config::incluster_env()?,
        Some(Kubeconfig { path, context }) => {
            let file = KubeconfigFile::read_from(path)?;
            let options = KubeConfigOptions {
                context: context.clone(),
                ..KubeConfigOptions::default()
            };
            Config::from_custom_kubeconfig(file, &options).await?
        }
    };
    config.connect_timeout = Some(CONNECT);
    // Waits are decided in one place, where they are counted too.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| Box::new(error).into())
}
