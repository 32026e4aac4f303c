//! `strait connections`: the open connections of a running gateway.

use serde_json::Value;

use super::admin::{Admin, AdminArguments, with_query};
use super::table::{bytes, duration, table};
use super::{CommandAnswer, CommandResult, Output, OutputArgument, cell, items, pretty};

/// The connections that are meant. Without an option, all.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ConnectionsFilter {
    /// Of this client: an IP address or a CIDR
    #[arg(long, value_name = "IP|CIDR")]
    source: Option<String>,
    /// Of clients in this source group; `other` for those in none
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// By this route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// To this upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// To this endpoint
    #[arg(long, value_name = "IP:PORT")]
    endpoint: Option<String>,
    /// With this server name, or below `*.NAME`
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// In this state, such as `connecting` or `relaying`
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ConnectionsArguments {
    #[command(flatten)]
    filter: ConnectionsFilter,
    /// The key of the order: connections that have most of it come first
    #[arg(long, value_name = "KEY", default_value = "age", value_parser = ["age", "idle", "bytes"])]
    sort: String,
    /// The number of connections to show, at most 10000
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    limit: String,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

pub(super) async fn connections(arguments: &ConnectionsArguments) -> CommandResult {
    let filter = &arguments.filter;
    let path = with_query(
        "/connections",
        &[
            ("source", filter.source.as_deref()),
            ("group", filter.group.as_deref()),
            ("route", filter.route.as_deref()),
            ("upstream", filter.upstream.as_deref()),
            ("endpoint", filter.endpoint.as_deref()),
            ("sni", filter.sni.as_deref()),
            ("state", filter.state.as_deref()),
            ("sort", Some(&arguments.sort)),
            ("limit", Some(&arguments.limit)),
        ],
    );
    let list = Admin::of(&arguments.admin)?.get(&path).await?.json()?;
    let text = match arguments.output.output {
        Output::Json => pretty(&list)?,
        Output::Text => text(&list),
    };
    Ok(CommandAnswer { text, yes: true })
}

fn text(list: &Value) -> String {
    let shown = items(list, "connections");
    let rows: Vec<_> = shown.iter().map(row).collect();
    let head = [
        "ID",
        "AGE",
        "IDLE",
        "STATE",
        "SOURCE",
        "GROUP",
        "SERVER NAME",
        "ROUTE",
        "ENDPOINT",
        "UP",
        "DOWN",
    ];
    let (matched, open) = (cell(list, "matched"), cell(list, "open"));
    let mut text = table(head, &rows);
    text += &format!("{} shown, {matched} matched, {open} open\n", shown.len());
    let silent = items(list, "unanswered_workers");
    if !silent.is_empty() {
        let workers: Vec<String> = silent.iter().map(Value::to_string).collect();
        text += &format!(
            "workers that did not answer in time: {}\n",
            workers.join(", ")
        );
    }
    text
}

fn row(one: &Value) -> [String; 11] {
    let number = |key: &str| one.get(key).and_then(Value::as_u64);
    let time = |key: &str| number(key).map_or_else(|| "-".to_owned(), duration);
    let size = |key: &str| number(key).map_or_else(|| "-".to_owned(), bytes);
    [
        cell(one, "id"),
        time("age_ms"),
        time("idle_ms"),
        cell(one, "state"),
        cell(one, "source"),
        cell(one, "source_group"),
        cell(one, "server_name"),
        cell(one, "route"),
        cell(one, "endpoint"),
        size("to_upstream_bytes"),
        size("to_downstream_bytes"),
    ]
}
