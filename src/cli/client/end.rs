//! `strait end`: the end of open connections.

use hyper::StatusCode;
use serde_json::Value;

use super::admin::{Admin, AdminArguments, with_query};
use super::{CommandAnswer, CommandResult, Output, OutputArgument, pretty};
use crate::cli::count;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct EndArguments {
    /// The number of the connection, as `strait connections` and the access log have it
    #[arg(value_name = "ID", required_unless_present = "endpoint")]
    id: Option<u64>,
    /// End every connection to this endpoint
    #[arg(long, value_name = "IP:PORT", conflicts_with = "id")]
    endpoint: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

pub(super) async fn end(arguments: &EndArguments) -> CommandResult {
    let path = match arguments.id {
        Some(id) => format!("/connections/{id}"),
        None => with_query(
            "/connections",
            &[("endpoint", arguments.endpoint.as_deref())],
        ),
    };
    let reply = Admin::of(&arguments.admin)?.delete(&path).await?;
    let list = match reply.status {
        StatusCode::NOT_FOUND => serde_json::from_str(&reply.any_text())?,
        _ => reply.json()?,
    };
    let ended = list.get("ended").and_then(Value::as_u64).unwrap_or(0);
    let text = match arguments.output.output {
        Output::Json => pretty(&list)?,
        Output::Text => {
            let number = usize::try_from(ended).unwrap_or(usize::MAX);
            format!("{} ended\n", count(number, "connection"))
        }
    };
    Ok(CommandAnswer {
        text,
        yes: ended > 0,
    })
}
