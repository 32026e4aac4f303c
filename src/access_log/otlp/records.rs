//! The body of a request: the lines of a batch as log records of OTLP.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::outcome::{Outcome, OutcomeClass};
use crate::place::ProcessPlace;
use crate::version;

/// Numbers of OTLP for the severity of a record.
const INFO: (u8, &str) = (9, "INFO");
const WARN: (u8, &str) = (13, "WARN");

/// The attributes of the process, as the semantic conventions of OpenTelemetry name them.
#[derive(Debug)]
pub(super) struct Resource(Value);

impl Resource {
    pub(super) fn of_this_process() -> Self {
        Self::of(&ProcessPlace::of_this_process())
    }

    fn of(place: &ProcessPlace) -> Self {
        let attributes = [
            ("service.name", Some("strait")),
            ("service.version", Some(version::VERSION)),
            ("service.instance.id", place.pod.as_deref()),
            (
                "k8s.pod.name",
                place.pod.as_deref().filter(|_| place.namespace.is_some()),
            ),
            ("k8s.namespace.name", place.namespace.as_deref()),
            ("k8s.node.name", place.node.as_deref()),
            ("host.name", place.pod.as_deref()),
        ];
        let known = attributes.iter().filter_map(|(key, value)| {
            let value = (*value)?;
            Some(json!({ "key": key, "value": { "stringValue": value } }))
        });
        Self(json!({ "attributes": known.collect::<Vec<_>>() }))
    }
}

/// The request with a record for each line, and their number; `None` if there is no line.
pub(super) fn request(resource: &Resource, lines: &[u8]) -> Option<(Vec<u8>, u64)> {
    let observed = nanos(SystemTime::now());
    let lines = lines.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    let records: Vec<Value> = lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .map(|fields| record(&fields, &observed))
        .collect();
    if records.is_empty() {
        return None;
    }
    let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
    let request = json!({
        "resourceLogs": [{
            "resource": resource.0,
            "scopeLogs": [{
                "scope": { "name": "strait.access_log", "version": version::VERSION },
                "logRecords": records,
            }],
        }],
    });
    Some((serde_json::to_vec(&request).ok()?, count))
}

fn nanos(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_nanos().to_string()
}

fn record(fields: &Map<String, Value>, observed: &str) -> Value {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let time = text("time").and_then(|time| humantime::parse_rfc3339(time).ok());
    let outcome = text("outcome");
    let known = Outcome::ALL.iter().find(|one| Some(one.label()) == outcome);
    let is_bad = known.is_some_and(|one| one.class() != OutcomeClass::Well);
    let (number, severity) = if is_bad { WARN } else { INFO };
    let what = outcome.or_else(|| text("event")).unwrap_or("connection");
    let mut body = what.to_owned();
    for (key, before) in [
        ("server_name", " "),
        ("source", " from "),
        ("endpoint", " to "),
    ] {
        if let Some(value) = text(key) {
            body += before;
            body += value;
        }
    }
    let attributes = fields.iter().filter(|(key, _)| *key != "time");
    let attributes = attributes
        .map(|(key, value)| json!({ "key": format!("strait.{key}"), "value": any_value(value) }));
    json!({
        "timeUnixNano": time.map_or_else(|| observed.to_owned(), nanos),
        "observedTimeUnixNano": observed,
        "severityNumber": number,
        "severityText": severity,
        "eventName": "strait.connection",
        "body": { "stringValue": body },
        "attributes": attributes.collect::<Vec<_>>(),
    })
}

/// A value in the JSON form of OTLP, in which a whole number is a string.
fn any_value(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!({ "intValue": whole.to_string() }),
            None => json!({ "doubleValue": number }),
        },
        Value::Bool(flag) => json!({ "boolValue": flag }),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> ProcessPlace {
        ProcessPlace {
            pod: Some("strait-1".to_owned()),
            namespace: Some("strait".to_owned()),
            node: None,
        }
    }

    #[test]
    fn a_line_is_a_record_and_what_is_no_line_is_none() {
        let lines = b"\n{\"time\":\"2026-11-28T03:24:09.731Z\",\"connection\":7,\"server_name\":\"a.example\",\"outcome\":\"no_route\",\"duration_ms\":1.250}\nhalf a line\n";
        let resource = Resource::of(&place());
        let body: Value = serde_json::from_slice(&request(&resource, lines).unwrap().0).unwrap();
        let of_process = &body["resourceLogs"][0];
        let records = of_process["scopeLogs"][0]["logRecords"].as_array().unwrap();
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!(record["timeUnixNano"], "1795836249731000000");
        assert_eq!(
            (&record["severityNumber"], &record["severityText"]),
            (&json!(13), &json!("WARN"))
        );
        assert_eq!(record["body"]["stringValue"], "no_route a.example");
        let attribute = |key: &str| {
            let all = record["attributes"].as_array().unwrap();
            let found = all.iter().find(|one| one["key"] == key);
            found.map_or(Value::Null, |one| one["value"].clone())
        };
        assert_eq!(attribute("strait.connection"), json!({ "intValue": "7" }));
        assert_eq!(
            attribute("strait.duration_ms"),
            json!({ "doubleValue": 1.25 })
        );
        assert_eq!(attribute("strait.time"), Value::Null);
        let of_process = of_process["resource"]["attributes"].to_string();
        assert!(of_process.contains("\"k8s.namespace.name\"") && !of_process.contains("k8s.node"));
        assert_eq!(request(&resource, b"\n\n"), None);
    }

    #[test]
    fn an_end_without_a_failure_is_information() {
        for (outcome, severity) in [
            ("ok", "INFO"),
            ("probe", "INFO"),
            ("connect_refused", "WARN"),
        ] {
            let fields = json!({ "outcome": outcome });
            let record = record(fields.as_object().unwrap(), "1");
            assert_eq!(record["severityText"], severity, "{outcome}");
            assert_eq!(record["timeUnixNano"], "1");
        }
    }
}
