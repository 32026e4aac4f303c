//! The balancer: the choice of an endpoint, by weight. By default it takes the one with fewer connections of two random
//! choices.
//!
//! Two choices keep the load within a small constant of the best (Mitzenmacher, "The Power of Two
//! Choices in Randomized Load Balancing", 2001) without reading every endpoint's count.
//!
//! The choice by hash is rendezvous hashing: the endpoint with the highest hash of itself and the client, scaled by its
//! weight, is the client's (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998). It has no
//! table that must be made with each set, and exactly the share of an endpoint moves when that comes or goes. It reads
//! every endpoint: 1,000 of one weight take 5 us, of several weights 19 us, a tenth of what a connection costs.
//!
//! # Zones
//!
//! Endpoints of the gateway's own zone come first, as long as that zone has enough of them. The
//! balancer assumes that every zone has gateways which get equal numbers of connections. Then an
//! endpoint's load is fair when its zone's share of the endpoints' weight equals the zone's share of
//! the gateways, one in as many as there are zones. (The load of endpoints in other zones is not
//! visible here: the gateways there count their own connections.)
//!
//! - An own zone with less than that keeps only as many connections as load its endpoints a quarter
//!   more than fairly ([`OVERLOAD`]); the rest goes to the other zones. Envoy's zone-aware routing does
//!   the same without any overload; Kubernetes' topology hints allow a fifth.
//! - The part of ejected endpoints goes to the other zones, not to their neighbours.
//! - Endpoints without a zone count as one zone more. Without a zone of its own a gateway has no
//!   preference.

use std::cell::LazyCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::apart::Failed;
use super::{Endpoint, EndpointSet, EndpointState, Ties, hash};
use crate::config::{Balance, UpstreamLimits};

/// The largest load of an endpoint in the own zone relative to a fair one, as a fraction.
const OVERLOAD: (u64, u64) = (5, 4);

/// The number of random draws for one choice before all endpoints are searched. It is enough when most
/// are eligible.
const DRAWS: usize = 4;

/// Turns that may fall on endpoints that are not eligible before all are searched.
const TURNS: usize = 16;

/// The next turns of an upstream's endpoints, near and far.
#[derive(Debug)]
pub(super) struct Turns {
    near: AtomicU32,
    far: AtomicU32,
}

impl Turns {
    /// Turns that begin anywhere. If all began at the first endpoint, the gateways of a fleet would send their first
    /// connections to the same one.
    pub(super) fn from_anywhere() -> Self {
        Self {
            near: fastrand::u32(..).into(),
            far: fastrand::u32(..).into(),
        }
    }
}

/// The demands of one connection on the endpoint that is picked for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    /// The endpoints that were tried for it.
    pub(super) tried: &'a [SocketAddr],
    pub(super) now: Instant,
    /// Ejections do not count while less than this part of the endpoints is ready.
    pub(super) panic_percent: u32,
    /// The limits of each endpoint.
    pub(super) limits: &'a UpstreamLimits,
    pub(super) balance: Balance,
    pub(super) ties: &'a Ties,
    pub(super) turns: &'a Turns,
    pub(super) slow_start: Option<SlowStart>,
}

/// The demand on endpoints that have begun to serve a short time ago.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowStart {
    /// The time until an endpoint has its whole share.
    time: Duration,
    /// The part of its share that an endpoint must have for this connection. As this is spread evenly over connections,
    /// an endpoint with a tenth of its share is eligible for a tenth of them.
    needed: f64,
}

impl SlowStart {
    /// For a connection with this hash. By hash, a client goes over to a new endpoint once and for good.
    pub(super) fn new(time: Duration, balance: Balance, hash: u64) -> Self {
        let needed = match balance {
            Balance::SourceHash | Balance::NameHash => hash::part(hash::mix(hash.rotate_left(32))),
            Balance::LeastConnections | Balance::RoundRobin | Balance::Random => fastrand::f64(),
        };
        Self { time, needed }
    }
}

