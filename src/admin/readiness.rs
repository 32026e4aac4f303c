//! Whether load balancers may send connections here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::drain::{DrainPhase, DrainWatcher};
use crate::metrics::Metrics;
use crate::upstream::Upstreams;

/// How long sources that have not answered keep the gateway from being ready. After it they give
/// `no_endpoint`: one dead DNS name must not keep a rollout from ever getting ready.
pub const SOURCE_GRACE: Duration = Duration::from_secs(15);

/// Reasons that are told one by one; of more, the number is.
const MAX_REASONS: usize = 20;

/// Decides what `/healthz/ready` says: ready when the listeners are bound, the Kubernetes source (if
/// there is one at the start) has found its routes, and every other source has answered once or
/// [`SOURCE_GRACE`] has passed; and not any more as soon as draining begins.
/// Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<State>);

#[derive(Debug)]
struct State {
    upstreams: Upstreams,
    drain: DrainWatcher,
    metrics: Arc<Metrics>,
    listeners_bound: AtomicBool,
    discovery_awaited: AtomicBool,
    grace_end: Instant,
}

impl Readiness {
    /// Not ready yet; the grace of [`SOURCE_GRACE`] begins now.
    pub fn new(upstreams: Upstreams, drain: DrainWatcher, metrics: Arc<Metrics>) -> Self {
        Self::with_grace(upstreams, drain, metrics, SOURCE_GRACE)
    }

    /// As [`Readiness::new`], with another grace.
    pub fn with_grace(
        upstreams: Upstreams,
        drain: DrainWatcher,
        metrics: Arc<Metrics>,
        grace: Duration,
    ) -> Self {
        let readiness = Self(Arc::new(State {
            upstreams,
            drain,
            metrics,
            listeners_bound: AtomicBool::new(false),
            discovery_awaited: AtomicBool::new(false),
            grace_end: Instant::now() + grace,
        }));
        let _ = readiness.check();
        readiness
    }

    /// Every listener of the config accepts connections.
    pub fn set_listeners_bound(&self) {
        self.0.listeners_bound.store(true, Ordering::Release);
        let _ = self.check();
    }

    /// From now on not ready before [`Readiness::discovered`]: whom a rollout replaces knows its routes,
    /// and must not go before its successor does.
    pub fn await_discovery(&self) {
        self.0.discovery_awaited.store(true, Ordering::Release);
    }

    /// The Kubernetes source has found its routes.
    pub fn discovered(&self) {
        if self.0.discovery_awaited.swap(false, Ordering::AcqRel) {
            let _ = self.check();
        }
    }

    /// Where the process stands on its way out.
    pub fn phase(&self) -> DrainPhase {
        self.0.drain.phase()
    }

    /// Whether it is ready, and brings `strait_ready` and `strait_draining` up to date.
    ///
    /// # Errors
    /// What is missing, a reason a line.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let state = &*self.0;
        let draining = self.phase() != DrainPhase::Running;
        let reasons = if draining {
            vec!["draining".to_owned()]
        } else {
            state.missing()
        };
        state.metrics.draining.set(draining.into());
        state.metrics.ready.set(reasons.is_empty().into());
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons)
        }
    }
}

impl State {
    fn missing(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.listeners_bound.load(Ordering::Acquire) {
            reasons.push("listeners: not bound yet".to_owned());
        }
        if self.discovery_awaited.load(Ordering::Acquire) {
            reasons.push("kubernetes: services and their endpoints are not listed yet".to_owned());
        }
        if Instant::now() < self.grace_end {
            let upstreams = self.upstreams.all();
            let mut unanswered = upstreams.iter().filter(|(_, u)| !u.answered());
            let named = unanswered.by_ref().take(MAX_REASONS);
            reasons.extend(named.map(|(name, _)| format!("upstream {name}: no answer yet")));
            match unanswered.count() {
                0 => {}
                more => reasons.push(format!("and {more} more upstreams")),
            }
        }
        reasons
    }
}
