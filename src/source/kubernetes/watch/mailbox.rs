//! From the source to `app`: a place for one publication, of which the newest wins.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::source::kubernetes::discovered::Discovered;

/// Events of which a publication remembers when they came.
const MAX_ARRIVALS: usize = 10_000;

/// What the source has found, and since when it is known.
#[derive(Debug, Clone)]
pub struct Publication {
    /// What was found.
    pub discovered: Arc<Discovered>,
    /// The zone of the node that the gateway runs on, if that is known.
    pub zone: Option<Arc<str>>,
    /// What could not be watched when this was published: kind and reason.
    pub missing: Vec<(&'static str, Arc<str>)>,
    /// The first objects that cannot be read: kind, name and problem.
    pub unreadable: Vec<Arc<str>>,
    /// When the watch events arrived that led to it.
    pub arrivals: Vec<Instant>,
}

/// Holds the newest publication until it is taken, and says what the first one waits for.
#[derive(Debug, Default)]
pub struct Mailbox {
    newest: Mutex<Option<Publication>>,
    came: Notify,
    /// Why the source does not work any more.
    broken: watch::Sender<Option<Arc<str>>>,
    /// Kinds that must be listed before anything is published, each with why it is not.
    awaited: Mutex<Vec<(&'static str, Arc<str>)>>,
}

impl Mailbox {
    /// Puts one in, in place of one that nobody has taken: what that one had waited for has now waited
    /// longer.
    pub fn post(&self, mut publication: Publication) {
        {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(before) = newest.take() {
                publication.arrivals.extend(before.arrivals);
                publication.arrivals.truncate(MAX_ARRIVALS);
            }
            *newest = Some(publication);
        }
        self.came.notify_one();
    }

    /// Says that the source has broken down, and why.
    pub fn set_broken(&self, why: &str) {
        self.broken.send_replace(Some(why.into()));
    }

    /// Says that it was started anew.
    pub fn set_whole(&self) {
        self.broken.send_replace(None);
    }

    /// Whether the source has broken down.
    pub fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    /// Waits until the source has broken down, and tells why.
    pub async fn broken(&self) -> Arc<str> {
        let mut broken = self.broken.subscribe();
        // The sender is here.
        let why = broken.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Says which kinds the first publication waits for, each with the reason.
    pub(super) fn set_awaited(&self, awaited: Vec<(&'static str, Arc<str>)>) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = awaited;
    }

    /// The kinds that the first publication waits for, each with the reason.
    pub fn awaited(&self) -> Vec<(&'static str, Arc<str>)> {
        let awaited = self.awaited.lock();
        awaited.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest one, once there is one. For one taker.
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
            unreadable: Vec::new(),
            arrivals: vec![Instant::now()],
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
