//! `strait trace`: connections of a running gateway, followed step by step in its own log.

use std::fmt::Write as _;

use serde_json::Value;

use super::admin::{Admin, AdminArguments, with_query};
use super::{CommandAnswer, CommandResult, Output, OutputArgument, cell, items, pretty};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TraceArguments {
    /// Follow connections from this IP address or CIDR
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// Follow connections with this server name, or with names that end so: `*.example`
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Follow connections that this route takes
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// The time after which the trace ends by itself, at most 1h
    #[arg(long = "for", value_name = "TIME", default_value = "60s")]
    lasts: String,
    /// End the trace with this number, or all
    #[arg(long, value_name = "ID|all", conflicts_with_all = ["source", "sni", "route"])]
    end: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

pub(super) async fn trace(arguments: &TraceArguments) -> CommandResult {
    let admin = Admin::of(&arguments.admin)?;
    let TraceArguments {
        source, sni, route, ..
    } = arguments;
    let begins = source.is_some() || sni.is_some() || route.is_some();
    let answer = match arguments.end.as_deref() {
        Some("all") => admin.delete("/trace").await?.json()?,
        Some(id) => admin
            .delete(&format!("/trace/{}", super::admin::encoded(id)))
            .await?
            .json()?,
        None if !begins => admin.get("/trace").await?.json()?,
        None => {
            let query = [
                ("source", source.as_deref()),
                ("sni", sni.as_deref()),
                ("route", route.as_deref()),
                ("for", Some(&*arguments.lasts)),
            ];
            admin.post(&with_query("/trace", &query)).await?.json()?
        }
    };
    let text = match arguments.output.output {
        Output::Json => pretty(&answer)?,
        Output::Text => said(&answer),
    };
    Ok(CommandAnswer { text, yes: true })
}

/// The answer in lines for a person.
fn said(answer: &Value) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    if let Some(trace) = answer.get("trace") {
        let _ = writeln!(
            text,
            "trace {} runs; its lines are in the gateway's own log (standard error: kubectl logs), with the target strait::trace",
            cell(trace, "id")
        );
    }
    for (key, word) in [("traces", "runs"), ("ended", "ended")] {
        for trace in items(answer, key) {
            let _ = write!(text, "trace {} {word}:", cell(trace, "id"));
            for part in ["source", "sni", "route"] {
                if trace.get(part).is_some() {
                    let _ = write!(text, " {part} {}", cell(trace, part));
                }
            }
            let lines = cell(trace, "lines");
            let left_out = cell(trace, "lines_left_out");
            let _ = writeln!(text, "; {lines} lines, {left_out} left out");
        }
    }
    let none = |key| answer.get(key).is_some() && items(answer, key).is_empty();
    if none("traces") || none("ended") {
        text.push_str("no trace runs\n");
    }
    if answer.get("logged") == Some(&Value::Bool(false)) {
        text.push_str("the log level leaves such lines out: strait log-level info\n");
    }
    text
}
