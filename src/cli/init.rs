//! `strait init`: a config to start from.

use std::process::ExitCode;

use super::print;

/// The config, which `strait check` finds good.
const CONFIG: &str = include_str!("init.yaml");

pub(super) fn init() -> ExitCode {
    print(CONFIG.as_bytes())
}
