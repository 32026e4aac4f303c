//! The task of one kind: finds the kind in the API, lists it, watches it, and reports changes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::runtime::watcher::DefaultBackoff;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::ask::{self, Event};
use super::entry::{ServiceEntryObject, WorkloadEntryObject};
use super::error::{AskError, asked_wait, describe, is_away, reason};
use super::input::DriverInput;
use super::istio::{DestinationRuleObject, PeerAuthenticationObject};
use super::item::{self, Item};
use super::mesh;
use super::mesh::MeshConfigObject;
use super::object::{MAX_OBJECTS, Watched};
use super::outage::Outages;
use super::read::{
    GatewayClassObject, GatewayObject, NamespaceObject, NodeObject, PodObject,
    ReferenceGrantObject, ServiceExportObject, ServiceObject, SliceObject, TlsRouteObject,
};
use super::served::{ApiDiscovery, Served};
use super::timing::{ApiTiming, within};
use crate::metrics::{KindMetrics, WatchError};
use crate::source::kubernetes::cluster::{ClusterChange, Kind, Record};
use crate::source::kubernetes::records::ObjectKey;

/// The time a watch must be open after a failure to count as one that works.
const SETTLED: Duration = Duration::from_secs(10);
/// The number of refusals in a row until a kind counts as forbidden: a starting API server refuses for
/// a moment.
const REFUSALS: u32 = 3;
/// The time of refusals until a kind that was listed before counts as forbidden.
const REFUSED: Duration = Duration::from_secs(30);
/// The number of times in a row that the API must not have a kind until its objects count as gone: a
/// starting API server does not have all kinds at once.
const NOT_FOUND: u32 = 3;
/// The number of failures in a row after which a list replaces the watch.
const WATCH_FAILURES: u32 = 5;
/// The number of unreadable objects that the log names. Further ones are counted.
const MAX_NAMED: usize = 1000;
/// Upper bound for our own backoff, and so for how late we notice that the API is back.
const LONGEST_OWN: Duration = Duration::from_secs(15);
/// Upper bound for a server's Retry-After.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The API, as the tasks of all kinds share it.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) discovery: Arc<ApiDiscovery>,
    /// Changes when another token has replaced the one that is sent.
    pub(super) renewals: watch::Receiver<()>,
    pub(super) outages: Arc<Outages>,
    pub(super) timing: ApiTiming,
}

/// The way of reports to the driver.
#[derive(Clone)]
pub(super) struct Outbox {
    pub(super) inputs: Sender<DriverInput>,
    /// The name of the cluster that is reported on, if it is not the own one.
    pub(super) cluster: Option<Arc<str>>,
}

impl Outbox {
    pub(super) async fn send(&self, input: DriverInput) -> Result<(), Closed> {
        let input = match (&self.cluster, input) {
            (None, input) => input,
            (Some(cluster), DriverInput::Change { change, arrived }) => {
                let cluster = cluster.clone();
                DriverInput::OtherChange {
                    cluster,
                    change,
                    arrived,
                }
            }
            (
                Some(cluster),
                DriverInput::Trouble {
                    kind,
                    problem,
                    away,
                },
            ) => {
                let cluster = cluster.clone();
                DriverInput::OtherTrouble {
                    cluster,
                    kind,
                    problem,
                    away,
                }
            }
            (Some(cluster), DriverInput::Confirmed(kind)) => {
                let cluster = cluster.clone();
                DriverInput::OtherConfirmed { cluster, kind }
            }
            // Nothing else comes from a watcher.
            (Some(_), _) => return Ok(()),
        };
        self.inputs.send(input).await.map_err(|_| Closed)
    }

    fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }
}

