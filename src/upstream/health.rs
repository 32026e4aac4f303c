//! The passive health of an endpoint: when its connections keep failing, it is ejected for a while. After that one
//! connection at a time tries it, until one shows that it works.
//!
//! An endpoint works when the first bytes of TLS come from it, not when it accepts a connection. Handshakes that are
//! refused there count against it only if they are from several sources and more than at its neighbours: else the
//! fault is a client's.
//!
//! Ejection is advice, not a verdict: when every endpoint of an upstream is ejected, the balancer uses
//! them anyway, since a gateway that refuses everything helps nobody.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use super::recent::{RecentCount, RecentSources, millis};
use crate::config::EjectionPolicy;

/// The recent conduct of one endpoint. All counts are relaxed: a count lost to a race delays an ejection by
/// one failure.
#[derive(Debug, Default)]
pub struct Health {
    failures_in_a_row: AtomicU32,
    ejections_in_a_row: AtomicU32,
    /// A [`Pause`].
    pause: AtomicU64,
    /// Set by active checks.
    unhealthy: AtomicBool,
    /// The end of a drain by an operator, in [`millis`]; 0 without one, `u64::MAX` without an end.
    drained: AtomicU64,
    /// Failures and refused handshakes. The balancer counts them as load.
    recent_failures: RecentCount<10>,
    /// Handshakes that succeeded.
    passed: RecentCount<60>,
    /// Made with the first handshake that is refused, which most endpoints never see.
    refusals: OnceLock<Box<Refusals>>,
}

/// The handshakes that were refused at an endpoint, by either side.
#[derive(Debug, Default)]
struct Refusals {
    count: RecentCount<60>,
    sources: RecentSources<60>,
}

/// The state of an endpoint at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// It takes connections.
    Ready,
    /// It is ejected for this much longer. Zero: one connection may try it.
    Ejected(Duration),
    /// Its active checks fail.
    Unhealthy,
    /// An operator drains it: it gets no connection, whatever the state of the others.
    Drained,
}

impl EndpointState {
    /// The time that its ejection lasts, if it is ejected.
    pub const fn ejection_left(self) -> Option<Duration> {
        match self {
            Self::Ejected(left) => Some(left),
            Self::Ready | Self::Unhealthy | Self::Drained => None,
        }
    }

    /// The value of the `state` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Ejected(_) => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Drained => "drained",
        }
    }
}

/// The pause of an ejected endpoint, or a connection's trial of it. In a word: milliseconds and two bits; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    /// The end, in milliseconds of [`millis`].
    until: u64,
    /// A connection tries the endpoint; the others leave it alone until the end.
    trial: bool,
    /// It was ejected for refused handshakes.
    for_refusals: bool,
}

impl Pause {
    const TRIAL: u64 = 1;
    const FOR_REFUSALS: u64 = 2;

    fn unpack(word: u64) -> Option<Self> {
        (word != 0).then_some(Self {
            until: word >> 2,
            trial: word & Self::TRIAL != 0,
            for_refusals: word & Self::FOR_REFUSALS != 0,
        })
    }

    fn pack(self) -> u64 {
        let trial = u64::from(self.trial) * Self::TRIAL;
        let for_refusals = u64::from(self.for_refusals) * Self::FOR_REFUSALS;
        self.until.max(1) << 2 | trial | for_refusals
    }
}

/// Handshakes at one endpoint or more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Handshakes {
    pub passed: u32,
    pub refused: u32,
}

impl std::iter::Sum for Handshakes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            passed: sum.passed.saturating_add(one.passed),
            refused: sum.refused.saturating_add(one.refused),
        })
    }
}

impl Handshakes {
    /// Whether so many of them are refused, and so many more than of the `others`, that it is the endpoint's fault: at
    /// least half of its own, and at least twice the share of theirs, of which some must have passed.
    pub(super) fn blame_it(self, others: Self) -> bool {
        let all = |them: Self| u64::from(them.passed) + u64::from(them.refused);
        let (refused, theirs) = (u64::from(self.refused), u64::from(others.refused));
        refused * 2 >= all(self)
            && others.passed > 0
            && refused * all(others) >= 2 * theirs * all(self)
    }
}

