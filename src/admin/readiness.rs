//! The readiness of the gateway: the answer to whether load balancers may send connections here.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::liveness::STALLED;
use super::snapshot::Snapshots;
use crate::drain::{DrainPhase, DrainWatcher};
use crate::metrics::Metrics;

/// The time for which sources that have not answered keep the gateway from being ready. After it, their
/// upstreams give `no_endpoint`: one dead DNS name must not keep a rollout from ever getting ready.
pub const SOURCE_GRACE: Duration = Duration::from_secs(15);

/// The number of upstreams that one reason names; beyond that it gives the number only. `/upstreams`
/// shows all of them.
const MAX_NAMES: usize = 500;

/// A reason why the gateway is not ready, with one text for everybody and one for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// For everybody who reaches the status port: how many things are missing and of which kind. It
    /// never contains a name.
    pub summary: String,
    /// For the admin address only: the names of those things, one a line. Empty when there is nothing
    /// to name.
    pub names: Vec<String>,
}

impl Missing {
    /// A reason without names.
    pub fn unnamed(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            names: Vec::new(),
        }
    }

    /// Kinds of objects that the Kubernetes source needs and has not listed, each with the reason.
    fn kinds(missing: &[(&'static str, Arc<str>)]) -> Self {
        let kinds: Vec<&str> = missing.iter().map(|(kind, _)| *kind).collect();
        let summary = match kinds.as_slice() {
            [] => "Kubernetes: what it lists is not in force yet".to_owned(),
            kinds => format!("Kubernetes: not listed yet: {}", kinds.join(", ")),
        };
        let name = |(kind, reason): &(&str, Arc<str>)| format!("kubernetes {kind}: {reason}");
        let names = missing.iter().map(name).collect();
        Self { summary, names }
    }

    /// The reason for sources that have not answered, from the names of their upstreams.
    fn answers<'a>(upstreams: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut names: Vec<String> = Vec::new();
        let mut count: usize = 0;
        for upstream in upstreams {
            count += 1;
            if count <= MAX_NAMES {
                names.push(format!("upstream {upstream}: no answer yet"));
            }
        }
        let summary = match count {
            0 => return None,
            1 => "1 source has not answered".to_owned(),
            many => format!("{many} sources have not answered"),
        };
        if count > MAX_NAMES {
            let more = count - MAX_NAMES;
            names.push(format!("and {more} more: /upstreams shows them all"));
        }
        Some(Self { summary, names })
    }
}

/// Decides the answer of `/healthz/ready`. Cloning is cheap.
///
/// The gateway is ready when the listeners are bound, the Kubernetes source (if there is one at the
/// start) has listed every kind of object that routing needs, and every other source has answered once
/// or [`SOURCE_GRACE`] has passed. As soon as draining begins it is not ready any more.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<ReadinessState>);

/// Kinds of objects, each with the reason why it is not listed.
type MissingKinds = Vec<(&'static str, Arc<str>)>;

/// The function that says which kinds of objects the Kubernetes source still needs.
struct Discovery(Box<dyn Fn() -> MissingKinds + Send + Sync>);

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Discovery").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct ReadinessState {
    snapshots: Snapshots,
    drain: DrainWatcher,
    metrics: Arc<Metrics>,
    listeners_bound: AtomicBool,
    discovery_awaited: AtomicBool,
    /// The numbers of workers that hang.
    stalled: ArcSwap<Vec<usize>>,
    discovery: OnceLock<Discovery>,
    /// The number of the request of an operator that makes it not ready; 0 for none.
    failed_by: AtomicU64,
    requests: AtomicU64,
    grace_end: Instant,
}

impl Readiness {
    /// Creates a readiness that is not ready yet. The time of [`SOURCE_GRACE`] begins now.
    pub fn new(snapshots: Snapshots, drain: DrainWatcher, metrics: Arc<Metrics>) -> Self {
        Self::with_grace(snapshots, drain, metrics, SOURCE_GRACE)
    }

    /// As [`Readiness::new`], with another grace time.
    pub fn with_grace(
        snapshots: Snapshots,
        drain: DrainWatcher,
        metrics: Arc<Metrics>,
        grace: Duration,
    ) -> Self {
        let readiness = Self(Arc::new(ReadinessState {
            snapshots,
            drain,
            metrics,
            listeners_bound: AtomicBool::new(false),
            discovery_awaited: AtomicBool::new(false),
            stalled: ArcSwap::default(),
            discovery: OnceLock::new(),
            failed_by: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            grace_end: Instant::now() + grace,
        }));
        let _ = readiness.check();
        readiness
    }

    /// Notes that every listener of the config accepts connections.
    pub fn set_listeners_bound(&self) {
        self.0.listeners_bound.store(true, Ordering::Release);
        let _ = self.check();
    }

    /// Sets the function that names the missing kinds of objects, each with the reason, while discovery
    /// is awaited. Only the first call has an effect.
    pub fn explain_discovery(&self, missing: impl Fn() -> MissingKinds + Send + Sync + 'static) {
        let _ = self.0.discovery.set(Discovery(Box::new(missing)));
    }

