//! `/connections`: the open connections, and their end.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use ipnet::IpNet;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant as Deadline, timeout_at};

use super::{AdminState, JSON, bad_request, dump};
use crate::open_connections::{
    ANSWER_TIME, ConnectionAct, ConnectionFilter, ConnectionList, ConnectionOrder, ConnectionQuery,
    MOST_SHOWN,
};

/// Connections that an answer describes unless the request says otherwise.
const SHOWN: usize = 100;

/// The query of a request about connections.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionParameters {
    source: Option<String>,
    group: Option<String>,
    listener: Option<String>,
    sni: Option<String>,
    route: Option<String>,
    upstream: Option<String>,
    endpoint: Option<String>,
    state: Option<String>,
    sort: Option<String>,
    limit: Option<String>,
}

type Parameters = Result<Query<ConnectionParameters>, QueryRejection>;

impl ConnectionParameters {
    fn query(self, act: ConnectionAct) -> Result<ConnectionQuery, String> {
        let source = self.source.as_deref().map(network).transpose()?;
        let endpoint = self.endpoint.as_deref().map(socket_address).transpose()?;
        let order = match self.sort.as_deref() {
            None | Some("age") => ConnectionOrder::Age,
            Some("idle") => ConnectionOrder::Idle,
            Some("bytes") => ConnectionOrder::Bytes,
            Some(_) => return Err("`sort` is age, idle or bytes".to_owned()),
        };
        let limit = match self.limit.as_deref().map(str::parse) {
            None => SHOWN,
            Some(Ok(limit)) if limit <= MOST_SHOWN => limit,
            Some(_) => return Err(format!("`limit` is a number up to {MOST_SHOWN}")),
        };
        Ok(ConnectionQuery {
            filter: ConnectionFilter {
                id: None,
                source,
                group: self.group,
                listener: self.listener,
                server_name: self.sni.map(|sni| sni.to_ascii_lowercase()),
                route: self.route,
                upstream: self.upstream,
                endpoint,
                state: self.state,
            },
            order,
            limit,
            act,
            sources: false,
            at: Instant::now(),
        })
    }
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = |address: IpAddr| IpNet::from(address.to_canonical());
    let parsed = text.parse().or_else(|_| text.parse().map(address));
    parsed.map_err(|_| "`source` is an IP address or a CIDR".to_owned())
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let parsed = text.parse::<SocketAddr>();
    parsed.map_err(|_| format!("`{}` is not IP:PORT", text.escape_default()))
}

fn read(parameters: Parameters, act: ConnectionAct) -> Result<ConnectionQuery, Box<Response>> {
    let query = match parameters {
        Ok(Query(parameters)) => parameters.query(act),
        Err(error) => Err(error.body_text()),
    };
    query.map_err(|error| Box::new(bad_request(&error)))
}

/// `GET /connections`.
pub(super) async fn show(State(shared): State<AdminState>, parameters: Parameters) -> Response {
    match read(parameters, ConnectionAct::Show) {
        Ok(query) => ask(&shared, query).await,
        Err(refusal) => *refusal,
    }
}

/// `DELETE /connections?endpoint=ADDRESS`.
pub(super) async fn end_matching(
    State(shared): State<AdminState>,
    parameters: Parameters,
) -> Response {
    match read(parameters, ConnectionAct::End) {
        Ok(query) if query.filter.takes_all() => bad_request(
            "say which connections are to end: DELETE /connections/ID, or ?endpoint=ADDRESS or another filter",
        ),
        Ok(query) => ask(&shared, query).await,
        Err(refusal) => *refusal,
    }
}

/// `DELETE /connections/ID`.
pub(super) async fn end_one(State(shared): State<AdminState>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else {
        return bad_request("ID is the number of a connection, as in GET /connections");
    };
    let filter = ConnectionFilter {
        id: Some(id),
        ..ConnectionFilter::default()
    };
    let query = ConnectionQuery {
        filter,
        order: ConnectionOrder::Age,
        limit: 1,
        act: ConnectionAct::End,
        sources: false,
        at: Instant::now(),
    };
    ask(&shared, query).await
}

