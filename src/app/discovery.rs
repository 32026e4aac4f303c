//! The effects of a discovery: endpoints for upstreams, and reports for people.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::admin::{ClusterReport, DiscoveryReport, SavedStateReport};
use crate::metrics::{Metrics, gauge_value};
use crate::names::{ListenerName, UpstreamName};
use crate::route::Conflict;
use crate::source::kubernetes::{Discovered, Publication};
use crate::upstream::Upstreams;

/// The number of conflicts that are logged one by one and remembered. A metric counts the others.
const MAX_LOGGED: usize = 1000;

/// Gives each upstream its endpoints, if they differ from `before`.
pub(super) fn update_endpoints(
    upstreams: &Upstreams,
    discovered: &Discovered,
    before: Option<&Discovered>,
) {
    let Some(before) = before else {
        for name in discovered.endpoints.keys() {
            update(upstreams, discovered, name);
        }
        return;
    };
    let endpoints = before.endpoints.diff(&discovered.endpoints, Arc::ptr_eq);
    let reasons = before.empty.diff(&discovered.empty, PartialEq::eq);
    let mut names: BTreeSet<&UpstreamName> = endpoints.iter().map(|one| one.key).collect();
    names.extend(reasons.iter().map(|one| one.key));
    for name in names {
        update(upstreams, discovered, name);
    }
}

/// Gives an upstream the endpoints that were found.
fn update(upstreams: &Upstreams, discovered: &Discovered, name: &UpstreamName) {
    let endpoints = discovered.endpoints.get(name);
    if let Some((endpoints, upstream)) = endpoints.zip(upstreams.get(name)) {
        upstream.replace_endpoints(endpoints.iter().cloned());
        upstream.empty_because(discovered.empty.get(name).cloned());
    }
}

/// The report for the admin server.
pub(super) fn report(publication: &Publication) -> DiscoveryReport {
    let Publication {
        discovered,
        missing,
        clusters,
        unreadable,
        zone,
        from_file,
        ..
    } = publication;
    let saved_state = from_file.as_ref().map(|from_file| SavedStateReport {
        confirmed: from_file.confirmed,
        kinds: from_file.kinds.clone(),
    });
    let routing = &discovered.routing;
    let gateways = routing.gateways.values().map(|routes| routes.len());
    DiscoveryReport {
        at: SystemTime::now(),
        zone: zone.clone(),
        exported_routes: routing.exports.len(),
        gateway_routes: gateways.sum(),
        upstreams: discovered.endpoints.len(),
        upstreams_without_endpoints: discovered.empty.len(),
        unrouted_hosts: discovered.unrouted.len(),
        skipped_names: routing.skipped.count,
        skipped_examples: routing.skipped.examples.clone(),
        missing: missing.clone(),
        clusters: clusters
            .iter()
            .map(|cluster| ClusterReport {
                name: cluster.name.clone(),
                missing: cluster.missing.clone(),
            })
            .collect(),
        unreadable_objects: unreadable.clone(),
        saved_state,
    }
}

/// Updates the gauges.
pub(super) fn count(report: &DiscoveryReport, metrics: &Metrics) {
    let metrics = &metrics.kubernetes;
    metrics.unrouted.set(gauge_value(report.unrouted_hosts));
    metrics.skipped.set(gauge_value(report.skipped_names));
}

/// Records the time from the events of a watch until now, when they are in force.
pub(super) fn observe(arrivals: &[Instant], metrics: &Metrics) {
    for arrival in arrivals {
        let waited = arrival.elapsed().as_secs_f64();
        metrics.kubernetes.event_to_route.observe(waited);
    }
}

/// The reports that are logged once each.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    conflicts: HashSet<String>,
}

impl Reporter {
    /// Logs the conflicts that are new.
    pub(super) fn conflicts(&mut self, conflicts: &[(ListenerName, Conflict)], metrics: &Metrics) {
        let mut now = HashSet::new();
        for (listener, conflict) in conflicts.iter().take(MAX_LOGGED) {
            let Conflict {
                pattern,
                kept,
                refused,
            } = conflict;
            let text = format!(
                "{pattern} stays with route {} of {}; route {} of {} goes without",
                kept.name, kept.origin, refused.name, refused.origin
            );
            if !self.conflicts.contains(&text) {
                tracing::warn!(%listener, "{text}");
            }
            now.insert(text);
        }
        self.conflicts = now;
        let count = gauge_value(conflicts.len());
        metrics.kubernetes.conflicts.set(count);
    }
}
