//! The last step of a change: it removes the metrics and the memory of what was in force before.

use std::sync::Arc;

use super::builder::Old;
use super::control::Control;
use super::listeners::{retire_found, retire_metrics, series_of};
use crate::admin::Snapshot;
use crate::config::Config;
use crate::metrics::{FromZero, Metrics};
use crate::names::UpstreamName;
use crate::upstream::Upstream;

/// The largest number of upstreams of a change that the control thread makes by itself. The builder makes a change of
/// more. Each upstream takes some microseconds.
pub(super) const FEW: usize = 200;

/// The upstreams that a discovery has changed.
pub(super) struct Differs {
    /// Those that are new or have another config.
    pub(super) changed: Vec<UpstreamName>,
    /// Those whose name has gone.
    pub(super) gone: Vec<Arc<Upstream>>,
    /// Whether the listeners are the same as before.
    pub(super) same_listeners: bool,
}

/// The rest of a change that has come into force.
pub(super) struct Forgotten {
    /// The state that was in force.
    pub(super) before: Arc<Snapshot>,
    /// The difference to the tables before; `None` if everything may differ.
    pub(super) differs: Option<Differs>,
    /// The tables of listeners that are in force no longer.
    pub(super) old: Vec<Old>,
}

impl Forgotten {
    /// Removes what was in force before and is not now. The builder does it if that takes long.
    pub(super) async fn forget(self, control: &Control) {
        let Self {
            before,
            differs,
            mut old,
        } = self;
        let takes_long = differs.as_ref().is_none_or(Differs::are_many);
        old.push(before.clone());
        old.push(before.config.clone());
        let (now, metrics) = (control.snapshots.now(), control.shared.metrics.clone());
        let forget = move || match &differs {
            None => forget_all(&metrics, &before, &now),
            Some(differs) => forget_found(&metrics, &before, &now, differs),
        };
        // A failure is in the log, and leaves metrics of what has gone.
        let _ = control.builder.run_if(takes_long, forget).await;
        if takes_long {
            control.builder.drop_unused(old);
        }
    }
}

impl Differs {
    /// Whether they are so many that they would keep the control thread busy for too long.
    fn are_many(&self) -> bool {
        self.changed.len() + self.gone.len() > FEW
    }
}

/// Removes the metrics of objects that were in force before and no longer are.
fn forget_all(metrics: &Metrics, before: &Snapshot, now: &Snapshot) {
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

/// Lets counters begin at 0, if the config asks for it. `anew` is true if listeners or source groups may have changed.
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

/// As [`forget_all`], for a change in which only a part of the discovery differs.
fn forget_found(metrics: &Metrics, before: &Snapshot, now: &Snapshot, differs: &Differs) {
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
