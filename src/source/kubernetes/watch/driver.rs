//! Takes changes in, translates them some at a time, and publishes what comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::mailbox::{Mailbox, Publication};
use super::needs;
use super::object::MAX_OBJECTS;
use super::timing::FIRST_LISTS;
use crate::config::KubernetesConfig;
use crate::metrics::{Metrics, WatchError};
use crate::socket::OwnListeners;
use crate::source::kubernetes::cluster::{Change, Kind, Record, Unreadable};
use crate::source::kubernetes::discovered::Discovered;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::status::{Announcer, Statuses};
use crate::source::kubernetes::translate::Translator;

/// The first change of a burst is translated at once, further ones no sooner than this after it.
const BURST: Duration = Duration::from_millis(20);
/// Changes that are translated at once.
const BATCH: usize = 10_000;

/// Objects that cannot be read and are shown one by one.
const MAX_SHOWN: usize = 32;

/// What the driver is told.
#[derive(Debug)]
pub(super) enum Told {
    /// By a watcher; `arrived` is when the event came, of a list it is not known.
    Change {
        change: Change,
        arrived: Option<Instant>,
    },
    /// By a watcher: a kind that was never listed cannot be, for this reason.
    Trouble { kind: Kind, problem: Arc<str> },
    /// Another policy from now on.
    Policy(Arc<KubernetesConfig>),
    /// What the gateway listens on from now on.
    Listeners(OwnListeners),
}

/// Why a kind is unknown of which nothing was heard.
const NOT_LISTED: &str = "not listed yet";

fn essential(kinds: &[Kind], config: &KubernetesConfig) -> BTreeSet<Kind> {
    let kinds = kinds.iter().copied();
    kinds
        .filter(|kind| needs::is_essential(*kind, config))
        .collect()
}

pub(super) struct Driver {
    translator: Translator,
    own: OwnListeners,
    metrics: Arc<Metrics>,
    mailbox: Arc<Mailbox>,
    statuses: watch::Sender<Arc<Statuses>>,
    announcer: Announcer,
    kinds: Vec<Kind>,
    /// Those of which nothing is known: neither listed, nor known not to be installed. Each with the
    /// reason.
    unknown: BTreeMap<Kind, Arc<str>>,
    /// Those that the first publication waits for a moment for, though routing can do without.
    awaited: BTreeSet<Kind>,
    /// Those that routing needs.
    essential: BTreeSet<Kind>,
    /// What was last found, once anything was.
    newest: Option<Arc<Discovered>>,
    /// Whether anything was published.
    published: bool,
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
        let not_listed: Arc<str> = NOT_LISTED.into();
        let driver = Self {
            announcer: Announcer::new(&config),
            essential: essential(kinds, &config),
            translator: Translator::new(config),
            own: OwnListeners::default(),
            metrics,
            mailbox,
            statuses,
            kinds: kinds.to_vec(),
            unknown: kinds
                .iter()
                .map(|kind| (*kind, not_listed.clone()))
                .collect(),
            awaited: kinds.iter().copied().collect(),
            newest: None,
            published: false,
            zone: None,
            unreadable: Vec::new(),
            arrivals: Vec::new(),
        };
        driver.show_missing();
        driver
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

    /// Waits until every kind was listed, or has not been for too long.
    async fn first_lists(&mut self, inbox: &mut mpsc::Receiver<Told>) -> Vec<Told> {
        let deadline = Instant::now() + FIRST_LISTS;
        let mut held = Vec::new();
        while !self.awaited.is_empty() && held.len() < BATCH {
            match timeout_at(deadline, inbox.recv()).await {
                Ok(Some(told)) => {
                    self.note(&told);
                    held.push(told);
                }
                Ok(None) => return held,
                Err(_) => break,
            }
        }
        self.complain();
        // Those that routing can do without, and says so.
        let late = self
            .awaited
            .iter()
            .filter(|kind| !self.essential.contains(kind));
        let absent = |kind: &Kind| Told::Change {
            change: Change::Absent(*kind, NOT_LISTED.into()),
            arrived: None,
        };
        held.extend(late.map(absent));
        held
    }

