//! Tests of each way to choose an endpoint.

use std::collections::BTreeMap;

use super::limits::limited;
use super::*;

fn balanced(balance: Balance, specs: Vec<EndpointSpec>, zone: Option<&str>) -> Upstream {
    let config = UpstreamConfig {
        balance,
        ejection: ejecting_at_once(Duration::from_secs(60)),
        ..samples::upstream(UpstreamSource::Static(specs))
    };
    Upstream::new(Arc::new(config), zone.map(Zone::from), None)
}

fn last(picked: &Picked) -> u8 {
    match picked.address().ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => 0,
    }
}

/// The picks of these hashes, by hash.
fn picks(upstream: &Upstream, hashes: impl IntoIterator<Item = u64>) -> BTreeMap<u64, u8> {
    let pick = |hash| Some((hash, last(&upstream.pick_by(&[], hash).ok()?)));
    hashes.into_iter().filter_map(pick).collect()
}

/// The number of picks of each endpoint.
fn shares(picks: impl IntoIterator<Item = u8>) -> BTreeMap<u8, u32> {
    let mut shares = BTreeMap::new();
    for picked in picks {
        *shares.entry(picked).or_default() += 1;
    }
    shares
}

/// As many hashes as tests need, spread as those of clients are.
fn hashes() -> impl Iterator<Item = u64> {
    (0..8000).map(hash::mix)
}

#[test]
fn in_turn_each_gets_its_share_exactly_and_nobody_has_that_of_an_ejected_one() {
    let plain = |count: u8| (1..=count).map(|n| spec(n, None, 1)).collect();
    let upstream = balanced(Balance::RoundRobin, plain(3), None);
    let pick = |_| last(&upstream.pick_by(&[], 0).unwrap());
    let order: Vec<u8> = (0..6).map(pick).collect();
    let rotations = [[1, 2, 3], [2, 3, 1], [3, 1, 2]];
    assert!(
        rotations.iter().any(|one| one.repeat(2) == order),
        "{order:?}"
    );
    eject(&upstream, 2, Duration::from_secs(60));
    assert_eq!(shares((0..100).map(pick)), [(1, 50), (3, 50)].into());

    let weights = vec![spec(1, None, 1), spec(2, None, 3), spec(3, None, 4)];
    let upstream = balanced(Balance::RoundRobin, weights, None);
    let pick = |_| last(&upstream.pick_by(&[], 0).unwrap());
    let order: Vec<u8> = (0..800).map(pick).collect();
    for (endpoint, share) in shares(order.iter().copied()) {
        let expected = [100u32, 300, 400][usize::from(endpoint) - 1];
        assert!(share.abs_diff(expected) <= 3, "{share} of {endpoint}");
    }
    let in_a_row = order.chunk_by(|a, b| a == b).map(<[u8]>::len).max();
    assert!(
        in_a_row <= Some(2),
        "{in_a_row:?} in a row of half the weight"
    );
}

#[test]
fn gateways_of_a_fleet_do_not_begin_at_the_same_endpoint() {
    let first = |zone: u8| {
        let specs = (1..=3).map(|n| spec(n, Some("a"), 1)).collect();
        let local = if zone == 0 { "a" } else { "b" };
        let upstream = balanced(Balance::RoundRobin, specs, Some(local));
        last(&upstream.pick_by(&[], 0).unwrap())
    };
    for zone in [0, 1] {
        let first = shares((0..100).map(|_| first(zone)));
        assert_eq!(first.len(), 3, "{first:?}");
    }
}

#[test]
fn turns_go_on_over_new_sets_and_keep_to_each_zone() {
    let specs = || [1, 2].map(|n| spec(n, Some("a"), 1)).into_iter();
    let all = || specs().chain([3, 4, 5, 6].map(|n| spec(n, Some("b"), 1)));
    let upstream = balanced(Balance::RoundRobin, all().collect(), Some("a"));
    let mut picked = Vec::new();
    for _ in 0..3000 {
        upstream.replace_endpoints(all());
        picked.push(last(&upstream.pick_by(&[], 0).unwrap()));
    }
    let shares = shares(picked);
    let [a, b] = [&shares[&1], &shares[&2]];
    assert!(a.abs_diff(*b) <= 1, "{shares:?}");
    let [c, d] = [&shares[&3], &shares[&6]];
    assert!(c.abs_diff(*d) <= 1 && *c > 0, "{shares:?}");
}

#[test]
fn at_random_weight_alone_decides() {
    let weights = vec![spec(1, None, 1), spec(2, None, 3)];
    let upstream = balanced(Balance::Random, weights, None);
    let held: Vec<_> = (0..4000).filter_map(|_| upstream.pick_any(&[])).collect();
    let light = shares(held.iter().map(last))[&1];
    assert!(light.abs_diff(1000) < 200, "{light} of 4000");
}

