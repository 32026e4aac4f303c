//! The driver: it takes changes in, translates them in batches, and publishes the results.
//!
//! Its pause between two passes is the only pause between a watch event and the tables that workers
//! read: the app puts each publication into force immediately. The pause follows from the time that both
//! keep the control thread busy.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::counts::{count_objects, unreadable};
use super::dns_tasks::DnsTasks;
use super::input::{DriverInput, Terms, admit};
use super::other_kinds::OtherKinds;
use super::other_states::OtherStates;
use super::own_kinds::OwnKinds;
use super::pace::{past, pause};
use super::restore::{ListAnswer, Restored};
use super::save::Saving;
use crate::clock;
use crate::config::KubernetesConfig;
use crate::metrics::{Metrics, WatchError};
use crate::names::Zone;
use crate::source::kubernetes::cluster::{ClusterChange, Kind, Record};
use crate::source::kubernetes::discovered::Discovered;
use crate::source::kubernetes::mailbox::{
    ClusterState, FIRST_LISTS, FromFile, NOT_LISTED, Publication, SourcePost,
};
use crate::source::kubernetes::saved::ClusterPart;
use crate::source::kubernetes::status::{Announcer, Statuses};
use crate::source::kubernetes::translate::Translator;

/// Most changes handled in one pass.
const BATCH: usize = 10_000;

/// The time for which new statuses wait for the result of opening a port. The app opens ports right
/// after a publication.
const OPENING: Duration = Duration::from_secs(10);

