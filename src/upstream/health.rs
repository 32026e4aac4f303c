//! The passive health of an endpoint: when connecting to it keeps failing, it is ejected for a while.
//!
//! Ejection is advice, not a verdict: when every endpoint of an upstream is ejected, the balancer uses
//! them anyway, since a gateway that refuses everything helps nobody.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::EjectionPolicy;

/// The recent results of connecting to one endpoint. All counts are relaxed: a count lost to a race
/// delays an ejection by one failure.
#[derive(Debug, Default)]
pub struct Health {
    failures_in_a_row: AtomicU32,
    ejections_in_a_row: AtomicU32,
    /// The end of the ejection in milliseconds since [`epoch`]; 0 when not ejected.
    ejected_until: AtomicU64,
}

/// The state of an endpoint at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// It takes connections.
    Ready,
    /// It is ejected for this much longer.
    Ejected(Duration),
}

impl EndpointState {
    /// The value of the `state` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Ejected(_) => "ejected",
        }
    }
}

/// A moment before any that is compared, since atomics cannot hold an `Instant`.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        // One millisecond back, so that 0 is free to mean "never".
        let now = Instant::now();
        now.checked_sub(Duration::from_millis(1)).unwrap_or(now)
    })
}

fn millis(at: Instant) -> u64 {
    at.saturating_duration_since(epoch())
        .as_millis()
        .try_into()
        .unwrap_or(u64::MAX)
}

impl Health {
    /// The state at `now`.
    pub fn state(&self, now: Instant) -> EndpointState {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 {
            return EndpointState::Ready;
        }
        match until.saturating_sub(millis(now)) {
            0 => EndpointState::Ready,
            left => EndpointState::Ejected(Duration::from_millis(left)),
        }
    }

    /// Notes that a connection was made.
    pub fn connected(&self) {
        // Reads first: usually nothing needs a reset, and a read does not take the cache line from
        // other cores.
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        if self.ejected_until.load(Ordering::Relaxed) != 0 {
            self.ejected_until.store(0, Ordering::Relaxed);
            self.ejections_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Notes a failed connection attempt. Returns the time of the ejection, if it causes one.
    pub fn failed(&self, policy: &EjectionPolicy, now: Instant) -> Option<Duration> {
        if policy.consecutive_failures == 0 {
            return None;
        }
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if failures < policy.consecutive_failures
            || matches!(self.state(now), EndpointState::Ejected(_))
        {
            return None;
        }
        // The count stays where it is: after the ejection a single failure ejects again.
        let doublings = self.ejections_in_a_row.fetch_add(1, Ordering::Relaxed);
        let factor = 2u32.saturating_pow(doublings);
        let duration = policy.base.saturating_mul(factor).min(policy.max);
        self.ejected_until
            .store(millis(now + duration), Ordering::Relaxed);
        Some(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: EjectionPolicy = EjectionPolicy {
        consecutive_failures: 3,
        base: Duration::from_secs(10),
        max: Duration::from_secs(30),
    };

    #[test]
    fn ejects_after_failures_in_a_row_and_longer_each_time() {
        let health = Health::default();
        let start = Instant::now();
        assert_eq!(health.failed(&POLICY, start), None);
        health.connected();
        assert_eq!(health.failed(&POLICY, start), None);
        assert_eq!(health.failed(&POLICY, start), None);
        assert_eq!(health.state(start), EndpointState::Ready);
        assert_eq!(health.failed(&POLICY, start), Some(POLICY.base));
        assert!(matches!(health.state(start), EndpointState::Ejected(_)));
        assert_eq!(health.failed(&POLICY, start), None, "is ejected already");

        let mut now = start + Duration::from_secs(11);
        assert_eq!(health.state(now), EndpointState::Ready);
        for expected in [20, 30, 30] {
            let expected = Duration::from_secs(expected);
            assert_eq!(health.failed(&POLICY, now), Some(expected), "one is enough");
            now += expected + Duration::from_secs(1);
        }

        health.connected();
        assert_eq!(health.failed(&POLICY, now), None, "starts anew");
    }

    #[test]
    fn zero_failures_never_eject() {
        let policy = EjectionPolicy {
            consecutive_failures: 0,
            ..POLICY
        };
        let health = Health::default();
        for _ in 0..100 {
            assert_eq!(health.failed(&policy, Instant::now()), None);
        }
    }
}
