//! Tests of what an operator sees: the HTTP servers, the metrics, the access log and strait's own log.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/dns_server.rs"]
mod dns_server;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/kubernetes/mod.rs"]
mod kubernetes;
#[path = "../support/operator/mod.rs"]
mod operator;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod access_log_lines;
mod access_log_loss;
mod connections;
mod endpoints;
mod health;
mod limits;
mod log;
mod metrics_istio;
mod metrics_promtool;
mod monitoring;
#[cfg(feature = "otlp")]
mod otlp;
mod page;
mod page_chromium;
mod page_facts;
mod page_forms;
mod page_world;
