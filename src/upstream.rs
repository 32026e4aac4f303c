//! Upstreams: named sets of endpoints with their connection policy.
//!
//! Traffic reads an immutable [`EndpointSet`] through `arc-swap`; a source replaces the whole set. The
//! counts of an endpoint live in an [`EndpointStats`] that survives the replacement.
//!
//! Only an answer of the source removes endpoints, or a config that no longer allows them. A reload, an
//! outage of the source and a zone that becomes known leave them as they are.

mod apart;
mod balancer;
pub mod check;
mod check_state;
mod conduct;
mod connect;
mod connect_times;
mod endpoint_metrics;
mod endpoints;
mod hash;
mod health;
mod istio_metrics;
mod load;
mod recent;
mod registry;
mod tally;
mod ties;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use prometheus::IntCounter;
use tokio::sync::Notify;

use crate::config::{Balance, EndpointSpec, UpstreamConfig, UpstreamSource, UpstreamTimeouts};
use crate::limits::LimitUse;
use crate::metrics::LimitScope;
use crate::names::Zone;
use crate::outcome::Outcome;
use crate::server_name::{Name, ServerName};
use balancer::{Ask, SlowStart, Turns};
pub use conduct::Conduct;
pub use connect::{ConnectError, SourceAddresses, is_own_shortage, outcome_of_connect};
pub use connect_times::ConnectTimesCollector;
pub use endpoint_metrics::EndpointTotalsCollector;
pub use endpoints::{Endpoint, EndpointPlace, EndpointSet, EndpointStats, Picked};
pub use health::{EndpointState, Health};
pub use istio_metrics::{IstioCollector, IstioFacts};
pub use load::NotPicked;
use load::{Load, LoadStage};
pub use registry::{ChangedUpstreams, EndpointCollector, Upstreams};
pub use tally::{EndpointFailure, EndpointTotals};
pub use ties::Ties;

/// A named set of endpoints with its connection policy.
#[derive(Debug)]
pub struct Upstream {
    config: ArcSwap<UpstreamConfig>,
    source_changed: Notify,
    endpoints: ArcSwap<EndpointSet>,
    /// Connections to all endpoints.
    load: Arc<Load>,
    /// The endpoints' turns.
    pick_turns: Turns,
    /// Locked while a set is made and stored, so that no update is lost.
    surroundings: Mutex<Surroundings>,
    answered: AtomicBool,
    source_report: Mutex<SourceReport>,
    connected: OnceLock<IntCounter>,
    /// Connects so far that took a source address in turn, to IPv4 and to IPv6.
    source_turns: [AtomicUsize; 2],
    retired: AtomicBool,
}

/// The inputs of a set of endpoints besides the source's answer.
#[derive(Debug, Default)]
struct Surroundings {
    /// The gateway's own zone, whose endpoints come first.
    zone: Option<Zone>,
    /// Endpoints that are no longer in the set. An endpoint that still has connections keeps its counts
    /// and its health in case it comes back.
    departed: Vec<Weak<EndpointStats>>,
    /// The departed endpoints whose ejection, or whose drain by an operator, is not over yet.
    ejected: Vec<Arc<EndpointStats>>,
}

/// A change of an endpoint's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthChange {
    /// It is ejected for so long.
    Ejected(Duration),
    /// It was ejected, and works again.
    Readmitted,
}

/// Picks that another connection may be faster with, before one is taken as it is.
const TRIAL_RACES: usize = 3;
/// Picks in all, since other connections may take the last place of an endpoint meanwhile.
const PICK_RACES: usize = 8;

/// The most endpoints of an upstream that are remembered only because they are ejected.
const MAX_EJECTED: usize = 256;

