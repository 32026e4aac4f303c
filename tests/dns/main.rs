//! Tests of the DNS source, against name servers that misbehave on demand.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/dns_server.rs"]
mod dns_server;
#[path = "../support/dns_upstream.rs"]
mod dns_upstream;

mod answer;
mod source;
