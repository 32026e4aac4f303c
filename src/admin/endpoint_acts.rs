//! `/upstreams/{upstream}/endpoints/{address}`: an operator takes an endpoint out, or puts it back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::connections::socket_address;
use super::lasting::{after, lasting};
use super::{AdminState, JSON, bad_request, dump, text};
use crate::upstream::{Endpoint, EndpointStats};

/// The query of such a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointParameters {
    state: Option<String>,
    ejection: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

/// A change of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndpointAct {
    Drain(Option<Duration>),
    Ready,
    LiftEjection,
}

impl EndpointParameters {
    fn act(&self) -> Result<EndpointAct, String> {
        let lasts = lasting(self.lasts.as_deref())?;
        match (self.state.as_deref(), self.ejection.as_deref(), lasts) {
            (Some("drain"), None, lasts) => Ok(EndpointAct::Drain(lasts)),
            (Some("ready"), None, None) => Ok(EndpointAct::Ready),
            (None, Some("lift"), None) => Ok(EndpointAct::LiftEjection),
            _ => Err(
                "say state=drain (with for=DURATION if it is to end by itself), state=ready or ejection=lift"
                    .to_owned(),
            ),
        }
    }
}

/// `POST /upstreams/{upstream}/endpoints/{address}`.
pub(super) async fn act(
    State(shared): State<AdminState>,
    Path((upstream, address)): Path<(String, String)>,
    parameters: Result<Query<EndpointParameters>, QueryRejection>,
) -> Response {
    let act = match parameters {
        Ok(Query(parameters)) => parameters.act(),
        Err(error) => Err(error.body_text()),
    };
    let (act, address) = match (act, socket_address(&address)) {
        (Ok(act), Ok(address)) => (act, address),
        (Err(error), _) | (_, Err(error)) => return bad_request(&error),
    };
    let snapshot = shared.context.snapshots.now();
    let found = snapshot.upstreams.get(&*upstream);
    let set = found.map(|upstream| upstream.endpoints());
    let Some(endpoint) = set.as_ref().and_then(|set| set.at(address)) else {
        let body = "there is no such upstream, or it has no such endpoint: GET /upstreams\n";
        return (StatusCode::NOT_FOUND, text(body)).into_response();
    };
    make(act, &upstream, endpoint);
    match dump::endpoint(endpoint, Instant::now()) {
        Ok(body) => ([(header::CONTENT_TYPE, JSON)], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn make(act: EndpointAct, upstream: &str, endpoint: &Endpoint) {
    let (address, now) = (endpoint.spec.address, Instant::now());
    let health = &endpoint.stats.health;
    match act {
        EndpointAct::Drain(lasts) => {
            let until = lasts.map(|time| now + time);
            health.drain(until);
            let lasts_for = lasts.map(tracing::field::debug);
            tracing::info!(%upstream, endpoint = %address, lasts_for, "an operator drains an endpoint: it gets no new connection");
            if let Some(time) = lasts {
                let (upstream, stats) = (upstream.to_owned(), Arc::downgrade(&endpoint.stats));
                after(time, move || {
                    let over = |stats: &EndpointStats| {
                        // A later drain lasts longer.
                        stats.health.drain_is_over(now + time)
                    };
                    if stats.upgrade().is_some_and(|stats| over(&stats)) {
                        tracing::info!(%upstream, endpoint = %address, "the drain of an endpoint is over: it gets connections again");
                    }
                });
            }
        }
        EndpointAct::Ready => {
            let was_drained = health.undrain(now);
            tracing::info!(%upstream, endpoint = %address, was_drained, "an operator ends the drain of an endpoint");
        }
        EndpointAct::LiftEjection => {
            let was_ejected = health.lift();
            tracing::info!(%upstream, endpoint = %address, was_ejected, "an operator lifts the ejection of an endpoint");
        }
    }
}
