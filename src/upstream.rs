//! Upstreams: named sets of endpoints with their connection policy.
//!
//! Traffic reads an immutable [`EndpointSet`] through `arc-swap`; a source replaces the whole set.
//! What an endpoint has counted lives in an [`EndpointStats`] that survives the replacement.

mod balancer;
mod health;
mod registry;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use prometheus::IntCounter;

use crate::config::{EndpointSpec, UpstreamConfig, UpstreamSource};
use balancer::Tiers;
pub use health::{EndpointState, Health};
pub use registry::{UpstreamMap, Upstreams};

/// A named set of endpoints with its connection policy.
#[derive(Debug)]
pub struct Upstream {
    config: ArcSwap<UpstreamConfig>,
    /// The gateway's own zone, whose endpoints come first.
    zone: Option<Arc<str>>,
    endpoints: ArcSwap<EndpointSet>,
    answered: AtomicBool,
    source_report: Mutex<SourceReport>,
    connected: OnceLock<IntCounter>,
}

/// What an upstream's source last said.
#[derive(Debug, Clone, Default)]
pub struct SourceReport {
    /// When it last gave endpoints.
    pub last_answer: Option<SystemTime>,
    /// Why it gave none since then.
    pub last_error: Option<String>,
    /// Why the answer holds no endpoint, if it holds none and the source says why.
    pub empty_because: Option<Arc<str>>,
}

/// One endpoint of an upstream.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Address, zone and weight as the source told them.
    pub spec: EndpointSpec,
    /// What was counted, whatever sets it has been part of.
    pub stats: Arc<EndpointStats>,
}

/// What traffic counts of an endpoint.
#[derive(Debug)]
pub struct EndpointStats {
    address: SocketAddr,
    /// Connections open, or being opened.
    active: AtomicU32,
    /// Whether it is left alone for a while.
    pub health: Health,
}

impl EndpointStats {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            active: AtomicU32::new(0),
            health: Health::default(),
        }
    }

    /// Connections open, or being opened.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }
}

/// The endpoints of an upstream at one moment.
#[derive(Debug)]
pub struct EndpointSet {
    endpoints: Box<[Endpoint]>,
    tiers: Tiers,
}

/// An endpoint picked for one connection; counts it as long as it lives.
#[derive(Debug)]
pub struct Picked(Arc<EndpointStats>);

