//! Takes changes in, translates them some at a time, and publishes what comes of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::mailbox::{Mailbox, Publication};
use super::{FIRST_LISTS, MAX_OBJECTS};
use crate::config::KubernetesConfig;
use crate::metrics::{Metrics, WatchError};
use crate::source::dns::OwnListeners;
use crate::source::kubernetes::Discovered;
use crate::source::kubernetes::cluster::{Change, Kind, Record, Unreadable};
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::status::{Announcer, Statuses};
use crate::source::kubernetes::translate::Translator;

/// The first change of a burst is translated at once, further ones no sooner than this after it.
const BURST: Duration = Duration::from_millis(20);
/// Changes that are translated at once.
const BATCH: usize = 10_000;

/// Objects that cannot be read and are shown one by one.
const MAX_SHOWN: usize = 32;

/// Kinds without which there is nothing to route: nothing is published before they were listed.
const ESSENTIAL: [Kind; 2] = [Kind::Service, Kind::Slice];

/// Kinds without which a status could say that something is missing which is there.
const STATUS: [Kind; 7] = [
    Kind::Service,
    Kind::Slice,
    Kind::Namespace,
    Kind::GatewayClass,
    Kind::Gateway,
    Kind::TlsRoute,
    Kind::ReferenceGrant,
];

/// What the driver is told.
#[derive(Debug)]
pub(super) enum Told {
    /// By a watcher; `arrived` is when the event came, of a list it is not known.
    Change {
        change: Change,
        arrived: Option<Instant>,
    },
    /// Another policy from now on.
    Policy(Arc<KubernetesConfig>),
    /// What the gateway listens on from now on.
    Listeners(OwnListeners),
}

pub(super) struct Driver {
    translator: Translator,
    own: OwnListeners,
    metrics: Arc<Metrics>,
    mailbox: Arc<Mailbox>,
    statuses: watch::Sender<Arc<Statuses>>,
    announcer: Announcer,
    kinds: Vec<Kind>,
    /// Kinds that have neither been listed nor are known to be absent.
    awaited: HashSet<Kind>,
    /// What was last found, once anything was.
    newest: Option<Arc<Discovered>>,
    /// Whether there is something that was not published, since essential kinds were awaited.
    held_back: bool,
    /// The zone that was last published.
    zone: Option<Arc<str>>,
    /// Objects that cannot be read, as last published.
    unreadable: Vec<Arc<str>>,
    /// Came with changes that are not published yet.
    arrivals: Vec<Instant>,
}

impl Driver {
    pub(super) fn new(
        config: Arc<KubernetesConfig>,
        kinds: &[Kind],
        metrics: Arc<Metrics>,
        mailbox: Arc<Mailbox>,
        statuses: watch::Sender<Arc<Statuses>>,
    ) -> Self {
        Self {
            announcer: Announcer::new(&config),
            translator: Translator::new(config),
            own: OwnListeners::default(),
            metrics,
            mailbox,
            statuses,
            kinds: kinds.to_vec(),
            awaited: kinds.iter().copied().collect(),
            newest: None,
            held_back: false,
            zone: None,
            unreadable: Vec::new(),
            arrivals: Vec::new(),
        }
    }

