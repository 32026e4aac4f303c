//! Tests of the limits on connections.

use super::*;
use crate::config::Connections;
use crate::limits::OverLimit;
use crate::metrics::LimitKind;

/// An upstream of these endpoints with these limits of connections: its own, and each endpoint's.
pub(super) fn limited(specs: Vec<EndpointSpec>, whole: u32, each: u32) -> Upstream {
    let limits = |connections| UpstreamLimits {
        connections: Connections::new(connections),
        connecting: None,
    };
    let config = UpstreamConfig {
        ejection: ejecting_at_once(Duration::from_secs(60)),
        limits: limits(whole),
        limits_per_endpoint: limits(each),
        ..samples::upstream(UpstreamSource::Static(specs))
    };
    Upstream::new(Arc::new(config), Some("a".into()), None)
}

fn over(scope: LimitScope, limit: u32) -> NotPicked {
    NotPicked::OverLimit(OverLimit {
        scope,
        kind: LimitKind::Connections,
        limit,
    })
}

#[test]
fn an_endpoint_at_its_limit_is_passed_over_and_when_all_are_the_limit_is_said() {
    let specs = vec![
        spec(1, Some("a"), 1),
        spec(2, Some("a"), 1),
        spec(3, Some("b"), 100),
    ];
    let upstream = limited(specs, 0, 4);
    eject(&upstream, 2, Duration::from_secs(60));
    let mut held: Vec<_> = (0..12).map(|_| upstream.pick_by(&[], 0).unwrap()).collect();
    assert_eq!(counts(&upstream), [(1, 4), (2, 4), (3, 4)]);
    let full = over(LimitScope::Endpoint, 4);
    assert_eq!(upstream.pick_by(&[], 0).unwrap_err(), full);
    let address = |last| spec(last, None, 1).address;
    assert_eq!(upstream.pick_by(&[address(1)], 0).unwrap_err(), full);
    let all = [1, 2, 3].map(address);
    assert_eq!(upstream.pick_by(&all, 0).unwrap_err(), NotPicked::NoneLeft);
    let mut freed = held.swap_remove(5);
    let at = freed.address();
    freed.failed();
    let again = upstream.pick_by(&[], 0).unwrap();
    assert_eq!(again.address(), at, "the only one with room");
    drop((freed, again, held));
    assert_eq!(counts(&upstream), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn the_limit_of_an_upstream_counts_its_connections_over_a_reload() {
    let upstream = limited(vec![spec(1, None, 1), spec(2, None, 1)], 3, 0);
    let mut held: Vec<_> = (0..3).map(|_| upstream.pick_by(&[], 0).unwrap()).collect();
    let full = over(LimitScope::Upstream, 3);
    assert_eq!(upstream.pick_by(&[], 0).unwrap_err(), full);
    held.iter_mut()
        .for_each(|one| one.connected(Duration::ZERO));
    let again = UpstreamConfig {
        source: UpstreamSource::Static(vec![spec(3, None, 1)]),
        ..(*upstream.config()).clone()
    };
    let after = Upstream::new(Arc::new(again), None, Some(&upstream));
    assert_eq!(after.pick_by(&[], 0).unwrap_err(), full);
    held.pop();
    let last = after.pick_by(&[], 0).unwrap();
    assert_eq!(after.pick_by(&[], 0).unwrap_err(), full);
    drop((last, held));
    assert_eq!(upstream.load.connections(), 0);
}

#[test]
fn connections_that_are_open_do_not_count_as_connecting() {
    let connecting = UpstreamLimits {
        connections: None,
        connecting: Connections::new(1),
    };
    let config = UpstreamConfig {
        limits: connecting,
        ..samples::upstream(UpstreamSource::Static(vec![spec(1, None, 1)]))
    };
    let upstream = Upstream::new(Arc::new(config), None, None);
    let mut held: Vec<Picked> = Vec::new();
    for _ in 0..3 {
        let mut picked = upstream.pick_by(&[], 0).unwrap();
        assert!(upstream.pick_by(&[], 0).is_err());
        picked.connected(Duration::ZERO);
        held.push(picked);
    }
    assert_eq!(counts(&upstream), [(1, 3)]);
}
