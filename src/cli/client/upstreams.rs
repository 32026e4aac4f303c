//! `strait upstreams`: the upstreams of a running gateway, with their endpoints.

use serde_json::{Value, json};

use super::admin::{Admin, AdminArguments};
use super::table::{duration, table};
use super::{CommandAnswer, CommandResult, Output, OutputArgument, cell, items, pretty};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct UpstreamsArguments {
    /// Show only this upstream
    #[arg(value_name = "UPSTREAM")]
    name: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

pub(super) async fn upstreams(arguments: &UpstreamsArguments) -> CommandResult {
    let admin = Admin::of(&arguments.admin)?;
    let all = admin.get("/upstreams").await?.json()?;
    let asked = |one: &&Value| {
        let name = arguments.name.as_deref();
        name.is_none_or(|name| cell(one, "name") == name)
    };
    let found: Vec<&Value> = items(&all, "upstreams").iter().filter(asked).collect();
    let text = match arguments.output.output {
        Output::Json => pretty(&json!({ "upstreams": found }))?,
        Output::Text => {
            let rows: Vec<_> = found.iter().flat_map(|one| rows(one)).collect();
            table(
                [
                    "UPSTREAM", "ENDPOINT", "STATE", "ACTIVE", "ZONE", "NODE", "REMARK",
                ],
                &rows,
            )
        }
    };
    let yes = arguments.name.is_none() || !found.is_empty();
    Ok(CommandAnswer { text, yes })
}

/// A row for each endpoint, or one that says why there is none.
fn rows(upstream: &Value) -> Vec<[String; 7]> {
    let name = cell(upstream, "name");
    let dash = || "-".to_owned();
    let stale = upstream.get("stale") == Some(&Value::Bool(true));
    let mut remark = match stale {
        true => "stale".to_owned(),
        false => String::new(),
    };
    for key in ["empty_because", "last_error"] {
        if let Some(why) = upstream.get(key).and_then(Value::as_str) {
            let comma = if remark.is_empty() { "" } else { ", " };
            remark = format!("{remark}{comma}{why}");
        }
    }
    let endpoints = items(upstream, "endpoints");
    if endpoints.is_empty() {
        return vec![[name, dash(), dash(), dash(), dash(), dash(), remark]];
    }
    let row = |(index, endpoint): (usize, &Value)| {
        let left = endpoint.get("ejection_left_ms").and_then(Value::as_u64);
        let left = left.map(|left| format!("ejected for {}", duration(left)));
        let failure = endpoint.get("check_failure").and_then(Value::as_str);
        let own = left.or_else(|| failure.map(str::to_owned));
        let first = (index == 0).then(|| remark.clone());
        [
            name.clone(),
            cell(endpoint, "address"),
            cell(endpoint, "state"),
            cell(endpoint, "active"),
            cell(endpoint, "zone"),
            cell(endpoint, "node"),
            own.or(first).unwrap_or_default(),
        ]
    };
    endpoints.iter().enumerate().map(row).collect()
}
