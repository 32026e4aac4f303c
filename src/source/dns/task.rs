//! The task that keeps the endpoints of one upstream equal to what DNS says.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::address_policy::{AddressPolicy, kind_label, refused_address};
use super::answer::{Answer, DnsError};
use super::lookup::resolve_again;
use super::resolver::Resolver;
use super::round::RememberedAnswer;
use super::schedule::Schedule;
use crate::clock;
use crate::config::{DnsConfig, EndpointSpec, UpstreamSource};
use crate::metrics::{Metrics, RefusedAddress, SourceResult, TaskName};
use crate::names::UpstreamName;
use crate::socket::OwnAddresses;
use crate::supervise;
use crate::upstream::Upstream;

/// The running task of a source. Dropping it ends the task.
#[derive(Debug)]
#[must_use = "dropping it ends the source"]
pub struct SourceTask(JoinHandle<()>);

impl Drop for SourceTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Resolves the name of `upstream` at once, and again each time the answer expires, on the current
/// tokio runtime. The task reads the policy from the upstream for each question; a change of the policy
/// leads to a new question at once. The task ends by itself if DNS does not fill this upstream.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn(
    upstream: Arc<Upstream>,
    resolver: Resolver,
    own: OwnAddresses,
    metrics: Arc<Metrics>,
) -> SourceTask {
    let restarts = metrics.task_restarts(TaskName::Dns);
    let start = move || {
        let source = Source {
            name: upstream.config().name.clone(),
            upstream: upstream.clone(),
            resolver: resolver.clone(),
            own: own.clone(),
            metrics: metrics.clone(),
            memory: RememberedAnswer::default(),
            schedule: Schedule::default(),
            empty_since: None,
        };
        async move {
            source.run().await;
            Ok(())
        }
    };
    SourceTask(tokio::task::spawn(supervise::keep(
        TaskName::Dns.label(),
        restarts,
        start,
    )))
}

struct Source {
    name: UpstreamName,
    upstream: Arc<Upstream>,
    resolver: Resolver,
    own: OwnAddresses,
    metrics: Arc<Metrics>,
    memory: RememberedAnswer,
    schedule: Schedule,
    /// The time of the first of the answers in a row that have no record.
    empty_since: Option<Instant>,
}

