//! Tests of what DestinationRules ask of connections.

use std::sync::Arc;
use std::time::Duration;

use super::fixtures::*;
use crate::config::{Balance, Connections, KeepaliveTime, KubernetesConfig, UpstreamConfig};
use crate::source::kubernetes::records::wishes::{
    BalanceWishes, ConnectionWishes, EjectionWishes, PoolWishes, RuleWishes,
};
use crate::source::kubernetes::records::{DestinationRuleRecord, RuleTls};

const UPSTREAM: &str = "apps/svcb:80";

fn limit(connections: u32) -> ConnectionWishes {
    ConnectionWishes {
        pool: Some(PoolWishes {
            connections,
            ..PoolWishes::default()
        }),
        ..ConnectionWishes::default()
    }
}

fn choice(balance: Balance) -> ConnectionWishes {
    ConnectionWishes {
        balance: Some(BalanceWishes {
            balance: Some(balance),
            slow_start: None,
        }),
        ..ConnectionWishes::default()
    }
}

/// A rule for the Service, with a traffic policy.
fn rule_with(edit: impl FnOnce(&mut DestinationRuleRecord)) -> Object {
    rule("apps/r", "svcb", |rule| {
        rule.tls = Some(RuleTls::default());
        edit(rule);
    })
}

fn found(policy: KubernetesConfig, rules: Vec<Object>, upstream: &str) -> Arc<UpstreamConfig> {
    let found = find(policy, svcb(rules));
    found.0.routing.upstreams[upstream].clone()
}

fn connections(upstream: &UpstreamConfig) -> Option<u32> {
    upstream.limits.connections.map(Connections::get)
}

#[test]
fn a_limit_of_the_config_and_one_of_a_rule_both_hold() {
    for (configured, wished, counts) in [
        (None, 5, Some(5)),
        (Some(3), 5, Some(3)),
        (Some(9), 5, Some(5)),
        (Some(9), 0, Some(9)),
        (None, 0, None),
    ] {
        let mut policy = policy();
        let upstream = Arc::make_mut(&mut policy.upstream);
        upstream.limits.connections = configured.map(Connections::saturating);
        let upstream = found(
            policy,
            vec![rule_with(|rule| rule.wishes.all = limit(wished))],
            UPSTREAM,
        );
        assert_eq!(connections(&upstream), counts, "{configured:?} {wished}");
    }
    let seconds = Duration::from_secs;
    for (wished, timeout, keepalive) in [(1, 1, 1), (7000, 3, 60)] {
        let mut policy = policy();
        let upstream = Arc::make_mut(&mut policy.upstream);
        upstream.connect.timeout = seconds(3);
        upstream.tcp.keepalive_time = KeepaliveTime::new(60).unwrap();
        upstream.tcp.keepalive_probes = 3;
        let pool = PoolWishes {
            connect: Some(seconds(wished)),
            keepalive_time: Some(seconds(wished)),
            keepalive_probes: 2,
            ..PoolWishes::default()
        };
        let rule = rule_with(|rule| rule.wishes.all.pool = Some(pool));
        let upstream = found(policy, vec![rule], UPSTREAM);
        assert_eq!(upstream.connect.timeout, seconds(timeout));
        assert_eq!(upstream.tcp.keepalive_time.get(), seconds(keepalive));
        assert_eq!(upstream.tcp.keepalive_probes, 2);
    }
}

#[test]
fn the_times_of_a_rule_are_bounds_beside_those_of_the_config() {
    let millis = |count| Some(Duration::from_millis(count));
    for (idle, max_age, bounds) in [
        (None, None, (None, None)),
        (millis(20_000), None, (millis(20_000), None)),
        // As in Istio 0 is no bound, and what is shorter than the config could say is the shortest that it can.
        (millis(0), millis(0), (None, None)),
        (millis(3), millis(15_000), (millis(1000), millis(15_000))),
    ] {
        let pool = PoolWishes {
            idle,
            max_age,
            ..PoolWishes::default()
        };
        let rule = rule_with(|rule| rule.wishes.all.pool = Some(pool));
        let found = found(policy(), vec![rule], UPSTREAM).timeouts;
        assert_eq!((found.idle, found.max_age), bounds, "{idle:?} {max_age:?}");
    }
}

#[test]
fn settings_of_a_port_stand_alone_and_a_subset_comes_before_its_rule() {
    let edit = |rule: &mut DestinationRuleRecord| {
        rule.wishes.all = ConnectionWishes {
            balance: choice(Balance::Random).balance,
            ..limit(5)
        };
        rule.wishes.ports = [(90, limit(6))].into();
        let mut first = subset("v1", &[]);
        first.wishes.all = limit(7);
        let mut second = subset("v2", &[]);
        second.wishes = RuleWishes {
            all: limit(8),
            ports: [(80, choice(Balance::RoundRobin))].into(),
        };
        rule.subsets = [first, second].into();
    };
    let objects = || {
        let ports = service("apps/svcb", &[("http", 80), ("x", 90)]);
        vec![rule_with(edit), ports]
    };
    let default = policy().upstream.balance;
    for (upstream, limit, balance) in [
        ("apps/svcb:80", Some(5), Balance::Random),
        ("apps/svcb:90", Some(6), default),
        ("apps/svcb:80/v1", Some(7), Balance::Random),
        ("apps/svcb:90/v1", Some(7), default),
        ("apps/svcb:80/v2", None, Balance::RoundRobin),
        ("apps/svcb:90/v2", Some(8), default),
    ] {
        let found = found(policy(), objects(), upstream);
        assert_eq!(
            (connections(&found), found.balance),
            (limit, balance),
            "{upstream}"
        );
    }
}

#[test]
fn ejection_balance_and_warmup_are_the_rules_and_stay_within_what_the_config_could_say() {
    let minute = Duration::from_secs(60);
    let wishes = ConnectionWishes {
        ejection: Some(EjectionWishes {
            failures: 7,
            base: Some(minute),
            max_percent: 250,
            min_healthy_percent: 10,
        }),
        balance: Some(BalanceWishes {
            balance: Some(Balance::SourceHash),
            slow_start: Some(minute * 600),
        }),
        ..ConnectionWishes::default()
    };
    let upstream = found(
        policy(),
        vec![rule_with(|rule| rule.wishes.all = wishes)],
        UPSTREAM,
    );
    let ejection = upstream.ejection;
    assert_eq!((ejection.consecutive_failures, ejection.base), (7, minute));
    assert!(ejection.max >= ejection.base);
    assert_eq!((ejection.max_percent, ejection.panic_percent), (100, 10));
    assert_eq!(upstream.balance, Balance::SourceHash);
    assert_eq!(upstream.slow_start, Some(minute * 60));
}

#[test]
fn the_wishes_of_one_rule_count_that_whose_traffic_policy_counts() {
    let older = rule("apps/a", "svcb", |rule| {
        rule.created = 1;
        rule.wishes.all = limit(1);
    });
    let younger = rule_with(|rule| {
        rule.created = 2;
        rule.wishes.all = limit(2);
    });
    // The older one has no traffic policy at all.
    let upstream = found(policy(), vec![older, younger], UPSTREAM);
    assert_eq!(connections(&upstream), Some(2));
}