/// Adds a task that follows a kind, or one object of it, without end. `listed`: it was listed before, by other
/// access to the same API.
pub(super) fn spawn(
    tasks: &mut JoinSet<()>,
    (kind, only): (Kind, Option<ObjectKey>),
    api: Api,
    outbox: Outbox,
    metrics: KindMetrics,
    listed: bool,
) {
    let follower = Follower {
        kind,
        only,
        client: api.discovery.client().clone(),
        discovery: api.discovery,
        renewals: api.renewals,
        outages: api.outages,
        timing: api.timing,
        outbox,
        metrics,
        backoff: DefaultBackoff::default(),
        failures: 0,
        refusals: 0,
        refused_since: None,
        not_found: 0,
        listed,
        last_wait: None,
        unreadable: BTreeMap::new(),
    };
    match kind {
        Kind::Service => tasks.spawn(follower.run::<ServiceObject>()),
        Kind::Slice => tasks.spawn(follower.run::<SliceObject>()),
        Kind::Pod => tasks.spawn(follower.run::<PodObject>()),
        Kind::Namespace => tasks.spawn(follower.run::<NamespaceObject>()),
        Kind::Node => tasks.spawn(follower.run::<NodeObject>()),
        Kind::ServiceExport => tasks.spawn(follower.run::<ServiceExportObject>()),
        Kind::PeerAuthentication => tasks.spawn(follower.run::<PeerAuthenticationObject>()),
        Kind::DestinationRule => tasks.spawn(follower.run::<DestinationRuleObject>()),
        Kind::ServiceEntry => tasks.spawn(follower.run::<ServiceEntryObject>()),
        Kind::WorkloadEntry => tasks.spawn(follower.run::<WorkloadEntryObject>()),
        Kind::MeshConfig => tasks.spawn(follower.run::<MeshConfigObject>()),
        Kind::GatewayClass => tasks.spawn(follower.run::<GatewayClassObject>()),
        Kind::Gateway => tasks.spawn(follower.run::<GatewayObject>()),
        Kind::TlsRoute => tasks.spawn(follower.run::<TlsRouteObject>()),
        Kind::ReferenceGrant => tasks.spawn(follower.run::<ReferenceGrantObject>()),
    };
}

/// The error that the driver is gone.
pub(super) struct Closed;

struct Follower {
    kind: Kind,
    /// The only object to follow, if it is only one.
    only: Option<ObjectKey>,
    client: Client,
    discovery: Arc<ApiDiscovery>,
    renewals: watch::Receiver<()>,
    /// The troubles of all kinds.
    outages: Arc<Outages>,
    timing: ApiTiming,
    outbox: Outbox,
    metrics: KindMetrics,
    backoff: DefaultBackoff,
    /// The number of failures in a row.
    failures: u32,
    /// The number of 401 and 403 answers in a row, and the time of the first.
    refusals: u32,
    refused_since: Option<Instant>,
    /// The number of times in a row that the API did not have the kind.
    not_found: u32,
    /// True if the kind was listed before and is not gone.
    listed: bool,
    last_wait: Option<Instant>,
    /// Objects that cannot be read, each with the problem that was logged.
    unreadable: BTreeMap<ObjectKey, Arc<str>>,
}

