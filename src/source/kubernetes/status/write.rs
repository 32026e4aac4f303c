//! The task that writes statuses to the API while this replica leads: only those that differ, each at
//! the version that it was read at.
//!
//! The task looks at an object when its wanted status changes, when somebody else has changed the
//! object, and when this replica begins to lead. Its own writes come back by the watch as new versions;
//! it recognises those, so it never answers itself. An object that the API refuses waits by itself:
//! only trouble of the API as a whole delays the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::complaints::{Complaints, lease_complaint};
use super::events::Events;
use super::lease::{self, Leadership, LeaseHolder, LeaseTiming};
use super::object::{Done, ObjectWriter, REQUEST};
use super::queue::{Queue, wait_after};
use super::statuses::{Key, Statuses};
use crate::config::GatewayApiConfig;
use crate::metrics::{Metrics, StatusWrite};
use crate::source::kubernetes::cluster::Kind;

/// The pause between two objects: the API has other clients.
const PAUSE: Duration = Duration::from_millis(10);
/// The number of objects in a row whose failure means trouble of the API as a whole, if the API does
/// not say that the failure is about the object. The API then gets a rest.
const TROUBLE: u32 = 3;
/// The longest such rest.
const MAX_REST: Duration = Duration::from_secs(60);
/// The number of namespaces in which RBAC must deny a kind's statuses before all namespaces count as
/// denied.
const DENIED_NAMESPACES: usize = 3;

/// The writer of statuses. A clone takes the place of one that has failed, under the same identity.
#[derive(Clone)]
pub struct StatusWriter {
    /// A client of the API.
    pub client: Client,
    /// The `controllerName` under which routes are reported on.
    pub controller: Arc<str>,
    /// The Lease that says who writes.
    pub lease: LeaseHolder,
    /// The statuses to write; the newest counts.
    pub statuses: watch::Receiver<Arc<Statuses>>,
    /// The metrics that count writes.
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
    /// Creates the writer of `statuses`, for the Gateways that `config` selects.
    ///
    /// The Lease is `strait-status`, in the namespace of the service account (or of the kubeconfig's
    /// context). Gateways of another class than `strait` have a Lease of their own,
    /// `strait-status-CLASS`, whose holder writes for its class only. `pod` is the pod that strait runs
    /// in, by name and UID, if that is known: after a restart of its container the Lease is its own.
    pub fn new(
        client: Client,
        statuses: watch::Receiver<Arc<Statuses>>,
        config: &GatewayApiConfig,
        pod: Option<&str>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let name = match &*config.class {
            "strait" => "strait-status".to_owned(),
            class => format!("strait-status-{class}"),
        };
        let identity = pod.map_or_else(any_identity, str::to_owned);
        let lease = LeaseHolder {
            namespace: client.default_namespace().to_owned(),
            name,
            identity,
            timing: LeaseTiming::DEFAULT,
        };
        Self {
            client,
            controller: config.controller.clone(),
            lease,
            statuses,
            metrics,
        }
    }

    /// Contends for the Lease, and writes while it is held, until `stop` completes; then frees the
    /// Lease. Never gives up: it asks an API that refuses or is away again and again, at growing
    /// intervals.
    ///
    /// The end of the sender of statuses ends it well, too: the source that had it has failed, which is
    /// noticed there.
    ///
    /// # Errors
    /// It has ended for another reason, which is a defect.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
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
            queue: Queue::default(),
            events: Events::new(&lease.identity),
            denials: BTreeMap::new(),
            complaints: Complaints::default(),
        };
        let ended = tokio::select! {
            () = stop => Ok(()),
            () = writing.run() => Ok(()),
            () = contend => Err(io::Error::other("the Lease is not asked for any more")),
        };
        metrics.statuses.leader.set(0);
        // Best effort: without it the next leader waits for the Lease's end.
        match timeout(REQUEST, lease::release(client, &lease)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "strait could not give up the Lease of status writes; it expires by itself");
            }
            Err(_) => tracing::debug!(
                "the API did not release the Lease of status writes in time; it expires by itself"
            ),
        }
        ended
    }
}

/// A name for a process that may share its host with others: host names of pods in the host's network
/// are not unique.
fn any_identity() -> String {
    let name = rustix::system::uname();
    let host = name.nodename().to_string_lossy();
    format!("{host}_{:016x}", fastrand::u64(..))
}

struct Writing {
    objects: ObjectWriter,
    statuses: watch::Receiver<Arc<Statuses>>,
    leads: watch::Receiver<Leadership>,
    /// The statuses that `queue` was made from.
    seen: Arc<Statuses>,
    /// The version at which an object had its wanted status.
    versions: BTreeMap<Key, Arc<str>>,
    queue: Queue,
    events: Events,
    /// The number of times in a row that RBAC has denied statuses of a kind.
    denials: BTreeMap<Kind, u32>,
    complaints: Complaints,
}

