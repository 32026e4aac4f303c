//! `/hellos`: the hellos of refused connections that are kept.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::dump::timestamp;
use super::{AdminState, JSON, bad_request, dump, text};
use crate::client_hello::{HelloParser, Progress};
use crate::kept_hellos::KeptHello;

/// The largest message that a fingerprint is made of, in bytes.
const MAX_HELLO: usize = 64 * 1024;

#[derive(Serialize)]
struct HellosDump {
    /// True if the config has hellos kept.
    on: bool,
    hellos: Vec<HelloDump>,
}

#[derive(Serialize)]
struct HelloDump {
    id: u64,
    at: String,
    connection: u64,
    listener: String,
    source: String,
    outcome: &'static str,
    detail: Option<Box<str>>,
    size_bytes: usize,
    /// True if the client had sent more.
    cut: bool,
    /// FoxIO's JA4, if the bytes are a valid hello.
    ja4: Option<String>,
}

impl HelloDump {
    fn new(hello: &KeptHello) -> Self {
        Self {
            id: hello.id,
            at: timestamp(hello.at),
            connection: hello.connection,
            listener: hello.listener.to_string(),
            source: hello.source.to_string(),
            outcome: hello.outcome.label(),
            detail: hello.detail.clone(),
            size_bytes: hello.bytes.len(),
            cut: hello.cut,
            ja4: fingerprint(&hello.bytes),
        }
    }
}

fn fingerprint(bytes: &[u8]) -> Option<String> {
    let mut parser = HelloParser::new(MAX_HELLO).nameless(true);
    match parser.parse(bytes) {
        Ok(Progress::Complete(hello)) => hello.ja4(),
        Ok(Progress::Incomplete) | Err(_) => None,
    }
}

/// `GET /hellos`.
pub(super) async fn list(State(shared): State<AdminState>) -> Response {
    let kept = shared.context.hellos.clone();
    let write = move || {
        let hellos = kept.list();
        dump::to_json(&HellosDump {
            on: kept.are_on(),
            hellos: hellos.iter().map(|hello| HelloDump::new(hello)).collect(),
        })
    };
    shared.renderer.render("hellos", JSON, write).await
}

/// `GET /hellos/{id}`: the bytes.
pub(super) async fn bytes(State(shared): State<AdminState>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else {
        return bad_request("ID is the number of a hello, as in GET /hellos");
    };
    match shared.context.hellos.get(id) {
        Some(hello) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, hello.bytes.to_vec()).into_response()
        }
        None => {
            let body =
                "there is no such hello; newer ones take the place of older ones: GET /hellos\n";
            (StatusCode::NOT_FOUND, text(body)).into_response()
        }
    }
}
