//! The HTTP servers that show the gateway to an operator and to a cluster.
//!
//! - admin (127.0.0.1:15000): a status page, the config as it runs, upstreams with their endpoints, open
//!   connections and their end, the log level, readiness with the names of what is missing, drain. `admin::origin` says which requests
//!   it refuses.
//! - status (15021): `/healthz/live` and `/healthz/ready`. A load balancer may show this port to
//!   everybody, so it counts what is missing and names nothing.
//! - metrics (15090): `/metrics` and `/stats/prometheus`.
//!
//! All of them run on the control thread, which carries no traffic. Long answers are written on a
//! blocking thread, so that a scrape of 10,000 routes does not delay a probe. A slow reader keeps
//! nobody else from an answer: `admin::render` bounds long answers, and `admin::standing` chooses the
//! connection to close when there are too many.

mod config_file;
mod config_report;
mod connections;
mod dump;
mod endpoint_acts;
mod explain;
mod hellos;
mod lasting;
mod liveness;
mod numbers;
mod origin;
pub mod overview;
mod page;
mod paths;
mod plain;
mod readiness;
mod render;
mod server;
mod snapshot;
mod sources;
mod standing;
mod status;
mod text_page;
mod trace;
mod undated;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Query, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::kept_hellos::KeptHellos;
use crate::limits::{NamedUse, Overload};
use crate::log::{LogControl, LogError};
use crate::metrics::Metrics;
use crate::open_connections::ConnectionAsker;
pub use crate::place::ProcessPlace;
use crate::recent_connections::{RecentFailure, SlowConnect};
use crate::traces::Traces;
pub use config_report::{ConfigInForce, ConfigReport, ConfigReports, RefusedConfig};
pub use dump::{ClusterReport, DiscoveryReport, SavedStateReport, timestamp};
pub use explain::ExplainQuestion;
use lasting::lasting;
pub use liveness::{Judge, STALLED};
use origin::Hosts;
use overview::history::TrafficHistory;
pub use paths::{ADMIN_PATHS, AdminPath};
use plain::plain;
pub use readiness::{Missing, Readiness, SOURCE_GRACE};
use render::Renderer;
pub use server::{ServeLimits, serve, serve_with};
pub use snapshot::{BoundListener, Snapshot, Snapshots};

/// The data that the servers show and the actions that they can ask for.
pub struct AdminContext {
    /// The metrics to scrape.
    pub metrics: Arc<Metrics>,
    /// The snapshot in force.
    pub snapshots: Snapshots,
    /// The state of the config file.
    pub config_reports: ConfigReports,
    /// The log that `/logging` changes; `None` when strait does not own the log.
    pub log: Option<LogControl>,
    /// The answer of `/healthz/ready`.
    pub readiness: Readiness,
    /// Asks the app to drain. Every `POST /drain` calls it, so a second call must be harmless.
    pub drain: Arc<dyn Fn() + Send + Sync>,
    /// The steps against overload in force.
    pub overload: Arc<Overload>,
    /// The way to ask the workers for open connections.
    pub connections: ConnectionAsker,
    /// The hellos of refused connections that are kept.
    pub hellos: Arc<KeptHellos>,
    /// The traces of connections.
    pub traces: Arc<Traces>,
    /// Explains the decision about a connection, as JSON, or says why it cannot.
    pub explain: Explain,
    /// The use of every limit.
    pub limits: LimitsInUse,
    /// The last connections that failed, the newest first.
    pub failures: LastFailures,
    /// The slowest connects of the last minutes.
    pub slow_connects: SlowestConnects,
    /// The last hour of the traffic.
    pub history: Arc<TrafficHistory>,
    /// The place of the process.
    pub place: ProcessPlace,
    /// The start time of the process.
    pub started: SystemTime,
}

/// The function that gives the use of every limit.
pub type LimitsInUse = Arc<dyn Fn() -> Vec<NamedUse> + Send + Sync>;

/// The function that gives the last connections that failed.
pub type LastFailures = Arc<dyn Fn() -> Vec<RecentFailure> + Send + Sync>;

/// The function that gives the slowest connects, the slowest first.
pub type SlowestConnects = Arc<dyn Fn() -> Vec<SlowConnect> + Send + Sync>;

