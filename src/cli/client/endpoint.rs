//! `strait endpoint`: an endpoint of a running gateway, taken out or put back.

use clap::ValueEnum;

use super::admin::{Admin, AdminArguments, encoded, with_query};
use super::{CommandAnswer, CommandResult, Output, OutputArgument, cell, pretty};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct EndpointArguments {
    /// The upstream
    #[arg(value_name = "UPSTREAM")]
    upstream: String,
    /// The endpoint
    #[arg(value_name = "IP:PORT")]
    address: String,
    /// The change
    #[arg(value_enum, value_name = "CHANGE")]
    change: EndpointChange,
    /// The time after which a drain ends by itself, such as 30m
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EndpointChange {
    /// It gets no new connection, whatever the state of the others; open ones go on
    Drain,
    /// The end of a drain
    Ready,
    /// The end of an ejection
    Lift,
}

pub(super) async fn endpoint(arguments: &EndpointArguments) -> CommandResult {
    let (key, value) = match arguments.change {
        EndpointChange::Drain => ("state", "drain"),
        EndpointChange::Ready => ("state", "ready"),
        EndpointChange::Lift => ("ejection", "lift"),
    };
    let (upstream, address) = (encoded(&arguments.upstream), encoded(&arguments.address));
    let path = with_query(
        &format!("/upstreams/{upstream}/endpoints/{address}"),
        &[(key, Some(value)), ("for", arguments.lasts.as_deref())],
    );
    let endpoint = Admin::of(&arguments.admin)?.post(&path).await?.json()?;
    let text = match arguments.output.output {
        Output::Json => pretty(&endpoint)?,
        Output::Text => format!(
            "{} {}\n",
            cell(&endpoint, "address"),
            cell(&endpoint, "state")
        ),
    };
    Ok(CommandAnswer { text, yes: true })
}
