//! One kind: finds it, lists it, watches it, and tells what has changed.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::runtime::watcher::DefaultBackoff;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::ask::{self, Event};
use super::driver::Told;
use super::error::AskError;
use super::istio::{DestinationRuleObject, PeerAuthenticationObject};
use super::item::{self, Item};
use super::mesh;
use super::mesh::MeshConfigObject;
use super::object::{MAX_OBJECTS, Watched};
use super::read::{
    GatewayClassObject, GatewayObject, NamespaceObject, NodeObject, PodObject,
    ReferenceGrantObject, ServiceExportObject, ServiceObject, SliceObject, TlsRouteObject,
};
use super::served::Served;
use super::timing::{ApiTiming, within};
use crate::metrics::{KindMetrics, WatchError};
use crate::source::kubernetes::cluster::{Change, Kind, Record};
use crate::source::kubernetes::records::ObjectKey;

/// After a failure a watch that has been open for so long counts as one that works.
const SETTLED: Duration = Duration::from_secs(10);
/// How often a kind that is not installed is looked for, and one that is forbidden asked for. Up to
/// twice as long, by chance.
const ABSENT: Duration = Duration::from_secs(10);
/// Refusals in a row until a kind counts as forbidden: an API server that starts refuses for a moment.
const REFUSALS: u32 = 3;
/// Failures in a row after which a list is tried in place of a watch.
const WATCH_FAILURES: u32 = 5;
/// Objects that cannot be read and are named in the log; further ones are counted.
const MAX_TOLD: usize = 1000;
/// How long an API that was away may be back before it is asked again.
const LONGEST_OWN: Duration = Duration::from_secs(15);
/// Longer than this is waited for no server that asks for more time.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Adds a task that follows a kind for ever, or one object of it.
pub(super) fn spawn(
    tasks: &mut JoinSet<()>,
    (kind, only): (Kind, Option<ObjectKey>),
    client: Client,
    told: Sender<Told>,
    metrics: KindMetrics,
    timing: ApiTiming,
) {
    let follower = Follower {
        kind,
        only,
        client,
        timing,
        told,
        metrics,
        backoff: DefaultBackoff::default(),
        failures: 0,
        refusals: 0,
        listed: false,
        last_wait: None,
        said: None,
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
        Kind::MeshConfig => tasks.spawn(follower.run::<MeshConfigObject>()),
        Kind::GatewayClass => tasks.spawn(follower.run::<GatewayClassObject>()),
        Kind::Gateway => tasks.spawn(follower.run::<GatewayObject>()),
        Kind::TlsRoute => tasks.spawn(follower.run::<TlsRouteObject>()),
        Kind::ReferenceGrant => tasks.spawn(follower.run::<ReferenceGrantObject>()),
    };
}

/// Nobody listens any more.
struct Closed;

struct Follower {
    kind: Kind,
    /// The only object that is followed, if there is one.
    only: Option<ObjectKey>,
    client: Client,
    timing: ApiTiming,
    told: Sender<Told>,
    metrics: KindMetrics,
    backoff: DefaultBackoff,
    /// In a row.
    failures: u32,
    /// 403s in a row.
    refusals: u32,
    /// Whether it was listed once.
    listed: bool,
    last_wait: Option<Instant>,
    /// What was last said in the log.
    said: Option<String>,
    /// Objects that cannot be read, and what was said of each.
    unreadable: BTreeMap<ObjectKey, Arc<str>>,
}

