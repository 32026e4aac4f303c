//! Tests of hellos, names and routes that need no socket.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/hello_feed.rs"]
mod hello_feed;
#[path = "../support/name_oracle.rs"]
mod name_oracle;

mod differential;
mod name_matching;
mod properties;