impl Ask<'_> {
    fn is_by_hash(&self) -> bool {
        matches!(self.balance, Balance::SourceHash | Balance::NameHash)
    }

    /// Whether the connection may go to the endpoint, and did not try it.
    pub(super) fn is_wanted(&self, endpoint: &Endpoint) -> bool {
        self.ties.allow(endpoint) && !self.tried.contains(&endpoint.spec.address)
    }

    /// Whether the endpoint has enough of its share for this connection.
    fn has_started(&self, endpoint: &Endpoint) -> bool {
        self.slow_start.is_none_or(|slow| {
            let part = endpoint.stats.part(self.now, slow.time);
            part >= slow.needed
        })
    }

    /// Whether the endpoint may have one more connection: no limit and no operator is against it.
    fn has_room(&self, endpoint: &Endpoint) -> bool {
        !endpoint.stats.health.is_drained(self.now)
            && (self.limits.is_off() || endpoint.stats.load.at_limit(self.limits).is_none())
    }
}

/// The endpoints of a set by distance. Each endpoint is in exactly one tier.
#[derive(Debug, Default)]
pub(super) struct Tiers {
    near: Option<Tier>,
    far: Option<Tier>,
    /// The part of the connections that stays near, in units of `1 << 32`. That value or more means
    /// all.
    near_part: u64,
}

impl Tiers {
    /// The tiers as seen from `zone`.
    pub(super) fn new(endpoints: &[Endpoint], zone: Option<&str>) -> Self {
        let is_near = |endpoint: &Endpoint| zone.is_some() && endpoint.spec.zone.as_deref() == zone;
        let near = Tier::new(endpoints, true, is_near);
        let far = Tier::new(endpoints, false, |endpoint| !is_near(endpoint));
        let zones = endpoints.iter().map(|endpoint| &endpoint.spec.zone);
        let zones = zones.collect::<HashSet<_>>().len() as u64;
        let weight = |tier: &Option<Tier>| tier.as_ref().map_or(0, Tier::weight);
        let (more, than) = OVERLOAD;
        let all = (weight(&near) + weight(&far)).max(1);
        let part =
            (u128::from(weight(&near)) << 32) * u128::from(more * zones) / u128::from(than * all);
        Self {
            near_part: part.try_into().unwrap_or(u64::MAX),
            near,
            far,
        }
    }

    /// The tiers in the order in which the next connection tries them.
    fn in_order<'a>(
        &'a self,
        set: &'a EndpointSet,
        ask: &Ask<'_>,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> [Option<&'a Tier>; 2] {
        let (near, far) = (self.near.as_ref(), self.far.as_ref());
        let (Some(near_tier), Some(_)) = (near, far) else {
            return [near, far];
        };
        let drawn = match ask.is_by_hash() {
            // Not the bits that choose the endpoint.
            true => hash::mix(!ask.ties.hash) >> 32,
            false => u64::from(fastrand::u32(..)),
        };
        let within_part = drawn < self.near_part;
        let on_ejected = || {
            let drawn = match ask.is_by_hash() {
                true => near_tier.by_hash(set, ask.ties.hash, |_| true),
                false => near_tier.draw(set),
            };
            drawn.is_some_and(|drawn| !eligible(drawn))
        };
        if within_part && !on_ejected() {
            [near, far]
        } else {
            [far, near]
        }
    }
}

/// Endpoints at the same distance.
#[derive(Debug)]
struct Tier {
    /// Positions in the set. Never empty.
    members: Box<[u32]>,
    /// The running sum of the members' weights.
    cumulative: Box<[u64]>,
    /// Whether all have the same weight.
    is_uniform: bool,
    is_near: bool,
}

impl Tier {
    /// The endpoints for which `belongs` is true, if there are any.
    fn new(
        endpoints: &[Endpoint],
        is_near: bool,
        belongs: impl Fn(&Endpoint) -> bool,
    ) -> Option<Self> {
        let mut sum = 0;
        let mut weights = endpoints
            .iter()
            .filter(|one| belongs(one))
            .map(|one| one.spec.weight);
        let first = weights.next();
        let is_uniform = weights.all(|weight| Some(weight) == first);
        let (members, cumulative): (Vec<u32>, Vec<u64>) = (0u32..)
            .zip(endpoints)
            .filter(|(_, endpoint)| belongs(endpoint))
            .map(|(position, endpoint)| {
                sum += u64::from(endpoint.spec.weight.get());
                (position, sum)
            })
            .unzip();
        (!members.is_empty()).then(|| Self {
            members: members.into(),
            cumulative: cumulative.into(),
            is_uniform,
            is_near,
        })
    }