impl Surroundings {
    /// The counts of the endpoints of `set`, and of the departed ones that are remembered.
    ///
    /// An endpoint that leaves while it is ejected and comes back before the ejection is over is still
    /// ejected. DNS may give its addresses in turn: without this, each turn of a dead one would cost
    /// connections. A pod that comes back is another case: it has passed its readiness probe since,
    /// which is newer than the failures.
    fn known(&mut self, set: &EndpointSet, now: Instant) -> Vec<Arc<EndpointStats>> {
        self.ejected.retain(|stats| stats.is_set_aside(now));
        let in_set = set.iter().map(|endpoint| endpoint.stats.clone());
        let departed = self.departed.iter().filter_map(Weak::upgrade);
        in_set.chain(departed).collect()
    }

    /// Remembers the endpoints of `known` that are not in `set`, which `source` has given.
    fn remember(
        &mut self,
        mut known: Vec<Arc<EndpointStats>>,
        set: &EndpointSet,
        source: &UpstreamSource,
    ) {
        if known.is_empty() {
            // Spares the first answer of a large source.
            (self.departed, self.ejected) = (Vec::new(), Vec::new());
            return;
        }
        let here: HashSet<SocketAddr> = set.iter().map(|one| one.stats.address).collect();
        known.retain(|stats| !here.contains(&stats.address));
        self.departed = known.iter().map(Arc::downgrade).collect();
        let now = Instant::now();
        let shows_readiness = matches!(source, UpstreamSource::Kubernetes(_));
        known.retain(|stats| !shows_readiness && stats.is_set_aside(now));
        known.truncate(MAX_EJECTED);
        self.ejected = known;
    }
}

/// The last report of an upstream's source.
#[derive(Debug, Clone, Default)]
pub struct SourceReport {
    /// The time when it last gave endpoints.
    pub last_answer: Option<SystemTime>,
    /// The reason why it has given none since then.
    pub last_error: Option<String>,
    /// The reason why the answer has no endpoint, if the source gives one.
    pub empty_because: Option<Arc<str>>,
}

/// Whether two sources give an upstream the same endpoints. The lifetime of an answer of DNS and the
/// addresses refused are policy, which applies from the next question on.
fn mean_the_same(one: &UpstreamSource, other: &UpstreamSource) -> bool {
    match (one, other) {
        (UpstreamSource::Dns(one), UpstreamSource::Dns(other)) => one.query == other.query,
        (one, other) => one == other,
    }
}

impl Upstream {
    /// Creates an upstream with the endpoints that its config lists. `before` is the upstream that it
    /// replaces: endpoints in both keep their counts and their health.
    ///
    /// An upstream that DNS fills has the endpoints of `before` and is stale ([`Upstream::is_stale`])
    /// until DNS has answered. An upstream that the Kubernetes source fills, or that replaces such a
    /// one, has no endpoints at first: which pods may be reached depends on the service port behind it.
    pub fn new(config: Arc<UpstreamConfig>, zone: Option<Zone>, before: Option<&Self>) -> Self {
        let known = before.map(Self::known).unwrap_or_default();
        if config.check.is_none() {
            known.iter().for_each(|stats| stats.forget_checks());
        }
        let load = before.map(|before| before.load.clone()).unwrap_or_default();
        let mut report = SourceReport::default();
        let (set, answered) = match &config.source {
            UpstreamSource::Static(specs) => {
                let specs = specs.iter().cloned();
                let set = EndpointSet::new(specs, zone.as_deref(), &known, &load);
                if let Some(before) = before {
                    set.begin_beside(&before.endpoints.load(), Instant::now());
                }
                (set, true)
            }
            UpstreamSource::Dns(_) => {
                let kept = before.and_then(Self::to_be_kept);
                let set = kept.map(|(set, its_report)| {
                    report = its_report;
                    set.seen_from(zone.as_deref())
                });
                (set.unwrap_or_else(EndpointSet::empty), false)
            }
            UpstreamSource::Kubernetes(_) => (EndpointSet::empty(), false),
        };
        let mut surroundings = Surroundings {
            zone,
            ..Surroundings::default()
        };
        surroundings.remember(known, &set, &config.source);
        Self {
            config: ArcSwap::new(config),
            source_changed: Notify::new(),
            endpoints: ArcSwap::from_pointee(set),
            load,
            pick_turns: Turns::from_anywhere(),
            surroundings: Mutex::new(surroundings),
            answered: AtomicBool::new(answered),
            source_report: Mutex::new(report),
            connected: OnceLock::new(),
            source_turns: Default::default(),
            retired: AtomicBool::new(false),
        }
    }

