//! `GET /` and `GET /status`: the overview in the form that the client takes.

use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use tokio::time::Instant as Deadline;

use super::connections::ask_workers_until;
use super::overview::view::{PageFormat, View, ViewParameters};
use super::overview::{self, MOST_ROWS};
use super::{AdminState, JSON, TEXT, bad_request, dump, page, text_page};
use crate::open_connections::{ConnectionAct, ConnectionFilter, ConnectionOrder, ConnectionQuery};

/// The time that the workers have to answer about their connections: a worker that hangs must not keep an operator from
/// the rest.
const ANSWER_TIME: Duration = Duration::from_secs(2);

type PageParameters = Result<Query<ViewParameters>, QueryRejection>;

fn view(parameters: PageParameters) -> Result<View, Box<Response>> {
    let view = match parameters {
        Ok(Query(parameters)) => parameters.view(),
        Err(error) => Err(error.body_text()),
    };
    view.map_err(|error| Box::new(bad_request(&error)))
}

/// The question to the workers: the connections with most bytes.
fn question(view: &View) -> ConnectionQuery {
    let wanted = view.page.saturating_add(1).saturating_mul(view.rows);
    let limit = match view.search.is_empty() {
        true => wanted.min(MOST_ROWS),
        // A search looks through those with most bytes.
        false => MOST_ROWS,
    };
    ConnectionQuery {
        filter: ConnectionFilter {
            group: view.group.clone(),
            ..ConnectionFilter::default()
        },
        order: ConnectionOrder::Bytes,
        limit,
        act: ConnectionAct::Show,
        sources: false,
        at: Instant::now(),
    }
}

/// `GET /status`.
pub(super) async fn status(
    State(shared): State<AdminState>,
    parameters: PageParameters,
) -> Response {
    match view(parameters) {
        Ok(view) => answer(&shared, view, PageFormat::Json).await,
        Err(refusal) => *refusal,
    }
}

/// `GET /`. A client that does not ask for HTML gets text.
pub(super) async fn page(
    State(shared): State<AdminState>,
    headers: HeaderMap,
    parameters: PageParameters,
) -> Response {
    let view = match view(parameters) {
        Ok(view) => view,
        Err(refusal) => return *refusal,
    };
    let format = view.format.unwrap_or_else(|| accepted(&headers));
    let view = view.in_format(format);
    let refresh = view.refresh.filter(|_| format == PageFormat::Html);
    let mut response = answer(&shared, view, format).await;
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if format == PageFormat::Html {
        let policy = HeaderValue::from_static(page::CONTENT_SECURITY_POLICY);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if let Some(seconds) = refresh {
        headers.insert(header::REFRESH, seconds.into());
    }
    response
}

fn accepted(headers: &HeaderMap) -> PageFormat {
    let mut accepted = headers.get_all(header::ACCEPT).into_iter();
    let html = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|value| value.contains("text/html"))
    };
    match accepted.any(html) {
        true => PageFormat::Html,
        false => PageFormat::Text,
    }
}

async fn answer(shared: &AdminState, view: View, format: PageFormat) -> Response {
    let deadline = Deadline::now() + ANSWER_TIME;
    let (open, turn) = ask_workers_until(shared, question(&view), deadline).await;
    let context = shared.context.clone();
    let content_type = match format {
        PageFormat::Json => JSON,
        PageFormat::Text => TEXT,
        PageFormat::Html => "text/html; charset=utf-8",
    };
    let write = move || {
        let _turn = turn;
        let overview = overview::take(&context, &view, open);
        match format {
            PageFormat::Json => dump::to_json(&overview),
            PageFormat::Text => Ok(text_page::render(&overview, &view).into_bytes()),
            PageFormat::Html => Ok(page::render(&overview, &view).into_bytes()),
        }
    };
    shared.renderer.render_alone(content_type, write).await
}
