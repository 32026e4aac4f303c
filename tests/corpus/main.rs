//! Tests of every vector of the hello corpus and of the project's own: through the parser, and on real sockets.
//!
//! Not by Rust's own test harness: whether a test is ignored is known only when it starts (see [`samples`]).

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/hello_feed.rs"]
mod hello_feed;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod parser;
mod samples;
mod wire;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut trials = parser::trials();
    trials.extend(wire::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
