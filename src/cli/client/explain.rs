//! `strait explain --live`: the decision of a running gateway about one connection, for a person.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::admin::{Admin, AdminAddress, with_query};
use super::table::{duration, escaped, shown, table};
use super::{CommandAnswer, CommandResult, cell, finish, items};
use crate::cli::ExplainArguments;

/// Endpoints of one upstream that are shown.
const ENDPOINTS: usize = 20;

/// Asks the gateway at `address`, or at the admin address of the config at `config`.
pub(in crate::cli) fn live(
    address: Option<&AdminAddress>,
    config: &Path,
    arguments: &ExplainArguments,
) -> ExitCode {
    finish(async { ask(address, config, arguments).await })
}

async fn ask(
    address: Option<&AdminAddress>,
    config: &Path,
    arguments: &ExplainArguments,
) -> CommandResult {
    let admin = Admin::at(address, config)?;
    let offers = arguments.alpn.join(",");
    let from = arguments.from.map(|from| from.to_string());
    let query = [
        ("sni", arguments.sni.as_deref()),
        ("alpn", (!offers.is_empty()).then_some(&*offers)),
        ("from", from.as_deref()),
        ("listener", arguments.listener.as_deref()),
    ];
    let explained = admin.get(&with_query("/explain", &query)).await?.json()?;
    let listeners = items(&explained, "listeners");
    let served = |one: &Value| one.get("outcome").is_none_or(Value::is_null);
    let yes = listeners.iter().any(served);
    let mut page = LivePage(String::new());
    if explained.get("draining") == Some(&Value::Bool(true)) {
        page.line(
            "draining",
            "the gateway drains: it accepts no new connection",
        );
    }
    for listener in listeners {
        of_listener(listener, &mut page);
    }
    Ok(CommandAnswer { text: page.0, yes })
}

/// Lines with a title and a text that no terminal obeys.
struct LivePage(String);

impl LivePage {
    fn line(&mut self, title: &str, text: &str) {
        let _ = writeln!(self.0, "  {title:<12} {}", escaped(text));
    }
}

fn of_listener(listener: &Value, page: &mut LivePage) {
    let _ = writeln!(page.0, "listener {}", shown(&cell(listener, "listener")));
    if let Some(group) = text(listener, "source_group") {
        page.line("source", &format!("group {group}"));
    }
    for skipped in items(listener, "skipped").iter().filter_map(Value::as_str) {
        page.line("skipped", skipped);
    }
    match text(listener, "outcome") {
        None => page.line("decision", "the connection would be relayed"),
        Some(outcome) => page.line("refused", outcome),
    }
    if let Some(detail) = text(listener, "detail") {
        page.line("", detail);
    }
    if let Some(route) = listener.get("route").filter(|route| !route.is_null()) {
        let takes = cell(route, "alpn");
        page.line(
            "route",
            &format!("{}, which takes {takes}", cell(route, "name")),
        );
        for (key, title) in [("origin", "from"), ("dry_run", "dry run")] {
            if let Some(text) = text(route, key) {
                page.line(title, text);
            }
        }
    }
    for (index, near) in items(listener, "nearest").iter().enumerate() {
        let title = if index == 0 { "nearest" } else { "" };
        page.line(title, near.as_str().unwrap_or_default());
    }
    for upstream in items(listener, "upstreams") {
        of_upstream(upstream, page);
    }
    of_limits(items(listener, "limits"), page);
    for (key, title) in [
        ("recent", "the last connections with this server name"),
        (
            "recent_of_route",
            "the last ones on this route with other names",
        ),
    ] {
        of_recent(items(listener, key), title, page);
    }
}

fn of_upstream(upstream: &Value, page: &mut LivePage) {
    let stale = match upstream.get("stale") {
        Some(Value::Bool(true)) => ", stale",
        _ => "",
    };
    page.line("upstream", &format!("{}{stale}", cell(upstream, "name")));
    if let Some(problem) = text(upstream, "problem") {
        page.line("", problem);
    }
    let endpoints = items(upstream, "endpoints");
    for (index, endpoint) in endpoints.iter().take(ENDPOINTS).enumerate() {
        let title = if index == 0 { "endpoints" } else { "" };
        let left = endpoint.get("ejection_left_ms").and_then(Value::as_u64);
        let left = left.map(|left| format!(" for {} more", duration(left)));
        let zone = text(endpoint, "zone").map(|zone| format!(", zone {zone}"));
        let line = format!(
            "{}, {}{}, {} open{}",
            cell(endpoint, "address"),
            cell(endpoint, "state"),
            left.unwrap_or_default(),
            cell(endpoint, "active"),
            zone.unwrap_or_default(),
        );
        page.line(title, &line);
    }
    let more = upstream.get("more_endpoints").and_then(Value::as_u64);
    let hidden = endpoints.len().saturating_sub(ENDPOINTS) as u64 + more.unwrap_or(0);
    if hidden > 0 {
        page.line("", &format!("and {hidden} more"));
    }
}

/// The limits of which something is used.
fn of_limits(limits: &[Value], page: &mut LivePage) {
    let used = |one: &&Value| one.get("used").and_then(Value::as_u64) != Some(0);
    for (index, limit) in limits.iter().filter(used).enumerate() {
        let title = if index == 0 { "limits" } else { "" };
        let reached = match limit.get("reached") {
            Some(Value::Bool(true)) => ", reached",
            _ => "",
        };
        let [scope, limit, used, most] =
            ["scope", "limit", "used", "most"].map(|key| cell(limit, key));
        page.line(
            title,
            &format!("{used} of {most} {limit} of the {scope}{reached}"),
        );
    }
}

fn of_recent(recent: &[Value], title: &str, page: &mut LivePage) {
    if recent.is_empty() {
        return;
    }
    let _ = writeln!(page.0, "\n  {title}:");
    let row = |one: &Value| {
        let took = one.get("duration_ms").and_then(Value::as_f64);
        [
            cell(one, "ended"),
            cell(one, "source"),
            cell(one, "endpoint"),
            cell(one, "outcome"),
            took.map_or("-".to_owned(), |took| format!("{took:.1}ms")),
            text(one, "detail").unwrap_or_default().to_owned(),
        ]
    };
    let rows: Vec<_> = recent.iter().map(row).collect();
    let head = ["ENDED", "SOURCE", "ENDPOINT", "OUTCOME", "TOOK", "DETAIL"];
    for line in table(head, &rows).lines() {
        let _ = writeln!(page.0, "  {line}");
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_shown_to_its_end_and_no_terminal_obeys_it() {
        let reason = format!("{} because\u{1b}[2J", "no route takes it ".repeat(10));
        let mut page = LivePage(String::new());
        let listener = serde_json::json!({
            "listener": "east-west",
            "outcome": "no_route",
            "detail": reason,
        });
        of_listener(&listener, &mut page);
        let escaped = reason.replace('\u{1b}', "\\u{1b}");
        assert!(page.0.contains(&escaped), "{}", page.0);
    }
}
