//! `config/monitoring/`: the operator's object has the rules of the file, and each alert has its section in the docs.
//! `tests/admin/monitoring.rs` lets the real Prometheus judge the rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use strait::outcome::{Outcome, OutcomeClass};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rules as an object of the Prometheus operator.
fn object(rules: &str) -> String {
    let groups = rules.find("groups:").unwrap();
    let indented = rules[groups..].lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("  {line}\n"),
    });
    let spec: String = indented.collect();
    format!(
        "# Made from rules.yaml: STRAIT_BLESS=1 cargo test --test repository monitoring
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: strait
  namespace: strait
  labels:
    # Prometheus may choose PrometheusRules by a label (kube-prometheus-stack: release). Add yours.
    app.kubernetes.io/part-of: strait
spec:
{spec}"
    )
}

#[test]
fn the_object_of_the_operator_has_the_same_rules() {
    let name = "config/monitoring/prometheus-rule.yaml";
    let made = object(&read("config/monitoring/rules.yaml"));
    if std::env::var_os("STRAIT_BLESS").is_some() {
        fs::write(path(name), &made).unwrap();
    }
    assert!(read(name) == made, "{name}: run with STRAIT_BLESS=1");
}

#[test]
fn each_alert_has_a_section_of_the_docs_and_each_section_an_alert() {
    let rules: Value = serde_saphyr::from_str(&read("config/monitoring/rules.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let alerts: Vec<&Value> = rules.filter(|rule| rule["alert"].is_string()).collect();
    let names: BTreeSet<&str> = alerts
        .iter()
        .filter_map(|rule| rule["alert"].as_str())
        .collect();
    let page = read("docs/src/operate/alerts.md");
    let sections: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    assert_eq!(names, sections);
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        let anchor = name.to_lowercase();
        let runbook = format!("docs/src/operate/alerts.md#{anchor}");
        assert_eq!(alert["annotations"]["runbook"], *runbook, "{name}");
        assert!(alert["annotations"]["summary"].is_string(), "{name}");
        let severity = alert["labels"]["severity"].as_str();
        assert!(
            matches!(severity, Some("critical" | "warning" | "info")),
            "{name}"
        );
    }
}

/// The failures that no share counts: those of the caller's side, and defects of strait.
const IN_NO_SHARE: [Outcome; 3] = [
    Outcome::DownstreamReset,
    Outcome::DownstreamTimeout,
    Outcome::InternalError,
];

/// The outcomes that a recording rule counts as part of its share.
fn counted_by(rules: &Value, record: &str) -> BTreeSet<&'static str> {
    let groups = rules["groups"].as_array().unwrap().iter();
    let mut all = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let rule = all.find(|rule| rule["record"] == *record).unwrap();
    let (_, rest) = rule["expr"]
        .as_str()
        .unwrap()
        .split_once("outcome=~\"")
        .unwrap();
    let patterns = rest.split_once('"').unwrap().0.split('|');
    let labels = || Outcome::ALL.iter().map(|outcome| outcome.label());
    let matching = patterns.map(|pattern| {
        let matches: Vec<_> = match pattern.strip_suffix(".*") {
            Some(start) => labels().filter(|one| one.starts_with(start)).collect(),
            None => labels().filter(|one| *one == pattern).collect(),
        };
        assert!(!matches.is_empty(), "{record}: no outcome is {pattern}");
        matches
    });
    matching.flatten().collect()
}

#[test]
fn each_failure_is_in_the_share_of_the_failed_or_of_the_refused() {
    let rules = serde_saphyr::from_str(&read("config/monitoring/rules.yaml")).unwrap();
    let failed = counted_by(&rules, "strait:route_failures:ratio5m");
    let refused = counted_by(&rules, "strait:refused:ratio5m");
    for outcome in Outcome::ALL {
        let label = outcome.label();
        let shares = [failed.contains(label), refused.contains(label)];
        let is_limit = matches!(outcome, Outcome::Overloaded | Outcome::OverLimit);
        let expected = match outcome.class() {
            OutcomeClass::Well => [false, false],
            _ if IN_NO_SHARE.contains(outcome) => [false, false],
            OutcomeClass::Refused if !is_limit => [false, true],
            // A limit keeps connections of a route from their endpoint.
            OutcomeClass::Refused | OutcomeClass::Failed => [true, false],
        };
        assert_eq!(
            shares, expected,
            "{label}: in the shares of failed and refused connections of config/monitoring/rules.yaml"
        );
    }
}