/// The function that explains the decision about a connection.
pub type Explain = Arc<dyn Fn(&ExplainQuestion) -> Result<Vec<u8>, String> + Send + Sync>;

impl fmt::Debug for AdminContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminContext")
            .field("started", &self.started)
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct AdminState {
    context: Arc<AdminContext>,
    renderer: Renderer,
    /// The turns of questions to the workers.
    questions: Arc<Semaphore>,
}

impl AdminState {
    fn new(context: Arc<AdminContext>) -> Self {
        Self {
            context,
            renderer: Renderer::default(),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
        }
    }
}

/// Questions to the workers at a time.
const QUESTIONS: usize = 4;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes of the admin server.
pub fn admin_router(context: Arc<AdminContext>) -> Router {
    Router::new()
        .route("/", get(status::page))
        .route("/status", get(status::status))
        .route("/help", get(help))
        .route("/config", get(config_file::show))
        .route("/config_dump", get(config_dump))
        .route("/upstreams", get(upstreams))
        .route(
            "/upstreams/{upstream}/endpoints/{address}",
            post(endpoint_acts::act),
        )
        .route(
            "/connections",
            get(connections::show).delete(connections::end_matching),
        )
        .route("/connections/{id}", delete(connections::end_one))
        .route("/sources", get(sources::top))
        .route("/hellos", get(hellos::list))
        .route("/hellos/{id}", get(hellos::bytes))
        .route(
            "/trace",
            get(trace::list).post(trace::begin).delete(trace::end_all),
        )
        .route("/trace/{id}", delete(trace::end_one))
        .route("/metrics", get(metrics))
        .route("/explain", get(explain::explain))
        .route("/logging", get(log_level).post(set_log_level))
        .route("/ready", post(set_readiness))
        .route("/drain", post(drain))
        .route("/healthz/ready", get(ready_with_names))
        .fallback(no_such_path)
        .layer(middleware::from_fn_with_state(
            Hosts::of_this_machine(),
            origin::check,
        ))
        .with_state(AdminState::new(context))
}

/// The routes of the status server.
pub fn status_router(context: Arc<AdminContext>) -> Router {
    Router::new()
        .route("/healthz/live", get(live))
        .route("/healthz/ready", get(ready))
        .with_state(context)
}

/// The routes of the metrics server.
pub fn metrics_router(context: Arc<AdminContext>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/stats/prometheus", get(metrics))
        .with_state(AdminState::new(context))
}

fn text(body: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], body.into()).into_response()
}

fn bad_request(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, text(format!("{error}\n"))).into_response()
}

async fn help() -> Response {
    text(paths::list())
}

async fn no_such_path() -> Response {
    let body = format!("there is no such path; there are:\n{}", paths::list());
    (StatusCode::NOT_FOUND, text(body)).into_response()
}

async fn config_dump(State(shared): State<AdminState>) -> Response {
    let context = shared.context;
    let dump = move || dump::config(&context);
    shared.renderer.render("config", JSON, dump).await
}

async fn upstreams(State(shared): State<AdminState>) -> Response {
    let context = shared.context;
    let dump = move || dump::upstreams(&context.snapshots.now());
    shared.renderer.render("upstreams", JSON, dump).await
}

async fn metrics(State(shared): State<AdminState>) -> Response {
    let context = shared.context;
    let encode = move || {
        // The gauges `strait_ready` and `strait_draining` change only in `check`, so it runs before
        // each scrape.
        let _ = context.readiness.check();
        let mut body = Vec::new();
        let encoded = context.metrics.encode(&mut body);
        encoded.map(|()| body).map_err(|error| error.to_string())
    };
    shared.renderer.render("metrics", EXPOSITION, encode).await
}

async fn live(State(context): State<Arc<AdminContext>>) -> Response {
    match context.readiness.live() {
        Ok(()) => text("live\n"),
        Err(reasons) => {
            let body = reasons.join("\n") + "\n";
            (StatusCode::SERVICE_UNAVAILABLE, text(body)).into_response()
        }
    }
}

async fn ready(State(context): State<Arc<AdminContext>>) -> Response {
    readiness(&context, |_| Vec::new())
}

