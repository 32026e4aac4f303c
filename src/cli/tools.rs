//! The commands that are not the gateway's: `demo`, `load` and `selftest`.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Subcommand;

use super::{ANSWER_IS_NO, failed, runtime};
use crate::tools::demo::{self, DemoOptions};
use crate::tools::load::{self, LoadArguments};
use crate::tools::selftest::{self, SelftestArguments};

#[derive(Debug, Subcommand)]
pub(super) enum Tool {
    /// Show strait at work on this machine: two trust domains, mutual TLS through the gateway, and
    /// what is refused
    ///
    /// Needs no file and no network. Exits with 0 only if everything went as told.
    Demo {
        /// Leave everything running, with calls every second, until Ctrl-C
        #[arg(long)]
        keep: bool,
    },
    /// Load a gateway that runs somewhere, and tell how long connections took and which failed
    ///
    /// Every connection is a TLS connection of its own, through the gateway to whatever its server name
    /// is routed to: connect, handshake, one request if asked for, close. Exits with 0 only if all of
    /// them succeeded.
    Load(LoadArguments),
    /// Replay valid and hostile hellos against a running gateway, strait or another, and print right and
    /// wrong by class
    ///
    /// Every hello goes whole, byte by byte and cut in two; a valid one also re-cut into records of 1, 7
    /// and 60 bytes. Exits with 0 only if everything was judged and is right.
    #[command(after_help = selftest::HELP)]
    Selftest(SelftestArguments),
}

/// Runs a command, whose answer is the exit code.
pub(super) fn run(tool: &Tool) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let out = &mut io::stdout();
    match tool {
        Tool::Demo { keep } => {
            let options = DemoOptions {
                keep: *keep,
                colour: out.is_terminal(),
            };
            answer(runtime.block_on(demo::run(options, out)))
        }
        Tool::Load(arguments) => answer(runtime.block_on(load::run(arguments, out))),
        Tool::Selftest(arguments) => answer(runtime.block_on(selftest::run(arguments, out))),
    }
}

fn answer<E: Display>(good: Result<bool, E>) -> ExitCode {
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(ANSWER_IS_NO),
        Err(error) => failed(&error),
    }
}