/// The answer to a question about connections. An act on one connection that is not there is 404.
async fn ask(shared: &AdminState, query: ConnectionQuery) -> Response {
    let (act, filter) = (query.act, query.filter.clone());
    let (list, turn) = ask_workers(shared, query).await;
    if act == ConnectionAct::End {
        tracing::info!(
            ended = list.ended,
            filter = %said(&filter),
            "an operator ended connections on the admin server"
        );
    }
    let gone = act == ConnectionAct::End && filter.id.is_some() && list.ended == 0;
    let write = move || {
        let _turn = turn;
        dump::to_json(&list)
    };
    let mut response = shared.renderer.render_alone(JSON, write).await;
    if gone && response.status().is_success() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

/// A turn to ask the workers, held until the answer is written.
pub(super) type AskTurn = Option<OwnedSemaphorePermit>;

/// The answer of the workers. Few questions have a turn at a time, since an answer may describe many connections.
pub(super) async fn ask_workers(
    shared: &AdminState,
    query: ConnectionQuery,
) -> (ConnectionList, AskTurn) {
    // The semaphore is never closed.
    let turn = shared.questions.clone().acquire_owned().await.ok();
    let deadline = Deadline::now() + ANSWER_TIME;
    (shared.context.connections.ask(query, deadline).await, turn)
}

/// The same until `deadline`: what the workers have answered by then. Without a turn it is nothing.
pub(super) async fn ask_workers_until(
    shared: &AdminState,
    query: ConnectionQuery,
    deadline: Deadline,
) -> (ConnectionList, AskTurn) {
    let connections = &shared.context.connections;
    let turn = shared.questions.clone().acquire_owned();
    match timeout_at(deadline, turn).await {
        Ok(turn) => (connections.ask(query, deadline).await, turn.ok()),
        Err(_) => (connections.without_answers(), None),
    }
}

/// The filter as the log shows it.
fn said(filter: &ConnectionFilter) -> String {
    let parts = [
        ("id", filter.id.map(|id| id.to_string())),
        ("source", filter.source.map(|net| net.to_string())),
        ("group", filter.group.clone()),
        ("listener", filter.listener.clone()),
        ("sni", filter.server_name.clone()),
        ("route", filter.route.clone()),
        ("upstream", filter.upstream.clone()),
        ("endpoint", filter.endpoint.map(|one| one.to_string())),
        ("state", filter.state.clone()),
    ];
    let said = parts.into_iter().filter_map(|(key, value)| {
        let value = value?;
        Some(format!("{key}={}", value.escape_default()))
    });
    said.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_not_understood_are_refused() {
        let read = |parameters| ConnectionParameters::query(parameters, ConnectionAct::Show);
        let none = ConnectionParameters::default;
        let text = |text: &str| Some(text.to_owned());
        let query = read(ConnectionParameters {
            source: text("::ffff:10.0.0.1"),
            endpoint: text("[fd00::1]:8443"),
            sni: text("*.Example"),
            limit: text("10000"),
            ..none()
        });
        let query = query.unwrap();
        assert_eq!(query.filter.source, "10.0.0.1/32".parse().ok());
        assert_eq!(query.filter.server_name, text("*.example"));
        for wrong in [
            ConnectionParameters {
                source: text("alpha"),
                ..none()
            },
            ConnectionParameters {
                endpoint: text("10.0.0.1"),
                ..none()
            },
            ConnectionParameters {
                sort: text("name"),
                ..none()
            },
            ConnectionParameters {
                limit: text("10001"),
                ..none()
            },
            ConnectionParameters {
                limit: text("-1"),
                ..none()
            },
        ] {
            let shown = format!("{wrong:?}");
            assert!(read(wrong).is_err(), "{shown}");
        }
    }
}
