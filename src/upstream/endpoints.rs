//! The endpoints of an upstream: an immutable set, and the counts of each that survive the set.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};

use super::Conduct;
use super::balancer::Tiers;
use super::check_state::CheckState;
use super::hash;
use super::health::{EndpointState, Handshakes, Health};
use super::load::{Load, LoadStage};
use super::recent::millis;
use super::tally::{EndpointEvent, EndpointTally, EndpointTotals};
use crate::config::{EndpointOrigin, EndpointSpec};
use crate::names::Zone;
use crate::outcome::Outcome;

/// One endpoint of an upstream.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Address, zone and weight from the source.
    pub spec: EndpointSpec,
    /// The counts of all sets that the endpoint was part of.
    pub stats: Arc<EndpointStats>,
    /// The hash of its address.
    pub(super) hash: u64,
    /// Its address of the other family, if it has one. `stats` has the counts.
    other: Option<Arc<EndpointStats>>,
}

impl Endpoint {
    /// Its state at `now` in a word: `ready`, `terminating`, `ejected`, `unhealthy` or `drained`.
    pub fn state(&self, now: Instant) -> &'static str {
        match self.stats.health.state(now) {
            EndpointState::Ready if self.spec.terminating => "terminating",
            state => state.label(),
        }
    }
}

/// The place where an endpoint runs, for the access log.
#[derive(Debug, PartialEq, Eq)]
pub struct EndpointPlace {
    origin: Option<Arc<EndpointOrigin>>,
    /// Its zone, if it is known.
    pub zone: Option<Zone>,
}

impl EndpointPlace {
    /// That of `spec`, if anything is known of it.
    fn of(spec: &EndpointSpec) -> Option<Self> {
        let (origin, zone) = (spec.origin.clone(), spec.zone.clone());
        (origin.is_some() || zone.is_some()).then_some(Self { origin, zone })
    }

    /// The namespace and the name of its pod, if it is known to be one.
    pub fn pod(&self) -> Option<(&str, &str)> {
        pod(self.origin.as_deref()?)
    }
}

fn pod(origin: &EndpointOrigin) -> Option<(&str, &str)> {
    Some((&origin.namespace, origin.pod.as_deref()?))
}

/// The part of its share with which an endpoint begins: without any it would never be seen to work.
const LEAST_PART: f64 = 0.1;

/// The counts that traffic keeps of an endpoint.
#[derive(Debug)]
pub struct EndpointStats {
    pub(super) address: SocketAddr,
    pub(super) load: Load,
    /// The load of the whole upstream, whichever set the endpoint is in.
    of_upstream: Arc<Load>,
    /// The state of ejection.
    pub health: Health,
    /// The counts for operators, made with the first connection.
    tally: OnceLock<Box<EndpointTally>>,
    /// The active checks, made with the first look.
    check: OnceLock<Box<CheckState>>,
    /// The moment since which it serves, in [`millis`]; 0 if it always has.
    serves_since: AtomicU64,
    /// True if the address of the other family worked last, and this one did not.
    turned: AtomicBool,
    /// The place where it runs.
    place: ArcSwapOption<EndpointPlace>,
    /// The endpoint that this is another address of. It has the counts and the health.
    of: Option<Arc<EndpointStats>>,
}

impl EndpointStats {
    fn new(address: SocketAddr, of_upstream: Arc<Load>) -> Self {
        Self {
            address,
            load: Load::default(),
            of_upstream,
            health: Health::default(),
            tally: OnceLock::new(),
            check: OnceLock::new(),
            serves_since: AtomicU64::new(0),
            turned: AtomicBool::new(false),
            place: ArcSwapOption::empty(),
            of: None,
        }
    }

