//! The mailbox between the source and `app`: it holds one publication, and a newer one replaces it.
//!
//! A reload may start another source before it is certain that the reload comes into force, and the source before it
//! goes on until then. Each posts by a [`SourcePost`] of its own: `app` gets only what the source in force posts.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::discovered::Discovered;
use crate::names::Zone;

/// The time for which kinds that routing can do without delay the first publication.
pub const FIRST_LISTS: Duration = Duration::from_secs(10);

/// The reason of a kind about which nothing is known yet.
pub const NOT_LISTED: &str = "not listed yet";

/// The number of event times that a publication keeps.
const MAX_ARRIVALS: usize = 10_000;

/// A result of the source, with the times of the events that led to it.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The result.
    pub discovered: Arc<Discovered>,
    /// The zone of the node that the gateway runs on, if that is known.
    pub zone: Option<Zone>,
    /// The kinds that could not be watched at the time of publication, each with the reason.
    pub missing: Vec<(&'static str, Arc<str>)>,
    /// The state of each other cluster, in the order of the config.
    pub clusters: Vec<ClusterState>,
    /// The first objects that cannot be read: kind, name and problem.
    pub unreadable: Vec<Arc<str>>,
    /// The arrival times of the watch events that led to it.
    pub arrivals: Vec<Instant>,
    /// The part that comes from a saved state, if one is in force.
    pub from_file: Option<FromFile>,
    /// False if nothing is known any more of a kind that routing needs.
    pub complete: bool,
}

/// The state of another cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterState {
    /// Its name.
    pub name: Arc<str>,
    /// The kinds that are not watched, each with the reason.
    pub missing: Vec<(&'static str, Arc<str>)>,
}

/// The part of a result that comes from a saved state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromFile {
    /// The time when the API last confirmed the state.
    pub confirmed: SystemTime,
    /// The kinds that the API has not listed since.
    pub kinds: Vec<&'static str>,
}

impl Publication {
    /// Replaces `before`, which was not put into force. The events of that one are still waiting.
    pub fn replace(&mut self, before: Self) {
        self.arrivals.extend(before.arrivals);
        self.arrivals.truncate(MAX_ARRIVALS);
    }
}

/// Holds the newest publication until it is taken, and the missing kinds that the first one waits for.
#[derive(Debug, Default)]
pub struct Mailbox {
    posted: Mutex<Posted>,
    came: Notify,
    /// The reason why the source no longer works.
    broken: watch::Sender<Option<Arc<str>>>,
    /// The time that the app was busy with publications since this was last taken.
    spent: Mutex<Duration>,
    /// Kinds that routing needs and that are not listed, each with the reason why it is not.
    missing: Mutex<Vec<(&'static str, Arc<str>)>>,
}

/// The publications that were not taken.
#[derive(Debug, Default)]
struct Posted {
    /// That of the source in force.
    newest: Option<Publication>,
    /// That of a source that is to come into force, with its number.
    next: Option<(u64, Publication)>,
    /// The number of the source in force; 0 before the first one.
    in_force: u64,
    /// The number of the source that was started last.
    started: u64,
}

impl Posted {
    /// Stores a publication in place of one that was not taken. The events of that one stay in the list of arrivals,
    /// since they are still waiting.
    fn replace(&mut self, mut publication: Publication) {
        if let Some(before) = self.newest.take() {
            publication.replace(before);
        }
        self.newest = Some(publication);
    }
}

/// The way of one source into a [`Mailbox`].
#[derive(Debug, Clone)]
pub struct SourcePost {
    mailbox: Arc<Mailbox>,
    number: u64,
}

impl SourcePost {
    /// Stores a publication, which replaces one of the same source that was not taken. `app` gets it once the source is
    /// in force, and never if the source was in force before another one.
    pub fn post(&self, publication: Publication) {
        let mut posted = self.mailbox.posted();
        match self.number.cmp(&posted.in_force) {
            Ordering::Less => {}
            Ordering::Equal => posted.replace(publication),
            Ordering::Greater => posted.next = Some((self.number, publication)),
        }
        drop(posted);
        self.mailbox.came.notify_one();
    }

    /// Puts the source into force, in place of the one before.
    pub fn put_in_force(&self) {
        let mut posted = self.mailbox.posted();
        posted.in_force = self.number;
        let next = posted.next.take();
        if let Some((_, publication)) = next.filter(|(number, _)| *number == self.number) {
            posted.replace(publication);
        }
        drop(posted);
        self.mailbox.came.notify_one();
    }

