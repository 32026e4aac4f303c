//! The pace of the driver: the pause between two passes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Minimum time between the starts of two passes; the first change of a burst is handled immediately.
const BURST: Duration = Duration::from_millis(20);
/// Maximum time between the starts of two passes that have work to do.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Waits until a time in the future has come.
pub(super) async fn past(time: Option<Instant>) {
    match time {
        Some(time) if Instant::now() < time => sleep_until(time).await,
        _ => std::future::pending().await,
    }
}

/// The time between the starts of two passes, of which the first has kept the control thread busy for
/// `busy`. Changes of the cluster so take at most half of its time.
pub(super) fn pause(busy: Duration) -> Duration {
    busy.saturating_mul(2).clamp(BURST, MAX_PAUSE)
}
