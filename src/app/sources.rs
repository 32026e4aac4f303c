//! Which sources run: one task for each upstream whose endpoints are not listed in the file.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::{Config, UpstreamSource};
use crate::metrics::Metrics;
use crate::proxy::Shared;
use crate::source::dns::{self, DnsError, OwnAddresses, OwnListeners, Resolver, SourceTask};
use crate::upstream::{Upstream, UpstreamMap};

/// How long a reload waits for the first answers of new sources.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
const FIRST_ANSWER_POLL: Duration = Duration::from_millis(10);

/// The sources that run.
pub(super) struct Sources {
    resolver: Resolver,
    own: OwnAddresses,
    metrics: Arc<Metrics>,
    tasks: HashMap<Arc<str>, (Arc<Upstream>, SourceTask)>,
}

impl Sources {
    pub(super) fn new(config: &Config, shared: &Shared) -> Result<Self, DnsError> {
        Ok(Self {
            resolver: Resolver::new(&config.resolver)?,
            own: shared.own.clone(),
            metrics: shared.metrics.clone(),
            tasks: HashMap::new(),
        })
    }

    /// Starts a source for each of `upstreams` that needs one and has none.
    pub(super) fn start_new(&mut self, upstreams: &UpstreamMap) {
        for (name, upstream) in upstreams {
            let runs = |(running, _): &(Arc<Upstream>, _)| Arc::ptr_eq(running, upstream);
            if self.tasks.get(name).is_some_and(runs) {
                continue;
            }
            if let UpstreamSource::Dns(_) = &upstream.config().source {
                let task = dns::spawn(
                    upstream.clone(),
                    self.resolver.clone(),
                    self.own.clone(),
                    self.metrics.clone(),
                );
                self.tasks.insert(name.clone(), (upstream.clone(), task));
            }
        }
    }

    /// Waits until every source has answered once, or for a moment.
    pub(super) async fn first_answers(&self, upstreams: &UpstreamMap) {
        let deadline = Instant::now() + FIRST_ANSWER;
        while Instant::now() < deadline && !upstreams.values().all(|one| one.answered()) {
            sleep(FIRST_ANSWER_POLL).await;
        }
    }

    /// Stops the sources of upstreams that are not among `upstreams` any more.
    pub(super) fn keep_only(&mut self, upstreams: &UpstreamMap) {
        self.tasks.retain(|name, (running, _)| {
            upstreams
                .get(name)
                .is_some_and(|now| Arc::ptr_eq(now, running))
        });
    }

    /// What our own addresses stand for now.
    pub(super) fn own_listeners(&self) -> OwnListeners {
        self.own.now()
    }

    /// Tells the sources and the workers which addresses are our own. Returns what they stand for now.
    pub(super) fn own_addresses(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> OwnListeners {
        self.own.replace(addresses.collect());
        self.own.now()
    }
}
