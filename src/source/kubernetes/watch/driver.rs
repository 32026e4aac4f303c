//! The driver: it takes changes in, translates them in batches, and publishes the results.
//!
//! Its pause between two passes is the only pause between a watch event and the tables that workers
//! read: the app puts each publication into force immediately. The pause follows from the time that both
//! keep the control thread busy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::needs;
use super::object::MAX_OBJECTS;
use crate::config::KubernetesConfig;
use crate::metrics::{Metrics, WatchError};
use crate::names::Zone;
use crate::socket::OwnListeners;
use crate::source::kubernetes::cluster::{ClusterChange, Kind, Record, Unreadable};
use crate::source::kubernetes::discovered::Discovered;
use crate::source::kubernetes::mailbox::{FIRST_LISTS, Mailbox, Publication};
use crate::source::kubernetes::ports::Ports;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::status::{Announcer, Statuses};
use crate::source::kubernetes::translate::Translator;

/// Minimum time between the starts of two passes; the first change of a burst is handled immediately.
const BURST: Duration = Duration::from_millis(20);
/// Maximum time between the starts of two passes that have work to do.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Most changes handled in one pass.
const BATCH: usize = 10_000;

/// The time for which new statuses wait for the result of opening a port. The app opens ports right
/// after a publication.
const OPENING: Duration = Duration::from_secs(10);

/// The number of unreadable objects that are shown one by one.
const MAX_SHOWN: usize = 32;

/// An input of the driver.
#[derive(Debug)]
pub(super) enum DriverInput {
    /// A change from a watcher. `arrived` is the time of the event; it is not known for a list.
    Change {
        change: ClusterChange,
        arrived: Option<Instant>,
    },
    /// From a watcher: a kind that was never listed cannot be listed, for this reason.
    Trouble { kind: Kind, problem: Arc<str> },
}

/// The settings that the app may change while the source runs.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// The section `kubernetes` of the config.
    pub(super) policy: Arc<KubernetesConfig>,
    /// The gateway's own listening sockets.
    pub(super) own: OwnListeners,
    /// The ports that it could open, and those that it could not.
    pub(super) ports: Ports,
}

/// The reason of a kind about which nothing is known.
const NOT_LISTED: &str = "not listed yet";

fn essential(kinds: &[Kind], config: &KubernetesConfig) -> BTreeSet<Kind> {
    let kinds = kinds.iter().copied();
    kinds
        .filter(|kind| needs::is_essential(*kind, config))
        .collect()
}

