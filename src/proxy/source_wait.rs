//! The wait for the first answer of an upstream's source: at a start, and after a reload that adds an upstream, a
//! connection may come before DNS has answered.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::pauses::Pauses;
use super::shared::Shared;
use crate::upstream::Upstream;

/// The pauses between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Waits until the source of `upstream` has answered once, for `most`. A connection for which no place is left does
/// not wait.
pub(super) async fn first_answer(shared: &Shared, upstream: &Upstream, most: Duration) {
    if upstream.answered() {
        return;
    }
    let Some(_place) = shared.source_waits.take(1) else {
        return;
    };
    let end = Instant::now() + most;
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    while !upstream.answered() && Instant::now() < end {
        sleep(pauses.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::*;
    use crate::access_log::AccessLog;
    use crate::config::Config;
    use crate::metrics::Metrics;
    use crate::upstream::Upstreams;

    /// Longer than a wait that ends takes, however busy the machine.
    const DEADLINE: Duration = Duration::from_secs(20);
    /// A bound that no test reaches.
    const LONG: Duration = Duration::from_secs(3600);

    /// An upstream whose source has not answered.
    fn unanswered() -> (Shared, Arc<Upstream>) {
        let text = "listeners: [{ name: l, bind: '127.0.0.1:0' }]\nupstreams: { u: { dns: 'a.example:1' } }";
        let config = Config::parse(text, "test").unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let shared = Shared::new(metrics, AccessLog::off(), 1, 10, &config.limits);
        let upstream = Upstreams::default().prepare(&config)["u"].clone();
        assert!(!upstream.answered());
        (shared, upstream)
    }

    #[tokio::test]
    async fn the_wait_ends_with_the_first_answer_and_not_before() {
        let (shared, upstream) = unanswered();
        let wait = first_answer(&shared, &upstream, LONG);
        tokio::pin!(wait);
        let some_looks = Duration::from_millis(50);
        assert!(timeout(some_looks, &mut wait).await.is_err(), "no answer");
        assert_eq!(shared.source_waits.used(), 1);
        upstream.source_answered();
        assert!(timeout(DEADLINE, wait).await.is_ok());
        assert_eq!(shared.source_waits.used(), 0);
    }

    #[tokio::test]
    async fn the_wait_ends_after_its_time_without_an_answer() {
        let (shared, upstream) = unanswered();
        let most = Duration::from_millis(50);
        let wait = first_answer(&shared, &upstream, most);
        assert!(timeout(DEADLINE, wait).await.is_ok());
    }

    #[tokio::test]
    async fn one_for_which_no_place_is_left_does_not_wait() {
        let (shared, upstream) = unanswered();
        let others = shared.source_waits.take(shared.source_waits.left());
        assert!(others.is_some());
        let wait = first_answer(&shared, &upstream, LONG);
        assert!(timeout(DEADLINE, wait).await.is_ok());
    }
}