impl Picked {
    fn new(endpoint: &Endpoint) -> Self {
        endpoint.stats.active.fetch_add(1, Ordering::Relaxed);
        Self(endpoint.stats.clone())
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Its health, to report how connecting went.
    pub fn health(&self) -> &Health {
        &self.0.health
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl EndpointSet {
    fn new(
        specs: impl IntoIterator<Item = EndpointSpec>,
        zone: Option<&str>,
        before: &EndpointSet,
    ) -> Self {
        let known: HashMap<SocketAddr, &Arc<EndpointStats>> = before
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.spec.address, &endpoint.stats))
            .collect();
        // One address twice would be one server with two counts.
        let mut by_address = HashMap::new();
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for spec in specs {
            if by_address.insert(spec.address, ()).is_none() {
                let stats = match known.get(&spec.address) {
                    Some(stats) => Arc::clone(stats),
                    None => Arc::new(EndpointStats::new(spec.address)),
                };
                endpoints.push(Endpoint { spec, stats });
            }
        }
        Self {
            tiers: Tiers::new(&endpoints, zone),
            endpoints: endpoints.into(),
        }
    }

    fn empty() -> Self {
        Self {
            endpoints: Box::default(),
            tiers: Tiers::default(),
        }
    }

    /// Every endpoint, in the source's order.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}

impl Upstream {
    /// An upstream with the endpoints that its config lists, or none yet when a source must tell
    /// them. `before` is the upstream that it takes the place of: endpoints that both have keep
    /// their counts.
    pub fn new(config: Arc<UpstreamConfig>, zone: Option<Arc<str>>, before: Option<&Self>) -> Self {
        let empty = EndpointSet::empty();
        let known = before.map(|upstream| upstream.endpoints.load_full());
        let known = known.as_deref().unwrap_or(&empty);
        let (set, answered) = match &config.source {
            UpstreamSource::Static(specs) => (
                EndpointSet::new(specs.iter().cloned(), zone.as_deref(), known),
                true,
            ),
            UpstreamSource::Dns(_) | UpstreamSource::Kubernetes(_) => (EndpointSet::empty(), false),
        };
        Self {
            config: ArcSwap::new(config),
            zone,
            endpoints: ArcSwap::from_pointee(set),
            answered: AtomicBool::new(answered),
            source_report: Mutex::default(),
            connected: OnceLock::new(),
        }
    }

    /// Its policy as it is now.
    pub fn config(&self) -> Arc<UpstreamConfig> {
        self.config.load_full()
    }

    /// Whether an upstream of `config` in `zone` has the endpoints that this one has.
    pub fn has_source_of(&self, config: &UpstreamConfig, zone: Option<&str>) -> bool {
        self.config.load().source == config.source && self.zone.as_deref() == zone
    }

    /// Takes over a policy from a config for which [`Upstream::has_source_of`] holds.
    pub fn adopt(&self, config: &Arc<UpstreamConfig>) {
        self.config.store(config.clone());
    }

    /// Its endpoints as they are now.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.endpoints.load_full()
    }

    /// A source's answer: replaces all endpoints. An empty answer is one too: it is the source's
    /// business to decide whether it keeps the last good one instead.
    pub fn replace_endpoints(&self, specs: impl IntoIterator<Item = EndpointSpec>) {
        let set = EndpointSet::new(specs, self.zone.as_deref(), &self.endpoints.load());
        self.endpoints.store(Arc::new(set));
        self.source_answered();
    }

    /// Why the source's last answer holds no endpoint.
    pub fn empty_because(&self, reason: Option<Arc<str>>) {
        self.report().empty_because = reason;
    }

    /// A source's answer that changes nothing.
    pub fn source_answered(&self) {
        *self.report() = SourceReport {
            last_answer: Some(SystemTime::now()),
            last_error: None,
            empty_because: None,
        };
        self.answered.store(true, Ordering::Release);
    }

    /// A source's failure: the endpoints stay.
    pub fn source_failed(&self, error: String) {
        self.report().last_error = Some(error);
        self.answered.store(true, Ordering::Release);
    }

    /// Whether the source has answered once, be it with a failure.
    pub fn answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// What the source last said.
    pub fn source_report(&self) -> SourceReport {
        self.report().clone()
    }

    /// Picks an endpoint that is not among `tried`: least connections of two random choices among
    /// those that are ready, same zone first unless that zone is short of endpoints; one that is ejected
    /// only when nothing else is left.
    /// `None` when every endpoint was tried.
    pub fn pick(&self, tried: &[SocketAddr]) -> Option<Picked> {
        balancer::pick(&self.endpoints.load(), tried, Instant::now()).map(Picked::new)
    }

    /// The counter of its connections that were made, looked up on first use.
    pub fn connected(&self, counter: impl FnOnce() -> IntCounter) -> &IntCounter {
        self.connected.get_or_init(counter)
    }

    fn report(&self) -> std::sync::MutexGuard<'_, SourceReport> {
        self.source_report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EjectionPolicy, samples};
    use std::time::Duration;

    pub(super) fn spec(last: u8, zone: Option<&str>, weight: u16) -> EndpointSpec {
        EndpointSpec {
            address: SocketAddr::from(([10, 0, 0, last], 80)),
            zone: zone.map(Arc::from),
            weight,
        }
    }

    pub(super) fn upstream(specs: Vec<EndpointSpec>, zone: Option<&str>) -> Upstream {
        let second = Duration::from_secs(1);
        let ejection = EjectionPolicy {
            consecutive_failures: 1,
            base: second,
            max: second,
        };
        let config = UpstreamConfig {
            ejection,
            ..samples::upstream(UpstreamSource::Static(specs))
        };
        Upstream::new(Arc::new(config), zone.map(Arc::from), None)
    }

    #[test]
    fn an_update_keeps_what_an_endpoint_has_counted() {
        let upstream = upstream(vec![spec(1, None, 1), spec(1, None, 1)], None);
        assert_eq!(upstream.endpoints().len(), 1, "one address is one endpoint");
        let picked = upstream.pick(&[]).unwrap();
        upstream.replace_endpoints([spec(2, None, 1), spec(1, Some("a"), 5)]);
        let active: Vec<u32> = upstream
            .endpoints()
            .iter()
            .map(|endpoint| endpoint.stats.active())
            .collect();
        assert_eq!(active, [0, 1]);
        upstream.replace_endpoints([]);
        assert!(upstream.pick(&[]).is_none());
        drop(picked);
    }
}