    fn complain(&self) {
        let labels = |kinds: &mut dyn Iterator<Item = &Kind>| {
            let kinds: Vec<&str> = kinds.map(|kind| kind.label()).collect();
            (!kinds.is_empty()).then(|| kinds.join(", "))
        };
        let is_needed = |kind: &&Kind| self.essential.contains(kind);
        if let Some(kinds) = labels(&mut self.unknown.keys().filter(is_needed)) {
            tracing::warn!(
                kinds,
                "the Kubernetes API has not listed these kinds yet; this gateway is not ready before it has"
            );
        }
        if let Some(kinds) = labels(&mut self.awaited.iter().filter(|kind| !is_needed(kind))) {
            tracing::warn!(
                kinds,
                "the Kubernetes API has not listed these kinds yet; going on without them"
            );
        }
    }

    /// Notes what is known now of which kind.
    fn note(&mut self, told: &Told) {
        match told {
            Told::Change { change, .. } => match change {
                Change::All(kind, _) | Change::NotInstalled(kind) => {
                    self.awaited.remove(kind);
                    self.unknown.remove(kind);
                }
                Change::Absent(kind, reason) => {
                    if !self.essential.contains(kind) {
                        self.awaited.remove(kind);
                    }
                    self.note_trouble(*kind, reason);
                }
                Change::Set(..) | Change::Removed(..) => return,
            },
            Told::Trouble { kind, problem } => self.note_trouble(*kind, problem),
            Told::Policy(policy) => self.essential = essential(&self.kinds, policy),
            Told::Listeners(_) => return,
        }
        self.show_missing();
    }

    fn note_trouble(&mut self, kind: Kind, problem: &Arc<str>) {
        if let Some(known) = self.unknown.get_mut(&kind) {
            known.clone_from(problem);
        }
    }

    /// Kinds that routing needs and that are not known.
    fn missing(&self) -> impl Iterator<Item = (&Kind, &Arc<str>)> {
        let unknown = self.unknown.iter();
        unknown.filter(|(kind, _)| self.essential.contains(kind))
    }

    fn show_missing(&self) {
        let shown = |(kind, reason): (&Kind, &Arc<str>)| (kind.label(), reason.clone());
        self.mailbox
            .set_awaited(self.missing().map(shown).collect());
    }

    fn take(&mut self, told: Vec<Told>) {
        let mut changes = Vec::with_capacity(told.len());
        let mut news = false;
        for told in told {
            self.note(&told);
            match told {
                Told::Trouble { .. } => {}
                Told::Change { change, arrived } => {
                    self.arrivals
                        .extend(arrived.filter(|_| self.arrivals.len() < BATCH));
                    changes.push(self.admit(change));
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
        // Of a kind that is not known a status could say that something is missing which is there.
        if self.missing().next().is_none() {
            let statuses = self.translator.statuses();
            self.announcer.tell(&statuses.left_out, &self.metrics);
            self.statuses.send_if_modified(|now| {
                let differs = !Arc::ptr_eq(now, &statuses);
                *now = statuses;
                differs
            });
        }
        // Tables that are half full would refuse what the other half takes. Later on what is found is
        // put into force in any case: another policy may need another kind, and may be narrower.
        if !self.published && self.missing().next().is_some() {
            return;
        }
        news |= !self.published;
        news |= self.zone != self.translator.own_zone();
        news |= self.unreadable != self.unreadable();
        match &self.newest {
            Some(newest) if news => self.publish(newest.clone()),
            _ => self.arrivals.clear(),
        }
    }

    /// The change, unless it is one object too many.
    fn admit(&self, change: Change) -> Change {
        let Change::Set(key, record) = &change else {
            return change;
        };
        let (kind, cluster) = (Record::kind(record), self.translator.cluster());
        if cluster.len(kind) < MAX_OBJECTS || cluster.has(kind, key) {
            return change;
        }
        let metrics = &self.metrics.kubernetes;
        metrics.kind(kind.label()).failed(WatchError::TooMany);
        let (key, record) = Record::too_many(kind);
        Change::Set(key, record)
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
        let awaited = |kind: &Kind| Some((kind.label(), self.unknown.get(kind)?.clone()));
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
        self.published = true;
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