pub(super) struct Driver {
    translator: Translator,
    terms: watch::Receiver<Terms>,
    /// The policy that the translator has.
    policy: Arc<KubernetesConfig>,
    metrics: Arc<Metrics>,
    post: SourcePost,
    statuses: watch::Sender<Arc<Statuses>>,
    announcer: Announcer,
    kinds: OwnKinds,
    /// The kinds of other clusters.
    others: OtherKinds,
    other_states: OtherStates,
    names: DnsTasks,
    restored: Restored,
    saving: Saving,
    /// The newest result, once there is one.
    newest: Option<Arc<Discovered>>,
    /// True if a result was published.
    published: bool,
    /// The zone that was last published.
    zone: Option<Zone>,
    /// The unreadable objects of the last publication.
    unreadable: Vec<Arc<str>>,
    /// The other clusters of the last publication.
    clusters: Vec<ClusterState>,
    /// The part of the last publication from a saved state.
    from_file: Option<FromFile>,
    /// False if the last publication knew nothing any more of a kind that routing needs.
    complete: bool,
    /// The arrival times of changes that are not published yet.
    arrivals: Vec<Instant>,
    /// The time until which statuses wait for the result of opening a port.
    opening: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        terms: watch::Receiver<Terms>,
        inputs: mpsc::WeakSender<DriverInput>,
        kinds: &[Kind],
        metrics: Arc<Metrics>,
        post: SourcePost,
        statuses: watch::Sender<Arc<Statuses>>,
        (restored, inherited): (Restored, Vec<ClusterPart>),
    ) -> Self {
        let not_listed: Arc<str> = NOT_LISTED.into();
        let policy = terms.borrow().policy.clone();
        let driver = Self {
            announcer: Announcer::new(&policy),
            kinds: OwnKinds::new(kinds, &policy, &not_listed),
            translator: Translator::new(policy.clone()),
            others: OtherKinds::new(&policy, &not_listed),
            other_states: OtherStates::new(&policy, metrics.clone(), inherited),
            names: DnsTasks::new(inputs, metrics.clone()),
            terms,
            policy,
            restored,
            saving: Saving::new(metrics.clone()),
            metrics,
            post,
            statuses,
            newest: None,
            published: false,
            zone: None,
            unreadable: Vec::new(),
            clusters: Vec::new(),
            from_file: None,
            complete: true,
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
            // After what the API says: its lists are newer.
            let filled = self.restore();
            if !filled.is_empty() {
                self.take(filled);
            }
            self.save();
            self.rest(started).await;
            let opening = self.opening;
            let due = self.save_due();
            tokio::select! {
                count = inbox.recv_many(&mut held, BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
                Ok(()) = self.terms.changed() => {}
                () = past(opening) => {}
                () = self.restored.next() => {}
                () = self.other_states.next() => {}
                () = self.saving.next(due) => {}
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

    /// Takes kinds from the saved state that the API does not list, once the API had its time.
    fn restore(&mut self) -> Vec<DriverInput> {
        let (others, until) = self.restored.take_others();
        for (name, state) in others {
            self.other_states.offer(&name, state, until);
        }
        if self.published {
            self.restored.dispense();
        }
        let of_others = self.other_states.fill(&self.others).into_iter();
        let of_others =
            of_others.map(|(cluster, change)| DriverInput::OtherRestored { cluster, change });
        let filled = self.restored.fill(self.kinds.unknown()).into_iter();
        filled.map(DriverInput::Restored).chain(of_others).collect()
    }

    /// Whether the first publication waits for a moment: for lists, or for the states of other clusters.
    fn is_waiting(&self) -> bool {
        let may_come = self.restored.is_reading() && self.other_states.are_wanted();
        self.kinds.are_awaited()
            || self.others.are_awaited()
            || self.other_states.are_waiting()
            || may_come
    }

    fn save_due(&self) -> Option<Instant> {
        self.saving
            .due(&self.policy, &self.kinds.to_save(&self.restored))
    }

    fn save(&mut self) {
        if self.save_due().is_some_and(|due| due <= Instant::now()) {
            let (kinds, cluster) = (
                self.kinds.to_save(&self.restored),
                self.translator.cluster(),
            );
            let others = self.other_states.parts(&self.translator);
            self.saving.begin(&self.policy, cluster, &kinds, others);
        }
    }

    /// Waits until the next pass may start after one that started at `started`. Meanwhile the app puts
    /// the publication into force, on the same thread.
    async fn rest(&self, started: Instant) {
        let mut busy = started.elapsed();
        loop {
            sleep_until(started + pause(busy)).await;
            match self.post.mailbox().take_spent() {
                Duration::ZERO => return,
                spent => busy = busy.saturating_add(spent),
            }
        }
    }

    /// Waits until every kind was listed, or the time for that is over.
    async fn first_lists(&mut self, inbox: &mut mpsc::Receiver<DriverInput>) -> Vec<DriverInput> {
        let deadline = Instant::now() + FIRST_LISTS;
        let mut held = Vec::new();
        while self.is_waiting() && held.len() < BATCH {
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
                () = self.restored.next() => {}
                () = self.other_states.next() => {}
                () = sleep_until(deadline) => break,
            }
            let filled = self.restore();
            let of_own = |input: &DriverInput| matches!(input, DriverInput::Restored(_));
            let is_over = filled.iter().any(of_own) && !self.other_states.are_waiting();
            filled.iter().for_each(|input| self.note(input));
            held.extend(filled);
            if is_over {
                break;
            }
        }
        // Continues without kinds that routing does not need, and logs that.
        self.kinds.complain();
        let absent = |kind: &Kind| DriverInput::Change {
            change: ClusterChange::Absent(*kind, NOT_LISTED.into()),
            arrived: None,
        };
        held.extend(self.kinds.late().map(absent));
        held
    }

    /// Updates the knowledge of which kinds are known.
    fn note(&mut self, input: &DriverInput) {
        match input {
            DriverInput::Change { change, .. } | DriverInput::Restored(change) => match change {
                ClusterChange::All(kind, _) | ClusterChange::NotInstalled(kind) => {
                    self.kinds.listed(*kind);
                }
                ClusterChange::Absent(kind, reason) => {
                    self.restored.note_answer(*kind, ListAnswer::Refused);
                    self.kinds.refused(*kind, reason);
                }
                ClusterChange::Forgotten(..)
                | ClusterChange::Set(..)
                | ClusterChange::Removed(..) => return,
            },
            DriverInput::Trouble {
                kind,
                problem,
                away,
            } => {
                self.restored
                    .note_answer(*kind, ListAnswer::None { away: *away });
                self.kinds.trouble(*kind, problem);
            }
            DriverInput::OtherChange {
                cluster, change, ..
            }
            | DriverInput::OtherRestored { cluster, change } => {
                if let ClusterChange::Absent(kind, _) = change {
                    self.other_states
                        .note_answer(cluster, *kind, ListAnswer::Refused);
                }
                return self.others.note_change(cluster, change);
            }
            DriverInput::OtherTrouble {
                cluster,
                kind,
                problem,
                away,
            } => {
                let answer = ListAnswer::None { away: *away };
                self.other_states.note_answer(cluster, *kind, answer);
                return self.others.note_trouble(cluster, *kind, problem);
            }
            DriverInput::Confirmed(_)
            | DriverInput::OtherConfirmed { .. }
            | DriverInput::OtherMoved(_)
            | DriverInput::Resolved { .. }
            | DriverInput::HandOver(_) => return,
        }
        self.show_missing();
    }

    /// Notes the kinds that routing needs under a policy.
    fn note_policy(&mut self, policy: &KubernetesConfig) {
        self.kinds.set_policy(policy);
        self.show_missing();
    }

    fn show_missing(&self) {
        let shown = |(kind, reason): (&Kind, &Arc<str>)| (kind.label(), reason.clone());
        self.post
            .mailbox()
            .set_missing(self.kinds.missing().map(shown).collect());
    }

    fn take(&mut self, inputs: Vec<DriverInput>) {
        let mut news = self.take_terms();
        let mut changes = Vec::with_capacity(inputs.len());
        for input in inputs {
            self.note(&input);
            self.take_one(input, &mut changes);
        }
        news |= self.translate(changes);
        let (kinds, others) = (self.kinds.all(), &self.others);
        count_objects(&self.metrics, &self.translator, kinds, others);
        // No status is written until the API has listed these kinds: until then it could report as
        // missing what we merely have not seen yet.
        let mut needed = self.kinds.needed().iter();
        if self.kinds.missing().next().is_none() && !needed.any(|kind| self.restored.has(*kind)) {
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
        if !self.published && self.kinds.missing().next().is_some() {
            return;
        }
        news |= !self.published;
        news |= self.zone != self.translator.own_zone();
        news |= self.unreadable != unreadable(self.translator.cluster());
        news |= self.clusters != self.others.states(&self.translator);
        news |= self.from_file != self.restored.in_force();
        news |= self.complete != self.restored.is_complete(self.kinds.needed());
        match &self.newest {
            Some(newest) if news => self.publish(newest.clone()),
            _ => self.arrivals.clear(),
        }
    }

    /// Takes one input. What it changes in the own cluster is added to `changes`.
    fn take_one(&mut self, input: DriverInput, changes: &mut Vec<ClusterChange>) {
        match input {
            DriverInput::Trouble { .. } | DriverInput::OtherTrouble { .. } => {}
            DriverInput::OtherChange {
                cluster,
                change,
                arrived,
            } => {
                self.arrivals
                    .extend(arrived.filter(|_| self.arrivals.len() < BATCH));
                let change = self.other_states.answered(&cluster, change);
                if let ClusterChange::Forgotten(kind, reason) = &change {
                    self.others.forget(&cluster, *kind, reason.clone());
                }
                self.saving.others_changed();
                let change = self.admit_other(&cluster, change);
                self.translator.apply_other(&cluster, change);
            }
            DriverInput::OtherRestored { cluster, change } => {
                self.translator.apply_other(&cluster, change);
            }
            DriverInput::OtherConfirmed { cluster, kind } => {
                self.other_states.confirm(&cluster, kind);
            }
            DriverInput::OtherMoved(name) => self.other_states.moved(&name, &self.translator),
            DriverInput::HandOver(to) => {
                // The source that asked may have given up.
                let _ = to.send(self.other_states.parts(&self.translator));
            }
            // An answer may come after its name has lost its place.
            DriverInput::Resolved { name, addresses } if self.names.asks_for(&name) => {
                self.translator.resolve(&name, addresses);
            }
            DriverInput::Resolved { .. } => {}
            DriverInput::Confirmed(kind) => self.saving.confirm(kind),
            DriverInput::Restored(change) => {
                self.metrics.kubernetes.kind(change.kind()).restored();
                changes.push(change);
            }
            DriverInput::Change { change, arrived } => {
                self.arrivals
                    .extend(arrived.filter(|_| self.arrivals.len() < BATCH));
                let change = self.answered(change);
                changes.push(self.admit(change));
            }
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
        let others = self.translator.other_changes();
        let names = self.translator.resolved();
        self.translator = Translator::new(policy.clone());
        // The tasks ask for the names that the other policy needed.
        self.translator.announce_names();
        for (cluster, change) in others {
            self.translator.apply_other(&cluster, change);
        }
        for (name, addresses) in names {
            self.translator.resolve(&name, addresses);
        }
        self.translator.listen_on(own);
        self.translator.set_ports(ports);
        self.policy = policy;
        self.translate(known)
    }

    /// Notes an answer of the API. Returns the change that follows from it.
    fn answered(&mut self, change: ClusterChange) -> ClusterChange {
        self.saving.changed(change.kind());
        let metrics = |kind| Some(self.metrics.kubernetes.kind(kind));
        let change = self.restored.answered(change, metrics);
        if let ClusterChange::Forgotten(kind, reason) = &change {
            self.kinds.forget(*kind, reason.clone());
            self.show_missing();
        }
        change
    }

    /// The change itself, or one that represents all objects beyond the limit.
    fn admit(&self, change: ClusterChange) -> ClusterChange {
        let admitted = admit(self.translator.cluster(), change);
        admitted.unwrap_or_else(|kind| {
            let metrics = &self.metrics.kubernetes;
            metrics.kind(kind).failed(WatchError::TooMany);
            let (key, record) = Record::too_many(kind);
            ClusterChange::Set(key, record)
        })
    }

    /// The same for a change of another cluster.
    fn admit_other(&self, name: &Arc<str>, change: ClusterChange) -> ClusterChange {
        let Some(cluster) = self.translator.other_cluster(name) else {
            return change;
        };
        admit(cluster, change).unwrap_or_else(|kind| {
            let mut names = self.others.names();
            let metrics = &self.metrics.kubernetes.clusters;
            let position = names.position(|one| one == name);
            if let Some(metrics) = position.and_then(|at| metrics.kind(at, name, kind)) {
                metrics.failed(WatchError::TooMany);
            }
            let (key, record) = Record::too_many(kind);
            ClusterChange::Set(key, record)
        })
    }

    /// Translates the changes. Returns whether the result has changed.
    fn translate(&mut self, changes: Vec<ClusterChange>) -> bool {
        let mut found = self.translator.apply(changes);
        if let Some(wanted) = self.translator.take_names() {
            self.names.want(&wanted, &self.policy.resolver);
            let names = &self.names;
            if self.translator.forget_names(|name| names.asks_for(name)) {
                found = self.translator.apply([]).or(found);
            }
        }
        let news = found.is_some();
        self.newest = found.or(self.newest.take());
        news
    }

    fn publish(&mut self, discovered: Arc<Discovered>) {
        let cluster = self.translator.cluster();
        let absent = |kind: &Kind| Some((kind.label(), cluster.absent(*kind)?.clone()));
        let awaited = |kind: &Kind| Some((kind.label(), self.kinds.reason(*kind)?.clone()));
        let kinds = self.kinds.all().iter();
        let missing = kinds.filter_map(|kind| absent(kind).or_else(|| awaited(kind)));
        let missing = missing.collect();
        self.zone = self.translator.own_zone();
        self.unreadable = unreadable(self.translator.cluster());
        self.clusters = self.others.states(&self.translator);
        self.from_file = self.restored.in_force();
        self.complete = self.restored.is_complete(self.kinds.needed());
        let confirmed = self.from_file.as_ref().map(|from_file| from_file.confirmed);
        let gauge = &self.metrics.kubernetes.saved_confirmed;
        gauge.set(confirmed.map_or(0.0, clock::since_epoch));
        self.post.post(Publication {
            discovered,
            zone: self.zone.clone(),
            missing,
            clusters: self.clusters.clone(),
            unreadable: self.unreadable.clone(),
            arrivals: std::mem::take(&mut self.arrivals),
            from_file: self.from_file.clone(),
            complete: self.complete,
        });
        self.published = true;
        self.metrics.kubernetes.published();
    }
}

#[cfg(test)]
mod tests;
