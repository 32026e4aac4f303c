//! The commands that ask a running gateway, over its admin address. The image has no other program that
//! could.

mod admin;
mod connections;
mod end;
mod endpoint;
mod explain;
mod hellos;
mod log_level;
mod ready;
mod report;
mod status;
mod table;
#[cfg(feature = "top")]
mod top;
mod trace;
mod upstreams;

use std::error::Error;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::{ANSWER_IS_NO, failed, print, runtime};
use admin::Admin;
pub(super) use admin::{AdminAddress, AdminArguments};
pub(super) use explain::live as explain_live;

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Show the state of a running gateway: readiness, listeners, upstreams, connections
    ///
    /// Exits with 0 if it is ready, with 1 if it is not, with 2 if it cannot be asked.
    Status(status::StatusArguments),
    /// Show the upstreams of a running gateway with their endpoints
    ///
    /// Exits with 1 if there is no upstream of that name.
    Upstreams(upstreams::UpstreamsArguments),
    /// Show the open connections of a running gateway
    Connections(connections::ConnectionsArguments),
    /// Show a running gateway live in a terminal: by route, endpoint, source, connection
    ///
    /// The keys are those of htop; `?` lists them. Without a terminal, and with --once or -o json, it prints one
    /// snapshot.
    #[cfg(feature = "top")]
    Top(top::TopArguments),
    /// End open connections of a running gateway: one, or all to an endpoint
    ///
    /// Exits with 1 if there was none.
    End(end::EndArguments),
    /// Take an endpoint of a running gateway out, put it back, or lift its ejection
    Endpoint(endpoint::EndpointArguments),
    /// List the hellos of refused connections that a running gateway has kept, or print one of them
    ///
    /// The config key `hellos` has them kept.
    Hellos(hellos::HellosArguments),
    /// Follow connections of a running gateway step by step: accept, hello, route, pick, connect, first
    /// reply, close
    ///
    /// The lines appear in the gateway's own log (standard error), not here. The trace ends by itself.
    /// Without a filter it lists the traces that run.
    Trace(trace::TraceArguments),
    /// Let a running gateway say that it is not ready, so that load balancers go elsewhere, or end that
    Ready(ready::ReadyArguments),
    /// Show or change the log level of a running gateway
    LogLevel(log_level::LogLevelArguments),
    /// Pack the state of a running gateway into one archive, for an issue
    ///
    /// The archive has the config, upstreams, connections, recent failures, metrics, and facts about the
    /// kernel and the container. Exits with 1 if a part is missing; the archive says why.
    Report(report::ReportArguments),
    /// Drain a running gateway: it stops accepting, lets connections finish, and ends
    Drain(AdminArguments),
}

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for a person
    Text,
    /// JSON, as the admin API has it
    Json,
}

#[derive(Debug, clap::Args)]
struct OutputArgument {
    /// The format of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// An answer of a command.
struct CommandAnswer {
    text: String,
    /// False for exit code 1.
    yes: bool,
}

type CommandResult = Result<CommandAnswer, Box<dyn Error>>;

pub(super) fn run(command: &ClientCommand) -> ExitCode {
    finish(async {
        match command {
            ClientCommand::Status(arguments) => status::status(arguments).await,
            ClientCommand::Upstreams(arguments) => upstreams::upstreams(arguments).await,
            ClientCommand::Connections(arguments) => connections::connections(arguments).await,
            #[cfg(feature = "top")]
            ClientCommand::Top(arguments) => Box::pin(top::top(arguments)).await,
            ClientCommand::End(arguments) => end::end(arguments).await,
            ClientCommand::Endpoint(arguments) => endpoint::endpoint(arguments).await,
            ClientCommand::Hellos(arguments) => hellos::hellos(arguments).await,
            ClientCommand::Trace(arguments) => trace::trace(arguments).await,
            ClientCommand::Ready(arguments) => ready::ready(arguments).await,
            ClientCommand::LogLevel(arguments) => log_level::log_level(arguments).await,
            ClientCommand::Report(arguments) => report::report(arguments).await,
            ClientCommand::Drain(arguments) => drain(arguments).await,
        }
    })
}

/// Waits for the answer of a command, prints it, and returns its exit code.
fn finish(command: impl Future<Output = CommandResult>) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(command) {
        Ok(answer) => {
            let code = print(answer.text.as_bytes());
            match (code == ExitCode::SUCCESS, answer.yes) {
                (true, false) => ExitCode::from(ANSWER_IS_NO),
                _ => code,
            }
        }
        Err(error) => failed(&*error),
    }
}

/// The config file in force of a running gateway, without the keys that have their default.
///
/// # Errors
/// The gateway cannot be asked, or has no file.
pub(super) fn config_in_force(arguments: &AdminArguments) -> Result<Vec<u8>, Box<dyn Error>> {
    let text = runtime()?.block_on(async {
        let admin = Admin::of(arguments)?;
        admin.get("/config?defaults=false").await?.text()
    })?;
    Ok(text.into_bytes())
}

async fn drain(arguments: &AdminArguments) -> CommandResult {
    let text = Admin::of(arguments)?.post("/drain").await?.text()?;
    Ok(CommandAnswer { text, yes: true })
}

/// A JSON document for standard output.
fn pretty(value: &Value) -> Result<String, Box<dyn Error>> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// The text of a member of an answer; `-` if there is none.
fn cell(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The items of a member of an answer.
fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value.get(key).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}
