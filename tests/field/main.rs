//! Tests with the programs that people have: their TLS stacks and servers, called through the gateway.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

#[expect(dead_code, reason = "other programs use the rest")]
#[path = "../support/kubernetes/mod.rs"]
mod kubernetes;

#[expect(dead_code, reason = "other programs use the rest")]
#[path = "../support/federation/mod.rs"]
mod federation;

mod capture;
mod data;
mod faults;
mod pair_list;
mod pairs;
mod programs;
mod rustls_peer;
mod world;