    /// Stays not ready until [`Readiness::discovered`] is called. During a rollout the old pod already
    /// knows the routes; it must not be stopped before this one knows them too.
    pub fn await_discovery(&self) {
        if !self.0.discovery_awaited.swap(true, Ordering::AcqRel) {
            let _ = self.check();
        }
    }

    /// Notes that the Kubernetes source has found its routes.
    pub fn discovered(&self) {
        if self.0.discovery_awaited.swap(false, Ordering::AcqRel) {
            let _ = self.check();
        }
    }

    /// Is not ready from now on, as an operator asks. Returns the number of the request.
    pub fn fail(&self) -> u64 {
        let request = self.0.requests.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.failed_by.store(request, Ordering::Release);
        let _ = self.check();
        request
    }

    /// Ends [`Readiness::fail`], or only that with this number. Returns whether that changes something.
    pub fn end_failing(&self, request: Option<u64>) -> bool {
        let failed_by = &self.0.failed_by;
        let ended = match request {
            None => failed_by.swap(0, Ordering::AcqRel) != 0,
            Some(request) => failed_by
                .compare_exchange(request, 0, Ordering::AcqRel, Ordering::Acquire)
                .is_ok(),
        };
        let _ = self.check();
        ended
    }

    /// Sets the numbers of the workers that hang. All others work.
    pub fn set_stalled(&self, workers: Vec<usize>) {
        let state = &*self.0;
        for worker in &workers {
            if !state.stalled.load().contains(worker) {
                tracing::error!(
                    worker,
                    "a worker thread hangs: it has done no round for {STALLED:?}; /healthz/live fails until it continues"
                );
            }
        }
        state.stalled.store(Arc::new(workers));
    }

    /// Checks whether the process still works, as far as a restart could help.
    ///
    /// # Errors
    /// The reasons why it does not, one for each problem.
    pub fn live(&self) -> Result<(), Vec<String>> {
        let stalled = self.0.stalled.load();
        if stalled.is_empty() {
            return Ok(());
        }
        let reason = |worker| format!("worker {worker} has hung for {STALLED:?} or more");
        Err(stalled.iter().map(reason).collect())
    }

    /// The phase of draining.
    pub fn phase(&self) -> DrainPhase {
        self.0.drain.phase()
    }

    /// Checks whether the gateway is ready, and updates `strait_ready` and `strait_draining`.
    ///
    /// # Errors
    /// The reasons why it is not ready, at least one.
    pub fn check(&self) -> Result<(), Vec<Missing>> {
        let state = &*self.0;
        let draining = self.phase() != DrainPhase::Running;
        let reasons = if draining {
            vec![Missing::unnamed("draining")]
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

impl ReadinessState {
    fn missing(&self) -> Vec<Missing> {
        let mut reasons = Vec::new();
        if self.failed_by.load(Ordering::Acquire) != 0 {
            reasons.push(Missing::unnamed("an operator has asked for it"));
        }
        if !self.listeners_bound.load(Ordering::Acquire) {
            reasons.push(Missing::unnamed("listeners are not bound yet"));
        }
        if self.discovery_awaited.load(Ordering::Acquire) {
            let missing = self.discovery.get().map(|tells| tells.0());
            reasons.push(Missing::kinds(&missing.unwrap_or_default()));
        }
        if Instant::now() < self.grace_end {
            let snapshot = self.snapshots.now();
            let unanswered = snapshot.upstreams.iter().filter(|(_, one)| !one.answered());
            reasons.extend(Missing::answers(unanswered.map(|(name, _)| &**name)));
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_for_everybody_and_reasons_for_the_operator() {
        let awaited = [
            ("pod", "pods is forbidden".into()),
            ("service", "not listed yet".into()),
        ];
        let missing = Missing::kinds(&awaited);
        assert_eq!(missing.summary, "Kubernetes: not listed yet: pod, service");
        let names = [
            "kubernetes pod: pods is forbidden",
            "kubernetes service: not listed yet",
        ];
        assert_eq!(missing.names, names);
        let all_listed = "Kubernetes: what it lists is not in force yet";
        assert_eq!(Missing::kinds(&[]), Missing::unnamed(all_listed));
    }

    #[test]
    fn a_reason_counts_for_strangers_and_names_for_the_operator() {
        let missing = |count: usize| {
            let names: Vec<String> = (0..count).map(|number| format!("u{number}")).collect();
            Missing::answers(names.iter().map(String::as_str))
        };
        assert_eq!(missing(0), None);
        let one = missing(1).unwrap();
        assert_eq!(one.summary, "1 source has not answered");
        assert_eq!(one.names, ["upstream u0: no answer yet"]);
        let two = missing(2).unwrap();
        assert_eq!(two.summary, "2 sources have not answered");
        let most = missing(MAX_NAMES).unwrap();
        assert_eq!(most.names.len(), MAX_NAMES);
        let more = missing(MAX_NAMES + 3).unwrap();
        assert_eq!(more.names.len(), MAX_NAMES + 1);
        assert_eq!(
            more.names[MAX_NAMES],
            "and 3 more: /upstreams shows them all"
        );
    }
}