    /// The weight of all members, at least 1.
    fn weight(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(1)
    }

    /// A random member, by weight.
    fn draw<'a>(&self, set: &'a EndpointSet) -> Option<&'a Endpoint> {
        self.holder(set, fastrand::u64(..self.weight()))
    }

    /// The member that has this part of the weight.
    fn holder<'a>(&self, set: &'a EndpointSet, ticket: u64) -> Option<&'a Endpoint> {
        let position = self.cumulative.partition_point(|sum| *sum <= ticket);
        let member = *self.members.get(position)?;
        set.endpoints.get(member as usize)
    }

    /// A random member that is `eligible`, by weight. If few are eligible, any one of them.
    fn choose<'a>(
        &self,
        set: &'a EndpointSet,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Endpoint> {
        for _ in 0..DRAWS {
            let drawn = self.draw(set).filter(|endpoint| eligible(endpoint));
            if drawn.is_some() {
                return drawn;
            }
        }
        // Few are eligible. Searching from a random position finds one without a list of them.
        self.search(set, fastrand::usize(..self.members.len()), eligible)
    }

    /// The first member from a position on that is `eligible`.
    fn search<'a>(
        &self,
        set: &'a EndpointSet,
        start: usize,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Endpoint> {
        let (before, after) = self.members.split_at_checked(start)?;
        after
            .iter()
            .chain(before)
            .filter_map(|member| set.endpoints.get(*member as usize))
            .find(|endpoint| eligible(endpoint))
    }

    /// A member that is `eligible`, as the balance has it.
    fn pick<'a>(
        &self,
        set: &'a EndpointSet,
        ask: &Ask<'_>,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Endpoint> {
        match ask.balance {
            Balance::LeastConnections => self.less_loaded(set, ask.now, eligible),
            Balance::RoundRobin => self.in_turn(set, ask.turns, eligible),
            Balance::Random => self.choose(set, eligible),
            Balance::SourceHash | Balance::NameHash => self.by_hash(set, ask.ties.hash, eligible),
        }
    }

    /// The next member that is `eligible`. A turn that falls on another one is over, so that its neighbour does not get
    /// two.
    fn in_turn<'a>(
        &self,
        set: &'a EndpointSet,
        turns: &Turns,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Endpoint> {
        let turns = match self.is_near {
            true => &turns.near,
            false => &turns.far,
        };
        for _ in 0..TURNS {
            let turn = turns.fetch_add(1, Ordering::Relaxed);
            let next = self.at_turn(set, turn).filter(|one| eligible(one));
            if next.is_some() {
                return next;
            }
        }
        self.search(set, fastrand::usize(..self.members.len()), eligible)
    }

    fn at_turn<'a>(&self, set: &'a EndpointSet, turn: u32) -> Option<&'a Endpoint> {
        if self.is_uniform {
            let member = *self.members.get(turn as usize % self.members.len())?;
            return set.endpoints.get(member as usize);
        }
        // Multiples of the golden ratio, less their whole part, fill the unit evenly at every length (Weyl), so that a
        // heavy member gets its turns apart and not in a row.
        let part = turn.wrapping_mul(0x9e37_79b9);
        let ticket = (u128::from(part) * u128::from(self.weight())) >> 32;
        self.holder(set, ticket.try_into().unwrap_or(0))
    }

    /// The member that is `eligible` and has the highest score for this hash.
    fn by_hash<'a>(
        &self,
        set: &'a EndpointSet,
        hash: u64,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Endpoint> {
        let score = |endpoint: &Endpoint| {
            let part = hash::part(hash::mix(hash ^ endpoint.hash));
            match self.is_uniform {
                true => part,
                false => f64::from(endpoint.spec.weight.get()) / -part.ln(),
            }
        };
        let mut best: Option<(f64, &Endpoint)> = None;
        for member in &self.members {
            let Some(endpoint) = set.endpoints.get(*member as usize) else {
                continue;
            };
            let score = score(endpoint);
            if best.is_none_or(|(highest, _)| score > highest) && eligible(endpoint) {
                best = Some((score, endpoint));
            }
        }
        best.map(|(_, endpoint)| endpoint)
    }

    /// The less loaded of two random members that are `eligible`.
    fn less_loaded<'a>(
        &self,
        set: &'a EndpointSet,
        now: Instant,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Endpoint> {
        let first = self.choose(set, &eligible)?;
        if self.members.len() == 1 {
            return Some(first);
        }
        let other = |endpoint: &Endpoint| !std::ptr::eq(endpoint, first) && eligible(endpoint);
        match self.choose(set, other) {
            Some(second) if load_is_less(second, first, now) => Some(second),
            _ => Some(first),
        }
    }
}

