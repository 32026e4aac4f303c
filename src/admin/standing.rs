//! The choice of the connection that an HTTP server closes when a new one needs its place.
//!
//! It is a connection of the source that has the most, so that a client with many connections takes
//! places only from itself. Among those it is the connection that uses its place worst: a waiting one
//! is judged by the time since it last did anything, one that gets an answer by how much of it the
//! client has taken.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The rate, in bytes per second, at which a reader never falls behind another.
const GOOD_RATE: u64 = 1 << 20;

/// The unit in which connections are counted: an IPv4 address, or an IPv6 /64, since one machine may
/// have a whole /64.
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(prefix).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The use that a connection makes of its place. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Standing(Arc<Mutex<StandingState>>);

#[derive(Debug, Clone, Copy)]
enum StandingState {
    /// Waits for a request, or for the rest of one.
    Waiting { since: Instant },
    /// The server prepares the answer; nothing depends on the client.
    Answering,
    /// The server sends the answer. `whole` is true if the connection has all of it, even if the client
    /// has not.
    Sending {
        since: Instant,
        taken: usize,
        whole: bool,
    },
}

impl Standing {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        Self(Arc::new(Mutex::new(StandingState::Waiting { since })))
    }

    fn state(&self) -> MutexGuard<'_, StandingState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request has come.
    pub(super) fn asked(&self) {
        *self.state() = StandingState::Answering;
    }

    /// Notes that the answer begins.
    pub(super) fn answered(&self) {
        *self.state() = StandingState::Sending {
            since: Instant::now(),
            taken: 0,
            whole: false,
        };
    }

    /// Notes that the connection has all of the answer.
    pub(super) fn has_whole_answer(&self) {
        if let StandingState::Sending { whole, .. } = &mut *self.state() {
            *whole = true;
        }
    }

    /// Notes that the kernel has taken `bytes`.
    pub(super) fn took(&self, bytes: usize) {
        if let StandingState::Sending { taken, .. } = &mut *self.state() {
            *taken = taken.saturating_add(bytes);
        }
    }

    /// Notes that the kernel has taken everything. Returns whether an answer is complete.
    pub(super) fn flushed(&self) -> bool {
        let mut state = self.state();
        match *state {
            StandingState::Waiting { .. } | StandingState::Answering => true,
            StandingState::Sending { whole, .. } => {
                if whole {
                    let since = Instant::now();
                    *state = StandingState::Waiting { since };
                }
                whole
            }
        }
    }

    /// The last moment at which the connection made use of its place. The earlier, the worse.
    fn good_until(&self, now: Instant) -> Instant {
        match *self.state() {
            StandingState::Waiting { since } => since,
            StandingState::Answering => now,
            StandingState::Sending { since, taken, .. } => since + time_of(taken, GOOD_RATE),
        }
    }
}

/// The time that a reader of `rate` bytes per second takes for `bytes`.
pub(super) fn time_of(bytes: usize, rate: u64) -> Duration {
    // usize fits into u64 on every existing platform.
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_millis(bytes.saturating_mul(1000) / rate)
}

/// The index of the connection to close; `connections` are in the order in which they came.
pub(super) fn worst<'a>(
    connections: impl Iterator<Item = (IpAddr, &'a Standing)>,
    now: Instant,
) -> Option<usize> {
    let uses = connections.map(|(source, standing)| (source, standing.good_until(now)));
    worst_of(&uses.collect::<Vec<_>>())
}

fn worst_of<T: Ord>(uses: &[(IpAddr, T)]) -> Option<usize> {
    let mut count: HashMap<IpAddr, usize> = HashMap::new();
    for (source, _) in uses {
        *count.entry(*source).or_default() += 1;
    }
    let most = count.values().max()?;
    let of_the_most = |(_, (source, _)): &(usize, &(IpAddr, T))| count.get(source) == Some(most);
    let candidates = uses.iter().enumerate().filter(of_the_most);
    let worst = candidates.min_by_key(|(_, (_, good_until))| good_until);
    worst.map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_one_source() {
        let same = |a: &str, b: &str| source(a.parse().unwrap()) == source(b.parse().unwrap());
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    }

    #[test]
    fn the_worst_of_the_source_with_the_most_goes() {
        for (uses, goes) in [
            (&[][..], None),
            (&[(1, 5)], Some(0)),
            (&[(1, 5), (2, 4)], Some(1)),
            // The second source keeps its only connection, however badly it uses it.
            (&[(1, 5), (2, 0), (1, 6)], Some(0)),
            (&[(1, 5), (2, 0), (1, 4)], Some(2)),
            // At equal use the oldest goes.
            (&[(1, 5), (1, 5)], Some(0)),
        ] {
            let uses: Vec<(IpAddr, u32)> = uses
                .iter()
                .map(|(last, good_until)| ([10, 0, 0, *last].into(), *good_until))
                .collect();
            assert_eq!(worst_of(&uses), goes, "{uses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_judged_by_what_it_does() {
        let now = Instant::now;
        let pass = tokio::time::advance;
        let second = Duration::from_secs(1);
        let [idle, slow, fast, answered] = std::array::from_fn(|_| Standing::new());
        pass(second).await;
        for one in [&slow, &fast, &answered] {
            one.asked();
            assert_eq!(one.good_until(now()), now());
        }
        pass(second).await;
        assert_eq!(slow.good_until(now()), now(), "it waits for us");
        for one in [&slow, &fast, &answered] {
            one.answered();
        }
        assert!(!slow.flushed(), "between two pieces");
        slow.took(1024);
        fast.took(10 << 20);
        answered.has_whole_answer();
        assert!(answered.flushed());
        pass(2 * second).await;
        let in_order = [&idle, &slow, &answered, &fast].map(|one| one.good_until(now()));
        assert!(in_order[0] < in_order[1], "says nothing");
        assert!(in_order[1] < now(), "reads too slowly");
        assert!(
            in_order[2] <= in_order[1],
            "has had its answer and asks for no other"
        );
        assert!(in_order[3] > now(), "is ahead");
    }
}
