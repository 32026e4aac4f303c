//! `strait log-level`: the level of a running gateway's own log.

use super::admin::{Admin, AdminArguments, with_query};
use super::{CommandAnswer, CommandResult, Output, OutputArgument, cell, pretty};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct LogLevelArguments {
    /// The new level: `off`, `error`, `warn`, `info`, `debug`, `trace`, or levels for parts of the program
    /// such as `info,strait::proxy=debug`. Without it, the level in force
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// The time after which the level goes back by itself, such as 10m
    #[arg(long = "for", value_name = "TIME", requires = "filter")]
    lasts: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

pub(super) async fn log_level(arguments: &LogLevelArguments) -> CommandResult {
    let admin = Admin::of(&arguments.admin)?;
    let reply = match arguments.filter.as_deref() {
        None => admin.get("/logging").await?,
        filter => {
            admin
                .post(&with_query(
                    "/logging",
                    &[("level", filter), ("for", arguments.lasts.as_deref())],
                ))
                .await?
        }
    };
    let level = reply.json()?;
    let text = match arguments.output.output {
        Output::Json => pretty(&level)?,
        Output::Text => cell(&level, "level") + "\n",
    };
    Ok(CommandAnswer { text, yes: true })
}