impl Follower {
    async fn run<O: Watched>(mut self) {
        loop {
            let found = Served::find(self.kind, &self.client, &self.timing).await;
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

    /// Lists and watches until it is better to begin anew.
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

    /// Lists every object. Returns the version to go on from; `None` when that failed, which was waited
    /// for.
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
                    if unreadable.len() < MAX_TOLD {
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
        self.tell(Change::All(self.kind, records), None).await?;
        Ok(Some(version))
    }

    /// Watches from `version` on, which goes on with what is told, until the API ends the watch.
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
                    // One that ends again and again before its time is no reason to ask without a rest.
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
                    self.changed(Change::Removed(self.kind, item.key)).await?;
                }
            }
        }
    }

    /// Takes over an object that is new or has changed.
    async fn set(&mut self, served: &Served, item: Item) -> Result<(), Closed> {
        match item.problem() {
            Some(problem) => self.complain(&item.key, &problem.clone()),
            None => drop(self.unreadable.remove(&item.key)),
        }
        mesh::announce(self.kind, served, item.record.as_ref());
        let change = match item.record {
            Some(record) => Change::Set(item.key, record),
            None => Change::Removed(self.kind, item.key),
        };
        self.changed(change).await
    }

    /// Counts an object that cannot be read, and says so unless that was said before.
    fn complain(&mut self, key: &ObjectKey, problem: &Arc<str>) {
        self.metrics.failed(WatchError::Malformed);
        let known = self.unreadable.get(key) == Some(problem);
        if !known && self.unreadable.len() < MAX_TOLD {
            let ObjectKey { namespace, name } = key;
            let kind = self.kind.label();
            tracing::warn!(
                kind, %namespace, %name, %problem,
                "an object of the Kubernetes API cannot be read: it counts as not there, and what it \
                 may forbid is not allowed until it can be read"
            );
            self.unreadable.insert(key.clone(), problem.clone());
        }
    }

    async fn changed(&mut self, change: Change) -> Result<(), Closed> {
        self.works();
        self.metrics.event();
        self.tell(change, Some(Instant::now())).await
    }

    async fn tell(&self, change: Change, arrived: Option<Instant>) -> Result<(), Closed> {
        let told = Told::Change { change, arrived };
        self.told.send(told).await.map_err(|_| Closed)
    }

    fn works(&mut self) {
        if self.said.take().is_some() {
            tracing::info!(
                kind = self.kind.label(),
                "the Kubernetes API is watched again"
            );
        }
        (self.failures, self.refusals) = (0, 0);
        self.metrics.up();
    }

    /// Says once what does not work.
    fn say(&mut self, problem: String) {
        if self.said.as_ref() != Some(&problem) {
            let kind = self.kind.label();
            tracing::warn!(
                kind,
                problem,
                "a kind of object of the Kubernetes API cannot be watched"
            );
            self.said = Some(problem);
        }
    }

    /// Counts a failure, says it, and waits.
    async fn failed(&mut self, error: &AskError) -> Result<(), Closed> {
        let reason = reason(error);
        self.failures += 1;
        if reason == WatchError::Forbidden {
            self.refusals += 1;
            if self.refusals >= REFUSALS {
                let text = error.status().map_or("forbidden", |status| &status.message);
                return self.absent(text.into(), reason).await;
            }
        } else {
            self.refusals = 0;
        }
        // 410 is how the API says that a list is due: nothing is wrong.
        if reason == WatchError::Gone && self.failures == 1 {
            self.metrics.failed(reason);
            self.wait(None).await;
            return Ok(());
        }
        let problem = describe(error);
        if !self.listed {
            let (kind, problem) = (self.kind, problem.as_str().into());
            let told = Told::Trouble { kind, problem };
            self.told.send(told).await.map_err(|_| Closed)?;
        }
        self.say(problem);
        self.metrics.down(reason, self.listed);
        self.wait(asked_wait(error)).await;
        Ok(())
    }

    /// The kind is forbidden for now.
    async fn absent(&mut self, why: Arc<str>, reason: WatchError) -> Result<(), Closed> {
        self.say(why.to_string());
        self.metrics.down(reason, self.listed);
        self.tell(Change::Absent(self.kind, why), None).await?;
        sleep(ABSENT.mul_f64(1.0 + fastrand::f64())).await;
        Ok(())
    }

    /// Many clusters do without; the config dump says it.
    async fn not_installed(&mut self) -> Result<(), Closed> {
        tracing::debug!(kind = self.kind.label(), "not installed");
        self.metrics.down(WatchError::NotFound, self.listed);
        self.tell(Change::NotInstalled(self.kind), None).await?;
        sleep(ABSENT.mul_f64(1.0 + fastrand::f64())).await;
        Ok(())
    }

    /// As long as the failures of late demand, and the server asked for.
    async fn wait(&mut self, asked: Option<Duration>) {
        // Hardly after the first: most often a connection has ended, and the next one works. One that
        // works again and again for a moment only is no reason to ask without a rest, hence the backoff
        // forgets by time alone.
        let first = self.last_wait.is_none_or(|last| last.elapsed() > SETTLED);
        let own = if first {
            Some(Duration::from_millis(fastrand::u64(50..250)))
        } else {
            self.backoff.next()
        };
        let own = own.unwrap_or(LONGEST_OWN).min(LONGEST_OWN);
        sleep(own.max(asked.unwrap_or_default()).min(LONGEST_WAIT)).await;
        self.last_wait = Some(Instant::now());
    }
}

fn reason(error: &AskError) -> WatchError {
    match error {
        AskError::Api(kube::Error::Api(status)) => match status.code {
            401 | 403 => WatchError::Forbidden,
            404 => WatchError::NotFound,
            410 => WatchError::Gone,
            429 => WatchError::TooManyRequests,
            _ => WatchError::Server,
        },
        AskError::Api(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_))
        | AskError::Answer(_) => WatchError::Malformed,
        AskError::NoAnswer(_) | AskError::Silent(_) => WatchError::Timeout,
        AskError::Api(_) => WatchError::Connection,
    }
}

/// An error with what caused it, which says more.
fn describe(error: &AskError) -> String {
    if let Some(status) = error.status() {
        let message = status.message.trim_end();
        return match status.code {
            0 => message.to_owned(),
            code => format!("{code} {message}"),
        };
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// How long the server asks to be left alone.
fn asked_wait(error: &AskError) -> Option<Duration> {
    let status = error.status()?;
    let asked = status
        .details
        .as_ref()
        .map(|details| details.retry_after_seconds);
    match (status.code, asked) {
        // Its `Retry-After` is a second, which the library does not show.
        (429, None | Some(0)) => Some(Duration::from_secs(1)),
        (_, asked) => asked.map(|seconds| Duration::from_secs(seconds.into())),
    }
}
