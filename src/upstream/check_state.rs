//! The state of an endpoint's active checks: the moment of the next one, and the results so far.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use super::lock;
use super::recent::millis;
use crate::config::CheckPolicy;

/// The checks of one endpoint. Only the control thread writes it.
#[derive(Debug, Default)]
pub(super) struct CheckState {
    /// The moment of the next check, in [`millis`]; 0 before the first look.
    due: AtomicU64,
    pub(super) under_way: AtomicBool,
    /// Checks in a row that speak against the state that the endpoint has.
    against: AtomicU32,
    /// The reason why the last check has not passed, if so.
    failure: Mutex<Option<Box<str>>>,
}

impl CheckState {
    /// The reason why the last check has not passed, if so.
    pub(super) fn failure(&self) -> Option<Box<str>> {
        lock(&self.failure).clone()
    }

    /// Whether a check is to begin at `now`. The first one comes at any moment of the interval, so that a new set is
    /// not checked all at once.
    pub(super) fn is_due(&self, now: Instant, policy: &CheckPolicy) -> bool {
        if self.under_way.load(Ordering::Relaxed) {
            return false;
        }
        let due = self.due.load(Ordering::Relaxed);
        if due == 0 {
            let first = now + policy.interval.mul_f64(fastrand::f64());
            self.due.store(millis(first), Ordering::Relaxed);
        }
        due != 0 && due <= millis(now)
    }

    /// Forgets what checks have shown: there are none any more.
    pub(super) fn forget(&self) {
        self.against.store(0, Ordering::Relaxed);
        *lock(&self.failure) = None;
    }

    /// Notes the result of a check of an endpoint that is `unhealthy` or not. Returns whether that changes.
    pub(super) fn ended(
        &self,
        result: &Result<(), NotPassed>,
        unhealthy: bool,
        policy: &CheckPolicy,
    ) -> bool {
        let less = f64::from(policy.jitter_percent) / 100.0 * fastrand::f64();
        let next = Instant::now() + policy.interval.mul_f64(1.0 - less);
        self.due.store(millis(next), Ordering::Relaxed);
        let why = result.as_ref().err().map(|why| why.text().into());
        *lock(&self.failure) = why;
        let failed = match result {
            Ok(()) => false,
            Err(NotPassed::Failed(_)) => true,
            Err(NotPassed::NotMade(_)) => return false,
        };
        if failed == unhealthy {
            self.against.store(0, Ordering::Relaxed);
            return false;
        }
        let needed = match failed {
            true => policy.fall,
            false => policy.rise,
        };
        let against = self.against.fetch_add(1, Ordering::Relaxed) + 1;
        if against >= needed {
            self.against.store(0, Ordering::Relaxed);
        }
        against >= needed
    }
}

/// The reason why a check has not passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotPassed {
    /// The endpoint has failed it.
    Failed(String),
    /// This host cannot connect at present, which says nothing about the endpoint.
    NotMade(String),
}

impl NotPassed {
    pub(super) fn text(&self) -> &str {
        let (Self::Failed(why) | Self::NotMade(why)) = self;
        why
    }

    /// The same with the address that was checked.
    pub(super) fn at(self, address: SocketAddr) -> Self {
        match self {
            Self::Failed(why) => Self::Failed(format!("{address}: {why}")),
            Self::NotMade(why) => Self::NotMade(format!("{address}: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn policy(rise: u32, fall: u32) -> CheckPolicy {
        CheckPolicy {
            hello: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            rise,
            fall,
            jitter_percent: 50,
        }
    }

    fn refused() -> NotPassed {
        NotPassed::Failed("refused".to_owned())
    }

    #[test]
    fn a_check_that_this_host_cannot_make_changes_nothing() {
        let (state, policy) = (CheckState::default(), policy(1, 2));
        let not_made = Err(NotPassed::NotMade("no local port is left".to_owned()));
        assert!(!state.ended(&Err(refused()), false, &policy));
        for _ in 0..5 {
            assert!(!state.ended(&not_made, false, &policy));
            assert!(!state.ended(&not_made, true, &policy));
        }
        assert_eq!(state.failure().as_deref(), Some("no local port is left"));
        assert!(state.ended(&Err(refused()), false, &policy));
    }

    #[test]
    fn a_state_changes_after_as_many_results_in_a_row_as_the_policy_says() {
        let (state, policy) = (CheckState::default(), policy(2, 3));
        let mut unhealthy = false;
        let mut changes = Vec::new();
        for (number, passed) in "xx.xxx.x..xx..".chars().map(|c| c == '.').enumerate() {
            let result = if passed { Ok(()) } else { Err(refused()) };
            if state.ended(&result, unhealthy, &policy) {
                unhealthy = !unhealthy;
                changes.push((number, unhealthy));
            }
            assert_eq!(state.failure().is_some(), !passed);
        }
        assert_eq!(changes, [(5, true), (9, false)]);
    }

    #[test]
    fn checks_are_spread_over_the_interval_and_one_at_a_time() {
        let (state, policy, now) = (CheckState::default(), policy(1, 1), Instant::now());
        assert!(!state.is_due(now, &policy), "the first one comes later");
        assert!(state.is_due(now + policy.interval, &policy));
        state.under_way.store(true, Ordering::Relaxed);
        assert!(!state.is_due(now + policy.interval, &policy));
        state.ended(&Ok(()), false, &policy);
        state.under_way.store(false, Ordering::Relaxed);
        assert!(!state.is_due(Instant::now() + policy.interval / 4, &policy));
        assert!(state.is_due(Instant::now() + policy.interval, &policy));
    }
}