/// The connections of an endpoint. A failure counts for some seconds as a connection that is still open: an endpoint
/// that fails fast has few of those. One that a connection may try after its ejection has no load, so that it is tried.
fn load(endpoint: &Endpoint, now: Instant) -> u64 {
    let health = &endpoint.stats.health;
    if health.state(now) == EndpointState::Ejected(Duration::ZERO) {
        return 0;
    }
    u64::from(endpoint.stats.active()) + u64::from(health.recent_failures(now))
}

/// Compares the load per weight without a division.
fn load_is_less(a: &Endpoint, b: &Endpoint, now: Instant) -> bool {
    let weighted =
        |one: &Endpoint, other: &Endpoint| load(one, now) * u64::from(other.spec.weight.get());
    weighted(a, b) < weighted(b, a)
}

/// Picks among the endpoints that are not `tried`: first ready ones and those that nobody tries after their ejection,
/// from the nearest tier that has any, and after a failure as far apart from it as there is one; then the others,
/// ejected or not, the nearest first. Endpoints that begin to serve are picked less often. One at its limit is never
/// picked.
pub(super) fn pick<'a>(set: &'a EndpointSet, ask: &Ask<'_>) -> Option<&'a Endpoint> {
    let Ask { tried, now, .. } = *ask;
    // Counted only when an ejected endpoint comes up.
    let panics = LazyCell::new(|| set.is_in_panic(ask.panic_percent, now));
    let eligible = |endpoint: &Endpoint| {
        (endpoint.stats.health.is_eligible(now) || *panics) && ask.has_room(endpoint)
    };
    let untried = |endpoint: &Endpoint| ask.is_wanted(endpoint) && ask.has_room(endpoint);
    let ready = |endpoint: &Endpoint| ask.is_wanted(endpoint) && eligible(endpoint);
    let started = |endpoint: &Endpoint| eligible(endpoint) && ask.has_started(endpoint);
    let in_order = set.tiers.in_order(set, ask, started);
    let pick_from = |wanted: &dyn Fn(&Endpoint) -> bool| {
        let mut in_order = in_order.iter().copied().flatten();
        in_order
            .find_map(|tier| tier.pick(set, ask, |endpoint| ready(endpoint) && wanted(endpoint)))
    };
    let picked = match tried {
        [] => pick_from(&|endpoint| ask.has_started(endpoint)),
        _ => {
            let failed = Failed::among(set, tried);
            let apart = |endpoint: &Endpoint| failed.apart(&endpoint.spec);
            let most = set.iter().filter(|one| ready(one)).map(apart).max();
            most.and_then(|most| pick_from(&|endpoint| apart(endpoint) == most))
        }
    };
    let picked = picked.or_else(|| pick_from(&|_| true));
    picked.or_else(|| {
        let Tiers { near, far, .. } = &set.tiers;
        let mut nearest = near.iter().chain(far);
        nearest.find_map(|tier| tier.pick(set, ask, untried))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Upstream;
    use super::super::tests::{ejecting_at_once, spec, upstream};
    use crate::config::{EjectionPolicy, EndpointSpec};
    use std::collections::HashMap;
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    fn address(last: u8) -> SocketAddr {
        spec(last, None, 1).address
    }

    #[test]
    fn connections_that_stay_spread_evenly() {
        let upstream = upstream((1..=10).map(|n| spec(n, None, 1)).collect(), None);
        let held: Vec<_> = (0..1000).filter_map(|_| upstream.pick_any(&[])).collect();
        assert_eq!(held.len(), 1000);
        for endpoint in upstream.endpoints().iter() {
            let active = endpoint.stats.active();
            assert!((95..=105).contains(&active), "{active} of 1000 over 10");
        }
    }

    #[test]
    fn weight_decides_the_share() {
        let upstream = upstream(vec![spec(1, None, 1), spec(2, None, 3)], None);
        let held: Vec<_> = (0..400).filter_map(|_| upstream.pick_any(&[])).collect();
        let light = held.iter().filter(|p| p.address() == address(1)).count();
        assert!(
            (95..=105).contains(&light),
            "{light} of 400 for weight 1 of 4"
        );
    }

    #[test]
    fn own_zone_first_then_the_rest_and_tried_ones_never() {
        let specs = vec![
            spec(1, Some("b"), 1),
            spec(2, Some("a"), 1),
            spec(3, None, 1),
        ];
        let upstream = upstream(specs, Some("a"));
        for _ in 0..50 {
            assert_eq!(upstream.pick_any(&[]).unwrap().address(), address(2));
            assert_ne!(
                upstream.pick_any(&[address(2)]).unwrap().address(),
                address(2)
            );
        }
        assert!(
            upstream
                .pick_any(&[address(1), address(2), address(3)])
                .is_none()
        );
    }

    /// An upstream with endpoints in these zones, for a gateway in zone `a`.
    fn zoned(zones: &[Option<&str>]) -> Upstream {
        let specs = (1..).zip(zones);
        let specs = specs.map(|(number, zone)| spec(number, *zone, 1));
        upstream(specs.collect(), Some("a"))
    }

    /// The number of 10,000 connections that stay in zone `a`.
    fn stay_near(upstream: &Upstream) -> u32 {
        let near: Vec<SocketAddr> = upstream
            .endpoints()
            .iter()
            .filter(|endpoint| endpoint.spec.zone.as_deref() == Some("a"))
            .map(|endpoint| endpoint.spec.address)
            .collect();
        let picked = (0..10_000).filter_map(|_| upstream.pick_any(&[]));
        let near = picked.filter(|picked| near.contains(&picked.address()));
        near.count().try_into().unwrap()
    }

    #[test]
    fn a_zone_that_is_short_of_endpoints_keeps_a_quarter_more_than_its_fair_share() {
        let (a, b, c) = (Some("a"), Some("b"), Some("c"));
        for (zones, expected) in [
            // The own zone has enough endpoints: all connections stay.
            (&[a, a][..], 10_000),
            (&[a, b], 10_000),
            (&[a, b, c], 10_000),
            (&[a, a, a, b, b, b, b, c, c, c], 10_000),
            (&[a, a, a, a, None], 10_000),
            // One of four endpoints over two zones may get 1/4 x 2 x 5/4 of its zone's connections.
            (&[a, b, b, b], 6_250),
            (&[a, b, b, b, b, c, c, c, c, c], 3_750),
            (&[a, None, None, None], 6_250),
            (&[b, b, c], 0),
            (&[None], 0),
        ] {
            let near = stay_near(&zoned(zones));
            assert!(near.abs_diff(expected) < 300, "{near} of {zones:?}");
        }
        let heavy = vec![spec(1, a, 3), spec(2, b, 1), spec(3, b, 1), spec(4, b, 1)];
        let heavy = upstream(heavy, a);
        assert_eq!(stay_near(&heavy), 10_000, "as heavy as the rest");
    }

    #[test]
    fn what_an_ejected_neighbour_would_have_had_goes_to_other_zones() {
        let (a, b) = (Some("a"), Some("b"));
        let policy = ejecting_at_once(Duration::from_secs(60));
        let upstream = zoned(&[a, a, a, a, b]);
        let endpoints = upstream.endpoints();
        let eject = |position: usize| {
            let endpoint = endpoints.iter().nth(position).unwrap();
            endpoint
                .stats
                .health
                .failed(&policy, Instant::now(), || true);
        };
        (0..3).for_each(eject);
        let near = stay_near(&upstream);
        assert!(near.abs_diff(2_500) < 300, "{near} for one of four");
        eject(4);
        assert_eq!(stay_near(&upstream), 10_000, "over there is nobody either");
    }

    #[test]
    fn an_ejected_endpoint_is_the_last_resort() {
        let upstream = upstream((1..=3).map(|n| spec(n, None, 1)).collect(), None);
        let policy = ejecting_at_once(Duration::from_secs(60));
        for endpoint in upstream.endpoints().iter().take(2) {
            endpoint
                .stats
                .health
                .failed(&policy, Instant::now(), || true);
        }
        let mut seen = HashMap::new();
        for _ in 0..50 {
            let picked = upstream.pick_any(&[]).unwrap();
            *seen.entry(picked.address()).or_insert(0) += 1;
        }
        assert_eq!(seen, HashMap::from([(address(3), 50)]));
        assert!(upstream.pick_any(&[address(3)]).is_some());
    }

    #[test]
    fn failures_count_as_load_for_a_while() {
        let upstream = upstream(vec![spec(1, None, 1), spec(2, None, 1)], None);
        let endpoints = upstream.endpoints();
        let fails_fast = &endpoints.iter().next().unwrap().stats.health;
        let policy = EjectionPolicy {
            consecutive_failures: 0,
            ..ejecting_at_once(Duration::from_secs(60))
        };
        for _ in 0..10 {
            fails_fast.failed(&policy, Instant::now(), || true);
        }
        let held: Vec<_> = (0..10).filter_map(|_| upstream.pick_any(&[])).collect();
        assert!(held.iter().all(|picked| picked.address() == address(2)));
    }

    #[test]
    fn after_a_failure_another_zone_comes_first_then_another_family_then_another_node() {
        let v6 = |last: u16, zone: Option<&str>| EndpointSpec {
            address: SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 80)),
            ..spec(0, zone, 1)
        };
        let on = |node: &str, spec: EndpointSpec| EndpointSpec {
            node: Some(node.into()),
            ..spec
        };
        let (a, b) = (Some("a"), Some("b"));
        for (zone, specs, tried, expected) in [
            (
                a,
                vec![spec(1, a, 1), spec(2, a, 1), spec(3, a, 1), spec(4, b, 1)],
                vec![0],
                3,
            ),
            (
                a,
                vec![spec(1, a, 1), spec(2, a, 1), spec(3, b, 1)],
                vec![0, 2],
                1,
            ),
            (
                None,
                vec![spec(1, None, 1), spec(2, None, 1), v6(3, None)],
                vec![0],
                2,
            ),
            (
                None,
                vec![v6(1, None), v6(2, None), spec(3, None, 1)],
                vec![1],
                2,
            ),
            (
                a,
                vec![spec(1, a, 1), v6(2, a), spec(3, b, 1), v6(4, b)],
                vec![0],
                3,
            ),
            (a, vec![spec(1, a, 1), v6(2, a), spec(3, b, 1)], vec![0], 2),
            (
                a,
                vec![
                    on("n1", spec(1, a, 1)),
                    on("n1", spec(2, a, 1)),
                    on("n1", spec(3, a, 1)),
                    on("n2", spec(4, a, 1)),
                ],
                vec![0],
                3,
            ),
        ] {
            let addresses: Vec<SocketAddr> = specs.iter().map(|one| one.address).collect();
            let upstream = upstream(specs, zone);
            let tried: Vec<SocketAddr> = tried.into_iter().map(|n: usize| addresses[n]).collect();
            for _ in 0..20 {
                let picked = upstream.pick_any(&tried).unwrap();
                assert_eq!(
                    picked.address(),
                    addresses[expected],
                    "{tried:?} of {addresses:?}"
                );
            }
        }
    }
}
