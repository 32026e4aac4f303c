//! Tests of what an operator sees: the HTTP servers, the metrics, the access log and strait's own log.

#[path = "../support/operator/mod.rs"]
mod operator;

mod access_log_lines;
mod access_log_loss;
mod connections;
mod endpoints;
mod health;
mod limits;
mod log;
mod metrics_promtool;
