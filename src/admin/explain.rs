//! `/explain`: the decision of the running process about one connection.

use std::net::IpAddr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{AdminState, JSON, bad_request};

/// A connection as it is asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExplainQuestion {
    /// The server name in its hello; `None` for none.
    pub server_name: Option<String>,
    /// Its ALPN offers; `istio` stands for those of a sidecar.
    pub alpn: Vec<String>,
    /// The client's address, if it is given.
    pub from: Option<IpAddr>,
    /// The listener; `None` for all.
    pub listener: Option<String>,
}

/// The query of such a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainParameters {
    sni: Option<String>,
    alpn: Option<String>,
    from: Option<String>,
    listener: Option<String>,
}

impl ExplainParameters {
    fn question(self) -> Result<ExplainQuestion, String> {
        let from = self.from.as_deref().map(str::parse).transpose();
        let alpn = self.alpn.unwrap_or_default();
        let offers = alpn.split(',').filter(|offer| !offer.is_empty());
        Ok(ExplainQuestion {
            server_name: self.sni.filter(|name| !name.is_empty()),
            alpn: offers.map(str::to_owned).collect(),
            from: from.map_err(|_| "`from` is an IP address".to_owned())?,
            listener: self.listener,
        })
    }
}

/// `GET /explain`.
pub(super) async fn explain(
    State(shared): State<AdminState>,
    parameters: Result<Query<ExplainParameters>, QueryRejection>,
) -> Response {
    let question = match parameters {
        Ok(Query(parameters)) => parameters.question(),
        Err(error) => Err(error.body_text()),
    };
    let question = match question {
        Ok(question) => question,
        Err(error) => return bad_request(&error),
    };
    let explain = shared.context.explain.clone();
    match tokio::task::spawn_blocking(move || explain(&question)).await {
        Ok(Ok(body)) => ([(header::CONTENT_TYPE, JSON)], body).into_response(),
        Ok(Err(error)) => bad_request(&error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
