//! Least connections over two random choices, by weight.
//!
//! Two choices keep the load within a small constant of the best (Mitzenmacher, "The Power of Two
//! Choices in Randomized Load Balancing", 2001) without reading every endpoint's count.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Endpoint, EndpointSet, EndpointState};

/// Random draws for one choice before all endpoints are looked at: enough when most are eligible.
const DRAWS: usize = 4;

/// Endpoints that are equally near.
#[derive(Debug)]
pub(super) struct Tier {
    /// Positions in the set. Not empty.
    members: Box<[u32]>,
    /// Running sum of the members' weights.
    cumulative: Box<[u64]>,
}

impl Tier {
    /// The endpoints that `belongs` says belong, if there are any.
    pub(super) fn new(endpoints: &[Endpoint], belongs: impl Fn(&Endpoint) -> bool) -> Option<Self> {
        let mut sum = 0;
        let (members, cumulative): (Vec<u32>, Vec<u64>) = (0u32..)
            .zip(endpoints)
            .filter(|(_, endpoint)| belongs(endpoint))
            .map(|(position, endpoint)| {
                sum += u64::from(endpoint.spec.weight.max(1));
                (position, sum)
            })
            .unzip();
        (!members.is_empty()).then(|| Self {
            members: members.into(),
            cumulative: cumulative.into(),
        })
    }

    /// A random member, by weight.
    fn draw<'a>(&self, set: &'a EndpointSet) -> Option<&'a Endpoint> {
        let total = *self.cumulative.last()?;
        let ticket = fastrand::u64(..total);
        let position = self.cumulative.partition_point(|sum| *sum <= ticket);
        let member = *self.members.get(position)?;
        set.endpoints.get(member as usize)
    }

    /// A random member that is `eligible`, by weight; any one of those there are when they are few.
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
        // Few are eligible. Starting anywhere and going round picks one without a list of them.
        let start = fastrand::usize(..self.members.len());
        let (before, after) = self.members.split_at_checked(start)?;
        after
            .iter()
            .chain(before)
            .filter_map(|member| set.endpoints.get(*member as usize))
            .find(|endpoint| eligible(endpoint))
    }

    /// The less loaded of two random members that are `eligible`.
    fn pick<'a>(
        &self,
        set: &'a EndpointSet,
        eligible: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'a Endpoint> {
        let first = self.choose(set, &eligible)?;
        if self.members.len() == 1 {
            return Some(first);
        }
        let other = |endpoint: &Endpoint| !std::ptr::eq(endpoint, first) && eligible(endpoint);
        match self.choose(set, other) {
            Some(second) if load_is_less(second, first) => Some(second),
            _ => Some(first),
        }
    }
}

/// Compares connections per weight without dividing.
fn load_is_less(a: &Endpoint, b: &Endpoint) -> bool {
    let weighted = |load: &Endpoint, other: &Endpoint| {
        u64::from(load.stats.active()) * u64::from(other.spec.weight.max(1))
    };
    weighted(a, b) < weighted(b, a)
}

/// Picks among the endpoints not `tried`: ready ones of the nearest tier that has any; then, ejected
/// or not, what is left.
pub(super) fn pick<'a>(
    set: &'a EndpointSet,
    tried: &[SocketAddr],
    now: Instant,
) -> Option<&'a Endpoint> {
    let untried = |endpoint: &Endpoint| !tried.contains(&endpoint.spec.address);
    let ready = |endpoint: &Endpoint| {
        untried(endpoint) && endpoint.stats.health.state(now) == EndpointState::Ready
    };
    let ready = set.tiers.iter().find_map(|tier| tier.pick(set, ready));
    ready.or_else(|| set.tiers.iter().find_map(|tier| tier.pick(set, untried)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{spec, upstream};
    use crate::config::EjectionPolicy;
    use std::collections::HashMap;
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    fn address(last: u8) -> SocketAddr {
        spec(last, None, 1).address
    }

    #[test]
    fn connections_that_stay_spread_evenly() {
        let upstream = upstream((1..=10).map(|n| spec(n, None, 1)).collect(), None);
        let held: Vec<_> = (0..1000).filter_map(|_| upstream.pick(&[])).collect();
        assert_eq!(held.len(), 1000);
        for endpoint in upstream.endpoints().iter() {
            let active = endpoint.stats.active();
            assert!((95..=105).contains(&active), "{active} of 1000 over 10");
        }
    }

    #[test]
    fn weight_decides_the_share() {
        let upstream = upstream(vec![spec(1, None, 1), spec(2, None, 3)], None);
        let held: Vec<_> = (0..400).filter_map(|_| upstream.pick(&[])).collect();
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
            assert_eq!(upstream.pick(&[]).unwrap().address(), address(2));
            assert_ne!(upstream.pick(&[address(2)]).unwrap().address(), address(2));
        }
        assert!(
            upstream
                .pick(&[address(1), address(2), address(3)])
                .is_none()
        );
    }

    #[test]
    fn an_ejected_endpoint_is_the_last_resort() {
        let upstream = upstream((1..=3).map(|n| spec(n, None, 1)).collect(), None);
        let policy = EjectionPolicy {
            consecutive_failures: 1,
            base: Duration::from_secs(60),
            max: Duration::from_secs(60),
        };
        for endpoint in upstream.endpoints().iter().take(2) {
            endpoint.stats.health.failed(&policy, Instant::now());
        }
        let mut seen = HashMap::new();
        for _ in 0..50 {
            let picked = upstream.pick(&[]).unwrap();
            *seen.entry(picked.address()).or_insert(0) += 1;
        }
        assert_eq!(seen, HashMap::from([(address(3), 50)]));
        assert!(upstream.pick(&[address(3)]).is_some());
    }
}