impl Follower {
    async fn run<O: Watched>(mut self) {
        loop {
            let found = self.discovery.find(self.kind).await;
            self.not_found = match found {
                Ok(None) => self.not_found.saturating_add(1),
                _ => 0,
            };
            let ended = match found {
                Ok(Some(mut served)) => {
                    served.only = self.only.clone();
                    self.follow::<O>(&served).await
                }
                Ok(None) => self.not_installed().await,
                Err(error) => self.failed(&error).await,
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Lists and watches until it must start again.
    async fn follow<O: Watched>(&mut self, served: &Served) -> Result<(), Closed> {
        let Some(mut version) = self.list::<O>(served).await? else {
            return Ok(());
        };
        loop {
            let Err(error) = self.watch::<O>(served, &mut version).await? else {
                continue;
            };
            let code = error.status().map(|status| status.code);
            self.failed(&error).await?;
            if matches!(code, Some(404 | 410)) || self.failures >= WATCH_FAILURES {
                return Ok(());
            }
        }
    }

    /// Lists every object. Returns the version to continue from, or `None` after a failure and the wait
    /// for it.
    async fn list<O: Watched>(&mut self, served: &Served) -> Result<Option<String>, Closed> {
        let mut records: Vec<(ObjectKey, Record)> = Vec::new();
        let mut unreadable: BTreeMap<ObjectKey, Arc<str>> = BTreeMap::new();
        let mut token = None;
        let version = loop {
            let page = ask::page::<O>(&self.client, served, token);
            let page = match within(self.timing.page, page).await {
                Ok(page) => page,
                Err(error) => {
                    self.failed(&error).await?;
                    return Ok(None);
                }
            };
            for object in page.objects {
                let item = item::read(object, self.kind, served);
                if let Some(problem) = item.problem() {
                    self.complain(&item.key, problem);
                    if unreadable.len() < MAX_NAMED {
                        unreadable.insert(item.key.clone(), problem.clone());
                    }
                }
                let Some(record) = item.record else {
                    continue;
                };
                match records.len().cmp(&MAX_OBJECTS) {
                    Ordering::Less => records.push((item.key, record)),
                    Ordering::Equal => records.push(Record::too_many(self.kind)),
                    Ordering::Greater => {}
                }
                if records.len() > MAX_OBJECTS {
                    self.metrics.failed(WatchError::TooMany);
                }
            }
            token = page.next;
            if token.is_none() {
                break page.version;
            }
        };
        let Some(version) = version else {
            let error = AskError::Answer("a list without a resourceVersion".to_owned());
            self.failed(&error).await?;
            return Ok(None);
        };
        self.works();
        self.listed = true;
        self.unreadable = unreadable;
        mesh::announce(self.kind, served, records.first().map(|(_, record)| record));
        self.report(ClusterChange::All(self.kind, records), None)
            .await?;
        Ok(Some(version))
    }

    /// Watches from `version` on, and updates it with each event, until the API ends the watch.
    async fn watch<O: Watched>(
        &mut self,
        served: &Served,
        version: &mut String,
    ) -> Result<Result<(), AskError>, Closed> {
        let opened = Instant::now();
        let seconds = self.timing.watch_seconds();
        let asked = Duration::from_secs(seconds.into());
        let silence = asked + self.timing.margin;
        let watch = ask::watch::<O>(&self.client, served, version, seconds);
        let mut watch = match within(self.timing.answer, watch).await {
            Ok(watch) => watch,
            Err(error) => return Ok(Err(error)),
        };
        self.metrics.up();
        loop {
            let next = {
                let mut next = pin!(timeout(silence, watch.next::<O>()));
                if self.failures == 0 {
                    next.await
                } else {
                    match timeout(SETTLED, &mut next).await {
                        Ok(event) => event,
                        Err(_) => {
                            self.works();
                            next.await
                        }
                    }
                }
            };
            let Ok(next) = next else {
                return Ok(Err(AskError::Silent(silence)));
            };
            match next {
                None => {
                    self.confirm().await?;
                    // A watch that keeps ending early must not be reopened without a pause.
                    if opened.elapsed() < asked.min(SETTLED) {
                        self.wait(None).await;
                    }
                    return Ok(Ok(()));
                }
                Some(Err(error)) => return Ok(Err(error)),
                Some(Ok(Event::Error(status))) => {
                    return Ok(Err(kube::Error::Api(status).into()));
                }
                Some(Ok(Event::Bookmark(at))) => {
                    self.works();
                    self.confirm().await?;
                    *version = at.unwrap_or_else(|| std::mem::take(version));
                }
                Some(Ok(Event::Set(object))) => {
                    let item = item::read(object, self.kind, served);
                    *version = item
                        .version
                        .clone()
                        .unwrap_or_else(|| std::mem::take(version));
                    self.set(served, item).await?;
                }
                Some(Ok(Event::Removed(object))) => {
                    let item = item::read(object, self.kind, served);
                    *version = item.version.unwrap_or_else(|| std::mem::take(version));
                    self.unreadable.remove(&item.key);
                    mesh::announce(self.kind, served, None);
                    self.changed(ClusterChange::Removed(self.kind, item.key))
                        .await?;
                }
            }
        }
    }

    /// Applies an object that is new or has changed.
    async fn set(&mut self, served: &Served, item: Item) -> Result<(), Closed> {
        match item.problem() {
            Some(problem) => self.complain(&item.key, &problem.clone()),
            None => drop(self.unreadable.remove(&item.key)),
        }
        mesh::announce(self.kind, served, item.record.as_ref());
        let change = match item.record {
            Some(record) => ClusterChange::Set(item.key, record),
            None => ClusterChange::Removed(self.kind, item.key),
        };
        self.changed(change).await
    }

    /// Counts an object that cannot be read, and logs the problem unless it was logged before.
    fn complain(&mut self, key: &ObjectKey, problem: &Arc<str>) {
        self.metrics.failed(WatchError::Malformed);
        let known = self.unreadable.get(key) == Some(problem);
        if !known && self.unreadable.len() < MAX_NAMED {
            let ObjectKey { namespace, name } = key;
            let kind = self.kind.label();
            tracing::warn!(
                cluster = self.outbox.cluster(), kind, %namespace, %name, %problem,
                "strait cannot read an object of the Kubernetes API: it serves nothing for the object, and refuses \
                 what the object may forbid; correct the object"
            );
            self.unreadable.insert(key.clone(), problem.clone());
        }
    }

    async fn changed(&mut self, change: ClusterChange) -> Result<(), Closed> {
        self.works();
        self.metrics.event();
        self.report(change, Some(Instant::now())).await
    }

    /// Reports that the API has reported every change so far.
    async fn confirm(&self) -> Result<(), Closed> {
        let input = DriverInput::Confirmed(self.kind);
        self.outbox.send(input).await
    }

    async fn report(&self, change: ClusterChange, arrived: Option<Instant>) -> Result<(), Closed> {
        let input = DriverInput::Change { change, arrived };
        self.outbox.send(input).await
    }

    fn works(&mut self) {
        self.outages.ended(self.kind);
        (self.failures, self.refusals, self.refused_since) = (0, 0, None);
        self.metrics.up();
    }

    /// Counts a failure, logs it, and waits.
    async fn failed(&mut self, error: &AskError) -> Result<(), Closed> {
        let reason = reason(error);
        self.failures += 1;
        if reason == WatchError::Forbidden {
            self.refusals = self.refusals.saturating_add(1);
            let since = *self.refused_since.get_or_insert_with(Instant::now);
            let for_long = !self.listed || since.elapsed() >= REFUSED;
            if self.refusals >= REFUSALS && for_long {
                let text = error.status().map_or("forbidden", |status| &status.message);
                return self.absent(text.into(), reason).await;
            }
        } else {
            (self.refusals, self.refused_since) = (0, None);
        }
        // 410 is the API's way to ask for a new list: nothing is wrong.
        if reason == WatchError::Gone && self.failures == 1 {
            self.metrics.failed(reason);
            self.wait(None).await;
            return Ok(());
        }
        let (problem, away) = (describe(error), is_away(reason));
        let why = self.outages.reason(&problem, away);
        if !self.listed {
            let (kind, problem) = (self.kind, why.clone());
            let input = DriverInput::Trouble {
                kind,
                problem,
                away,
            };
            self.outbox.send(input).await?;
        }
        // A starting API server refuses for a moment; what lasts is reported as absent.
        if reason != WatchError::Forbidden {
            self.outages.began(self.kind, &problem, away);
        }
        self.metrics.down(reason, self.listed, &why);
        self.wait(asked_wait(error)).await;
        Ok(())
    }

    /// Reports that the kind is forbidden for now.
    async fn absent(&mut self, why: Arc<str>, reason: WatchError) -> Result<(), Closed> {
        self.outages.began(self.kind, &why, false);
        let told = self.outages.reason(&why, false);
        self.metrics.down(reason, self.listed, &told);
        self.report(ClusterChange::Absent(self.kind, why), None)
            .await?;
        self.rest(self.timing.absent.mul_f64(1.0 + fastrand::f64()))
            .await;
        Ok(())
    }

    /// Reports that the kind is not installed. Many clusters do without it; the config dump shows that.
    /// If it stays so, objects that were there before are gone, and nothing about the kind is stale.
    async fn not_installed(&mut self) -> Result<(), Closed> {
        self.outages.ended(self.kind);
        if self.listed && self.not_found >= NOT_FOUND {
            tracing::info!(
                cluster = self.outbox.cluster(),
                kind = self.kind.label(),
                "the cluster does not have this kind of object any more; strait continues without it"
            );
            self.listed = false;
            self.unreadable.clear();
            let none = ClusterChange::All(self.kind, Vec::new());
            self.report(none, None).await?;
        }
        tracing::debug!(
            kind = self.kind.label(),
            "the cluster does not have this kind of object; strait continues without it"
        );
        let told = self.outages.reason("it does not serve this kind", false);
        self.metrics.down(WatchError::NotFound, self.listed, &told);
        self.report(ClusterChange::NotInstalled(self.kind), None)
            .await?;
        self.rest(self.timing.absent.mul_f64(1.0 + fastrand::f64()))
            .await;
        Ok(())
    }

    /// Waits, but not if another token comes: what was refused may be allowed now.
    async fn rest(&mut self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            Ok(()) = self.renewals.changed() => {}
        }
    }

    /// Waits as long as recent failures demand, and at least as long as the server asked.
    async fn wait(&mut self, asked: Option<Duration>) {
        // The first retry is nearly immediate: usually a connection has ended and the next one works. A
        // watch that keeps breaking must not retry without pause, so a success does not reset the
        // backoff; only time does.
        let first = self.last_wait.is_none_or(|last| last.elapsed() > SETTLED);
        let own = if first {
            Some(Duration::from_millis(fastrand::u64(50..250)))
        } else {
            self.backoff.next()
        };
        let own = own.unwrap_or(LONGEST_OWN).min(LONGEST_OWN);
        let time = own.max(asked.unwrap_or_default()).min(LONGEST_WAIT);
        self.rest(time).await;
        self.last_wait = Some(Instant::now());
    }
}