#[test]
fn by_hash_a_client_keeps_its_endpoint_and_only_the_share_of_one_moves() {
    for weights in [[1, 1, 1, 1, 1], [1, 2, 3, 4, 5]] {
        let specs = |count: usize| {
            let numbered = (1..).zip(&weights[..count]);
            numbered.map(|(n, weight)| spec(n, None, *weight))
        };
        let upstream = balanced(Balance::SourceHash, specs(4).collect(), None);
        let before = picks(&upstream, hashes());
        assert_eq!(
            picks(&upstream, hashes()),
            before,
            "it depends on the hash alone"
        );
        let sum: u32 = weights[..4].iter().sum();
        for (endpoint, share) in shares(before.values().copied()) {
            let expected = 8000 * weights[usize::from(endpoint) - 1] / sum;
            assert!(
                share.abs_diff(expected) < 300,
                "{share} instead of {expected} of {endpoint}"
            );
        }

        upstream.replace_endpoints(specs(5));
        for (hash, now) in picks(&upstream, hashes()) {
            assert!(
                now == before[&hash] || now == 5,
                "from {} to {now}",
                before[&hash]
            );
        }
        upstream.replace_endpoints(specs(4).collect::<Vec<_>>().into_iter().rev());
        assert_eq!(picks(&upstream, hashes()), before, "in another order");

        eject(&upstream, 2, Duration::from_secs(60));
        let ejected = picks(&upstream, hashes());
        for (hash, now) in &ejected {
            match before[hash] {
                2 => assert_ne!(*now, 2),
                other => assert_eq!(*now, other),
            }
        }
        let heirs = shares(
            ejected
                .iter()
                .filter(|(hash, _)| before[hash] == 2)
                .map(|(_, now)| *now),
        );
        assert_eq!(heirs.len(), 3, "all others share what it had: {heirs:?}");
        let gone = specs(4).filter(|spec| spec.address != self::spec(2, None, 1).address);
        upstream.replace_endpoints(gone);
        assert_eq!(picks(&upstream, hashes()), ejected, "as if it were gone");
    }
}

#[test]
fn by_hash_the_next_endpoint_takes_over_at_a_limit_and_after_a_failure() {
    let upstream = limited((1..=3).map(|n| spec(n, Some("a"), 1)).collect(), 0, 2);
    let hashed = UpstreamConfig {
        balance: Balance::NameHash,
        ..(*upstream.config()).clone()
    };
    upstream.adopt(&Arc::new(hashed), None);
    let held: Vec<_> = (0..6).map(|_| upstream.pick_by(&[], 7).unwrap()).collect();
    let order: Vec<u8> = held.iter().map(last).collect();
    assert!(
        order.chunk_by(|a, b| a == b).all(|same| same.len() == 2),
        "{order:?}"
    );
    let (first, second) = (held[0].address(), held[2].address());
    drop(held);
    assert_eq!(upstream.pick_by(&[], 7).unwrap().address(), first);
    assert_eq!(upstream.pick_by(&[first], 7).unwrap().address(), second);
}

#[test]
fn by_hash_a_zone_keeps_its_part_and_a_client_its_zone() {
    let (a, b) = (Some("a"), Some("b"));
    let specs = vec![spec(1, a, 1), spec(2, b, 1), spec(3, b, 1), spec(4, b, 1)];
    let upstream = balanced(Balance::SourceHash, specs, a);
    let picked = picks(&upstream, hashes());
    assert_eq!(picks(&upstream, hashes()), picked);
    let shares = shares(picked.values().copied());
    assert!(shares[&1].abs_diff(5000) < 300, "{shares:?}: 5 of 8 stay");
    for far in [2, 3, 4] {
        assert!(shares[&far].abs_diff(1000) < 200, "{shares:?}");
    }
    eject(&upstream, 1, Duration::from_secs(60));
    let after = picks(&upstream, hashes());
    for (hash, before) in &picked {
        assert!(after[hash] == *before || *before == 1);
    }
}

#[test]
fn the_hash_is_of_what_the_balance_says() {
    let of = |balance, source: [u8; 4], name: &str| {
        let upstream = balanced(balance, vec![spec(1, None, 1)], None);
        let name = ServerName::parse(name.as_bytes()).unwrap();
        upstream.ties_of(source.into(), Some(&name))
    };
    let (one, two) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    for (balance, by_source, by_name) in [
        (Balance::SourceHash, true, false),
        (Balance::NameHash, false, true),
        (Balance::LeastConnections, false, false),
    ] {
        let first = of(balance, one, "a.example");
        assert_eq!(first != of(balance, two, "a.example"), by_source);
        assert_eq!(first != of(balance, one, "b.example"), by_name);
    }
}
