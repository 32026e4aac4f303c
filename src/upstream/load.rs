//! The load: connections of an endpoint or of a whole upstream, counted so that a limit is never exceeded.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::connect_times::ConnectHistogram;
use crate::config::UpstreamLimits;
use crate::limits::{LimitUse, OverLimit};
use crate::metrics::{LimitKind, LimitScope};

/// The connections of an endpoint or of an upstream. In one word, so that both limits are checked at once: those that
/// are being opened in the upper half, all in the lower. Beside it, the connect times of an upstream.
#[derive(Debug, Default)]
pub(super) struct Load(AtomicU64, OnceLock<Box<ConnectHistogram>>);

const CONNECTING: u64 = 1 << 32;
const CONNECTION: u64 = 1;

/// A part of a [`Load`] that one connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadStage {
    Connecting,
    Open,
    /// It has failed, and counts no more.
    Failed,
}

impl LoadStage {
    fn counts(self) -> u64 {
        match self {
            Self::Connecting => CONNECTING + CONNECTION,
            Self::Open => CONNECTION,
            Self::Failed => 0,
        }
    }
}

impl Load {
    /// Counts a connection that was made in `time`.
    pub(super) fn connected(&self, time: Duration) {
        self.1.get_or_init(Box::default).observe(time);
    }

    /// The connect times, if a connection was made.
    pub(super) fn connect_times(&self) -> Option<&ConnectHistogram> {
        self.1.get().map(|times| &**times)
    }

    /// Connections that are open or being opened.
    pub(super) fn connections(&self) -> u32 {
        halves(self.0.load(Ordering::Relaxed)).1
    }

    /// Connections that are being opened.
    pub(super) fn connecting(&self) -> u32 {
        halves(self.0.load(Ordering::Relaxed)).0
    }

    /// The limit that allows no further connection, if any.
    pub(super) fn at_limit(&self, limits: &UpstreamLimits) -> Option<(LimitKind, u32)> {
        exceeded(self.0.load(Ordering::Relaxed), limits)
    }

    /// The use of each of `limits`.
    pub(super) fn uses(&self, scope: LimitScope, limits: &UpstreamLimits) -> Vec<LimitUse> {
        let (connecting, connections) = halves(self.0.load(Ordering::Relaxed));
        let all = [
            (LimitKind::Connections, limits.connections, connections),
            (LimitKind::Connecting, limits.connecting, connecting),
        ];
        let uses = all.into_iter().filter_map(|(kind, limit, used)| {
            let most = limit?.get();
            Some(LimitUse::new(scope, kind, most.into(), used.into()))
        });
        uses.collect()
    }

    /// Counts a connection that is being opened, unless a limit allows no further one.
    pub(super) fn take(&self, limits: &UpstreamLimits) -> Result<(), (LimitKind, u32)> {
        let one = LoadStage::Connecting.counts();
        if limits.is_off() {
            self.0.fetch_add(one, Ordering::Relaxed);
            return Ok(());
        }
        let more = |now| exceeded(now, limits).is_none().then_some(now + one);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken
            .map(drop)
            .map_err(|now| exceeded(now, limits).unwrap_or((LimitKind::Connections, 0)))
    }

    /// Counts a connection as one of the `after` stage, which was one of the `before`. A connection goes forward only.
    pub(super) fn change(&self, before: LoadStage, after: LoadStage) {
        let less = before.counts().saturating_sub(after.counts());
        self.0.fetch_sub(less, Ordering::Relaxed);
    }
}

/// The connections that are being opened, and all.
fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
    (
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    )
}

fn exceeded(word: u64, limits: &UpstreamLimits) -> Option<(LimitKind, u32)> {
    let (connecting, connections) = halves(word);
    let reached = |limit: u32, count: u32| (count >= limit).then_some(limit);
    let of = |kind, limit: Option<crate::config::Connections>, count| {
        reached(limit?.get(), count).map(|limit| (kind, limit))
    };
    of(LimitKind::Connections, limits.connections, connections)
        .or_else(|| of(LimitKind::Connecting, limits.connecting, connecting))
}

/// The reason why no endpoint was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPicked {
    /// Every endpoint was tried, or there is none.
    NoneLeft,
    /// The upstream, or every endpoint that is left, is at its limit.
    OverLimit(OverLimit),
}

impl NotPicked {
    pub(super) fn over(scope: LimitScope, (kind, limit): (LimitKind, u32)) -> Self {
        Self::OverLimit(OverLimit { scope, kind, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Connections;

    #[test]
    fn no_limit_is_exceeded_and_both_count_by_themselves() {
        let limits = |connections, connecting| UpstreamLimits {
            connections: Connections::new(connections),
            connecting: Connections::new(connecting),
        };
        let load = Load::default();
        let two = limits(2, 0);
        assert_eq!([load.take(&two), load.take(&two)], [Ok(()), Ok(())]);
        assert_eq!(load.take(&two), Err((LimitKind::Connections, 2)));
        assert_eq!((load.connections(), load.connecting()), (2, 2));
        let one = limits(9, 1);
        assert_eq!(load.take(&one), Err((LimitKind::Connecting, 1)));
        load.change(LoadStage::Connecting, LoadStage::Open);
        assert_eq!(load.at_limit(&one), Some((LimitKind::Connecting, 1)));
        load.change(LoadStage::Connecting, LoadStage::Failed);
        assert_eq!((load.connections(), load.connecting()), (1, 0));
        assert_eq!(load.take(&one), Ok(()));
        load.change(LoadStage::Open, LoadStage::Failed);
        load.change(LoadStage::Connecting, LoadStage::Open);
        assert_eq!((load.connections(), load.connecting()), (1, 0));
        assert_eq!(load.take(&UpstreamLimits::OFF), Ok(()));
    }

    #[test]
    fn threads_at_the_same_moment_do_not_exceed_a_limit() {
        let load = Load::default();
        let limits = UpstreamLimits {
            connections: Connections::new(7),
            connecting: None,
        };
        let taken = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| load.take(&limits).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|one| one.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(taken, 7);
    }
}
