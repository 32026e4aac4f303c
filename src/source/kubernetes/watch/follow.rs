//! One kind: finds it, lists it, watches it, and tells what has changed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::MAX_OBJECTS;
use super::driver::Told;
use super::istio::{DestinationRuleObject, PeerAuthenticationObject};
use super::object::{Watched, key};
use super::read::{
    GatewayClassObject, GatewayObject, NamespaceObject, NodeObject, PodObject,
    ReferenceGrantObject, ServiceExportObject, ServiceObject, SliceObject, TlsRouteObject,
};
use super::served::Served;
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
/// How long an API that was away may be back before it is asked again.
const LONGEST_OWN: Duration = Duration::from_secs(15);
/// Longer than this is waited for no server that asks for more time.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Adds a task that follows `kind` for ever.
pub(super) fn spawn(
    tasks: &mut JoinSet<()>,
    kind: Kind,
    client: Client,
    told: Sender<Told>,
    metrics: KindMetrics,
) {
    let follower = Follower {
        kind,
        client,
        told,
        metrics,
        backoff: DefaultBackoff::default(),
        failures: 0,
        refusals: 0,
        listed: false,
        last_wait: None,
        said: None,
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
    client: Client,
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
}

impl Follower {
    async fn run<O: Watched>(mut self) {
        loop {
            let found = Served::find(self.kind, &self.client).await;
            let ended = match found {
                Ok(Some(served)) => self.watch::<O>(&served).await,
                Ok(None) => {
                    self.absent("not installed".into(), WatchError::NotFound)
                        .await
                }
                Err(error) => self.failed(&error).await,
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Lists and watches until it is better to begin anew.
    async fn watch<O: Watched>(&mut self, served: &Served) -> Result<(), Closed> {
        let api: Api<O> = Api::all_with(self.client.clone(), served);
        let mut events = pin!(watcher(api, watcher::Config::default()));
        let mut list: Option<Vec<(ObjectKey, Record)>> = None;
        loop {
            let settled = self.failures == 0 || list.is_some();
            let event = if settled {
                events.next().await
            } else {
                match timeout(SETTLED, events.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        self.works();
                        continue;
                    }
                }
            };
            match event {
                None => return Ok(()),
                Some(Ok(Event::Init)) => list = Some(Vec::new()),
                Some(Ok(Event::InitApply(object))) => {
                    let object = self.read(object, served);
                    if let (Some((key, Some(record))), Some(list)) = (object, &mut list) {
                        if list.len() < MAX_OBJECTS {
                            list.push((key, record));
                        } else {
                            self.metrics.failed(WatchError::TooMany);
                        }
                    }
                }
                Some(Ok(Event::InitDone)) => {
                    self.works();
                    self.listed = true;
                    let list = list.take().unwrap_or_default();
                    self.tell(Change::All(self.kind, list), None).await?;
                }
                Some(Ok(Event::Apply(object))) => {
                    if let Some((key, record)) = self.read(object, served) {
                        let change = match record {
                            Some(record) => Change::Set(key, record),
                            None => Change::Removed(self.kind, key),
                        };
                        self.changed(change).await?;
                    }
                }
                Some(Ok(Event::Delete(object))) => {
                    let change = Change::Removed(self.kind, key(object.meta()));
                    self.changed(change).await?;
                }
                Some(Err(error)) => {
                    list = None;
                    if self.watch_failed(error).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// `None` when the object cannot be read: an event leaves what is known of it, a list takes it away.
    fn read<O: Watched>(&self, object: O, served: &Served) -> Option<(ObjectKey, Option<Record>)> {
        let key = key(object.meta());
        match object.record(served) {
            Ok(record) => Some((key, record)),
            Err(error) => {
                let ObjectKey { namespace, name } = &key;
                let kind = self.kind.label();
                tracing::warn!(kind, %namespace, %name, error, "an object cannot be read");
                self.metrics.failed(WatchError::Malformed);
                None
            }
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

    /// Whether it is better to begin anew.
    async fn watch_failed(&mut self, error: watcher::Error) -> Result<bool, Closed> {
        let (error, list) = match error {
            watcher::Error::InitialListFailed(error) => (error, true),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                (error, false)
            }
            watcher::Error::WatchError(status) => (kube::Error::Api(status), false),
            watcher::Error::NoResourceVersion => {
                self.say(error.to_string());
                self.metrics.failed(WatchError::Malformed);
                self.wait(None).await;
                return Ok(true);
            }
        };
        let gone = matches!(&error, kube::Error::Api(status) if [404, 410].contains(&status.code));
        self.failed(&error).await?;
        Ok(gone || (!list && self.failures >= WATCH_FAILURES))
    }

    /// Counts a failure, says it, and waits.
    async fn failed(&mut self, error: &kube::Error) -> Result<(), Closed> {
        let reason = reason(error);
        self.failures += 1;
        if reason == WatchError::Forbidden {
            self.refusals += 1;
            if self.refusals >= REFUSALS {
                let text = match error {
                    kube::Error::Api(status) => status.message.as_str(),
                    _ => "forbidden",
                };
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
        self.say(describe(error));
        self.metrics.down(reason, self.listed);
        self.wait(asked_wait(error)).await;
        Ok(())
    }

    /// The kind cannot be watched for now.
    async fn absent(&mut self, why: Arc<str>, reason: WatchError) -> Result<(), Closed> {
        if reason == WatchError::NotFound {
            // Many clusters do without; the config dump says it.
            tracing::debug!(kind = self.kind.label(), "not installed");
        } else {
            self.say(why.to_string());
        }
        self.metrics.down(reason, self.listed);
        self.tell(Change::Absent(self.kind, why), None).await?;
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

fn reason(error: &kube::Error) -> WatchError {
    match error {
        kube::Error::Api(status) => match status.code {
            401 | 403 => WatchError::Forbidden,
            404 => WatchError::NotFound,
            410 => WatchError::Gone,
            429 => WatchError::TooManyRequests,
            _ => WatchError::Server,
        },
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => WatchError::Malformed,
        _ => WatchError::Connection,
    }
}

/// An error with what caused it, which says more.
fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} {}", status.code, status.message.trim_end());
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
fn asked_wait(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
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