/// The answer on the admin address: as [`ready`], with the names of what is missing below each reason.
async fn ready_with_names(State(shared): State<AdminState>) -> Response {
    readiness(&shared.context, |reason| reason.names)
}

fn readiness(context: &AdminContext, names: impl Fn(Missing) -> Vec<String>) -> Response {
    let Err(reasons) = context.readiness.check() else {
        return text("ready\n");
    };
    let mut body = String::new();
    for reason in reasons {
        body += &format!("not ready: {}\n", reason.summary);
        for name in names(reason) {
            body += &format!("  {name}\n");
        }
    }
    (StatusCode::SERVICE_UNAVAILABLE, text(body)).into_response()
}

/// `POST /drain`: answers 202, whether or not draining has begun already.
async fn drain(State(shared): State<AdminState>) -> Response {
    tracing::info!("an operator asked for a drain on the admin server");
    (shared.context.drain)();
    (StatusCode::ACCEPTED, text("draining\n")).into_response()
}

const NO_LOG: (StatusCode, &str) = (
    StatusCode::SERVICE_UNAVAILABLE,
    "strait did not set up the log of this process\n",
);

async fn log_level(State(shared): State<AdminState>) -> Response {
    match &shared.context.log {
        Some(log) => Json(json!({ "level": log.current() })).into_response(),
        None => NO_LOG.into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelQuery {
    level: Option<String>,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

/// `POST /ready?fail` and `POST /ready?ok`.
async fn set_readiness(State(shared): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let (word, lasts) = match query.split_once("&for=") {
        Some((word, lasts)) => (word, Some(lasts)),
        None => (&*query, None),
    };
    let lasts = match lasting(lasts) {
        Ok(lasts) => lasts,
        Err(error) => return bad_request(&error),
    };
    let readiness = shared.context.readiness.clone();
    match (word.trim_end_matches('='), lasts) {
        ("fail", lasts) => {
            let lasts_for = lasts.map(tracing::field::debug);
            tracing::info!(
                lasts_for,
                "an operator has strait say that it is not ready; it serves on"
            );
            let turn = readiness.fail();
            if let Some(time) = lasts {
                lasting::after(time, move || {
                    if readiness.end_failing(Some(turn)) {
                        tracing::info!(
                            "strait says again whether it is ready: the time that an operator gave is over"
                        );
                    }
                });
            }
        }
        ("ok", None) => {
            let was_failing = readiness.end_failing(None);
            tracing::info!(
                was_failing,
                "an operator has strait say again whether it is ready"
            );
        }
        _ => {
            let usage = "say POST /ready?fail (with &for=DURATION if it is to end by itself) or POST /ready?ok";
            return bad_request(usage);
        }
    }
    let ready = shared.context.readiness.check().is_ok();
    Json(json!({ "ready": ready })).into_response()
}

/// `POST /logging?level=FILTER`.
async fn set_log_level(
    State(shared): State<AdminState>,
    Query(query): Query<LevelQuery>,
) -> Response {
    let Some(log) = &shared.context.log else {
        return NO_LOG.into_response();
    };
    let Some(level) = query.level else {
        let usage = "the level is missing: POST /logging?level=info,strait::proxy=debug\n";
        return (StatusCode::BAD_REQUEST, text(usage)).into_response();
    };
    let lasts = match lasting(query.lasts.as_deref()) {
        Ok(lasts) => lasts,
        Err(error) => return bad_request(&error),
    };
    let before = log.current();
    match log.set(&level) {
        Ok(()) => {
            let lasts_for = lasts.map(tracing::field::debug);
            tracing::info!(level, lasts_for, "the admin server changed the log level");
            if let Some(time) = lasts {
                let (log, set) = (log.clone(), log.current());
                lasting::after(time, move || {
                    // A later change stays.
                    if log.current() == set && log.set(&before).is_ok() {
                        tracing::info!(
                            level = before,
                            "the log level is the one before: the time that an operator gave is over"
                        );
                    }
                });
            }
            Json(json!({ "level": log.current() })).into_response()
        }
        Err(error) => {
            let status = match error {
                LogError::Filter(_) => StatusCode::BAD_REQUEST,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, text(format!("{error}\n"))).into_response()
        }
    }
}
