//! The mailbox between the source and `app`: it holds one publication, and a newer one replaces it.

use std::sync::{Arc, Mutex, PoisonError};
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
    newest: Mutex<Option<Publication>>,
    came: Notify,
    /// The reason why the source no longer works.
    broken: watch::Sender<Option<Arc<str>>>,
    /// The time that the app was busy with publications since this was last taken.
    spent: Mutex<Duration>,
    /// Kinds that routing needs and that are not listed, each with the reason why it is not.
    missing: Mutex<Vec<(&'static str, Arc<str>)>>,
}

impl Mailbox {
    /// Stores a publication. It replaces one that was not taken; the events of that one stay in the
    /// list of arrivals, since they are still waiting.
    pub fn post(&self, mut publication: Publication) {
        {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(before) = newest.take() {
                publication.replace(before);
            }
            *newest = Some(publication);
        }
        self.came.notify_one();
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
            let newest = self
                .newest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
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

    #[tokio::test]
    async fn the_newest_is_taken_with_the_waiting_times_of_those_before() {
        let mailbox = Mailbox::default();
        let publication = |zone: &str| Publication {
            discovered: Arc::default(),
            zone: Some(zone.into()),
            missing: Vec::new(),
            clusters: Vec::new(),
            unreadable: Vec::new(),
            arrivals: vec![Instant::now()],
            from_file: None,
            complete: true,
        };
        mailbox.post(publication("a"));
        mailbox.post(publication("b"));
        let taken = mailbox.take().await;
        assert_eq!(
            (taken.zone.as_deref(), taken.arrivals.len()),
            (Some("b"), 2)
        );
        let (later, ()) = tokio::join!(mailbox.take(), async { mailbox.post(publication("c")) });
        assert_eq!(later.arrivals.len(), 1);
    }
}
