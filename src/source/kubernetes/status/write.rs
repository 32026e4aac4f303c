//! Writes statuses back, while this replica leads: only what differs, each at the version it was read at.
//!
//! An object is looked at when what it should say changes, when somebody else has changed the object,
//! and when this replica begins to lead. Its own writes come back by the watch as new versions; those it
//! knows, so that it never answers itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::lease::{self, Leadership, LeaseHolder, LeaseTiming};
use super::merge::Merging;
use super::{Statuses, Wanted};
use crate::clock;
use crate::config::GatewayApiConfig;
use crate::metrics::{Metrics, StatusWrite};
use crate::source::kubernetes::api_names::ApiNames;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::watch::KubernetesSource;

/// A request that takes longer has failed. No longer than the time between giving a Lease up and its end:
/// the last write of one leader is over when the next one begins.
const REQUEST: Duration = Duration::from_secs(5);
/// Between two objects: the API has other clients.
const PAUSE: Duration = Duration::from_millis(10);
/// After a pass in which something failed; doubled each time, up to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Writes of one object that meet a newer version each time, before others have their turn.
const MAX_CONFLICTS: usize = 5;

type Key = (Kind, ObjectKey);

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
            writer: self,
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

/// What has become of one object.
enum Done {
    /// It says what it should, at this version.
    Says(Arc<str>),
    /// It is not there, or is another than the one that was translated: the watch will tell.
    Gone,
    /// The API takes no status of this kind from us.
    Denied(kube::Error),
    /// The API does not take this status.
    Invalid(kube::Error),
    /// Somebody else was faster.
    Conflict,
    /// To be tried again.
    Failed(String),
}

struct Writing {
    writer: StatusWriter,
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
            self.writer.metrics.statuses.leader.set(1);
            // Whoever led before may have died in the middle.
            let statuses = self.writer.statuses.borrow_and_update().clone();
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
            self.writer.metrics.statuses.leader.set(0);
        }
    }

    fn is_leading(&self) -> bool {
        self.leads
            .borrow()
            .is_some_and(|until| Instant::now() < until)
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
                changed = self.writer.statuses.changed() => {
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
        let statuses = self.writer.statuses.borrow_and_update().clone();
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
            match self.write(&key, &wanted).await {
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
                    self.count(kind, StatusWrite::Invalid);
                    complain_of_invalid(&key, &error);
                    self.pending.remove(&key);
                }
                Done::Denied(error) => {
                    self.count(kind, StatusWrite::Denied);
                    self.complaints.denied(kind, &error);
                    refused.insert(kind);
                }
                Done::Failed(error) => {
                    self.count(kind, StatusWrite::Failed);
                    self.complaints.failed(kind, &error);
                    return false;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.pending.is_empty()
    }

    fn count(&self, kind: Kind, write: StatusWrite) {
        self.writer
            .metrics
            .statuses
            .writes(kind.label(), write)
            .inc();
    }

    /// Reads an object, and writes its status if it differs; again when somebody else was faster.
    async fn write(&self, (kind, key): &Key, wanted: &Wanted) -> Done {
        let api = self.api(*kind, key, &wanted.api_version);
        for _ in 0..MAX_CONFLICTS {
            let object = match request(api.get(&key.name)).await {
                Ok(object) => object,
                Err(done) => return done,
            };
            if object.metadata.generation != Some(wanted.revision.generation) {
                return Done::Gone;
            }
            let version: Arc<str> = object.metadata.resource_version.unwrap_or_default().into();
            let before = object.data.get("status").unwrap_or(&Value::Null);
            let now = humantime::format_rfc3339_seconds(clock::now()).to_string();
            let merging = Merging {
                controller: &self.writer.controller,
                namespace: &key.namespace,
                generation: wanted.revision.generation,
                now: &now,
            };
            if merging.is_late(before) {
                return Done::Gone;
            }
            let Some(changes) = merging.changes(before, &wanted.status) else {
                return Done::Says(version);
            };
            if !self.is_leading() {
                return Done::Failed("this replica leads no longer".to_owned());
            }
            let patch = json!({ "metadata": { "resourceVersion": version }, "status": changes });
            let params = PatchParams {
                field_manager: Some("strait".to_owned()),
                ..PatchParams::default()
            };
            match request(api.patch_status(&key.name, &params, &Patch::Merge(patch))).await {
                Ok(object) => {
                    self.count(*kind, StatusWrite::Written);
                    return Done::Says(object.metadata.resource_version.unwrap_or_default().into());
                }
                Err(Done::Conflict) => self.count(*kind, StatusWrite::Conflict),
                Err(done) => return done,
            }
        }
        Done::Conflict
    }

    fn api(&self, kind: Kind, key: &ObjectKey, version: &str) -> Api<DynamicObject> {
        let names = ApiNames::of(kind);
        let resource = ApiResource {
            group: names.group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{}/{version}", names.group),
            kind: names.kind.to_owned(),
            plural: names.plural.to_owned(),
        };
        let client = self.writer.client.clone();
        if key.namespace.is_empty() {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, &key.namespace, &resource)
        }
    }
}

async fn request<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Done> {
    match timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => Done::Gone,
            409 => Done::Conflict,
            401 | 403 => Done::Denied(kube::Error::Api(status)),
            400 | 422 => Done::Invalid(kube::Error::Api(status)),
            _ => Done::Failed(status.to_string()),
        }),
        Ok(Err(error)) => Err(Done::Failed(error.to_string())),
        Err(_) => Err(Done::Failed("the API did not answer in time".to_owned())),
    }
}

/// What was said already: trouble is told once, and again after it was over.
#[derive(Debug, Default)]
struct Complaints {
    denied: BTreeSet<Kind>,
    failed: BTreeSet<Kind>,
}

impl Complaints {
    fn denied(&mut self, kind: Kind, error: &kube::Error) {
        if self.denied.insert(kind) {
            let kind = kind.label();
            tracing::warn!(
                kind, %error,
                "the API does not let this gateway write statuses of this kind; routes are not \
                 concerned. RBAC needs get of the objects, and patch of their status"
            );
        }
    }

    fn failed(&mut self, kind: Kind, error: &str) {
        if self.failed.insert(kind) {
            let kind = kind.label();
            tracing::warn!(kind, error, "a status was not written; it is tried again");
        }
    }

    fn settle(&mut self, kind: Kind) {
        if self.denied.remove(&kind) | self.failed.remove(&kind) {
            let kind = kind.label();
            tracing::info!(kind, "statuses of this kind are written again");
        }
    }
}

fn complain_of_invalid((kind, key): &Key, error: &kube::Error) {
    let (kind, ObjectKey { namespace, name }) = (kind.label(), key);
    tracing::warn!(kind, %namespace, %name, %error, "the API does not take this status");
}

/// Says once why the Lease cannot be had.
fn lease_complaint() -> impl FnMut(&kube::Error) {
    let mut told = false;
    move |error| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                %error,
                "the Lease of status writes cannot be read or written, so that no status is written; \
                 routes are not concerned. RBAC needs get, create and update of leases in this \
                 gateway's namespace"
            );
        }
    }
}
