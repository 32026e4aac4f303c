//! The task of another cluster: it reads the kubeconfig, has every kind followed, and does both anew when the
//! file changes.
//!
//! A file that cannot be used takes nothing away: the watches go on with the access that they have.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{self, Access, KubernetesError};
use super::follow::{self, Api, Closed, Outbox};
use super::input::DriverInput;
use super::needs::OF_OTHERS;
use super::outage::Outages;
use super::served::ApiDiscovery;
use super::timing::ApiTiming;
use crate::config::OtherClusterConfig;
use crate::file::{self, Patience};
use crate::metrics::{Kind, KindMetrics, Metrics, WatchError};

/// The time between two looks at the file. The kubelet brings a changed Secret into a pod within a minute or two.
const LOOK: Duration = Duration::from_secs(5);
/// The time limit for reading the file, and for the first answer of the API.
const READ: Duration = Duration::from_secs(10);
/// The largest kubeconfig, in bytes.
const MAX_KUBECONFIG: usize = 1 << 20;

/// Adds a task that watches a cluster, the one at `position` in the config.
pub(super) fn spawn(
    tasks: &mut JoinSet<()>,
    (position, config): (usize, OtherClusterConfig),
    timing: ApiTiming,
    inputs: Sender<DriverInput>,
    metrics: &Metrics,
) {
    let clusters = &metrics.kubernetes.clusters;
    let of_kind = |kind: &Kind| Some((*kind, clusters.kind(position, &config.name, *kind)?));
    let task = OtherClusterTask {
        kinds: OF_OTHERS.iter().filter_map(of_kind).collect(),
        outbox: Outbox {
            inputs,
            cluster: Some(config.name.clone()),
        },
        config,
        timing,
        patience: Patience::new(READ),
        content: Vec::new(),
        said: None,
        is_followed: false,
    };
    tasks.spawn(async move {
        // It ends when the source does, or when a follower has ended, which the source then notices.
        let _: Result<(), Closed> = task.run().await;
    });
}

struct OtherClusterTask {
    config: OtherClusterConfig,
    timing: ApiTiming,
    outbox: Outbox,
    kinds: Vec<(Kind, KindMetrics)>,
    patience: Patience,
    /// The content of the file that was judged last.
    content: Vec<u8>,
    /// The problem with the file that was last logged.
    said: Option<String>,
    /// True if an access is in use.
    is_followed: bool,
}

impl OtherClusterTask {
    async fn run(mut self) -> Result<(), Closed> {
        let mut access = self.access().await?;
        let mut before: Option<Arc<str>> = None;
        loop {
            let has_moved = before.is_some_and(|before| before != access.server);
            before = Some(access.server.clone());
            if has_moved {
                let known = self.kinds.iter().filter(|(_, of)| of.is_known());
                known.for_each(|(_, metrics)| metrics.restored());
                let moved = DriverInput::OtherMoved(self.config.name.clone());
                self.outbox.inputs.send(moved).await.map_err(|_| Closed)?;
            }
            let server = format!("{} of cluster {}", access.server, self.config.name);
            let api = Api {
                outages: Arc::new(Outages::new(server.into())),
                discovery: Arc::new(ApiDiscovery::new(access.client.clone(), self.timing)),
                renewals: access.renewals,
                timing: self.timing,
            };
            let was_followed = std::mem::replace(&mut self.is_followed, true);
            let mut followers = JoinSet::new();
            for (kind, metrics) in &self.kinds {
                // The metrics may still be those of the source before this one.
                let known = was_followed && !has_moved && metrics.is_known();
                let outbox = self.outbox.clone();
                let metrics = metrics.clone();
                follow::spawn(
                    &mut followers,
                    (*kind, None),
                    api.clone(),
                    outbox,
                    metrics,
                    known,
                );
            }
            access = tokio::select! {
                // None of them ends while the source lives.
                _ = followers.join_next() => return Err(Closed),
                access = self.access() => access?,
            };
            tracing::info!(
                cluster = %self.config.name,
                "the kubeconfig of a cluster has changed; strait uses it from now on"
            );
        }
    }

