//! Tests of the Kubernetes source, against a stand-in for the API server and, where it can, against others'.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/dns_server.rs"]
mod dns_server;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/kubernetes/mod.rs"]
mod kubernetes;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod api;
mod away;
#[cfg(feature = "top")]
mod causes;
mod clusters;
mod config_event;
mod dns_names;
#[cfg(feature = "doctor")]
mod doctor;
mod explain;
mod gateway_api;
mod kmock;
mod oracle;
mod reload_dns_outage;
mod saved;
mod scenarios;
mod status;
mod tls;
mod unknown;

/// Waits until `done`, for longer than others: a kind that the API refuses is asked for again only after a while.
fn soon(what: &str, done: impl FnMut() -> bool) {
    support::wait_within(3 * support::DEADLINE, what, done);
}
