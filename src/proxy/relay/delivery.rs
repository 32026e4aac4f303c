//! Delivery: the wait until a peer has acknowledged all that the other side sent before it failed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::pauses::Pauses;
use super::super::sockets::Sockets;
use crate::socket;
use crate::verdict::Side;

/// The longest wait in which the peer acknowledges nothing.
const STALL: Duration = Duration::from_secs(5);
/// The longest wait for a peer that reads slowly.
const MOST: Duration = Duration::from_secs(300);
/// The pauses between two looks at the socket: the kernel has no event for "all is acknowledged". They grow, since
/// thousands of peers may have to be waited for at the same moment.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Waits until the peer on `side` has acknowledged everything, or has failed too, or stands still.
pub(super) async fn delivered(sockets: Rc<Sockets>, side: Side) {
    let socket = sockets.to(side);
    let unacknowledged = || match socket::pending_error(socket) {
        Some(_) => 0,
        None => socket::unsent_bytes(socket).unwrap_or(0),
    };
    let mut wait = Wait::new(Instant::now(), unacknowledged());
    while let Some(pause) = wait.next(Instant::now(), unacknowledged()) {
        tokio::time::sleep(pause).await;
    }
}

/// The progress of a wait.
#[derive(Debug)]
struct Wait {
    /// The fewest unacknowledged bytes so far.
    least: usize,
    /// The time of the last progress.
    progress: Instant,
    end: Instant,
    pauses: Pauses,
}

impl Wait {
    fn new(now: Instant, unacknowledged: usize) -> Self {
        Self {
            least: unacknowledged,
            progress: now,
            end: now + MOST,
            pauses: Pauses::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// The pause until the next look. `None`: the wait is over.
    fn next(&mut self, now: Instant, unacknowledged: usize) -> Option<Duration> {
        if unacknowledged < self.least {
            (self.least, self.progress) = (unacknowledged, now);
        }
        let is_over = unacknowledged == 0 || now >= self.end || now >= self.progress + STALL;
        (!is_over).then(|| self.pauses.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time that a wait takes if `at` gives the bytes that are unacknowledged then, and its looks.
    fn played(at: impl Fn(Duration) -> usize) -> (Duration, usize) {
        let start = Instant::now();
        let (mut passed, mut looks) = (Duration::ZERO, 0);
        let mut wait = Wait::new(start, at(passed));
        while let Some(pause) = wait.next(start + passed, at(passed)) {
            passed += pause;
            looks += 1;
        }
        (passed, looks)
    }

    #[test]
    fn nothing_on_its_way_needs_no_wait() {
        assert_eq!(played(|_| 0), (Duration::ZERO, 0));
    }

    #[test]
    fn a_peer_that_stands_still_is_given_up_after_few_looks() {
        let (passed, looks) = played(|_| 100);
        assert!(
            (STALL..STALL + LONGEST_PAUSE).contains(&passed),
            "{passed:?}"
        );
        assert!(looks < 20, "{looks}");
    }

    #[test]
    fn a_slow_reader_is_waited_for_as_long_as_it_reads() {
        let seconds = |passed: Duration| usize::try_from(passed.as_secs()).unwrap();
        let (passed, _) = played(|passed| 100_usize.saturating_sub(seconds(passed)));
        assert!((100..102).contains(&passed.as_secs()), "{passed:?}");
        let (passed, _) = played(|passed| 100_000 - seconds(passed));
        assert!((MOST..MOST + LONGEST_PAUSE).contains(&passed), "{passed:?}");
    }

    #[test]
    fn a_reader_that_stops_is_given_up_from_its_last_byte_on() {
        let read = Duration::from_secs(20);
        let (passed, _) =
            played(|passed| 1000 - usize::try_from(passed.min(read).as_secs()).unwrap());
        assert!(
            (STALL + read..STALL + read + LONGEST_PAUSE * 2).contains(&passed),
            "{passed:?}"
        );
    }
}
