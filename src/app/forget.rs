//! The end of what was in force before a change: its metrics go.

use std::sync::Arc;

use super::listeners::{retire_found, retire_metrics, series_of};
use super::state::State;
use crate::admin::Snapshot;
use crate::config::Config;
use crate::metrics::{FromZero, Metrics};
use crate::names::UpstreamName;
use crate::upstream::Upstream;

/// The upstreams that a discovery has changed.
pub(super) struct Differs {
    /// Those that are new or have another config.
    pub(super) changed: Vec<UpstreamName>,
    /// Those whose name has gone.
    pub(super) gone: Vec<Arc<Upstream>>,
    /// Whether the listeners are the same as before.
    pub(super) same_listeners: bool,
}

/// Removes the metrics of objects that were in force before and no longer are.
pub(super) fn forget(state: &State, before: &Snapshot) {
    let now = state.control.snapshots.now();
    let metrics = &state.control.shared.metrics;
    if !Arc::ptr_eq(&before.upstreams, &now.upstreams) {
        for upstream in before.upstreams.gone(&now.upstreams) {
            upstream.retire();
            metrics.retire_upstream(&upstream.config().name);
        }
    }
    if !Arc::ptr_eq(&before.config, &now.config) {
        retire_metrics(metrics, &before.config, &now.config);
    }
    begin_at_zero(metrics, &now.config, true);
}

/// Has counters begin at 0, as the config says. `anew`: the listeners or source groups may be others than before.
fn begin_at_zero(metrics: &Metrics, config: &Config, anew: bool) {
    let Some(most_routes) = config.metric_routes_from_zero else {
        return;
    };
    let sources = config.sources.ids();
    let listeners = &config.listeners;
    metrics.begin_at_zero(FromZero {
        most_routes,
        listeners: anew.then(|| listeners.iter().map(|one| one.name.clone()).collect()),
        sources: sources.map(|id| config.sources.name(id).into()).collect(),
        routes: listeners.iter().flat_map(|listener| {
            let routes = listener.routes.iter();
            routes.flat_map(|route| series_of(listener, &route))
        }),
    });
}

/// As [`forget`], of a change that has kept all but a part of what was found.
pub(super) fn forget_found(state: &State, before: &Snapshot, differs: &Differs) {
    let now = state.control.snapshots.now();
    let metrics = &state.control.shared.metrics;
    for upstream in &differs.gone {
        upstream.retire();
        metrics.retire_upstream(&upstream.config().name);
    }
    match differs.same_listeners {
        true => retire_found(metrics, &before.config, &now.config),
        false => retire_metrics(metrics, &before.config, &now.config),
    }
    begin_at_zero(metrics, &now.config, !differs.same_listeners);
}
