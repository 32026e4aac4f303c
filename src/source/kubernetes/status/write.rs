//! Writes statuses back, while this replica leads: only what differs, each at the version it was read at.
//!
//! An object is looked at when what it should say changes, when somebody else has changed the object,
//! and when this replica begins to lead. Its own writes come back by the watch as new versions; those it
//! knows, so that it never answers itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Statuses;
use super::complaints::{Complaints, complain_of_invalid, lease_complaint};
use super::lease::{self, Leadership, LeaseHolder, LeaseTiming};
use super::object::{Done, ObjectWriter, REQUEST};
use crate::config::GatewayApiConfig;
use crate::metrics::{Metrics, StatusWrite};
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::watch::KubernetesSource;

/// Between two objects: the API has other clients.
const PAUSE: Duration = Duration::from_millis(10);
/// After a pass in which something failed; doubled each time, up to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(super) type Key = (Kind, ObjectKey);

/// What writes statuses.
pub struct StatusWriter {
    /// The API.
    pub client: Client,
    /// The `controllerName` under which routes are reported on.
    pub controller: Arc<str>,
    /// The Lease that says who writes.
    pub lease: LeaseHolder,
    /// What to write: the newest counts.
    pub statuses: watch::Receiver<Arc<Statuses>>,
    /// Where writes are counted.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for StatusWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusWriter")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl StatusWriter {
    /// What writes the statuses that `source` gives, for the Gateways that `config` says.
    ///
    /// The Lease is `strait-status`, in the namespace of the service account (or of the kubeconfig's
    /// context). Gateways of another class than `strait` have one of their own, `strait-status-CLASS`:
    /// whoever holds it writes for its class only.
    pub fn new(
        source: &KubernetesSource,
        config: &GatewayApiConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        let client = source.client();
        let name = match &*config.class {
            "strait" => "strait-status".to_owned(),
            class => format!("strait-status-{class}"),
        };
        // A pod's host name is its own; what is random tells a container that was restarted from before.
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let lease = LeaseHolder {
            namespace: client.default_namespace().to_owned(),
            name,
            identity: format!("{host}_{:016x}", fastrand::u64(..)),
            timing: LeaseTiming::DEFAULT,
        };
        Self {
            client,
            controller: config.controller.clone(),
            lease,
            statuses: source.statuses(),
            metrics,
        }
    }

    /// Contends for the Lease, and writes while it is held, until `stop` is there; then leaves the Lease
    /// to others. Never gives up: an API that refuses or is away is asked again, less and less often.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (client, lease) = (self.client.clone(), self.lease.clone());
        let (leadership, leads) = watch::channel(None);
        let complain = lease_complaint();
        let contend = lease::contend(client.clone(), lease.clone(), &leadership, complain);
        let metrics = self.metrics.clone();
        let writing = Writing {
            objects: ObjectWriter {
                client: self.client,
                controller: self.controller,
                metrics: self.metrics,
            },
            statuses: self.statuses,
            leads,
            seen: Arc::default(),
            versions: BTreeMap::new(),
            pending: BTreeSet::new(),
            complaints: Complaints::default(),
        };
        tokio::select! {
            () = stop => {}
            () = contend => {}
            () = writing.run() => {}
        }
        metrics.statuses.leader.set(0);
        // Best effort: without it the next leader waits for the Lease's end.
        match timeout(REQUEST, lease::release(client, &lease)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "the Lease of status writes was not left free");
            }
            Err(_) => tracing::debug!("the Lease of status writes was not left free in time"),
        }
    }
}

struct Writing {
    objects: ObjectWriter,
    statuses: watch::Receiver<Arc<Statuses>>,
    leads: watch::Receiver<Leadership>,
    /// What `pending` was made from.
    seen: Arc<Statuses>,
    /// The version at which an object said what it should.
    versions: BTreeMap<Key, Arc<str>>,
    /// Objects to look at.
    pending: BTreeSet<Key>,
    complaints: Complaints,
}