    /// Waits for a file with another content that can be used.
    async fn access(&mut self) -> Result<Access, Closed> {
        loop {
            match self.look().await {
                Ok(Some(access)) => {
                    self.said = None;
                    return Ok(access);
                }
                Ok(None) => {}
                Err(error) => self.complain(&error).await?,
            }
            sleep(LOOK).await;
        }
    }

    /// The access that the file gives now; `None` if its content is as before.
    async fn look(&mut self) -> Result<Option<Access>, KubernetesError> {
        let path = self.config.kubeconfig.clone();
        let read = move || file::read(&path, MAX_KUBECONFIG);
        let (content, _) = self.patience.ask(read).await?;
        if content == self.content {
            // A problem that comes back is news.
            self.said = None;
            return Ok(None);
        }
        let (runtime, judged) = (Handle::current(), content.clone());
        let open = move || Ok(runtime.block_on(client::connect_by(&judged)));
        // An attempt that takes too long, or an API that refuses the access, is tried again: it counts as judged
        // later, or not at all.
        match self.patience.ask(open).await? {
            Ok(access) => {
                if self.is_followed {
                    prove(&access).await?;
                }
                self.content = content;
                Ok(Some(access))
            }
            Err(error) => {
                self.content = content;
                Err(error)
            }
        }
    }

    /// Logs a problem with the file once, and reports it.
    async fn complain(&mut self, error: &KubernetesError) -> Result<(), Closed> {
        let problem = error.to_string();
        if self.said.as_ref() == Some(&problem) {
            return Ok(());
        }
        tracing::warn!(
            cluster = %self.config.name,
            path = %Path::display(&self.config.kubeconfig),
            problem,
            "strait cannot use the kubeconfig of a cluster; it keeps what it knows and looks at the file again"
        );
        for (kind, metrics) in &self.kinds {
            metrics.failed(WatchError::Malformed);
            let trouble = DriverInput::Trouble {
                kind: *kind,
                problem: problem.as_str().into(),
                away: false,
            };
            self.outbox.send(trouble).await?;
        }
        self.said = Some(problem);
        Ok(())
    }
}

/// Asks the API for a Service: a file may be right in form, and its token, certificate or address be wrong. Nothing
/// that works is given up for such a file.
async fn prove(access: &Access) -> Result<(), KubernetesError> {
    let services: kube::Api<Service> = kube::Api::all(access.client.clone());
    let params = ListParams::default().limit(1);
    match timeout(READ, services.list_metadata(&params)).await {
        Ok(answer) => {
            answer?;
            Ok(())
        }
        Err(_) => Err(io::Error::new(ErrorKind::TimedOut, "the API did not answer in time").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::test_folder::TestFolder;

    const KUBECONFIG: &str = "
clusters: [{ name: c, cluster: { server: 'http://127.0.0.1:1' } }]
users: [{ name: u, user: { token: t } }]
contexts: [{ name: x, context: { cluster: c, user: u } }]
current-context: x
";

    #[tokio::test]
    async fn an_attempt_that_takes_too_long_is_made_again() {
        let folder = TestFolder::create();
        let kubeconfig = folder.write("kubeconfig", KUBECONFIG);
        let patience = Patience::new(Duration::from_secs(1));
        let mut task = OtherClusterTask {
            config: OtherClusterConfig {
                name: "c2".into(),
                network: "n1".into(),
                kubeconfig,
            },
            timing: ApiTiming::DEFAULT,
            outbox: Outbox {
                inputs: tokio::sync::mpsc::channel(1).0,
                cluster: None,
            },
            kinds: Vec::new(),
            patience: patience.clone(),
            content: Vec::new(),
            said: None,
            is_followed: false,
        };
        {
            // It takes the place between the reading of the file and its use.
            let (end, wait) = std::sync::mpsc::channel::<()>();
            let slow = patience.ask(move || Ok(wait.recv()));
            let look = task.look();
            tokio::pin!(look, slow);
            tokio::select! {
                biased;
                _ = &mut look => panic!("it waits for a thread"),
                _ = &mut slow => panic!("it waits for its end"),
                () = std::future::ready(()) => {}
            }
            assert!(look.await.is_err());
            drop(end);
        }
        // On a busy machine another attempt may take too long, too.
        let found = loop {
            if let Ok(found) = task.look().await {
                break found;
            }
        };
        assert!(found.is_some());
    }
}
