//! `strait ready`: a running gateway, taken out of load balancers or put back.

use clap::ValueEnum;

use super::admin::{Admin, AdminArguments, encoded};
use super::{CommandAnswer, CommandResult};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReadyArguments {
    /// The change
    #[arg(value_enum, value_name = "CHANGE")]
    change: ReadyChange,
    /// The time after which `fail` ends by itself, such as 10m
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ReadyChange {
    /// It says that it is not ready, and serves on
    Fail,
    /// It says again whether it is ready
    Ok,
}

pub(super) async fn ready(arguments: &ReadyArguments) -> CommandResult {
    let change = match arguments.change {
        ReadyChange::Fail => "fail",
        ReadyChange::Ok => "ok",
    };
    let lasts = arguments.lasts.as_deref().map(encoded);
    let lasts = lasts.map_or_else(String::new, |lasts| format!("&for={lasts}"));
    let path = format!("/ready?{change}{lasts}");
    let text = Admin::of(&arguments.admin)?.post(&path).await?.text()?;
    Ok(CommandAnswer { text, yes: true })
}