fn hash_of(source: IpAddr) -> u32 {
    // Keyed, so that no client can choose an address that counts as another's.
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let [a, b, c, d, ..] = KEY.hash_one(source).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl Health {
    /// The state at `now`.
    pub fn state(&self, now: Instant) -> EndpointState {
        if self.is_drained(now) {
            return EndpointState::Drained;
        }
        if self.is_unhealthy() {
            return EndpointState::Unhealthy;
        }
        match Pause::unpack(self.pause.load(Ordering::Relaxed)) {
            None => EndpointState::Ready,
            Some(pause) => {
                let left = pause.until.saturating_sub(millis(now));
                EndpointState::Ejected(Duration::from_millis(left))
            }
        }
    }

    /// Whether an operator drains it at `now`.
    pub(super) fn is_drained(&self, now: Instant) -> bool {
        let until = self.drained.load(Ordering::Relaxed);
        until != 0 && millis(now) < until
    }

    /// Drains the endpoint: it gets no new connection until `until`, or until [`Health::undrain`].
    pub fn drain(&self, until: Option<Instant>) {
        let until = until.map_or(u64::MAX, millis);
        self.drained.store(until, Ordering::Relaxed);
    }

    /// Ends a drain. Returns whether there was one at `now`.
    pub fn undrain(&self, now: Instant) -> bool {
        let was = self.is_drained(now);
        self.drained.store(0, Ordering::Relaxed);
        was
    }

    /// Ends the drain that was to end at `until`, unless another one has taken its place. Returns whether it did.
    pub fn drain_is_over(&self, until: Instant) -> bool {
        let ended =
            self.drained
                .compare_exchange(millis(until), 0, Ordering::Relaxed, Ordering::Relaxed);
        ended.is_ok()
    }

    /// The end of the drain at `now`, as the time that is left. `None` if there is no drain, or no end.
    pub fn drain_left(&self, now: Instant) -> Option<Duration> {
        let until = self.drained.load(Ordering::Relaxed);
        let left = until.checked_sub(millis(now))?;
        (until != 0 && until != u64::MAX).then(|| Duration::from_millis(left))
    }

    /// Lifts an ejection, as an operator asks. Returns whether there was one.
    pub fn lift(&self) -> bool {
        let was = self.pause.load(Ordering::Relaxed) != 0;
        self.readmit();
        was
    }

    /// Whether its active checks fail.
    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Ordering::Relaxed)
    }

    /// Notes the result of active checks.
    pub(super) fn set_unhealthy(&self, unhealthy: bool) {
        self.unhealthy.store(unhealthy, Ordering::Relaxed);
    }

    /// Whether the balancer may choose it at `now`: it is ready, or nobody tries it yet though its time is over.
    pub(super) fn is_eligible(&self, now: Instant) -> bool {
        matches!(
            self.state(now),
            EndpointState::Ready | EndpointState::Ejected(Duration::ZERO)
        )
    }

    /// Takes the trial of an endpoint whose ejection is over: until the trial is decided, and for at most `lasting`,
    /// nobody else gets it. Returns `false` if another connection was faster.
    pub(super) fn try_it(&self, now: Instant, lasting: Duration) -> bool {
        let word = self.pause.load(Ordering::Relaxed);
        let Some(pause) = Pause::unpack(word).filter(|pause| pause.until <= millis(now)) else {
            return true;
        };
        let trial = Pause {
            until: millis(now + lasting),
            trial: true,
            ..pause
        };
        let taken =
            self.pause
                .compare_exchange(word, trial.pack(), Ordering::Relaxed, Ordering::Relaxed);
        taken.is_ok()
    }

    /// Failures of the last seconds, which count as load: who fails fast must not look idle.
    pub(super) fn recent_failures(&self, now: Instant) -> u32 {
        self.recent_failures.get(millis(now))
    }

    /// The recent handshakes.
    pub(super) fn handshakes(&self, now: Instant) -> Handshakes {
        let now = millis(now);
        Handshakes {
            passed: self.passed.get(now),
            refused: self.refusals.get().map_or(0, |they| they.count.get(now)),
        }
    }

    /// Notes the first bytes of TLS from the endpoint. Returns whether that ends an ejection.
    pub(super) fn answered(&self) -> bool {
        // Reads first: usually nothing needs a reset, and a read does not take the cache line from
        // other cores.
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        let pause = Pause::unpack(self.pause.load(Ordering::Relaxed));
        let ends = pause.is_some_and(|pause| !pause.for_refusals);
        if ends {
            self.readmit();
        }
        ends
    }

    /// Notes a handshake that succeeded. Returns whether that ends an ejection.
    pub(super) fn passed(&self, now: Instant) -> bool {
        self.passed.add(millis(now));
        let ends = self.pause.load(Ordering::Relaxed) != 0;
        if ends {
            self.readmit();
        }
        ends
    }

    fn readmit(&self) {
        self.pause.store(0, Ordering::Relaxed);
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        self.ejections_in_a_row.store(0, Ordering::Relaxed);
        self.recent_failures.clear();
        if let Some(refusals) = self.refusals.get() {
            refusals.count.clear();
            refusals.sources.clear();
        }
    }

    /// Notes a connection that failed: none was made, or no byte of TLS came from the endpoint. Returns the time of
    /// the ejection, if it causes one.
    ///
    /// An endpoint that is ready is ejected only if it `may_be`.
    pub(super) fn failed(
        &self,
        policy: &EjectionPolicy,
        now: Instant,
        may_be: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        self.recent_failures.add(millis(now));
        if policy.consecutive_failures == 0 {
            return None;
        }
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let due = match Pause::unpack(self.pause.load(Ordering::Relaxed)) {
            // To ask costs a look at every endpoint, so it is not done at each failure.
            None => failures.is_multiple_of(policy.consecutive_failures) && may_be(),
            Some(pause) => pause.trial || pause.until <= millis(now),
        };
        due.then(|| self.eject(policy, now, false))
    }

    /// Notes a handshake of `source` that was refused, by either side. `others` are the handshakes at the other
    /// endpoints of the upstream. Returns the time of the ejection, if it causes one.
    ///
    /// An endpoint that is ready is ejected only if it `may_be`.
    pub(super) fn refused(
        &self,
        source: IpAddr,
        policy: &EjectionPolicy,
        now: Instant,
        others: impl FnOnce() -> Handshakes,
        may_be: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let at = millis(now);
        let refusals = self.refusals.get_or_init(Box::default);
        refusals.count.add(at);
        refusals.sources.note(hash_of(source), at);
        self.recent_failures.add(at);
        if policy.refused_sources == 0 {
            return None;
        }
        let due = match Pause::unpack(self.pause.load(Ordering::Relaxed)) {
            None => {
                let sources = refusals.sources.count(at);
                u32::try_from(sources).is_ok_and(|sources| sources >= policy.refused_sources)
                    && self.handshakes(now).blame_it(others())
                    && may_be()
            }
            Some(pause) => pause.trial && pause.for_refusals,
        };
        due.then(|| self.eject(policy, now, true))
    }

    fn eject(&self, policy: &EjectionPolicy, now: Instant, for_refusals: bool) -> Duration {
        let doublings = self.ejections_in_a_row.fetch_add(1, Ordering::Relaxed);
        let factor = 2u32.saturating_pow(doublings);
        let lasting = policy.base.saturating_mul(factor).min(policy.max);
        let pause = Pause {
            until: millis(now + lasting),
            trial: false,
            for_refusals,
        };
        self.pause.store(pause.pack(), Ordering::Relaxed);
        lasting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: EjectionPolicy = EjectionPolicy {
        consecutive_failures: 3,
        first_byte: Duration::from_secs(1),
        refused_sources: 2,
        max_percent: 50,
        panic_percent: 50,
        base: Duration::from_secs(10),
        max: Duration::from_secs(30),
    };
    const TRIAL: Duration = Duration::from_secs(4);
    const SECOND: Duration = Duration::from_secs(1);

    fn failed(health: &Health, now: Instant) -> Option<Duration> {
        health.failed(&POLICY, now, || true)
    }

    #[test]
    fn ejects_after_failures_in_a_row_and_longer_each_time() {
        let health = Health::default();
        let start = Instant::now();
        assert_eq!(failed(&health, start), None);
        assert!(!health.answered());
        assert_eq!(failed(&health, start), None);
        assert_eq!(failed(&health, start), None);
        assert_eq!(health.state(start), EndpointState::Ready);
        assert_eq!(failed(&health, start), Some(POLICY.base));
        assert!(matches!(health.state(start), EndpointState::Ejected(_)));
        assert_eq!(failed(&health, start), None, "is ejected already");

        let mut now = start + SECOND * 11;
        for expected in [20, 30, 30] {
            let expected = SECOND * expected;
            assert!(health.try_it(now, TRIAL));
            assert_eq!(failed(&health, now), Some(expected), "one is enough");
            now += expected + SECOND;
        }

        assert!(health.try_it(now, TRIAL) && health.answered());
        assert_eq!(health.state(now), EndpointState::Ready);
        assert_eq!(failed(&health, now), None, "starts anew");
    }

    #[test]
    fn one_connection_at_a_time_tries_an_endpoint_after_its_ejection() {
        let health = Health::default();
        let start = Instant::now();
        assert!(health.is_eligible(start) && health.try_it(start, TRIAL));
        assert!(health.try_it(start, TRIAL), "a ready one is for all");
        (0..3).for_each(|_| {
            failed(&health, start);
        });
        assert!(!health.is_eligible(start + POLICY.base - SECOND));
        let over = start + POLICY.base + SECOND;
        assert_eq!(health.state(over), EndpointState::Ejected(Duration::ZERO));
        assert!(health.is_eligible(over));
        assert!(health.try_it(over, TRIAL));
        assert_eq!(health.state(over), EndpointState::Ejected(TRIAL));
        assert!(!health.is_eligible(over), "the others wait");
        let undecided = over + TRIAL;
        assert!(
            health.is_eligible(undecided),
            "a trial that nothing decides"
        );
        assert!(health.try_it(undecided, TRIAL) && health.answered());
        assert!(!health.answered(), "it is back already");
    }

    #[test]
    fn zero_failures_never_eject() {
        let policy = EjectionPolicy {
            consecutive_failures: 0,
            refused_sources: 0,
            ..POLICY
        };
        let health = Health::default();
        let now = Instant::now();
        let others = || Handshakes {
            passed: 100,
            refused: 0,
        };
        for last in 0..100 {
            assert_eq!(health.failed(&policy, now, || true), None);
            let source = IpAddr::from([10, 0, 0, last]);
            assert_eq!(health.refused(source, &policy, now, others, || true), None);
        }
        assert_eq!(health.recent_failures(now), 200, "they count as load");
    }

    #[test]
    fn refused_handshakes_eject_if_they_are_from_several_sources_and_more_than_elsewhere() {
        let well = Handshakes {
            passed: 9,
            refused: 1,
        };
        let sick = Handshakes {
            passed: 1,
            refused: 1,
        };
        let unknown = Handshakes::default();
        for (passed, sources, others, expected) in [
            (0, 2, well, true),
            (2, 2, well, true),
            (3, 2, well, false),
            (0, 1, well, false),
            (0, 2, sick, true),
            (1, 2, sick, false),
            (0, 2, unknown, false),
        ] {
            let (health, now) = (Health::default(), Instant::now());
            (0..passed).for_each(|_| {
                health.passed(now);
            });
            let refused = |number: u8| {
                let source = IpAddr::from([10, 0, 0, number % sources]);
                health.refused(source, &POLICY, now, || others, || true)
            };
            let ejected = [refused(0), refused(1)];
            let case = format!("{passed} {sources} {others:?}");
            assert_eq!(ejected[0], None, "{case}");
            assert_eq!(ejected[1].is_some(), expected, "{case}");
        }
    }

    #[test]
    fn an_endpoint_ejected_for_refusals_is_back_when_a_handshake_succeeds() {
        let (health, start) = (Health::default(), Instant::now());
        let others = || Handshakes {
            passed: 9,
            refused: 0,
        };
        let refused =
            |last, now| health.refused([10, 0, 0, last].into(), &POLICY, now, others, || true);
        assert_eq!(refused(1, start), None);
        assert_eq!(refused(2, start), Some(POLICY.base));
        assert_eq!(refused(3, start), None, "is ejected already");
        assert!(!health.answered(), "its answer says nothing");
        let now = start + POLICY.base;
        assert!(health.try_it(now, TRIAL));
        assert_eq!(refused(1, now), Some(POLICY.base * 2), "one is enough");
        let now = now + POLICY.base * 2;
        assert!(health.try_it(now, TRIAL) && health.passed(now));
        assert_eq!(health.state(now), EndpointState::Ready);
        assert_eq!(refused(1, now), None, "starts anew");
    }
}