    /// Another address of `stats`.
    fn other(address: SocketAddr, stats: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            of: Some(stats.clone()),
            ..Self::new(address, stats.of_upstream.clone())
        })
    }

    /// The endpoint with the counts.
    fn endpoint(&self) -> &Self {
        self.of.as_deref().unwrap_or(self)
    }

    /// Whether it is the endpoint of `spec`, and not one of another pod that had the same address.
    fn is_of(&self, spec: &EndpointSpec) -> bool {
        let place = self.place.load();
        let known = place.as_ref().and_then(|place| place.pod());
        match (known, spec.origin.as_deref().and_then(pod)) {
            (Some(known), Some(pod)) => known == pod,
            _ => true,
        }
    }

    /// Notes the place that `spec` says.
    fn note_place(&self, spec: &EndpointSpec) {
        let place = EndpointPlace::of(spec);
        if self.place.load().as_deref() != place.as_ref() {
            self.place.store(place.map(Arc::new));
        }
    }

    /// Connections that are open or being opened.
    pub fn active(&self) -> u32 {
        self.load.connections()
    }

    /// Connections that are being opened.
    pub fn connecting(&self) -> u32 {
        self.load.connecting()
    }

    fn tally(&self) -> &EndpointTally {
        self.tally.get_or_init(Box::default)
    }

    /// The counts of the endpoint. `None` if strait has not used it.
    pub fn totals(&self) -> Option<EndpointTotals> {
        self.tally.get().map(|tally| tally.totals())
    }

    /// Its active checks.
    pub(super) fn check(&self) -> &CheckState {
        self.check.get_or_init(Box::default)
    }

    /// The reason why its last active check has not passed, if so.
    pub fn check_failure(&self) -> Option<Box<str>> {
        self.check.get()?.failure()
    }

    /// Forgets the active checks: there are none any more.
    pub(super) fn forget_checks(&self) {
        self.health.set_unhealthy(false);
        if let Some(check) = self.check.get() {
            check.forget();
        }
    }

    /// From now on it serves, beside others that have done so before.
    pub(super) fn begin_to_serve(&self, now: Instant) {
        self.serves_since.store(millis(now), Ordering::Relaxed);
    }

    /// The part of its share that it gets, from 0 to 1, if shares grow for the time `slow_start`.
    pub(super) fn part(&self, now: Instant, slow_start: Duration) -> f64 {
        let since = self.serves_since.load(Ordering::Relaxed);
        if since == 0 {
            return 1.0;
        }
        let served = Duration::from_millis(millis(now).saturating_sub(since));
        let part = served.as_secs_f64() / slow_start.as_secs_f64();
        part.max(LEAST_PART)
    }

    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        matches!(self.health.state(now), EndpointState::Ejected(left) if !left.is_zero())
    }

    /// Whether it is ejected, or an operator drains it.
    pub(super) fn is_set_aside(&self, now: Instant) -> bool {
        self.is_ejected(now) || self.health.is_drained(now)
    }
}

/// The endpoints of an upstream at one moment.
#[derive(Debug)]
pub struct EndpointSet {
    pub(super) endpoints: Box<[Endpoint]>,
    pub(super) tiers: Tiers,
}

/// An endpoint picked for one connection. It counts the connection, as one that is being opened at first, until that
/// has failed or this is dropped.
#[derive(Debug)]
pub struct Picked {
    at: Arc<EndpointStats>,
    stage: LoadStage,
}

