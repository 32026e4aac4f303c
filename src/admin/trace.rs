//! `/trace`: an operator follows connections step by step in strait's own log.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::connections::network;
use super::lasting::lasting;
use super::{AdminState, bad_request, text};
use crate::log::TRACE_TARGET;
use crate::traces::TraceFilter;

/// The time for which a trace lasts unless the request says otherwise.
const LASTS: Duration = Duration::from_secs(60);
/// The longest time.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The query of a request for a trace.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceParameters {
    source: Option<String>,
    sni: Option<String>,
    route: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

impl TraceParameters {
    fn read(self) -> Result<(TraceFilter, Duration), String> {
        let time = lasting(self.lasts.as_deref())?.unwrap_or(LASTS);
        if time > LONGEST {
            return Err(
                "a trace lasts for an hour at most: `for` is a duration up to 1h".to_owned(),
            );
        }
        let filter = TraceFilter {
            source: self.source.as_deref().map(network).transpose()?,
            sni: self.sni.map(|sni| sni.to_ascii_lowercase()),
            route: self.route,
        };
        if filter.takes_all() {
            return Err(
                "say which connections are to be followed: source=ADDRESS, sni=NAME or route=NAME"
                    .to_owned(),
            );
        }
        Ok((filter, time))
    }
}

/// Whether the filter of the log lets the lines through.
fn is_logged() -> bool {
    tracing::enabled!(target: TRACE_TARGET, tracing::Level::INFO)
}

/// `POST /trace`.
pub(super) async fn begin(
    State(shared): State<AdminState>,
    parameters: Result<Query<TraceParameters>, QueryRejection>,
) -> Response {
    let read = match parameters {
        Ok(Query(parameters)) => parameters.read(),
        Err(error) => Err(error.body_text()),
    };
    let (filter, time) = match read {
        Ok(read) => read,
        Err(error) => return bad_request(&error),
    };
    let traces = shared.context.traces.clone();
    let trace = match traces.begin(filter, time) {
        Ok(trace) => trace,
        Err(error) => return (StatusCode::CONFLICT, text(format!("{error}\n"))).into_response(),
    };
    let filter = &trace.filter;
    tracing::info!(
        trace = trace.id,
        source = filter.source.map(tracing::field::display),
        sni = filter.sni.as_deref(),
        route = filter.route.as_deref(),
        lasts_for = ?time,
        "an operator follows connections"
    );
    let report = trace.report();
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(time) => {
                traces.end(Some(trace.id));
            }
            () = trace.ended() => {}
        }
        let (lines, left_out) = trace.lines();
        tracing::info!(trace = trace.id, lines, left_out, "a trace is over");
    });
    Json(json!({ "trace": report, "logged": is_logged() })).into_response()
}

/// `GET /trace`.
pub(super) async fn list(State(shared): State<AdminState>) -> Response {
    let traces = shared.context.traces.list();
    Json(json!({ "traces": traces, "logged": is_logged() })).into_response()
}

/// `DELETE /trace`.
pub(super) async fn end_all(State(shared): State<AdminState>) -> Response {
    end(&shared, None)
}

/// `DELETE /trace/{id}`.
pub(super) async fn end_one(State(shared): State<AdminState>, Path(id): Path<String>) -> Response {
    match id.parse() {
        Ok(id) => end(&shared, Some(id)),
        Err(_) => bad_request("ID is the number of a trace, as in GET /trace"),
    }
}

fn end(shared: &AdminState, id: Option<u64>) -> Response {
    let ended = shared.context.traces.end(id);
    let ids: Vec<u64> = ended.iter().map(|trace| trace.id).collect();
    tracing::info!(traces = ?ids, "an operator ends traces");
    let status = match (id, ended.is_empty()) {
        (Some(_), true) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    let reports: Vec<_> = ended.iter().map(|trace| trace.report()).collect();
    (status, Json(json!({ "ended": reports }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_of_everything_or_for_too_long_is_refused() {
        let none = TraceParameters::default;
        let text = |text: &str| Some(text.to_owned());
        let read = TraceParameters {
            source: text("10.0.0.9"),
            sni: text("*.Example"),
            ..none()
        }
        .read();
        let (filter, time) = read.unwrap();
        assert_eq!(time, LASTS);
        assert_eq!(filter.source, "10.0.0.9/32".parse().ok());
        assert_eq!(filter.sni, text("*.example"));
        for wrong in [
            none(),
            TraceParameters {
                lasts: text("10s"),
                ..none()
            },
            TraceParameters {
                source: text("alpha"),
                ..none()
            },
            TraceParameters {
                route: text("calls"),
                lasts: text("61m"),
                ..none()
            },
            TraceParameters {
                route: text("calls"),
                lasts: text("soon"),
                ..none()
            },
        ] {
            let shown = format!("{wrong:?}");
            assert!(wrong.read().is_err(), "{shown}");
        }
    }
}