    /// The endpoints that a replacement serves until DNS has answered.
    fn to_be_kept(&self) -> Option<(Arc<EndpointSet>, SourceReport)> {
        let of_kubernetes = matches!(self.config.load().source, UpstreamSource::Kubernetes(_));
        let set = self.endpoints.load_full();
        (!of_kubernetes && !set.is_empty()).then(|| {
            let error = "no answer since the config changed".to_owned();
            let report = SourceReport {
                last_error: Some(error),
                ..self.source_report()
            };
            (set, report)
        })
    }

    /// The counts of all endpoints, in the set and departed.
    fn known(&self) -> Vec<Arc<EndpointStats>> {
        self.surroundings()
            .known(&self.endpoints.load(), Instant::now())
    }

    /// Its policy as it is now.
    pub fn config(&self) -> Arc<UpstreamConfig> {
        self.config.load_full()
    }

    /// Its bounds on connections.
    pub fn timeouts(&self) -> UpstreamTimeouts {
        self.config.load().timeouts
    }

    /// Whether an upstream of `config` would have the same endpoints as this one.
    pub fn has_source_of(&self, config: &UpstreamConfig) -> bool {
        mean_the_same(&self.config.load().source, &config.source)
    }

    /// Takes a new policy, from a config for which [`Upstream::has_source_of`] is true, and the
    /// gateway's zone. Endpoints, counts and health stay.
    pub fn adopt(&self, config: &Arc<UpstreamConfig>, zone: Option<&Zone>) {
        let before = self.config.swap(config.clone());
        if !Arc::ptr_eq(&before, config) && before.source != config.source {
            self.source_changed.notify_one();
        }
        let mut surroundings = self.surroundings();
        if before.check.is_some() && config.check.is_none() {
            let known = surroundings.known(&self.endpoints.load(), Instant::now());
            known.iter().for_each(|stats| stats.forget_checks());
        }
        if surroundings.zone.as_ref() != zone {
            surroundings.zone = zone.cloned();
            let set = self.endpoints.load().seen_from(zone.map(|zone| &**zone));
            self.endpoints.store(Arc::new(set));
        }
    }

    /// Waits until [`Upstream::adopt`] has changed the source's policy. Only the source calls this.
    pub async fn source_changed(&self) {
        self.source_changed.notified().await;
    }

