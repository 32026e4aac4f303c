//! `config/monitoring/`: the operator's object has the rules of the file, and each alert has its section in the docs.
//! `tests/admin/monitoring.rs` lets the real Prometheus judge the rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

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
