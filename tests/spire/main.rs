//! Two clusters with SPIRE's own servers and agents, Envoys as sidecars and two gateways each: whatever happens to any of
//! them while calls go on, in the order that the documents give, fails no call.
//!
//! `tests/run --spire-long` builds SPIRE, sets `STRAIT_SPIRE_SERVERS` to the folder of its programs, and runs this. It is
//! ignored without them.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/federation/mod.rs"]
mod federation;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod run;
mod side;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let programs = std::env::var_os("STRAIT_SPIRE_SERVERS");
    let ignored = programs.is_none();
    let name = "whatever_happens_to_spire_or_a_gateway_fails_no_call";
    let trial = Trial::test(name, move || {
        run::run(Path::new(&programs.unwrap_or_default()));
        Ok(())
    });
    let trials = vec![trial.with_ignored_flag(ignored)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
