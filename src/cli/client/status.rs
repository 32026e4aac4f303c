//! `strait status`: the state of a running gateway on one screen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::admin::{Admin, AdminArguments};
use super::{CommandAnswer, CommandResult, Output, OutputArgument, cell, items, pretty};
use crate::cli::count;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct StatusArguments {
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

/// The number of names that a line shows.
const NAMES: usize = 5;

pub(super) async fn status(arguments: &StatusArguments) -> CommandResult {
    let admin = Admin::of(&arguments.admin)?;
    let readiness = admin.get("/healthz/ready").await?;
    let ready = readiness.status.is_success();
    let missing: Vec<String> = match ready {
        true => Vec::new(),
        false => readiness.any_text().lines().map(str::to_owned).collect(),
    };
    let dump = admin.get("/config_dump").await?.json()?;
    let upstreams = admin.get("/upstreams").await?.json()?;
    let logging = admin.get("/logging").await?.json()?;
    let connections = admin.get("/connections?limit=0").await?.json()?;
    let config = dump.get("config").cloned().unwrap_or_default();
    let routes = items(&config, "listeners").iter();
    let routes: usize = routes.map(|one| items(one, "routes").len()).sum();
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    let mut empty = Vec::new();
    let mut stale = Vec::new();
    for upstream in items(&upstreams, "upstreams") {
        let endpoints = items(upstream, "endpoints");
        for endpoint in endpoints {
            *states.entry(cell(endpoint, "state")).or_default() += 1;
        }
        if endpoints.is_empty() {
            empty.push(cell(upstream, "name"));
        }
        if upstream.get("stale") == Some(&Value::Bool(true)) {
            stale.push(cell(upstream, "name"));
        }
    }
    let status = json!({
        "admin": admin.address.to_string(),
        "version": dump.get("version"),
        "ready": ready,
        "not_ready": missing,
        "listeners": dump.get("bound"),
        "routes": routes,
        "upstreams": items(&upstreams, "upstreams").len(),
        "upstreams_without_endpoint": empty,
        "upstreams_stale": stale,
        "endpoints": states,
        "connections": connections.get("open"),
        "log_level": logging.get("level"),
    });
    let text = match arguments.output.output {
        Output::Json => pretty(&status)?,
        Output::Text => text(&status),
    };
    Ok(CommandAnswer { text, yes: ready })
}

fn text(status: &Value) -> String {
    let mut text = String::new();
    let mut line = |title: &str, content: &str| {
        let _ = writeln!(text, "{title:<12} {content}");
    };
    let version = cell(status, "version");
    line("strait", &format!("{version} at {}", cell(status, "admin")));
    let missing = items(status, "not_ready").iter().filter_map(Value::as_str);
    match missing.clone().next() {
        None => line("ready", "yes"),
        Some(first) => {
            line("ready", &format!("no: {first}"));
            missing.skip(1).for_each(|more| line("", more));
        }
    }
    let mut title = "listeners";
    for one in items(status, "listeners") {
        line(
            title,
            &format!("{} on {}", cell(one, "listener"), cell(one, "address")),
        );
        title = "";
    }
    line(
        "routes",
        &format!("{}, of the file and discovered", cell(status, "routes")),
    );
    line("upstreams", &cell(status, "upstreams"));
    for (key, what) in [
        ("upstreams_without_endpoint", "without an endpoint"),
        ("upstreams_stale", "stale"),
    ] {
        let names = items(status, key);
        if !names.is_empty() {
            let shown = names.iter().take(NAMES).filter_map(Value::as_str);
            let more = match names.len().saturating_sub(NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let names_shown = shown.collect::<Vec<_>>().join(", ");
            line("", &format!("{} {what}: {names_shown}{more}", names.len()));
        }
    }
    let endpoints = status.get("endpoints").and_then(Value::as_object);
    let endpoints = endpoints.into_iter().flatten();
    let endpoints = endpoints.map(|(state, number)| format!("{number} {state}"));
    line("endpoints", &endpoints.collect::<Vec<_>>().join(", "));
    let open = status.get("connections").and_then(Value::as_u64);
    if let Some(open) = open.and_then(|open| usize::try_from(open).ok()) {
        line("open", &count(open, "connection"));
    }
    line("log level", &cell(status, "log_level"));
    text
}