impl Writing {
    async fn run(mut self) {
        let mut wait = MIN_WAIT;
        loop {
            self.lead().await;
            self.objects.metrics.statuses.leader.set(1);
            // Whoever led before may have died in the middle.
            let statuses = self.statuses.borrow_and_update().clone();
            self.versions.clear();
            self.pending = statuses.objects.keys().cloned().collect();
            self.seen = statuses;
            while self.is_leading() {
                let all_done = Box::pin(self.pass()).await;
                let pause = wait;
                wait = if all_done {
                    MIN_WAIT
                } else {
                    (wait * 2).min(MAX_WAIT)
                };
                if self.next(all_done, pause).await.is_err() {
                    return;
                }
            }
            self.objects.metrics.statuses.leader.set(0);
        }
    }

    fn is_leading(&self) -> bool {
        is_leading(&self.leads)
    }

    async fn lead(&mut self) {
        while !self.is_leading() {
            if self.leads.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for something to do, and notes it: new statuses, the end of a wait, the end of the lead.
    async fn next(
        &mut self,
        all_done: bool,
        wait: Duration,
    ) -> Result<(), watch::error::RecvError> {
        let retry = tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * fastrand::f64()));
        tokio::pin!(retry);
        loop {
            let until = *self.leads.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else {
                return Ok(());
            };
            tokio::select! {
                changed = self.statuses.changed() => {
                    changed?;
                    self.note_changes();
                    // While the API is in trouble it is not asked for every change.
                    if all_done && !self.pending.is_empty() {
                        return Ok(());
                    }
                }
                () = &mut retry, if !all_done => return Ok(()),
                () = tokio::time::sleep_until(until) => {}
                changed = self.leads.changed() => changed?,
            }
        }
    }

    /// Adds to `pending` what differs from what was seen before.
    fn note_changes(&mut self) {
        let statuses = self.statuses.borrow_and_update().clone();
        for (key, wanted) in &statuses.objects {
            let before = self.seen.objects.get(key);
            let version = &wanted.revision.resource_version;
            let is_known = before.is_some_and(|before| {
                let same = before.status == wanted.status
                    && before.revision.generation == wanted.revision.generation
                    && before.api_version == wanted.api_version;
                let ours = self.versions.get(key) == Some(version);
                same && (ours || before.revision.resource_version == *version)
            });
            if !is_known {
                self.pending.insert(key.clone());
            }
        }
        let is_wanted = |key: &Key| statuses.objects.contains_key(key);
        self.pending.retain(is_wanted);
        self.versions.retain(|key, _| is_wanted(key));
        self.seen = statuses;
    }

    /// Looks at every pending object. Returns whether none is left.
    async fn pass(&mut self) -> bool {
        let mut refused: BTreeSet<Kind> = BTreeSet::new();
        for key in self.pending.clone() {
            if refused.contains(&key.0) {
                continue;
            }
            if !self.is_leading() {
                return false;
            }
            let Some(wanted) = self.seen.objects.get(&key).cloned() else {
                continue;
            };
            let kind = key.0;
            match self
                .objects
                .write(&key, &wanted, || is_leading(&self.leads))
                .await
            {
                Done::Says(version) => {
                    self.complaints.settle(kind);
                    self.versions.insert(key.clone(), version);
                    self.pending.remove(&key);
                }
                Done::Gone => {
                    self.pending.remove(&key);
                }
                Done::Conflict => {}
                Done::Invalid(error) => {
                    self.objects.count(kind, StatusWrite::Invalid);
                    complain_of_invalid(&key, &error);
                    self.pending.remove(&key);
                }
                Done::Denied(error) => {
                    self.objects.count(kind, StatusWrite::Denied);
                    self.complaints.denied(kind, &error);
                    refused.insert(kind);
                }
                Done::Failed(error) => {
                    self.objects.count(kind, StatusWrite::Failed);
                    self.complaints.failed(kind, &error);
                    return false;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.pending.is_empty()
    }
}

fn is_leading(leads: &watch::Receiver<Leadership>) -> bool {
    leads.borrow().is_some_and(|until| Instant::now() < until)
}