pub(super) struct Driver {
    translator: Translator,
    terms: watch::Receiver<Terms>,
    /// The policy that the translator has.
    policy: Arc<KubernetesConfig>,
    metrics: Arc<Metrics>,
    mailbox: Arc<Mailbox>,
    statuses: watch::Sender<Arc<Statuses>>,
    announcer: Announcer,
    kinds: Vec<Kind>,
    /// Kinds of which nothing is known, each with the reason: they are neither listed nor known not to
    /// be installed.
    unknown: BTreeMap<Kind, Arc<str>>,
    /// Kinds that the first publication waits for a moment for, though routing can do without them.
    awaited: BTreeSet<Kind>,
    /// Kinds that routing needs.
    essential: BTreeSet<Kind>,
    /// The newest result, once there is one.
    newest: Option<Arc<Discovered>>,
    /// True if a result was published.
    published: bool,
    /// The zone that was last published.
    zone: Option<Zone>,
    /// The unreadable objects of the last publication.
    unreadable: Vec<Arc<str>>,
    /// The arrival times of changes that are not published yet.
    arrivals: Vec<Instant>,
    /// The time until which statuses wait for the result of opening a port.
    opening: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        terms: watch::Receiver<Terms>,
        kinds: &[Kind],
        metrics: Arc<Metrics>,
        mailbox: Arc<Mailbox>,
        statuses: watch::Sender<Arc<Statuses>>,
    ) -> Self {
        let not_listed: Arc<str> = NOT_LISTED.into();
        let policy = terms.borrow().policy.clone();
        let driver = Self {
            announcer: Announcer::new(&policy),
            essential: essential(kinds, &policy),
            translator: Translator::new(policy.clone()),
            terms,
            policy,
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
            opening: None,
        };
        driver.show_missing();
        driver
    }

    /// Runs until every sender is gone.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<DriverInput>) {
        let mut held = self.first_lists(&mut inbox).await;
        loop {
            let started = Instant::now();
            self.take(std::mem::take(&mut held));
            self.rest(started).await;
            let opening = self.opening;
            tokio::select! {
                count = inbox.recv_many(&mut held, BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
                Ok(()) = self.terms.changed() => {}
                () = past(opening) => {}
            }
        }
    }

    /// Whether statuses wait for the result of opening a port. Without the wait each new Gateway would
    /// be reported as pending for a moment.
    fn is_opening(&mut self) -> bool {
        if !self.translator.is_opening() {
            self.opening = None;
            return false;
        }
        let now = Instant::now();
        now < *self.opening.get_or_insert(now + OPENING)
    }

    /// Waits until the next pass may start after one that started at `started`. Meanwhile the app puts
    /// the publication into force, on the same thread.
    async fn rest(&self, started: Instant) {
        let mut busy = started.elapsed();
        loop {
            sleep_until(started + pause(busy)).await;
            match self.mailbox.take_spent() {
                Duration::ZERO => return,
                spent => busy = busy.saturating_add(spent),
            }
        }
    }

    /// Waits until every kind was listed, or the time for that is over.
    async fn first_lists(&mut self, inbox: &mut mpsc::Receiver<DriverInput>) -> Vec<DriverInput> {
        let deadline = Instant::now() + FIRST_LISTS;
        let mut held = Vec::new();
        while !self.awaited.is_empty() && held.len() < BATCH {
            tokio::select! {
                input = inbox.recv() => {
                    let Some(input) = input else { return held };
                    self.note(&input);
                    held.push(input);
                }
                Ok(()) = self.terms.changed() => {
                    let policy = self.terms.borrow().policy.clone();
                    self.note_policy(&policy);
                }
                () = sleep_until(deadline) => break,
            }
        }
        self.complain();
        // Continues without kinds that routing does not need, and logs that.
        let late = self
            .awaited
            .iter()
            .filter(|kind| !self.essential.contains(kind));
        let absent = |kind: &Kind| DriverInput::Change {
            change: ClusterChange::Absent(*kind, NOT_LISTED.into()),
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
                "the Kubernetes API has not listed these kinds yet; this gateway stays not ready until it has"
            );
        }
        if let Some(kinds) = labels(&mut self.awaited.iter().filter(|kind| !is_needed(kind))) {
            tracing::warn!(
                kinds,
                "the Kubernetes API has not listed these kinds yet; this gateway continues without them"
            );
        }
    }

    /// Updates the knowledge of which kinds are known.
    fn note(&mut self, input: &DriverInput) {
        match input {
            DriverInput::Change { change, .. } => match change {
                ClusterChange::All(kind, _) | ClusterChange::NotInstalled(kind) => {
                    self.awaited.remove(kind);
                    self.unknown.remove(kind);
                }
                ClusterChange::Absent(kind, reason) => {
                    if !self.essential.contains(kind) {
                        self.awaited.remove(kind);
                    }
                    self.note_trouble(*kind, reason);
                }
                ClusterChange::Set(..) | ClusterChange::Removed(..) => return,
            },
            DriverInput::Trouble { kind, problem } => self.note_trouble(*kind, problem),
        }
        self.show_missing();
    }

    /// Notes the kinds that routing needs under a policy.
    fn note_policy(&mut self, policy: &KubernetesConfig) {
        self.essential = essential(&self.kinds, policy);
        self.show_missing();
    }

    fn note_trouble(&mut self, kind: Kind, problem: &Arc<str>) {
        if let Some(known) = self.unknown.get_mut(&kind) {
            known.clone_from(problem);
        }
    }

    /// The kinds that routing needs and that are not known.
    fn missing(&self) -> impl Iterator<Item = (&Kind, &Arc<str>)> {
        let unknown = self.unknown.iter();
        unknown.filter(|(kind, _)| self.essential.contains(kind))
    }

    fn show_missing(&self) {
        let shown = |(kind, reason): (&Kind, &Arc<str>)| (kind.label(), reason.clone());
        self.mailbox
            .set_awaited(self.missing().map(shown).collect());
    }

    fn take(&mut self, inputs: Vec<DriverInput>) {
        let mut news = self.take_terms();
        let mut changes = Vec::with_capacity(inputs.len());
        for input in inputs {
            self.note(&input);
            match input {
                DriverInput::Trouble { .. } => {}
                DriverInput::Change { change, arrived } => {
                    self.arrivals
                        .extend(arrived.filter(|_| self.arrivals.len() < BATCH));
                    changes.push(self.admit(change));
                }
            }
        }
        news |= self.translate(changes);
        self.count_objects();
        // No status is written until these kinds have been listed: until then it could report as
        // missing what we merely have not seen yet.
        if self.missing().next().is_none() {
            let statuses = self.translator.statuses();
            self.announcer.announce(&statuses.left_out, &self.metrics);
            if !self.is_opening() {
                self.statuses.send_if_modified(|now| {
                    let differs = !Arc::ptr_eq(now, &statuses);
                    *now = statuses;
                    differs
                });
            }
        }
        // Half-filled tables would refuse connections that the other half takes. Later results are
        // published in any case: another policy may need another kind, and may be narrower.
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

    /// Takes over another policy, or other listeners. Returns whether the policy has changed something
    /// that matters; listeners count in the translation that follows.
    fn take_terms(&mut self) -> bool {
        let Terms { policy, own, ports } = self.terms.borrow_and_update().clone();
        if Arc::ptr_eq(&policy, &self.policy) {
            self.translator.listen_on(own);
            self.translator.set_ports(ports);
            return false;
        }
        self.note_policy(&policy);
        self.announcer = Announcer::new(&policy);
        let known = self.translator.cluster().changes();
        self.translator = Translator::new(policy.clone());
        self.translator.listen_on(own);
        self.translator.set_ports(ports);
        self.policy = policy;
        self.translate(known)
    }

    /// The change itself, or one that represents all objects beyond the limit.
    fn admit(&self, change: ClusterChange) -> ClusterChange {
        let ClusterChange::Set(key, record) = &change else {
            return change;
        };
        let (kind, cluster) = (Record::kind(record), self.translator.cluster());
        if cluster.len(kind) < MAX_OBJECTS || cluster.has(kind, key) {
            return change;
        }
        let metrics = &self.metrics.kubernetes;
        metrics.kind(kind).failed(WatchError::TooMany);
        let (key, record) = Record::too_many(kind);
        ClusterChange::Set(key, record)
    }

    /// Translates the changes. Returns whether the result has changed.
    fn translate(&mut self, changes: Vec<ClusterChange>) -> bool {
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
            metrics.objects(*kind, cluster.len(*kind));
            metrics.unreadable(*kind, cluster.count_unreadable(*kind));
        }
    }
}

/// Waits until a time in the future has come.
async fn past(time: Option<Instant>) {
    match time {
        Some(time) if Instant::now() < time => sleep_until(time).await,
        _ => std::future::pending().await,
    }
}

/// The time between the starts of two passes, of which the first has kept the control thread busy for
/// `busy`. Changes of the cluster so take at most half of its time.
fn pause(busy: Duration) -> Duration {
    busy.saturating_mul(2).clamp(BURST, MAX_PAUSE)
}

#[cfg(test)]
mod tests;