    /// Its endpoints at this moment.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.endpoints.load_full()
    }

    /// Replaces all endpoints by a source's answer. An empty answer replaces them too: the source
    /// decides whether to keep the last good answer instead.
    pub fn replace_endpoints(&self, specs: impl IntoIterator<Item = EndpointSpec>) {
        self.store(specs);
        self.source_answered();
    }

    /// Removes the endpoints that are not `allowed`. This does not count as an answer of the source.
    pub fn retain_endpoints(&self, allowed: impl Fn(&EndpointSpec) -> bool) {
        let before = self.endpoints();
        if !before.iter().all(|endpoint| allowed(&endpoint.spec)) {
            self.store(before.specs().filter(|spec| allowed(spec)));
        }
    }

    fn store(&self, specs: impl IntoIterator<Item = EndpointSpec>) {
        let mut surroundings = self.surroundings();
        let (before, now) = (self.endpoints.load(), Instant::now());
        let known = surroundings.known(&before, now);
        let set = EndpointSet::new(specs, surroundings.zone.as_deref(), &known, &self.load);
        set.begin_beside(&before, now);
        surroundings.remember(known, &set, &self.config.load().source);
        self.endpoints.store(Arc::new(set));
    }

    /// Sets the reason why the source's last answer has no endpoint.
    pub fn empty_because(&self, reason: Option<Arc<str>>) {
        self.report().empty_because = reason;
    }

    /// Notes an answer of the source that changes nothing.
    pub fn source_answered(&self) {
        *self.report() = SourceReport {
            last_answer: Some(SystemTime::now()),
            last_error: None,
            empty_because: None,
        };
        self.answered.store(true, Ordering::Release);
    }

    /// Notes a failure of the source. The endpoints stay.
    pub fn source_failed(&self, error: String) {
        self.report().last_error = Some(error);
        self.answered.store(true, Ordering::Release);
    }

    /// Whether the source has answered once, even with a failure.
    pub fn answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Whether it serves endpoints of an earlier answer because the newest question failed, was
    /// answered only in part, or is not answered yet.
    pub fn is_stale(&self) -> bool {
        self.report().last_error.is_some() && !self.endpoints.load().is_empty()
    }

    /// The time of the answer that it serves, if that is stale ([`Upstream::is_stale`]).
    pub fn stale_since(&self) -> Option<SystemTime> {
        self.is_stale().then(|| self.report().last_answer)?
    }

    /// The last report of the source.
    pub fn source_report(&self) -> SourceReport {
        self.report().clone()
    }

    /// The reason why it has no endpoint, or why its endpoints may be old, if there is one.
    pub fn problem(&self) -> Option<String> {
        let report = self.source_report();
        let empty = report.empty_because.map(|why| why.to_string());
        let unanswered =
            || (!self.answered()).then(|| "its source has not answered yet".to_owned());
        report.last_error.or(empty).or_else(unanswered)
    }

    /// The ties of a connection from `source` to `name`, if it has one.
    pub fn ties_of(&self, source: IpAddr, name: Option<&ServerName>) -> Ties {
        let config = self.config.load();
        let hash = match config.balance {
            Balance::SourceHash => hash::of_ip(source),
            Balance::NameHash => hash::of_text(name.map_or("", ServerName::as_str)),
            Balance::LeastConnections | Balance::RoundRobin | Balance::Random => 0,
        };
        Ties {
            hash,
            pod: asked_pod(&config, name),
        }
    }

    /// The ties of a connection to `name`, if it has one, from a source that is not known.
    pub fn ties_to(&self, name: Option<&ServerName>) -> Ties {
        Ties {
            hash: 0,
            pod: asked_pod(&self.config.load(), name),
        }
    }

    /// Picks an endpoint that is not among `tried`, among the ready ones as `balance` has it; `ties` are those
    /// of [`Upstream::ties_of`]. The gateway's zone comes first unless it has too few
    /// endpoints. An endpoint whose ejection is over gets one connection at a time, until one shows that
    /// it works. An ejected endpoint is picked only when no other is left, or too few are ready. An endpoint
    /// at its limit is never picked.
    ///
    /// # Errors
    /// Every endpoint was tried, or a limit allows no further connection.
    pub fn pick(&self, tried: &[SocketAddr], ties: &Ties) -> Result<Picked, NotPicked> {
        let (set, config, now) = (self.endpoints.load(), self.config.load(), Instant::now());
        let trial = config.connect.timeout + config.ejection.first_byte;
        let limits = &config.limits_per_endpoint;
        let ask = Ask {
            tried,
            now,
            panic_percent: config.ejection.panic_percent,
            limits,
            balance: config.balance,
            ties,
            turns: &self.pick_turns,
            slow_start: config
                .slow_start
                .map(|time| SlowStart::new(time, config.balance, ties.hash)),
        };
        let mut full = None;
        for race in 0..PICK_RACES {
            let Some(endpoint) = balancer::pick(&set, &ask) else {
                break;
            };
            let load = &endpoint.stats.load;
            if let Err(over) = load.take(limits) {
                full = Some(over);
                continue;
            }
            if let Err(over) = self.load.take(&config.limits) {
                load.change(LoadStage::Connecting, LoadStage::Failed);
                return Err(NotPicked::over(LimitScope::Upstream, over));
            }
            let picked = Picked::new(endpoint);
            if race >= TRIAL_RACES || endpoint.stats.health.try_it(now, trial) {
                return Ok(picked);
            }
        }
        let mut left = set.iter().filter(|one| ask.is_wanted(one));
        let full = left
            .find_map(|one| one.stats.load.at_limit(limits))
            .or(full);
        Err(full.map_or(NotPicked::NoneLeft, |over| {
            NotPicked::over(LimitScope::Endpoint, over)
        }))
    }

    /// Notes the conduct of an endpoint towards a connection from `source`. `outcome` is that of a connection that it
    /// has failed. Returns the change of its state, if that causes one.
    pub fn note_conduct(
        &self,
        picked: &Picked,
        conduct: Conduct,
        source: IpAddr,
        outcome: Outcome,
    ) -> Option<HealthChange> {
        picked.count_conduct(conduct, outcome);
        let health = picked.health();
        let readmitted = |ends: bool| {
            ends.then(|| {
                picked.works_again(Instant::now());
                HealthChange::Readmitted
            })
        };
        let now = match conduct {
            Conduct::Answered => return readmitted(health.answered()),
            Conduct::Passed | Conduct::Failed | Conduct::Refused => Instant::now(),
        };
        let policy = self.config.load().ejection;
        let may_be = || self.endpoints.load().may_eject(policy.max_percent, now);
        let ejected = match conduct {
            Conduct::Answered | Conduct::Passed => return readmitted(health.passed(now)),
            Conduct::Failed => health.failed(&policy, now, may_be),
            Conduct::Refused => {
                let others = || self.endpoints.load().handshakes_elsewhere(picked, now);
                health.refused(source, &policy, now, others, may_be)
            }
        };
        if ejected.is_some() {
            picked.count_ejection();
        }
        ejected.map(HealthChange::Ejected)
    }

    /// The use of its limits, and of those on each endpoint by the one that uses most.
    pub fn limit_uses(&self) -> Vec<LimitUse> {
        let config = self.config.load();
        let of_upstream = self.load.uses(LimitScope::Upstream, &config.limits);
        let each = &config.limits_per_endpoint;
        let mut of_endpoint = Load::default().uses(LimitScope::Endpoint, each);
        for endpoint in self.endpoints.load().iter() {
            let uses = endpoint.stats.load.uses(LimitScope::Endpoint, each);
            for (most, one) in of_endpoint.iter_mut().zip(uses) {
                most.used = most.used.max(one.used);
            }
        }
        of_upstream.into_iter().chain(of_endpoint).collect()
    }

    /// Turns to the same endpoint's address of the other family. Returns whether it has one and is still there.
    pub fn turn(&self, picked: &mut Picked) -> bool {
        self.endpoints.load().turn(picked)
    }

    /// Notes that no config has this upstream any more. Connections may go on with it; nothing is counted for it.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether no config has this upstream any more.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The turn of the next connect among the source addresses of the family of `address`.
    fn next_source_turn(&self, address: SocketAddr) -> usize {
        let [ipv4, ipv6] = &self.source_turns;
        let turns = if address.is_ipv4() { ipv4 } else { ipv6 };
        turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The counter of connections made to this upstream, looked up on first use.
    pub fn connected(&self, counter: impl FnOnce() -> IntCounter) -> &IntCounter {
        self.connected.get_or_init(counter)
    }

    fn report(&self) -> MutexGuard<'_, SourceReport> {
        lock(&self.source_report)
    }

    fn surroundings(&self) -> MutexGuard<'_, Surroundings> {
        lock(&self.surroundings)
    }
}

/// The hostname of the pod that a connection to `name` asks for, if connections to the upstream ask for one. It is empty if
/// the name has none.
fn asked_pod(config: &UpstreamConfig, name: Option<&ServerName>) -> Option<Box<str>> {
    match &config.source {
        UpstreamSource::Kubernetes(port) if port.by_pod => {
            let name = name.map(ServerName::as_name);
            let parts = name.as_ref().and_then(Name::split_host);
            Some(parts.map_or_else(Box::default, |(label, _)| label.into()))
        }
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