impl Picked {
    /// The `endpoint`, which has counted the connection, as its upstream has.
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        let turned = endpoint.stats.turned.load(Ordering::Relaxed);
        let other = endpoint.other.as_ref().filter(|_| turned);
        Self {
            at: other.unwrap_or(&endpoint.stats).clone(),
            stage: LoadStage::Connecting,
        }
    }

    /// Notes that the connection is open, after `time`.
    pub fn connected(&mut self, time: Duration) {
        self.change(LoadStage::Open);
        let endpoint = self.at.endpoint();
        endpoint.tally().connected(time);
        endpoint.of_upstream.connected(time);
    }

    /// Counts bytes of the connection.
    pub fn moved(&self, to_upstream: usize, to_downstream: usize) {
        let tally = self.at.endpoint().tally();
        tally.moved(to_upstream, to_downstream);
    }

    /// Counts the conduct of the endpoint if it is a failure, which led to `outcome`.
    pub(super) fn count_conduct(&self, conduct: Conduct, outcome: Outcome) {
        let event = match conduct {
            Conduct::Answered | Conduct::Passed => return,
            Conduct::Refused => EndpointEvent::RefusedHandshake,
            Conduct::Failed if self.stage == LoadStage::Open => EndpointEvent::FailedBeforeReply,
            Conduct::Failed => EndpointEvent::FailedConnect,
        };
        self.at.endpoint().tally().failed(event, outcome);
    }

    /// Counts an ejection of the endpoint.
    pub(super) fn count_ejection(&self) {
        self.at.endpoint().tally().ejected();
    }

    /// Notes that no connection was made: it does not count any more.
    pub fn failed(&mut self) {
        self.change(LoadStage::Failed);
    }

    fn change(&mut self, after: LoadStage) {
        let before = std::mem::replace(&mut self.stage, after);
        let endpoint = self.at.endpoint();
        endpoint.load.change(before, after);
        endpoint.of_upstream.change(before, after);
    }

    /// The address to connect to.
    pub fn address(&self) -> SocketAddr {
        self.at.address
    }

    /// The address that the endpoint goes by, whichever one it is connected at.
    pub fn endpoint(&self) -> SocketAddr {
        self.at.endpoint().address
    }

    /// The place where it runs, if it is known.
    pub fn place(&self) -> Guard<Option<Arc<EndpointPlace>>> {
        self.at.endpoint().place.load()
    }

    /// Its health.
    pub fn health(&self) -> &Health {
        &self.at.endpoint().health
    }

    /// Notes that it works again after an ejection.
    pub(super) fn works_again(&self, now: Instant) {
        self.at.endpoint().begin_to_serve(now);
    }

    /// From now on, connections try this address of the endpoint first.
    pub fn prefer(&self) {
        let endpoint = self.at.endpoint();
        endpoint
            .turned
            .store(self.at.of.is_some(), Ordering::Relaxed);
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.change(LoadStage::Failed);
    }
}

impl EndpointSet {
    /// Creates a set. Endpoints that are among `known` keep their counts. `load` is that of the upstream.
    pub(super) fn new(
        specs: impl IntoIterator<Item = EndpointSpec>,
        zone: Option<&str>,
        known: &[Arc<EndpointStats>],
        load: &Arc<Load>,
    ) -> Self {
        let known: HashMap<SocketAddr, &Arc<EndpointStats>> =
            known.iter().map(|stats| (stats.address, stats)).collect();
        // The same address twice would be one server with two counts.
        let mut addresses = HashSet::new();
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for spec in specs {
            if addresses.insert(spec.address) {
                let stats = match known.get(&spec.address) {
                    Some(stats) if stats.is_of(&spec) => Arc::clone(stats),
                    _ => Arc::new(EndpointStats::new(spec.address, load.clone())),
                };
                stats.note_place(&spec);
                let other = spec.other.map(|other| EndpointStats::other(other, &stats));
                endpoints.push(Endpoint {
                    hash: hash::of_address(spec.address),
                    spec,
                    stats,
                    other,
                });
            }
        }
        Self::of(endpoints.into(), zone)
    }

    fn of(endpoints: Box<[Endpoint]>, zone: Option<&str>) -> Self {
        Self {
            tiers: Tiers::new(&endpoints, zone),
            endpoints,
        }
    }

    /// The same endpoints for a gateway in another zone.
    pub(super) fn seen_from(&self, zone: Option<&str>) -> Self {
        Self::of(self.endpoints.clone(), zone)
    }

    pub(super) fn specs(&self) -> impl Iterator<Item = EndpointSpec> {
        self.iter().map(|endpoint| endpoint.spec.clone())
    }

    pub(super) fn empty() -> Self {
        Self {
            endpoints: Box::default(),
            tiers: Tiers::default(),
        }
    }

