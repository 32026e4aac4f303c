//! The commands of the tools: `demo`, `load` and `selftest`.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use clap::Subcommand;

use super::{ANSWER_IS_NO, failed, runtime};
use crate::terminal;
use crate::tools::demo::{self, DemoOptions};
use crate::tools::load::{self, LoadArguments};
use crate::tools::selftest::{self, SelftestArguments};

#[derive(Debug, Subcommand)]
pub(super) enum Tool {
    /// Show strait at work on this machine: two trust domains, mutual TLS through the gateway, and
    /// refused connections
    ///
    /// Needs no file and no network. Exits with 0 only if everything went as promised.
    Demo {
        /// Leave everything running, with a call every second, until Ctrl-C
        #[arg(long)]
        keep: bool,
    },
    /// Load a running gateway, and report how long connections took and which of them failed
    ///
    /// Every connection is a TLS connection of its own, through the gateway to the endpoint that its
    /// server name is routed to. It connects, makes the TLS handshake, sends one request if asked to,
    /// and closes. Exits with 0 only if every connection succeeded.
    Load(LoadArguments),
    /// Replay valid and hostile hellos against a running gateway, strait or another, and count right
    /// and wrong answers by class
    ///
    /// The command sends every hello whole, byte by byte, and cut in two. It also re-cuts each valid
    /// hello into records of 1, 7 and 60 bytes. Exits with 0 only if it could judge every answer and
    /// every answer was right.
    #[command(after_help = selftest::HELP)]
    Selftest(SelftestArguments),
}

/// Runs a command. Its result is the exit code.
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
                colour: terminal::has_colours(out),
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
