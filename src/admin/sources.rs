//! `/sources`: the source addresses with most open connections.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::connections::ask_workers;
use super::{AdminState, JSON, bad_request, dump};
use crate::clock;
use crate::open_connections::{
    ConnectionAct, ConnectionFilter, ConnectionList, ConnectionOrder, ConnectionQuery, MOST_SHOWN,
};

/// Sources that an answer has unless the request says otherwise.
const TOP: usize = 50;

/// The query of such a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceParameters {
    top: Option<String>,
    group: Option<String>,
    listener: Option<String>,
}

#[derive(Serialize)]
struct SourcesDump {
    /// Connections of all sources.
    open: u64,
    /// The number of sources.
    sources_open: usize,
    unanswered_workers: Vec<usize>,
    sources: Vec<TopSource>,
}

#[derive(Serialize)]
struct TopSource {
    source: IpAddr,
    source_group: String,
    open: u64,
    to_upstream_bytes: u64,
    to_downstream_bytes: u64,
    oldest_ms: u64,
}

impl SourcesDump {
    fn new(list: ConnectionList, top: usize) -> Self {
        let sources_open = list.sources.len();
        let dump = |(source, one): (IpAddr, crate::open_connections::SourceUse)| TopSource {
            source,
            source_group: one.group,
            open: one.open,
            to_upstream_bytes: one.to_upstream,
            to_downstream_bytes: one.to_downstream,
            oldest_ms: clock::millis(one.oldest.elapsed()),
        };
        let mut sources: Vec<TopSource> = list.sources.into_iter().map(dump).collect();
        sources.sort_unstable_by(|one, other| {
            let most = other.open.cmp(&one.open);
            most.then_with(|| one.source.cmp(&other.source))
        });
        sources.truncate(top);
        Self {
            open: list.matched,
            sources_open,
            unanswered_workers: list.unanswered_workers,
            sources,
        }
    }
}

/// `GET /sources`.
pub(super) async fn top(
    State(shared): State<AdminState>,
    parameters: Result<Query<SourceParameters>, QueryRejection>,
) -> Response {
    let parameters = match parameters {
        Ok(Query(parameters)) => parameters,
        Err(error) => return bad_request(&error.body_text()),
    };
    let top = match parameters.top.as_deref().map(str::parse) {
        None => TOP,
        Some(Ok(top)) if top <= MOST_SHOWN => top,
        Some(_) => return bad_request(&format!("`top` is a number up to {MOST_SHOWN}")),
    };
    let query = ConnectionQuery {
        filter: ConnectionFilter {
            group: parameters.group,
            listener: parameters.listener,
            ..ConnectionFilter::default()
        },
        order: ConnectionOrder::Age,
        limit: 0,
        act: ConnectionAct::Show,
        sources: true,
        at: Instant::now(),
    };
    let (list, turn) = ask_workers(&shared, query).await;
    let write = move || {
        let _turn = turn;
        dump::to_json(&SourcesDump::new(list, top))
    };
    shared.renderer.render_alone(JSON, write).await
}
