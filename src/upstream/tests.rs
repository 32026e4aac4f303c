mod balance;
mod by_pod;
mod limits;
mod slow_start;

use super::*;
use crate::config::{
    DnsConfig, DnsQuery, EjectionPolicy, PodChoice, ServicePort, UpstreamLimits, Weight, samples,
};
use crate::server_name::ServerName;
use std::time::Duration;

pub(super) fn spec(last: u8, zone: Option<&str>, weight: u32) -> EndpointSpec {
    EndpointSpec {
        address: SocketAddr::from(([10, 0, 0, last], 80)),
        other: None,
        zone: zone.map(Zone::from),
        node: None,
        hostname: None,
        weight: Weight::saturating(weight),
        terminating: false,
        origin: None,
    }
}

/// A policy that ejects after one failure.
pub(super) fn ejecting_at_once(lasting: Duration) -> EjectionPolicy {
    EjectionPolicy {
        consecutive_failures: 1,
        first_byte: Duration::from_secs(1),
        refused_sources: 1,
        max_percent: 100,
        panic_percent: 0,
        base: lasting,
        max: lasting,
    }
}

pub(super) fn upstream(specs: Vec<EndpointSpec>, zone: Option<&str>) -> Upstream {
    let config = UpstreamConfig {
        ejection: ejecting_at_once(Duration::from_secs(1)),
        ..samples::upstream(UpstreamSource::Static(specs))
    };
    Upstream::new(Arc::new(config), zone.map(Zone::from), None)
}

impl Upstream {
    pub(super) fn pick_any(&self, tried: &[SocketAddr]) -> Option<Picked> {
        self.pick_by(tried, 0).ok()
    }

    pub(super) fn pick_by(&self, tried: &[SocketAddr], hash: u64) -> Result<Picked, NotPicked> {
        self.pick(tried, &Ties { hash, pod: None })
    }
}

pub(super) fn of(source: UpstreamSource, before: Option<&Upstream>) -> Upstream {
    Upstream::new(Arc::new(samples::upstream(source)), None, before)
}

fn dns(name: &str, max_ttl: u64) -> UpstreamSource {
    UpstreamSource::Dns(DnsConfig {
        query: DnsQuery::Service {
            name: ServerName::parse(name.as_bytes()).unwrap(),
        },
        min_ttl: Duration::ZERO,
        max_ttl: Duration::from_secs(max_ttl),
        max_endpoints: 10,
        gone_after: None,
        allow: Vec::new(),
    })
}

pub(super) fn pods(service: &str) -> UpstreamSource {
    UpstreamSource::Kubernetes(ServicePort {
        namespace: "apps".into(),
        service: service.into(),
        port: 80,
        subset: None,
        by_pod: false,
        pods: PodChoice::AsExported,
    })
}

/// The last byte of each address with its number of connections.
pub(super) fn counts(upstream: &Upstream) -> Vec<(u8, u32)> {
    let count = |endpoint: &Endpoint| match endpoint.spec.address.ip() {
        IpAddr::V4(ip) => (ip.octets()[3], endpoint.stats.active()),
        IpAddr::V6(_) => (0, 0),
    };
    upstream.endpoints().iter().map(count).collect()
}

#[test]
fn policy_and_zone_change_over_the_same_endpoints_counts_and_health() {
    let upstream = of(dns("a.example", 5), None);
    upstream.replace_endpoints([spec(1, Some("a"), 1), spec(2, Some("b"), 1)]);
    let held = upstream.pick_any(&[]).unwrap();
    let policy = ejecting_at_once(Duration::from_secs(60));
    held.health().failed(&policy, Instant::now(), || true);
    let before = counts(&upstream);
    let changed = Arc::new(samples::upstream(dns("a.example", 6)));
    assert!(upstream.has_source_of(&changed));
    for zone in [Some(Zone::from("b")), None, Some("a".into())] {
        upstream.adopt(&changed, zone.as_ref());
        assert_eq!(counts(&upstream), before);
        for endpoint in upstream.endpoints().iter() {
            let state = endpoint.stats.health.state(Instant::now());
            let ejected = state != EndpointState::Ready;
            assert_eq!(ejected, endpoint.spec.address == held.address());
        }
    }
    assert_eq!(*upstream.config(), *changed);
}

