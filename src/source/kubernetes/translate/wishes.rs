//! The wishes of DestinationRules about the connections to an upstream, within the limits of the config.
//!
//! A limit of the config and one of a rule both hold, so the tighter one counts. The choice of an endpoint and its
//! ejection are the rule's, where it says something about them.

use std::time::Duration;

use crate::config::{
    Connections, KeepaliveInterval, KeepaliveTime, TcpOptions, UpstreamConfig, UpstreamTimeouts,
};
use crate::source::kubernetes::records::wishes::{
    BalanceWishes, ConnectionWishes, EjectionWishes, PoolWishes, RuleWishes,
};

/// The longest slow start, and the longest first ejection, as in the config file.
const MOST: Duration = Duration::from_secs(3600);
const MOST_FAILURES: u32 = 1000;
/// The shortest of each, and the shortest timeout of connecting.
const LEAST_SLOW_START: Duration = Duration::from_secs(1);
const LEAST_EJECTION: Duration = Duration::from_millis(100);
const LEAST_CONNECT: Duration = Duration::from_millis(10);
/// The shortest idle timeout and life of a connection, as in the config file.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

/// The wishes of a rule and one of its subsets for a port: the subset's part comes before the rule's. Settings
/// of a port stand alone, as in istiod: nothing else of the same policy holds for that port.
pub(super) fn of_port(
    rule: Option<&RuleWishes>,
    subset: Option<&RuleWishes>,
    port: u16,
) -> ConnectionWishes {
    let at = |wishes: &RuleWishes| wishes.ports.get(&port).copied();
    let of_rule = rule.map_or_else(ConnectionWishes::default, |all| at(all).unwrap_or(all.all));
    let Some(subset) = subset else {
        return of_rule;
    };
    at(subset).unwrap_or_else(|| ConnectionWishes {
        pool: subset.all.pool.or(of_rule.pool),
        ejection: subset.all.ejection.or(of_rule.ejection),
        balance: subset.all.balance.or(of_rule.balance),
    })
}

/// Changes an upstream as it is asked for.
pub(super) fn apply(wishes: &ConnectionWishes, upstream: &mut UpstreamConfig) {
    if let Some(pool) = &wishes.pool {
        limit(pool, upstream);
    }
    if let Some(ejection) = &wishes.ejection {
        eject(ejection, upstream);
    }
    if let Some(BalanceWishes {
        balance,
        slow_start,
    }) = wishes.balance
    {
        upstream.balance = balance.unwrap_or(upstream.balance);
        let slow_start = slow_start.filter(|time| !time.is_zero());
        let slow_start = slow_start.map(|time| time.clamp(LEAST_SLOW_START, MOST));
        upstream.slow_start = slow_start.or(upstream.slow_start);
    }
}

fn limit(pool: &PoolWishes, upstream: &mut UpstreamConfig) {
    if pool.connections > 0 {
        let wished = Connections::saturating(pool.connections);
        let configured = upstream.limits.connections.unwrap_or(wished);
        upstream.limits.connections = Some(configured.min(wished));
    }
    if let Some(connect) = pool.connect {
        let timeout = &mut upstream.connect.timeout;
        *timeout = (*timeout).min(connect.max(LEAST_CONNECT));
    }
    let timeout = |wished: Option<Duration>| {
        let wished = wished.filter(|time| !time.is_zero());
        wished.map(|time| time.max(LEAST_TIMEOUT))
    };
    upstream.timeouts = UpstreamTimeouts {
        idle: timeout(pool.idle),
        max_age: timeout(pool.max_age),
    };
    let TcpOptions {
        keepalive_time,
        keepalive_interval,
        keepalive_probes,
        ..
    } = &mut upstream.tcp;
    // A time that is longer than the config allows is not tighter than any.
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs().max(1));
    if let Some(wished) = seconds(pool.keepalive_time).and_then(KeepaliveTime::new) {
        *keepalive_time = (*keepalive_time).min(wished);
    }
    if let Some(wished) = seconds(pool.keepalive_interval).and_then(KeepaliveInterval::new) {
        *keepalive_interval = (*keepalive_interval).min(wished);
    }
    if pool.keepalive_probes > 0 {
        *keepalive_probes = (*keepalive_probes).min(pool.keepalive_probes);
    }
}

fn eject(wishes: &EjectionWishes, upstream: &mut UpstreamConfig) {
    let policy = &mut upstream.ejection;
    if wishes.failures > 0 {
        policy.consecutive_failures = wishes.failures.min(MOST_FAILURES);
    }
    if let Some(base) = wishes.base {
        policy.base = base.clamp(LEAST_EJECTION, MOST);
        policy.max = policy.max.max(policy.base);
    }
    if wishes.max_percent > 0 {
        policy.max_percent = wishes.max_percent.min(100);
    }
    if wishes.min_healthy_percent > 0 {
        policy.panic_percent = wishes.min_healthy_percent.min(100);
    }
}