    /// Until nobody tells anything any more.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Told>) {
        let mut held = self.first_lists(&mut inbox).await;
        loop {
            let started = Instant::now();
            self.take(std::mem::take(&mut held));
            // Never more than half of the control thread's time.
            sleep_until(started + BURST.max(2 * started.elapsed())).await;
            if inbox.recv_many(&mut held, BATCH).await == 0 {
                return;
            }
        }
    }

    /// Waits until every kind was listed, or has not been for too long: a table that is half full would
    /// refuse what the other half takes.
    async fn first_lists(&mut self, inbox: &mut mpsc::Receiver<Told>) -> Vec<Told> {
        let deadline = Instant::now() + FIRST_LISTS;
        let mut held = Vec::new();
        while !self.awaited.is_empty() && held.len() < BATCH {
            match timeout_at(deadline, inbox.recv()).await {
                Ok(Some(told)) => {
                    self.awaited_came(&told);
                    held.push(told);
                }
                Ok(None) => return held,
                Err(_) => break,
            }
        }
        if !self.awaited.is_empty() {
            let mut kinds: Vec<&str> = self.awaited.iter().map(|kind| kind.label()).collect();
            kinds.sort_unstable();
            tracing::warn!(
                kinds = kinds.join(", "),
                "the Kubernetes API has not listed these kinds yet; going on without them"
            );
            let absent = |kind: &Kind| Told::Change {
                change: Change::Absent(*kind, "not listed yet".into()),
                arrived: None,
            };
            held.extend(self.awaited.iter().map(absent));
        }
        held
    }

    fn awaited_came(&mut self, told: &Told) {
        if let Told::Change { change, .. } = told {
            match change {
                Change::All(kind, _) => self.awaited.remove(kind),
                // An absence must not pass for an empty list where everything depends on the list.
                Change::Absent(kind, _) if !ESSENTIAL.contains(kind) => self.awaited.remove(kind),
                Change::Absent(..) | Change::Set(..) | Change::Removed(..) => false,
            };
        }
    }

    fn take(&mut self, told: Vec<Told>) {
        let mut changes = Vec::with_capacity(told.len());
        let mut news = false;
        for told in told {
            self.awaited_came(&told);
            match told {
                Told::Change { change, arrived } => {
                    self.arrivals
                        .extend(arrived.filter(|_| self.arrivals.len() < BATCH));
                    if self.has_room(&change) {
                        changes.push(change);
                    }
                }
                Told::Policy(policy) => {
                    news |= self.translate(std::mem::take(&mut changes));
                    changes = self.translator.cluster().changes();
                    self.announcer = Announcer::new(&policy);
                    self.translator = Translator::new(policy);
                    self.translator.listen_on(self.own.clone());
                }
                Told::Listeners(own) => {
                    self.own = own.clone();
                    self.translator.listen_on(own);
                }
            }
        }
        news |= self.translate(changes);
        self.count_objects();
        if !STATUS.iter().any(|kind| self.awaited.contains(kind)) {
            let statuses = self.translator.statuses();
            self.announcer.tell(&statuses.left_out, &self.metrics);
            self.statuses.send_if_modified(|now| {
                let differs = !Arc::ptr_eq(now, &statuses);
                *now = statuses;
                differs
            });
        }
        if ESSENTIAL.iter().any(|kind| self.awaited.contains(kind)) {
            self.held_back |= news;
            return;
        }
        news |= std::mem::take(&mut self.held_back);
        news |= self.zone != self.translator.own_zone();
        news |= self.unreadable != self.unreadable();
        match &self.newest {
            Some(newest) if news => self.publish(newest.clone()),
            _ => self.arrivals.clear(),
        }
    }

    /// Whether there is room for a new object.
    fn has_room(&self, change: &Change) -> bool {
        let Change::Set(key, record) = change else {
            return true;
        };
        let (kind, cluster) = (Record::kind(record), self.translator.cluster());
        let room = cluster.len(kind) < MAX_OBJECTS || cluster.has(kind, key);
        if !room {
            self.metrics
                .kubernetes
                .kind(kind.label())
                .failed(WatchError::TooMany);
        }
        room
    }

    /// Whether something that matters has changed.
    fn translate(&mut self, changes: Vec<Change>) -> bool {
        let found = self.translator.apply(changes);
        let news = found.is_some();
        self.newest = found.or(self.newest.take());
        news
    }

    fn publish(&mut self, discovered: Arc<Discovered>) {
        let cluster = self.translator.cluster();
        let absent = |kind: &Kind| Some((kind.label(), cluster.absent(*kind)?.clone()));
        let awaited = |kind: &Kind| {
            let reason = || (kind.label(), Arc::from("not listed yet"));
            self.awaited.contains(kind).then(reason)
        };
        let missing = self
            .kinds
            .iter()
            .filter_map(|kind| absent(kind).or_else(|| awaited(kind)));
        let missing = missing.collect();
        self.zone = self.translator.own_zone();
        self.unreadable = self.unreadable();
        self.mailbox.post(Publication {
            discovered,
            zone: self.zone.clone(),
            missing,
            unreadable: self.unreadable.clone(),
            arrivals: std::mem::take(&mut self.arrivals),
        });
        self.metrics.kubernetes.published();
    }

    /// The first objects that cannot be read: kind, name and problem.
    fn unreadable(&self) -> Vec<Arc<str>> {
        let text = |(key, object): (&ObjectKey, &Unreadable)| {
            let ObjectKey { namespace, name } = key;
            let (kind, problem) = (object.kind.label(), &object.problem);
            format!("{kind} {namespace}/{name}: {problem}").into()
        };
        let all = self.translator.cluster().unreadable();
        all.take(MAX_SHOWN).map(text).collect()
    }

    fn count_objects(&self) {
        let (cluster, metrics) = (self.translator.cluster(), &self.metrics.kubernetes);
        for kind in &self.kinds {
            metrics.objects(kind.label(), cluster.len(*kind));
            metrics.unreadable(kind.label(), cluster.count_unreadable(*kind));
        }
    }
}