impl Writing {
    async fn run(mut self) {
        loop {
            self.lead().await;
            self.objects.metrics.statuses.leader.set(1);
            // An earlier leader may have died half way.
            let statuses = self.statuses.borrow_and_update().clone();
            self.versions.clear();
            self.queue.clear();
            let now = Instant::now();
            for key in statuses.objects.keys() {
                self.queue.add(key.clone(), now);
            }
            self.seen = statuses;
            let mut troubles = 0;
            while self.is_leading() {
                let rest = match Box::pin(self.pass()).await {
                    Passed::Through => {
                        troubles = 0;
                        let leads = &self.leads;
                        let (objects, statuses) = (&self.objects, &self.seen);
                        let writing = self.events.write(objects, statuses, || is_leading(leads));
                        Box::pin(writing).await;
                        None
                    }
                    Passed::Trouble { written } => {
                        troubles = if written { 0 } else { troubles + 1 };
                        Some(Instant::now() + wait_after(troubles).min(MAX_REST))
                    }
                };
                if self.next(rest).await.is_err() {
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

    /// Waits until an object is due, but at least to the end of `rest`, or until the lead ends. Notes
    /// new statuses meanwhile.
    async fn next(&mut self, rest: Option<Instant>) -> Result<(), watch::error::RecvError> {
        // Something may be due all the time.
        if self.statuses.has_changed()? {
            self.note_changes();
        }
        loop {
            let until = *self.leads.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else {
                return Ok(());
            };
            // While the API is in trouble, not every change leads to a request.
            let due = rest.or_else(|| {
                let events = self.events.next_due(&self.seen.notices);
                self.queue.next_due().into_iter().chain(events).min()
            });
            let at = due.map_or(until, |due| due.min(until));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(at) => {
                    if due.is_some_and(|due| due <= at) {
                        return Ok(());
                    }
                }
                changed = self.statuses.changed() => {
                    changed?;
                    self.note_changes();
                }
                changed = self.leads.changed() => changed?,
            }
        }
    }

    /// Queues the objects whose wanted status differs from the one seen before.
    fn note_changes(&mut self) {
        let statuses = self.statuses.borrow_and_update().clone();
        let now = Instant::now();
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
                self.queue.add(key.clone(), now);
            }
        }
        let is_wanted = |key: &Key| statuses.objects.contains_key(key);
        self.queue.retain(is_wanted);
        self.complaints.retain(is_wanted);
        self.versions.retain(|key, _| is_wanted(key));
        self.seen = statuses;
    }

    /// Looks at every object that is due.
    async fn pass(&mut self) -> Passed {
        let mut denied = Denied::default();
        let mut in_a_row = 0;
        let mut written = false;
        for key in self.queue.due(Instant::now()) {
            if denied.concerns(&key) {
                continue;
            }
            if !self.is_leading() {
                break;
            }
            let Some(wanted) = self.seen.objects.get(&key).cloned() else {
                self.queue.remove(&key);
                continue;
            };
            let write = self
                .objects
                .write(&key, &wanted, || is_leading(&self.leads));
            let done = Box::pin(write).await;
            match done {
                Done::UpToDate(_) => written = true,
                Done::Denied(_) => denied.add(&key),
                _ => {}
            }
            in_a_row = if matches!(done, Done::Failed(_)) {
                in_a_row + 1
            } else {
                0
            };
            self.note(key, done);
            if in_a_row == TROUBLE {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        for kind in denied.0.keys() {
            let denials = self.denials.entry(*kind).or_default();
            let until = Instant::now() + wait_after(*denials);
            *denials = denials.saturating_add(1);
            let concerns = |key: &Key| key.0 == *kind && denied.concerns(key);
            self.queue.put_off(until, concerns);
        }
        if in_a_row == TROUBLE {
            Passed::Trouble { written }
        } else {
            Passed::Through
        }
    }

    /// Acts on the result for one object.
    fn note(&mut self, key: Key, done: Done) {
        let (kind, now) = (key.0, Instant::now());
        match done {
            Done::UpToDate(version) => {
                self.complaints.settle(&key);
                self.denials.remove(&kind);
                self.queue.remove(&key);
                self.versions.insert(key, version);
            }
            Done::Gone => self.queue.remove(&key),
            Done::Conflict => self.queue.failed(&key, now),
            Done::Refused(error) => {
                self.objects.count(kind, StatusWrite::Refused);
                self.complaints.refused(&key, &error);
                self.queue.failed(&key, now);
            }
            Done::Denied(error) => {
                self.objects.count(kind, StatusWrite::Denied);
                self.complaints.denied(&key, &error);
                self.queue.failed(&key, now);
            }
            Done::Failed(error) => {
                self.objects.count(kind, StatusWrite::Failed);
                self.complaints.failed(&key, &error);
                self.queue.failed(&key, now);
            }
        }
    }
}

/// The end of a pass.
enum Passed {
    /// Every object that was due was looked at.
    Through,
    /// The API, or this replica's way to it, is in trouble.
    Trouble {
        /// True if a status was written before.
        written: bool,
    },
}

/// The namespaces in which RBAC has denied statuses of a kind during one pass.
#[derive(Debug, Default)]
struct Denied(BTreeMap<Kind, BTreeSet<Arc<str>>>);

impl Denied {
    fn add(&mut self, (kind, key): &Key) {
        let namespaces = self.0.entry(*kind).or_default();
        namespaces.insert(key.namespace.clone());
    }

    /// Whether RBAC will deny this object too. RBAC knows kinds and namespaces.
    fn concerns(&self, (kind, key): &Key) -> bool {
        self.0.get(kind).is_some_and(|namespaces| {
            namespaces.len() >= DENIED_NAMESPACES || namespaces.contains(&key.namespace)
        })
    }
}

fn is_leading(leads: &watch::Receiver<Leadership>) -> bool {
    leads.borrow().is_some_and(|until| Instant::now() < until)
}
