//! `/config`: the config file in force, in its own language.

use std::fmt::Write as _;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::dump::timestamp;
use super::{AdminState, ConfigInForce, ConfigReport, Snapshot, bad_request, text};
use crate::config::ConfigSource;

const YAML: &str = "application/yaml";

/// The query of such a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigParameters {
    /// False to leave out the keys that have their default.
    #[serde(default = "shown")]
    defaults: bool,
}

fn shown() -> bool {
    true
}

/// `GET /config`.
pub(super) async fn show(
    State(shared): State<AdminState>,
    parameters: Result<Query<ConfigParameters>, QueryRejection>,
) -> Response {
    let defaults = match parameters {
        Ok(Query(parameters)) => parameters.defaults,
        Err(error) => return bad_request(&error.body_text()),
    };
    let report = shared.context.config_reports.now();
    let in_force = report.in_force.clone();
    let Some((in_force, source)) =
        in_force.and_then(|one| one.source.clone().map(|source| (one, source)))
    else {
        let body = "the config of this process did not come from a file: GET /config_dump\n";
        return (StatusCode::NOT_FOUND, text(body)).into_response();
    };
    let snapshot = shared.context.snapshots.now();
    let write = move || {
        let head = head(&in_force, &report, &source, &snapshot);
        let yaml = source
            .to_yaml(defaults)
            .map_err(|error| error.to_string())?;
        Ok((head + &yaml).into_bytes())
    };
    shared.renderer.render_alone(YAML, write).await
}

/// Comments that say which file this is, and which part of what is in force is not in it.
fn head(
    in_force: &ConfigInForce,
    report: &ConfigReport,
    source: &ConfigSource,
    snapshot: &Snapshot,
) -> String {
    let mut head = String::new();
    let mut line = |text: &str| {
        // The name of a file may hold a line break.
        let escaped: String = text.chars().flat_map(visible).collect();
        let _ = writeln!(head, "# {escaped}");
    };
    line(&format!(
        "{}, generation {}, loaded {}, SHA-256 {}",
        source.origin,
        in_force.generation,
        timestamp(in_force.loaded),
        source.sha256,
    ));
    line("A comment `key: value` is a key that the file leaves out, with its default.");
    if !in_force.restart_pending.is_empty() {
        let keys = in_force.restart_pending.join(", ");
        line(&format!(
            "These keys have other values in force until strait starts again: {keys}"
        ));
    }
    let found = snapshot.config.listeners.iter();
    let found: usize = found
        .map(|one| one.routes.len() - one.routes.own().len())
        .sum();
    if found > 0 {
        line(&format!(
            "{found} routes that Kubernetes has are not in this file: GET /config_dump"
        ));
    }
    if report.refused.is_some() {
        line("A newer file was refused: GET /config_dump says why");
    }
    head
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let escape = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escape.into_iter().flatten().chain(plain)
}
