//! The tally of an endpoint: what has happened there since strait first used it, for operators.
//!
//! The counts that the balancer and the ejection need are others: those forget.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::lock;
use crate::outcome::Outcome;

/// Doublings of the shortest connect time that are told apart: from 64 us to 33 s.
const DOUBLINGS: usize = 20;
/// Parts of each doubling, so that a percentile is right to an eighth.
const PARTS: usize = 8;
/// The shortest connect time that is told apart, in microseconds, as a power of two.
const SHORTEST: u32 = 6;

/// A failure of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointFailure {
    /// The time.
    pub at: SystemTime,
    /// The outcome that it led to, or would have led to without another endpoint.
    pub outcome: Outcome,
}

/// The counts of one endpoint.
#[derive(Debug, Default)]
pub(super) struct EndpointTally {
    connections: AtomicU64,
    failed_connects: AtomicU64,
    failed_before_reply: AtomicU64,
    refused_handshakes: AtomicU64,
    ejections: AtomicU64,
    to_upstream: AtomicU64,
    to_downstream: AtomicU64,
    connects: ConnectTimes,
    last_failure: Mutex<Option<EndpointFailure>>,
}

/// The counts of one endpoint at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointTotals {
    /// Connections made.
    pub connections: u64,
    /// Attempts to connect that failed.
    pub failed_connects: u64,
    /// Connections that ended, or were silent for too long, before the endpoint's first bytes of TLS.
    pub failed_before_reply: u64,
    /// Handshakes that were refused by either side.
    pub refused_handshakes: u64,
    /// Ejections.
    pub ejections: u64,
    /// Bytes that went to the endpoint.
    pub to_upstream_bytes: u64,
    /// Bytes that came from it.
    pub to_downstream_bytes: u64,
    /// The median of the connect times.
    pub connect_p50: Option<Duration>,
    /// The connect time that 99 percent do not exceed.
    pub connect_p99: Option<Duration>,
    /// The last failure of any of these kinds.
    pub last_failure: Option<EndpointFailure>,
}

/// An event at an endpoint that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointEvent {
    FailedConnect,
    FailedBeforeReply,
    RefusedHandshake,
}

impl EndpointTally {
    /// Counts a connection that was made in `time`.
    pub(super) fn connected(&self, time: Duration) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connects.add(time);
    }

    /// Counts bytes of a connection.
    pub(super) fn moved(&self, to_upstream: usize, to_downstream: usize) {
        for (total, bytes) in [
            (&self.to_upstream, to_upstream),
            (&self.to_downstream, to_downstream),
        ] {
            if bytes > 0 {
                total.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        }
    }

    /// Counts a failure that led to `outcome`.
    pub(super) fn failed(&self, event: EndpointEvent, outcome: Outcome) {
        let count = match event {
            EndpointEvent::FailedConnect => &self.failed_connects,
            EndpointEvent::FailedBeforeReply => &self.failed_before_reply,
            EndpointEvent::RefusedHandshake => &self.refused_handshakes,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let at = SystemTime::now();
        *lock(&self.last_failure) = Some(EndpointFailure { at, outcome });
    }

    /// Counts an ejection.
    pub(super) fn ejected(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub(super) fn totals(&self) -> EndpointTotals {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        EndpointTotals {
            connections: count(&self.connections),
            failed_connects: count(&self.failed_connects),
            failed_before_reply: count(&self.failed_before_reply),
            refused_handshakes: count(&self.refused_handshakes),
            ejections: count(&self.ejections),
            to_upstream_bytes: count(&self.to_upstream),
            to_downstream_bytes: count(&self.to_downstream),
            connect_p50: self.connects.percentile(50),
            connect_p99: self.connects.percentile(99),
            last_failure: *lock(&self.last_failure),
        }
    }
}

/// Connect times, in steps that grow with them.
#[derive(Debug)]
struct ConnectTimes([AtomicU32; DOUBLINGS * PARTS]);

impl Default for ConnectTimes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl ConnectTimes {
    fn add(&self, time: Duration) {
        if let Some(step) = self.0.get(step(time)) {
            step.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The upper end of the step up to which `percent` of the times are.
    fn percentile(&self, percent: u64) -> Option<Duration> {
        let counts = || {
            self.0
                .iter()
                .map(|step| u64::from(step.load(Ordering::Relaxed)))
        };
        let all: u64 = counts().sum();
        let wanted = (all * percent).div_ceil(100);
        let mut so_far = 0;
        let reached = counts().position(|count| {
            so_far += count;
            count > 0 && so_far >= wanted
        });
        reached.map(end_of)
    }
}

/// The step that a time belongs to.
fn step(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.max(1 << SHORTEST);
    let doubling = micros.ilog2() - SHORTEST;
    // The three bits below the highest one.
    let part = (micros >> (doubling + SHORTEST - 3)) & 7;
    let step = doubling as usize * PARTS + usize::try_from(part).unwrap_or(0);
    step.min(DOUBLINGS * PARTS - 1)
}

/// The upper end of a step.
fn end_of(step: usize) -> Duration {
    let (doubling, part) = (step / PARTS, step % PARTS);
    let begin = 1u64 << (u32::try_from(doubling).unwrap_or(0) + SHORTEST);
    let parts = u64::try_from(part + 1).unwrap_or(0);
    Duration::from_micros(begin + begin / 8 * parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_right_to_an_eighth() {
        let millis = Duration::from_millis;
        for time in [
            Duration::from_micros(65),
            millis(1),
            Duration::from_micros(2047),
            millis(37),
            millis(3000),
        ] {
            let times = ConnectTimes::default();
            times.add(time);
            let found = times.percentile(50).unwrap();
            assert!(
                found >= time && found <= time * 9 / 8 + Duration::from_micros(8),
                "{time:?}: {found:?}"
            );
        }
        let times = ConnectTimes::default();
        assert_eq!(times.percentile(50), None, "nothing is known");
        (0..98).for_each(|_| times.add(millis(1)));
        (0..2).for_each(|_| times.add(millis(1000)));
        assert!(times.percentile(50).unwrap() < millis(2));
        assert!(times.percentile(99).unwrap() >= millis(1000));
        for extreme in [Duration::ZERO, Duration::MAX] {
            times.add(extreme);
        }
        assert!(times.percentile(100).is_some());
    }

    #[test]
    fn the_last_failure_is_known() {
        let tally = EndpointTally::default();
        assert_eq!(tally.totals(), EndpointTotals::default());
        tally.failed(EndpointEvent::FailedConnect, Outcome::ConnectRefused);
        tally.failed(EndpointEvent::FailedBeforeReply, Outcome::UpstreamReset);
        tally.failed(EndpointEvent::RefusedHandshake, Outcome::HandshakeRefused);
        let totals = tally.totals();
        let counted = [
            totals.failed_connects,
            totals.failed_before_reply,
            totals.refused_handshakes,
        ];
        assert_eq!(counted, [1; 3]);
        let last = totals.last_failure.unwrap().outcome;
        assert_eq!(last, Outcome::HandshakeRefused);
    }
}