    /// The mailbox.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl Mailbox {
    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way into it for a source that starts. The first source is in force at once.
    pub fn enter(self: &Arc<Self>) -> SourcePost {
        let mut posted = self.posted();
        posted.started += 1;
        let number = posted.started;
        if posted.in_force == 0 {
            posted.in_force = number;
        }
        drop(posted);
        let mailbox = self.clone();
        SourcePost { mailbox, number }
    }

    /// Forgets what a source has posted that was to come into force and does not.
    pub fn forget_next(&self) {
        self.posted().next = None;
    }

    /// Records that putting a publication into force has kept the control thread busy for `time`. The
    /// source pauses accordingly before the next one.
    pub fn spend(&self, time: Duration) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = spent.saturating_add(time);
    }

    /// Takes the time that was recorded since the last call.
    pub(super) fn take_spent(&self) -> Duration {
        let spent = self.spent.lock();
        std::mem::take(&mut spent.unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that the source has broken down, and why.
    pub fn set_broken(&self, why: &str) {
        self.broken.send_replace(Some(why.into()));
    }

    /// Records that the source was started again.
    pub fn set_whole(&self) {
        self.broken.send_replace(None);
    }

    /// Whether the source has broken down.
    pub fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    /// Waits until the source has broken down, and returns the reason.
    pub async fn broken(&self) -> Arc<str> {
        let mut broken = self.broken.subscribe();
        // The sender is in `self`, so the wait cannot fail.
        let why = broken.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Sets the kinds that routing needs and that are not listed, each with the reason.
    pub(super) fn set_missing(&self, missing: Vec<(&'static str, Arc<str>)>) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = missing;
    }

    /// The kinds that routing needs and that are not listed, each with the reason. The first publication waits for them.
    pub fn missing(&self) -> Vec<(&'static str, Arc<str>)> {
        let missing = self.missing.lock();
        missing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the newest publication and takes it. Only one task may call this.
    pub async fn take(&self) -> Publication {
        loop {
            let newest = self.posted().newest.take();
            if let Some(publication) = newest {
                return publication;
            }
            self.came.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(zone: &str) -> Publication {
        Publication {
            discovered: Arc::default(),
            zone: Some(zone.into()),
            missing: Vec::new(),
            clusters: Vec::new(),
            unreadable: Vec::new(),
            arrivals: vec![Instant::now()],
            from_file: None,
            complete: true,
        }
    }

    /// The zone of the publication that can be taken, if there is one.
    fn taken(mailbox: &Mailbox) -> Option<String> {
        let newest = mailbox.posted().newest.take();
        newest.and_then(|one| one.zone).map(|zone| zone.to_string())
    }

    #[tokio::test]
    async fn the_newest_is_taken_with_the_waiting_times_of_those_before() {
        let mailbox: Arc<Mailbox> = Arc::default();
        let source = mailbox.enter();
        source.post(publication("a"));
        source.post(publication("b"));
        let taken = mailbox.take().await;
        assert_eq!(
            (taken.zone.as_deref(), taken.arrivals.len()),
            (Some("b"), 2)
        );
        let (later, ()) = tokio::join!(mailbox.take(), async { source.post(publication("c")) });
        assert_eq!(later.arrivals.len(), 1);
    }

    #[test]
    fn what_the_source_of_a_reload_finds_counts_once_the_reload_is_in_force() {
        let mailbox: Arc<Mailbox> = Arc::default();
        let (before, after) = (mailbox.enter(), mailbox.enter());
        after.post(publication("after"));
        assert_eq!(taken(&mailbox), None, "the reload may be refused");
        before.post(publication("before"));
        assert_eq!(taken(&mailbox).as_deref(), Some("before"));
        before.post(publication("before"));
        after.put_in_force();
        before.post(publication("too late"));
        assert_eq!(taken(&mailbox).as_deref(), Some("after"));
        after.post(publication("later"));
        assert_eq!(taken(&mailbox).as_deref(), Some("later"));
    }

    #[test]
    fn what_the_source_of_a_refused_reload_has_found_never_counts() {
        let mailbox: Arc<Mailbox> = Arc::default();
        let (before, refused) = (mailbox.enter(), mailbox.enter());
        refused.post(publication("refused"));
        mailbox.forget_next();
        before.post(publication("before"));
        assert_eq!(taken(&mailbox).as_deref(), Some("before"));
        let next = mailbox.enter();
        refused.post(publication("refused"));
        next.put_in_force();
        assert_eq!(taken(&mailbox), None);
    }
}
