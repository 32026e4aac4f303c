//! The answer of `GET /explain` as lines.

use serde_json::Value;

use crate::cli::client::{cell, items};

/// The decision of each listener, the reasons against it, and the outcomes of the last such connections.
pub(super) fn lines(explanation: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in items(explanation, "listeners") {
        let group = cell(listener, "source_group");
        lines.push(format!(
            "listener     {}, source group {group}",
            cell(listener, "listener")
        ));
        match listener.get("outcome").and_then(Value::as_str) {
            None => lines.push("outcome      it would be relayed".to_owned()),
            Some(outcome) => lines.push(format!(
                "outcome      {outcome}: {}",
                cell(listener, "detail")
            )),
        }
        if let Some(route) = listener.get("route").filter(|route| !route.is_null()) {
            let (name, alpn) = (cell(route, "name"), cell(route, "alpn"));
            lines.push(format!(
                "route        {name}, ALPN {alpn}, of {}",
                cell(route, "origin")
            ));
        }
        for upstream in items(listener, "upstreams") {
            let problem = upstream.get("problem").and_then(Value::as_str);
            let problem = problem.map_or_else(String::new, |problem| format!(": {problem}"));
            lines.push(format!("upstream     {}{problem}", cell(upstream, "name")));
            for endpoint in items(upstream, "endpoints") {
                let (address, state) = (cell(endpoint, "address"), cell(endpoint, "state"));
                let active = cell(endpoint, "active");
                lines.push(format!("             {address} {state}, {active} open"));
            }
        }
        for limit in items(listener, "limits") {
            let reached = limit.get("reached") == Some(&Value::Bool(true));
            let reached = if reached { ", REACHED" } else { "" };
            let (scope, name) = (cell(limit, "scope"), cell(limit, "limit"));
            let (used, most) = (cell(limit, "used"), cell(limit, "most"));
            lines.push(format!(
                "limit        {name} of {scope}: {used} of {most}{reached}"
            ));
        }
        let texts = |key| items(listener, key).iter().filter_map(Value::as_str);
        lines.extend(texts("skipped").map(|text| format!("not decided  {text}")));
        lines.extend(texts("nearest").map(|text| format!("near         {text}")));
        for recent in items(listener, "recent") {
            let (ended, outcome) = (cell(recent, "ended"), cell(recent, "outcome"));
            let (by, from) = (cell(recent, "ended_by"), cell(recent, "source"));
            lines.push(format!(
                "recent       {ended} {outcome} by {by}, from {from}"
            ));
        }
        lines.push(String::new());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_part_of_the_answer_is_a_line() {
        let answer = json!({ "listeners": [{
            "listener": "east-west",
            "source_group": "alpha",
            "outcome": "no_endpoint",
            "detail": "upstream svcb has none",
            "skipped": ["the source policy"],
            "route": { "name": "svcb", "alpn": "istio", "origin": "the file" },
            "upstreams": [{ "name": "svcb", "problem": "DNS says no", "endpoints": [
                { "address": "10.1.0.1:80", "state": "ejected", "active": 3 },
            ] }],
            "limits": [{ "scope": "route", "limit": "connections", "most": 4, "used": 4, "reached": true }],
            "nearest": ["svca"],
            "recent": [{ "ended": "T", "outcome": "ok", "ended_by": "client", "source": "10.0.0.1:1" }],
        }] });
        let expected = [
            "listener     east-west, source group alpha",
            "outcome      no_endpoint: upstream svcb has none",
            "route        svcb, ALPN istio, of the file",
            "upstream     svcb: DNS says no",
            "             10.1.0.1:80 ejected, 3 open",
            "limit        connections of route: 4 of 4, REACHED",
            "not decided  the source policy",
            "near         svca",
            "recent       T ok by client, from 10.0.0.1:1",
            "",
        ];
        assert_eq!(lines(&answer), expected);
        let relayed = json!({ "listeners": [{ "listener": "a", "outcome": null, "route": null }] });
        let said = lines(&relayed);
        assert_eq!(said[1], "outcome      it would be relayed");
    }
}