impl Source {
    async fn run(mut self) {
        // The series exist from the start, so that an alert can be written on them.
        for result in SourceResult::ALL {
            self.metrics.source_answers(&self.name, *result);
        }
        loop {
            let config = self.upstream.config();
            let UpstreamSource::Dns(config) = &config.source else {
                return;
            };
            self.drop_refused(config);
            self.report_stale();
            let answer = resolve_again(&self.resolver, config, &self.own, &mut self.memory).await;
            let wait = self.take(answer, config);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.upstream.source_changed() => {}
            }
        }
    }

    /// Removes endpoints of earlier answers that the current policy refuses. They must not wait for an
    /// answer that may never come.
    fn drop_refused(&self, config: &DnsConfig) {
        let own = self.own.now();
        let policy = AddressPolicy {
            allow: &config.allow,
            own: &own,
        };
        self.upstream
            .retain_endpoints(|spec| match policy.check(spec.address) {
                Ok(_) => true,
                Err((address, kind)) => {
                    let kind = kind_label(kind);
                    tracing::warn!(
                        upstream = %self.name,
                        %address,
                        kind,
                        "strait removes an endpoint: the config no longer allows addresses of its kind"
                    );
                    false
                }
            });
    }

    /// Acts on an answer and returns the wait until the next question.
    fn take(&mut self, answer: Result<Answer, DnsError>, config: &DnsConfig) -> Duration {
        match answer {
            Err(error) => {
                // An outage says nothing about the name.
                self.empty_since = None;
                self.count(SourceResult::Failure);
                self.bad(&error, "DNS failed", "the last endpoints stay");
                self.schedule.failed(config)
            }
            Ok(answer) => {
                self.count_refused(&answer);
                if answer.endpoints.is_empty() {
                    self.take_nothing(&answer, config)
                } else {
                    self.take_endpoints(answer, config)
                }
            }
        }
    }

    fn take_nothing(&mut self, answer: &Answer, config: &DnsConfig) -> Duration {
        self.count(SourceResult::Empty);
        // An answer without endpoints always says why.
        if let Some(error) = &answer.problem {
            self.bad(error, "DNS gave no endpoint", "the last ones stay");
        }
        let wait = self.schedule.answered_with_nothing(config);
        match (config.gone_after, answer.refused.is_empty()) {
            (Some(after), true) => self.wait_until_gone(after, wait).max(config.min_ttl),
            // There are records; the policy refuses their addresses.
            _ => {
                self.empty_since = None;
                wait
            }
        }
    }

    /// Removes the endpoints of a name that has had no record for the time `after`. Returns the wait until
    /// the next question: at most the rest of that time.
    fn wait_until_gone(&mut self, after: Duration, wait: Duration) -> Duration {
        let since = *self.empty_since.get_or_insert_with(Instant::now);
        let left = after.saturating_sub(since.elapsed());
        if !left.is_zero() {
            return wait.min(left);
        }
        if !self.upstream.endpoints().is_empty() {
            tracing::warn!(upstream = %self.name, ?after, "strait removes the endpoints of a name that DNS does not know any more");
            self.upstream.retain_endpoints(|_| false);
            self.report_stale();
        }
        wait
    }

    fn take_endpoints(&mut self, answer: Answer, config: &DnsConfig) -> Duration {
        self.empty_since = None;
        self.count(SourceResult::Success);
        self.metrics
            .source_last_answer(&self.name)
            .set(clock::seconds());
        self.use_endpoints(answer.endpoints, answer.problem.is_none());
        match answer.problem {
            Some(error) => {
                let kept = "the endpoints of that part stay";
                self.bad(&error, "DNS failed in part", kept);
                self.schedule.answered_in_part(answer.ttl, config)
            }
            None => {
                let failures = self.schedule.failures_in_a_row();
                if failures > 0 {
                    tracing::info!(upstream = %self.name, failures, "DNS answers again, strait uses the answer");
                }
                self.report_stale();
                self.schedule.answered(answer.ttl, config)
            }
        }
    }

    /// Replaces the endpoints if they have changed.
    fn use_endpoints(&self, endpoints: Vec<EndpointSpec>, in_full: bool) {
        let before = self.upstream.endpoints();
        let mut current: Vec<EndpointSpec> = before
            .iter()
            .map(|endpoint| endpoint.spec.clone())
            .collect();
        current.sort();
        if current == endpoints {
            tracing::debug!(upstream = %self.name, endpoints = endpoints.len(), "DNS has not changed the endpoints");
            if in_full {
                self.upstream.source_answered();
            }
            return;
        }
        let addresses = |specs: &[EndpointSpec]| -> HashSet<SocketAddr> {
            specs.iter().map(|spec| spec.address).collect()
        };
        let (old, new) = (addresses(&current), addresses(&endpoints));
        tracing::info!(
            upstream = %self.name,
            endpoints = new.len(),
            added = new.difference(&old).count(),
            removed = old.difference(&new).count(),
            "DNS changed the endpoints"
        );
        self.upstream.replace_endpoints(endpoints);
    }

    /// Reports an answer that failed or is not complete: as a warning at the start of a streak only.
    /// `kept` says which endpoints stay, if there are any.
    fn bad(&self, error: &DnsError, what: &'static str, kept: &'static str) {
        let kept = if self.upstream.endpoints().is_empty() {
            "there are no endpoints"
        } else {
            kept
        };
        if self.schedule.failures_in_a_row() == 0 {
            tracing::warn!(upstream = %self.name, %error, "{what}: {kept}");
        } else {
            tracing::debug!(upstream = %self.name, %error, "{what}: {kept}");
        }
        self.upstream.source_failed(error.to_string());
        self.report_stale();
    }

    fn report_stale(&self) {
        let stale = self.upstream.is_stale();
        self.metrics.source_stale(&self.name).set(stale.into());
    }

    fn count(&self, result: SourceResult) {
        self.metrics.source_answers(&self.name, result).inc();
    }

    fn count_refused(&self, answer: &Answer) {
        for (address, kind) in &answer.refused {
            let reason = refused_address(*kind);
            let label = reason.label();
            tracing::debug!(upstream = %self.name, %address, reason = label, "strait leaves out an address of an answer: allow it with `allow` of the upstream's `dns`");
            self.metrics
                .source_refused_addresses(&self.name, reason)
                .inc();
        }
        if answer.too_many > 0 {
            let too_many = answer.too_many;
            tracing::debug!(upstream = %self.name, too_many, "the answer has more endpoints than `max_endpoints`, strait leaves out the rest");
            // usize fits into u64 on every existing platform.
            let too_many = u64::try_from(too_many).unwrap_or(u64::MAX);
            self.metrics
                .source_refused_addresses(&self.name, RefusedAddress::TooMany)
                .inc_by(too_many);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// On a runtime without I/O every attempt to ask DNS panics, which stands here for a defect of strait.
    #[test]
    fn a_task_that_panics_is_started_again() {
        let text = "
listeners: [{ name: l, bind: '127.0.0.1:0' }]
upstreams: { u: { dns: 'svcb.example:8080' } }
";
        let config = Config::parse(text, "a test").unwrap();
        let upstream = Arc::new(Upstream::new(config.upstreams["u"].clone(), None, None));
        let metrics = Arc::new(Metrics::new().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let servers = ["127.0.0.1:9".parse().unwrap()];
            let resolver = Resolver::of(&servers, &[], 1, Duration::from_secs(1)).unwrap();
            let own = OwnAddresses::default();
            let _task = spawn(upstream, resolver, own, metrics.clone());
            // In virtual time: the pauses between the starts grow to 30 seconds.
            let restarted = async {
                while metrics.task_restarts(TaskName::Dns).get() < 3 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let deadline = Duration::from_secs(600);
            tokio::time::timeout(deadline, restarted).await.unwrap();
        });
    }
}
