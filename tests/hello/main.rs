//! Tests of hellos, names and routes, as strait and others read them.

#[expect(dead_code, reason = "other programs use the rest")]
#[path = "../support/federation/mod.rs"]
mod federation;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/hello_feed.rs"]
mod hello_feed;
#[path = "../support/name_oracle.rs"]
mod name_oracle;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod differential;
mod name_matching;
mod properties;
mod readers;