#[test]
fn an_endpoint_of_both_families_counts_once_and_is_tried_first_where_it_worked_last() {
    let other = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 80));
    let both = EndpointSpec {
        other: Some(other),
        ..spec(1, None, 1)
    };
    let first = both.address;
    let upstream = upstream(vec![both.clone(), spec(2, None, 1)], None);
    let pick = |not: u8| upstream.pick_any(&[spec(not, None, 1).address]);
    assert!(!upstream.turn(&mut pick(1).unwrap()));
    let mut elsewhere = pick(2).unwrap();
    assert_eq!((elsewhere.address(), elsewhere.endpoint()), (first, first));
    assert!(upstream.turn(&mut elsewhere));
    assert_eq!((elsewhere.address(), elsewhere.endpoint()), (other, first));
    elsewhere.prefer();
    assert_eq!(counts(&upstream), [(1, 1), (2, 0)]);
    let policy = upstream.config().ejection;
    elsewhere.health().failed(&policy, Instant::now(), || true);
    let state = upstream
        .endpoints()
        .iter()
        .next()
        .unwrap()
        .stats
        .health
        .state(Instant::now());
    assert_ne!(state, EndpointState::Ready);
    drop(elsewhere);

    // Another answer of the source changes none of that.
    upstream.replace_endpoints([both, spec(2, None, 1)]);
    let mut back = pick(2).unwrap();
    assert_eq!(back.address(), other);
    assert!(upstream.turn(&mut back));
    assert_eq!(back.address(), first);
    back.prefer();
    assert_eq!(pick(2).unwrap().address(), first);
    upstream.replace_endpoints([spec(2, None, 1)]);
    assert!(!upstream.turn(&mut back), "it is gone");
}

#[test]
fn the_zone_that_becomes_known_comes_first() {
    let upstream = upstream(vec![spec(1, Some("a"), 1), spec(2, Some("b"), 1)], None);
    for zone in ["a", "b", "a"] {
        upstream.adopt(&upstream.config(), Some(&zone.into()));
        for _ in 0..50 {
            let picked = upstream.pick_any(&[]).unwrap().address();
            let set = upstream.endpoints();
            let picked = set.iter().find(|one| one.spec.address == picked).unwrap();
            assert_eq!(picked.spec.zone.as_deref(), Some(zone));
        }
    }
}

#[test]
fn what_is_asked_decides_whether_two_sources_mean_the_same() {
    let (list, other_list) = (vec![spec(1, None, 1)], vec![spec(1, None, 2)]);
    for (one, other, same) in [
        (dns("a.example", 5), dns("a.example", 6), true),
        (dns("a.example", 5), dns("b.example", 5), false),
        (pods("a"), pods("a"), true),
        (pods("a"), pods("b"), false),
        (pods("a"), dns("a", 5), false),
        (
            UpstreamSource::Static(list.clone()),
            UpstreamSource::Static(list.clone()),
            true,
        ),
        (
            UpstreamSource::Static(list),
            UpstreamSource::Static(other_list),
            false,
        ),
    ] {
        assert_eq!(mean_the_same(&one, &other), same, "{one:?} {other:?}");
    }
}

#[test]
fn another_question_keeps_the_endpoints_until_it_is_answered_and_says_that_they_are_stale() {
    let before = of(dns("a.example", 5), None);
    assert!(!before.is_stale());
    before.source_failed("timed out".to_owned());
    assert!(!before.is_stale(), "there is nothing that could be stale");
    before.replace_endpoints([spec(1, None, 1), spec(2, None, 1)]);
    let _held = before.pick_any(&[&spec(2, None, 1)].map(|spec| spec.address));
    let after = of(dns("b.example", 5), Some(&before));
    assert_eq!(counts(&after), [(1, 1), (2, 0)]);
    assert!(!after.answered() && after.is_stale());
    assert!(after.source_report().last_answer.is_some());
    after.source_failed("NXDOMAIN".to_owned());
    assert_eq!(counts(&after), [(1, 1), (2, 0)]);
    assert!(after.is_stale());
    after.replace_endpoints([spec(1, None, 1), spec(3, None, 1)]);
    assert_eq!(counts(&after), [(1, 1), (3, 0)]);
    assert!(!after.is_stale());

    let listed = UpstreamSource::Static(vec![spec(1, None, 1)]);
    let listed = of(listed, Some(&after));
    assert_eq!(counts(&listed), [(1, 1)]);
    let resolved = of(dns("c.example", 5), Some(&listed));
    assert_eq!(counts(&resolved), [(1, 1)], "listed ones are kept, too");
}

#[test]
fn pods_are_never_taken_over_but_their_counts_are() {
    let before = of(pods("a"), None);
    before.replace_endpoints([spec(1, None, 1), spec(2, None, 1)]);
    let _held = before.pick_any(&[spec(2, None, 1).address]);
    let after = of(pods("b"), Some(&before));
    assert_eq!(counts(&after), []);
    after.replace_endpoints([spec(1, None, 1), spec(3, None, 1)]);
    assert_eq!(counts(&after), [(1, 1), (3, 0)]);
    let resolved = of(dns("a.example", 5), Some(&after));
    assert_eq!(counts(&resolved), []);
    assert!(!resolved.is_stale());
}