    /// Notes that the endpoints that are not in `before` begin to serve now. If nothing was there, nothing is new.
    pub(super) fn begin_beside(&self, before: &Self, now: Instant) {
        if before.is_empty() {
            return;
        }
        let there: HashSet<SocketAddr> = before.iter().map(|one| one.stats.address).collect();
        let new = self
            .iter()
            .filter(|one| !there.contains(&one.stats.address));
        new.for_each(|one| one.stats.begin_to_serve(now));
    }

    /// Turns `picked` to the endpoint's address of the other family, if it has one and is in the set.
    pub(super) fn turn(&self, picked: &mut Picked) -> bool {
        let mut endpoints = self.iter();
        let same = endpoints.find(|one| std::ptr::eq(&*one.stats, picked.at.endpoint()));
        let Some((stats, other)) = same.and_then(|one| Some((&one.stats, one.other.as_ref()?)))
        else {
            return false;
        };
        picked.at = match picked.at.of {
            None => other.clone(),
            Some(_) => stats.clone(),
        };
        true
    }

    /// Whether one more endpoint may be ejected when `percent` of them may be.
    pub(super) fn may_eject(&self, percent: u32, now: Instant) -> bool {
        let ejected = self.len() - self.count_ready(now);
        ejected == 0 || (ejected + 1) * 100 <= self.len() * percent as usize
    }

    /// Whether less than `percent` of the endpoints are ready.
    pub(super) fn is_in_panic(&self, percent: u32, now: Instant) -> bool {
        self.count_ready(now) * 100 < self.len() * percent as usize
    }

    fn count_ready(&self, now: Instant) -> usize {
        let ready = |one: &&Endpoint| one.stats.health.state(now) == EndpointState::Ready;
        self.iter().filter(ready).count()
    }

    /// The recent handshakes at the endpoints other than that of `picked`.
    pub(super) fn handshakes_elsewhere(&self, picked: &Picked, now: Instant) -> Handshakes {
        let own = picked.at.endpoint();
        let others = self.iter().filter(|one| !std::ptr::eq(&*one.stats, own));
        others.map(|one| one.stats.health.handshakes(now)).sum()
    }

    /// Every endpoint, in the source's order.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter()
    }

    /// The endpoint with this address, or with this other address.
    pub fn at(&self, address: SocketAddr) -> Option<&Endpoint> {
        self.iter()
            .find(|one| one.spec.address == address || one.spec.other == Some(address))
    }

    /// Whether one of the endpoints has this address.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.at(address).is_some()
    }

    /// The number of endpoints.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OriginKind;
    use crate::upstream::tests::{counts, of, pods, spec};

    #[test]
    fn another_pod_at_the_same_address_is_another_endpoint() {
        let upstream = of(pods("svcb"), None);
        let at = |pod: Option<&str>, zone: &str| EndpointSpec {
            origin: Some(Arc::new(EndpointOrigin {
                cluster: None,
                kind: OriginKind::EndpointSlice,
                namespace: "apps".into(),
                name: "svcb-x".into(),
                pod: pod.map(Arc::from),
                rule: None,
            })),
            ..spec(1, Some(zone), 1)
        };
        let place = |picked: &Picked| {
            let place = picked.place();
            let place = place.as_ref().unwrap();
            let pod = place.pod().map(|(_, name)| name.to_string());
            (pod, place.zone.as_ref().unwrap().to_string())
        };
        let text = |pod: &str, zone: &str| (Some(pod.to_owned()), zone.to_owned());
        upstream.replace_endpoints([at(None, "a")]);
        let first = upstream.pick_any(&[]).unwrap();
        assert_eq!(place(&first), (None, "a".to_owned()));
        upstream.replace_endpoints([at(Some("one"), "b")]);
        assert_eq!(place(&first), text("one", "b"), "now it is known");
        assert_eq!(counts(&upstream), [(1, 1)]);
        upstream.replace_endpoints([at(Some("two"), "b")]);
        assert_eq!(
            counts(&upstream),
            [(1, 0)],
            "the old one has its connection"
        );
        let second = upstream.pick_any(&[]).unwrap();
        assert_eq!(
            [place(&first), place(&second)],
            [text("one", "b"), text("two", "b")]
        );
    }
}
