//! From the source to `app`: a place for one publication, of which the newest wins.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::source::kubernetes::Discovered;

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
    /// When the watch events arrived that led to it.
    pub arrivals: Vec<Instant>,
}

/// Holds the newest publication until it is taken.
#[derive(Debug, Default)]
pub struct Mailbox {
    newest: Mutex<Option<Publication>>,
    came: Notify,
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
