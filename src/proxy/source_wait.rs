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
