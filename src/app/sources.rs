//! The sources that run: one task for each upstream whose endpoints DNS gives.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::{Config, ResolverConfig, UpstreamSource};
use crate::metrics::Metrics;
use crate::names::UpstreamName;
use crate::proxy::Shared;
use crate::source::dns::{self, DnsError, OwnAddresses, OwnListeners, Resolver, SourceTask};
use crate::upstream::{Upstream, Upstreams};

/// The time for which a reload waits for the first answers of new sources.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
const FIRST_ANSWER_POLL: Duration = Duration::from_millis(10);

/// Tasks by upstream, each with the upstream whose endpoints it sets. A task ends when it is dropped.
pub(super) type SourceTasks = HashMap<UpstreamName, (Arc<Upstream>, SourceTask)>;

/// The running sources.
pub(super) struct Sources {
    /// Made when the first upstream needs it.
    resolver: OnceLock<Resolver>,
    resolver_config: ResolverConfig,
    own: OwnAddresses,
    metrics: Arc<Metrics>,
    tasks: SourceTasks,
}

impl Sources {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        Self {
            resolver: OnceLock::new(),
            resolver_config: config.resolver.clone(),
            own: shared.own.clone(),
            metrics: shared.metrics.clone(),
            tasks: HashMap::new(),
        }
    }

    /// Makes the resolver, if an upstream of `config` needs one.
    pub(super) fn prepare(&self, config: &Config) -> Result<(), DnsError> {
        let asks = |source: &UpstreamSource| matches!(source, UpstreamSource::Dns(_));
        let mut upstreams = config.upstreams.values();
        if self.resolver.get().is_none() && upstreams.any(|upstream| asks(&upstream.source)) {
            let resolver = Resolver::new(&self.resolver_config)?;
            // Nobody else sets it.
            let _ = self.resolver.set(resolver);
        }
        Ok(())
    }

    /// Starts a source for each of `upstreams` that needs one and has none.
    pub(super) fn start_new(&self, upstreams: &Upstreams) -> SourceTasks {
        let mut started = SourceTasks::new();
        let Some(resolver) = self.resolver.get() else {
            return started;
        };
        for (name, upstream) in upstreams.iter() {
            let runs = |(running, _): &(Arc<Upstream>, _)| Arc::ptr_eq(running, upstream);
            if self.tasks.get(name).is_some_and(runs) {
                continue;
            }
            if let UpstreamSource::Dns(_) = &upstream.config().source {
                let task = dns::spawn(
                    upstream.clone(),
                    resolver.clone(),
                    self.own.clone(),
                    self.metrics.clone(),
                );
                started.insert(name.clone(), (upstream.clone(), task));
            }
        }
        started
    }

    /// Keeps the sources that were started, and stops those of upstreams that are no longer among
    /// `upstreams`.
    pub(super) fn take_over(&mut self, started: SourceTasks, upstreams: &Upstreams) {
        self.tasks.extend(started);
        self.tasks.retain(|name, (running, _)| {
            upstreams
                .get(name)
                .is_some_and(|now| Arc::ptr_eq(now, running))
        });
    }

    /// Our own listening sockets, with the current addresses behind wildcards.
    pub(super) fn own_listeners(&self) -> OwnListeners {
        self.own.now()
    }

    /// Sets `addresses` as the ones that sources and workers count as our own.
    pub(super) fn listen_on(&self, addresses: Vec<SocketAddr>) {
        self.own.replace(addresses);
    }
}

/// Waits until the source of each of `upstreams` has answered once, with a limit on the wait.
pub(super) async fn first_answers(upstreams: &Upstreams) {
    let deadline = Instant::now() + FIRST_ANSWER;
    while Instant::now() < deadline && !upstreams.values().all(|one| one.answered()) {
        sleep(FIRST_ANSWER_POLL).await;
    }
}
