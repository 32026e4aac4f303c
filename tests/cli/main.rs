//! Tests of the commands, each as a process.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/dns_server.rs"]
mod dns_server;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod check_explain;
mod check_formats;
mod client;
mod config_in_force;
mod diff;
mod documents;
mod hello;
mod load;
mod program;
mod report;
mod route_cases;
mod run;
mod run_streams;
mod selftest;
mod service_manager;
#[cfg(feature = "top")]
mod top;
