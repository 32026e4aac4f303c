//! Tests of the share of endpoints that begin to serve.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// An upstream that DNS fills, whose endpoints start slowly.
fn slow(balance: Balance) -> Upstream {
    let config = UpstreamConfig {
        balance,
        slow_start: Some(HOUR),
        ejection: ejecting_at_once(Duration::ZERO),
        ..samples::upstream(dns("a.example", 5))
    };
    Upstream::new(Arc::new(config), None, None)
}

fn specs(numbers: &[u8]) -> Vec<EndpointSpec> {
    numbers.iter().map(|n| spec(*n, None, 1)).collect()
}

/// The number of 4,000 connections that one endpoint gets.
fn share(upstream: &Upstream, last: u8) -> usize {
    let address = spec(last, None, 1).address;
    let picked = (0..4000).filter_map(|n| upstream.pick_by(&[], hash::mix(n)).ok());
    picked.filter(|picked| picked.address() == address).count()
}

#[test]
fn a_new_endpoint_beside_others_begins_with_a_tenth_of_its_share() {
    for balance in [Balance::RoundRobin, Balance::Random, Balance::NameHash] {
        let upstream = slow(balance);
        upstream.replace_endpoints(specs(&[1]));
        assert_eq!(share(&upstream, 1), 4000, "{balance:?}");
        upstream.replace_endpoints(specs(&[1, 2]));
        let new = share(&upstream, 2);
        assert!((100..=500).contains(&new), "{balance:?}: {new}");
        upstream.replace_endpoints(specs(&[1, 2]));
        let new = share(&upstream, 2);
        assert!((100..=500).contains(&new), "after an answer: {new}");
    }
}

#[test]
fn by_least_connections_a_new_endpoint_is_not_flooded_though_it_has_none() {
    let upstream = slow(Balance::LeastConnections);
    upstream.replace_endpoints(specs(&[1]));
    let held: Vec<_> = (0..1000).filter_map(|_| upstream.pick_any(&[])).collect();
    upstream.replace_endpoints(specs(&[1, 2]));
    let more: Vec<_> = (0..1000).filter_map(|_| upstream.pick_any(&[])).collect();
    let [(1, _), (2, new)] = counts(&upstream)[..] else {
        panic!("{:?}", counts(&upstream));
    };
    assert!((50..=160).contains(&new), "{new}");
    drop((held, more));
}

#[test]
fn the_first_answer_has_its_whole_share_at_once_and_so_has_one_after_none() {
    let upstream = slow(Balance::Random);
    for _ in 0..2 {
        upstream.replace_endpoints(specs(&[1, 2]));
        let first = share(&upstream, 1);
        assert!(first.abs_diff(2000) < 300, "{first}");
        let set = upstream.endpoints();
        let now = Instant::now();
        assert!(set.iter().all(|one| one.stats.part(now, HOUR) >= 1.0));
        upstream.replace_endpoints([]);
    }
}

#[test]
fn when_all_are_new_they_share_evenly() {
    let upstream = slow(Balance::Random);
    upstream.replace_endpoints(specs(&[1]));
    upstream.replace_endpoints(specs(&[2, 3]));
    let first = share(&upstream, 2);
    assert!(first.abs_diff(2000) < 300, "{first}");
}

#[test]
fn an_endpoint_that_works_again_after_an_ejection_starts_slowly() {
    let upstream = slow(Balance::Random);
    upstream.replace_endpoints(specs(&[1, 2]));
    eject(&upstream, 2, Duration::ZERO);
    let source = [10, 9, 9, 9].into();
    let tried = [spec(1, None, 1).address];
    let trial = upstream.pick_any(&tried).unwrap();
    let change = upstream.note_conduct(&trial, Conduct::Answered, source, Outcome::Ok);
    assert_eq!(change, Some(HealthChange::Readmitted));
    drop(trial);
    let back = share(&upstream, 2);
    assert!((100..=330).contains(&back), "{back}");
}

#[test]
fn the_share_grows_to_the_whole_in_the_time() {
    let upstream = slow(Balance::Random);
    upstream.replace_endpoints(specs(&[1]));
    let start = Instant::now();
    upstream.replace_endpoints(specs(&[1, 2]));
    let set = upstream.endpoints();
    let new = &set.iter().nth(1).unwrap().stats;
    let parts = [0, 6, 30, 60].map(|minutes| {
        let at = start + Duration::from_secs(60 * minutes + 60);
        (new.part(at, HOUR) * 100.0).round()
    });
    assert_eq!(parts, [10.0, 12.0, 52.0, 102.0]);
}

#[test]
fn by_hash_a_client_goes_to_a_new_endpoint_once() {
    let upstream = slow(Balance::SourceHash);
    upstream.replace_endpoints(specs(&[1, 2, 3]));
    let pick = |hash| upstream.pick_by(&[], hash).unwrap().address();
    let hashes = || (0..2000).map(hash::mix);
    let before: Vec<_> = hashes().map(pick).collect();
    upstream.replace_endpoints(specs(&[1, 2, 3, 4]));
    let slowly: Vec<_> = hashes().map(pick).collect();
    upstream.adopt(
        &Arc::new(UpstreamConfig {
            slow_start: None,
            ..(*upstream.config()).clone()
        }),
        None,
    );
    let at_last: Vec<_> = hashes().map(pick).collect();
    let mut moved = 0;
    for ((before, slowly), at_last) in before.iter().zip(&slowly).zip(&at_last) {
        assert!(slowly == before || slowly == at_last);
        moved += usize::from(slowly != before);
    }
    assert!(
        (10..=100).contains(&moved),
        "{moved} of 2,000: a tenth of a quarter"
    );
}
