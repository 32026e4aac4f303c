//! The limits of one scope of the config, and the parts of them that connections hold.

use std::fmt;
use std::sync::Arc;

use super::budget::{Budget, Share};
use super::collector::LimitUse;
use super::rate::{TokenBucket, now};
use crate::config::{ConnectionLimits, Count};
use crate::metrics::{LimitKind, LimitScope};

/// Enforces the limits of one scope on its connections.
#[derive(Debug, Clone)]
pub struct Limiter {
    scope: LimitScope,
    limits: ConnectionLimits,
    usage: Arc<Usage>,
}

/// The usage of one scope, whichever config counts it.
#[derive(Debug)]
pub(super) struct Usage {
    connections: Budget,
    hellos: Budget,
    new: TokenBucket,
}

/// The part of its scopes' limits that one connection holds. Dropping it gives everything back.
#[derive(Debug, Default)]
pub struct Held {
    connections: Vec<Share>,
    hellos: Vec<Share>,
}

/// The limit for which a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverLimit {
    /// The scope of the limit.
    pub scope: LimitScope,
    /// The kind of limit.
    pub kind: LimitKind,
    /// The limit.
    pub limit: u32,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            LimitScope::Listener => "the listener's",
            LimitScope::Route => "the route's",
            LimitScope::Source => "the source address's",
            LimitScope::SourceGroup => "the source group's",
            LimitScope::Upstream => "the upstream's",
            LimitScope::Endpoint => "every endpoint is at its",
        };
        let what = match self.kind {
            LimitKind::Connections => "connections at a time",
            LimitKind::ConnectionsPerSecond => "new connections a second",
            LimitKind::Hellos => "ClientHellos in progress",
            LimitKind::Sources => "source addresses at a time",
            LimitKind::Connecting => "connections being opened",
        };
        write!(f, "{scope} limit of {} {what}", self.limit)
    }
}

impl Usage {
    pub(super) fn new() -> Self {
        let unlimited = || Budget::new(usize::MAX, None);
        Self {
            connections: unlimited(),
            hellos: unlimited(),
            new: TokenBucket::default(),
        }
    }

    /// Whether forgetting this usage would change nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.used() == 0 && self.hellos.used() == 0 && self.new.is_full(now())
    }
}

impl Limiter {
    /// Returns `None` when nothing is limited.
    pub(super) fn new(
        scope: LimitScope,
        limits: &ConnectionLimits,
        usage: Arc<Usage>,
    ) -> Option<Self> {
        (!limits.is_off()).then_some(Self {
            scope,
            limits: *limits,
            usage,
        })
    }

    /// Counts one more connection and its ClientHello into `held`.
    ///
    /// # Errors
    /// The limit that is reached. `held` may have grown by then; the caller must drop it.
    pub fn admit(&self, held: &mut Held) -> Result<(), OverLimit> {
        let Usage {
            connections,
            hellos,
            new,
        } = &*self.usage;
        let take = |budget: &Budget, limit, kind, shares: &mut Vec<Share>| {
            let Some(limit) = limit else { return Ok(()) };
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let share = budget.take_within(1, most);
            shares.push(share.ok_or(self.over(kind, limit))?);
            Ok(())
        };
        take(
            connections,
            self.limits.connections.map(Count::get),
            LimitKind::Connections,
            &mut held.connections,
        )?;
        take(
            hellos,
            self.limits.hellos.map(Count::get),
            LimitKind::Hellos,
            &mut held.hellos,
        )?;
        // Last, so that a connection refused for another limit takes no token.
        match self.limits.connections_per_second.map(Count::get) {
            Some(limit) if !new.take(limit, now()) => {
                Err(self.over(LimitKind::ConnectionsPerSecond, limit))
            }
            _ => Ok(()),
        }
    }

    /// The use of each limit now.
    pub fn uses(&self) -> Vec<LimitUse> {
        let Self {
            scope,
            limits,
            usage,
        } = self;
        let count = |budget: &Budget| u64::try_from(budget.used()).unwrap_or(u64::MAX);
        let rate = limits.connections_per_second.map(Count::get);
        let taken = |rate: u32| (rate, u64::from(usage.new.taken(rate, now())));
        let all = [
            (
                LimitKind::Connections,
                limits
                    .connections
                    .map(|limit| (limit.get(), count(&usage.connections))),
            ),
            (
                LimitKind::Hellos,
                limits
                    .hellos
                    .map(|limit| (limit.get(), count(&usage.hellos))),
            ),
            (LimitKind::ConnectionsPerSecond, rate.map(taken)),
        ];
        let uses = all.into_iter().filter_map(|(kind, found)| {
            let (most, used) = found?;
            Some(LimitUse::new(*scope, kind, most.into(), used))
        });
        uses.collect()
    }

    fn over(&self, kind: LimitKind, limit: u32) -> OverLimit {
        OverLimit {
            scope: self.scope,
            kind,
            limit,
        }
    }
}

impl Held {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.hellos.is_empty()
    }

    /// Adds everything that `more` holds.
    pub fn append(&mut self, mut more: Self) {
        self.connections.append(&mut more.connections);
        self.hellos.append(&mut more.hellos);
    }

    /// Gives back the share of the ClientHello, which is no longer in progress.
    pub fn hello_ended(&mut self) {
        self.hellos = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConnectionRate, Connections};

    const OFF: ConnectionLimits = ConnectionLimits::OFF;

    fn limiter(limits: ConnectionLimits) -> Limiter {
        Limiter::new(LimitScope::Route, &limits, Arc::new(Usage::new())).unwrap()
    }

    fn admit(limiter: &Limiter) -> Result<Held, OverLimit> {
        let mut held = Held::default();
        limiter.admit(&mut held).map(|()| held)
    }

    #[test]
    fn what_is_held_goes_back() {
        let limiter = limiter(ConnectionLimits {
            connections: Connections::new(2),
            ..OFF
        });
        let first = admit(&limiter).unwrap();
        let _second = admit(&limiter).unwrap();
        let over = admit(&limiter).unwrap_err();
        let text = "the route's limit of 2 connections at a time";
        assert_eq!(over.to_string(), text);
        drop(first);
        assert!(admit(&limiter).is_ok());
    }

    #[test]
    fn a_hello_counts_until_it_has_ended() {
        let limiter = limiter(ConnectionLimits {
            hellos: Connections::new(1),
            ..OFF
        });
        let mut first = admit(&limiter).unwrap();
        assert_eq!(admit(&limiter).unwrap_err().kind, LimitKind::Hellos);
        first.hello_ended();
        assert!(admit(&limiter).is_ok());
    }

    #[test]
    fn a_refused_connection_takes_no_token() {
        let limiter = limiter(ConnectionLimits {
            connections: Connections::new(1),
            connections_per_second: ConnectionRate::new(3),
            ..OFF
        });
        let first = admit(&limiter).unwrap();
        for _ in 0..10 {
            assert_eq!(admit(&limiter).unwrap_err().kind, LimitKind::Connections);
        }
        drop(first);
        for _ in 0..2 {
            admit(&limiter).unwrap();
        }
        let over = admit(&limiter).unwrap_err();
        assert_eq!(over.kind, LimitKind::ConnectionsPerSecond);
    }

    #[test]
    fn nothing_is_limited_unless_the_config_says_so() {
        assert!(Limiter::new(LimitScope::Route, &OFF, Arc::new(Usage::new())).is_none());
    }
}