#[test]
fn an_endpoint_that_comes_back_has_the_connections_that_it_kept() {
    let upstream = upstream(vec![spec(1, None, 1), spec(2, None, 1)], None);
    let held = upstream.pick_any(&[spec(1, None, 1).address]).unwrap();
    for _ in 0..3 {
        upstream.replace_endpoints([spec(1, None, 1)]);
    }
    upstream.replace_endpoints([spec(2, None, 1), spec(1, None, 1)]);
    assert_eq!(counts(&upstream), [(2, 1), (1, 0)]);
    upstream.replace_endpoints([spec(1, None, 1)]);
    drop(held);
    for _ in 0..2 {
        upstream.replace_endpoints([spec(1, None, 1)]);
    }
    assert!(upstream.surroundings().departed.is_empty(), "forgotten");
}

/// Ejects the endpoint at this address, to which no connection is left.
fn eject(upstream: &Upstream, last: u8, lasting: Duration) {
    let policy = ejecting_at_once(lasting);
    let set = upstream.endpoints();
    let wanted = spec(last, None, 1).address;
    let endpoint = set.iter().find(|one| one.spec.address == wanted).unwrap();
    let ejected = endpoint
        .stats
        .health
        .failed(&policy, Instant::now(), || true);
    assert!(ejected.is_some());
}

fn ejected(upstream: &Upstream) -> Vec<bool> {
    let now = Instant::now();
    let set = upstream.endpoints();
    set.iter().map(|one| one.stats.is_ejected(now)).collect()
}

#[test]
fn an_endpoint_that_comes_back_while_its_ejection_lasts_is_still_ejected() {
    let upstream = of(dns("a.example", 5), None);
    let [one, two] = [1, 2].map(|last| spec(last, None, 1));
    upstream.replace_endpoints([one.clone(), two.clone()]);
    eject(&upstream, 2, Duration::from_secs(3600));
    for _ in 0..3 {
        upstream.replace_endpoints([one.clone()]);
    }
    upstream.replace_endpoints([two.clone(), one.clone()]);
    assert_eq!(ejected(&upstream), [true, false]);

    upstream.replace_endpoints([one.clone()]);
    let after = of(dns("b.example", 5), Some(&upstream));
    after.replace_endpoints([one, two]);
    assert_eq!(ejected(&after), [false, true], "over a reload");
}

#[test]
fn an_ejection_that_is_over_is_forgotten_and_so_are_more_than_a_few() {
    let upstream = of(dns("a.example", 5), None);
    upstream.replace_endpoints([spec(1, None, 1)]);
    eject(&upstream, 1, Duration::from_secs(60));
    upstream.replace_endpoints([]);
    let known = |after: u64| {
        let at = Instant::now() + Duration::from_secs(after);
        let set = EndpointSet::empty();
        upstream.surroundings().known(&set, at).len()
    };
    assert_eq!([0, 61, 0].map(known), [1, 0, 0]);

    let many = (0..=255).flat_map(|high| [[10, 1, high, 1], [10, 1, high, 2]]);
    let many: Vec<EndpointSpec> = many
        .map(|ip| EndpointSpec {
            address: SocketAddr::from((ip, 80)),
            ..spec(1, None, 1)
        })
        .collect();
    upstream.replace_endpoints(many);
    let policy = upstream.config().ejection;
    for endpoint in upstream.endpoints().iter() {
        while endpoint
            .stats
            .health
            .failed(&policy, Instant::now(), || true)
            .is_none()
        {}
    }
    upstream.replace_endpoints([]);
    assert_eq!(upstream.surroundings().ejected.len(), MAX_EJECTED);
}

#[test]
fn a_pod_that_is_ready_again_is_not_ejected_any_more() {
    let upstream = of(pods("a"), None);
    upstream.replace_endpoints([spec(1, None, 1)]);
    eject(&upstream, 1, Duration::from_secs(3600));
    upstream.replace_endpoints([]);
    upstream.replace_endpoints([spec(1, None, 1)]);
    assert_eq!(ejected(&upstream), [false]);
}

#[test]
fn endpoints_that_are_no_longer_allowed_go_without_an_answer() {
    let upstream = of(dns("a.example", 5), None);
    upstream.replace_endpoints([spec(1, None, 1), spec(2, None, 1)]);
    upstream.source_failed("timed out".to_owned());
    upstream.retain_endpoints(|spec| spec.address.ip().to_string().ends_with(".2"));
    assert_eq!(counts(&upstream), [(2, 0)]);
    assert!(upstream.is_stale(), "that was no answer");
}

#[test]
fn an_update_keeps_what_an_endpoint_has_counted() {
    let upstream = upstream(vec![spec(1, None, 1), spec(1, None, 1)], None);
    assert_eq!(upstream.endpoints().len(), 1, "one address is one endpoint");
    let picked = upstream.pick_any(&[]).unwrap();
    upstream.replace_endpoints([spec(2, None, 1), spec(1, Some("a"), 5)]);
    let active: Vec<u32> = upstream
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.stats.active())
        .collect();
    assert_eq!(active, [0, 1]);
    upstream.replace_endpoints([]);
    assert!(upstream.pick_any(&[]).is_none());
    drop(picked);
}

#[test]
fn one_connection_tries_an_endpoint_whose_ejection_is_over() {
    let upstream = upstream(vec![spec(1, None, 1), spec(2, None, 1)], None);
    eject(&upstream, 1, Duration::ZERO);
    let broken = spec(1, None, 1).address;
    let held: Vec<_> = (0..20).filter_map(|_| upstream.pick_any(&[])).collect();
    let trials = || held.iter().filter(|picked| picked.address() == broken);
    assert_eq!(trials().count(), 1);
    let source = [10, 9, 9, 9].into();
    let trial = trials().next().unwrap();
    let change = upstream.note_conduct(trial, Conduct::Answered, source, Outcome::UpstreamReset);
    assert_eq!(change, Some(HealthChange::Readmitted));
    let more: Vec<_> = (0..20).filter_map(|_| upstream.pick_any(&[])).collect();
    assert!(more.iter().any(|picked| picked.address() == broken));
}

#[test]
fn refused_handshakes_eject_only_where_others_pass() {
    let upstream = upstream(vec![spec(1, None, 1), spec(2, None, 1)], None);
    let at = |last: u8| {
        upstream
            .pick_any(&[spec(3 - last, None, 1).address])
            .unwrap()
    };
    let source = [10, 9, 9, 9].into();
    let (one, two) = (at(1), at(2));
    assert_eq!(
        upstream.note_conduct(&one, Conduct::Refused, source, Outcome::UpstreamReset),
        None
    );
    assert_eq!(
        upstream.note_conduct(&two, Conduct::Passed, source, Outcome::UpstreamReset),
        None
    );
    let change = upstream.note_conduct(&one, Conduct::Refused, source, Outcome::UpstreamReset);
    assert!(
        matches!(change, Some(HealthChange::Ejected(_))),
        "{change:?}"
    );
}

#[test]
fn a_part_of_the_endpoints_may_be_ejected_and_below_a_part_ejections_do_not_count() {
    for (count, max_percent, expected) in [
        (1, 1, 1),
        (2, 50, 1),
        (3, 50, 1),
        (4, 50, 2),
        (10, 10, 1),
        (4, 100, 4),
    ] {
        let specs = (1..=count).map(|last| spec(last, None, 1)).collect();
        let ejection = EjectionPolicy {
            max_percent,
            ..ejecting_at_once(Duration::from_secs(60))
        };
        let config = UpstreamConfig {
            ejection,
            ..samples::upstream(UpstreamSource::Static(specs))
        };
        let upstream = Upstream::new(Arc::new(config), None, None);
        let mut held = Vec::new();
        for _ in 0..count {
            let tried: Vec<_> = held.iter().map(Picked::address).collect();
            held.extend(upstream.pick_any(&tried));
        }
        for picked in &held {
            upstream.note_conduct(
                picked,
                Conduct::Failed,
                [10, 9, 9, 9].into(),
                Outcome::UpstreamReset,
            );
        }
        let set = upstream.endpoints();
        let now = Instant::now();
        let ejected = set.iter().filter(|one| one.stats.is_ejected(now)).count();
        assert_eq!(ejected, expected, "{max_percent} percent of {count}");

        let ready = usize::from(count) - ejected;
        for (percent, panics) in [(0, false), (50, ready * 2 < usize::from(count))] {
            assert_eq!(set.is_in_panic(percent, now), panics, "{ready} of {count}");
        }
    }
}

#[test]
fn in_panic_ejected_endpoints_are_picked_as_others_are() {
    let specs = (1..=4).map(|last| spec(last, None, 1)).collect();
    let upstream = upstream(specs, None);
    (1..=3).for_each(|last| eject(&upstream, last, Duration::from_secs(60)));
    let picks = |percent| {
        let set = upstream.endpoints();
        let ask = Ask {
            tried: &[],
            now: Instant::now(),
            panic_percent: percent,
            limits: &UpstreamLimits::OFF,
            balance: Balance::LeastConnections,
            ties: &Ties { hash: 0, pod: None },
            turns: &Turns::from_anywhere(),
            slow_start: None,
        };
        let pick = || balancer::pick(&set, &ask);
        let picked = (0..100).filter_map(|_| pick()).map(|one| one.spec.address);
        picked.collect::<HashSet<_>>().len()
    };
    assert_eq!([0, 25, 26].map(picks), [1, 1, 4]);
}
