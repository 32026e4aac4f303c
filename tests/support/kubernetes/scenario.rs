//! Scenarios as files: what happens in the API, and what the gateway must make of it.
//!
//! ```yaml
//! config: "export: { mode: all, alpn: any }"   # keys of the section `kubernetes`
//! pods: [web-1, web-2]                         # 127.1.0.1, 127.1.0.2; they all listen on $PORT
//! steps:
//!   - apply: |                                 # objects, with --- between them; $GATEWAY_PORT is ours
//!       kind: Service
//!       ...
//!   - api: down                                # or up, forget, cut, cut_in_line, bookmark, ...
//!   - expect:                                  # soon, and then still
//!       web.apps.svc.cluster.local: [web-1, web-2]
//!       db.apps.svc.cluster.local: "no_route: not selected"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::api_server::{ApiServer, Cut, Fault};
use super::pods::{Pods, ask};
use crate::support::DEADLINE;
use crate::support::gateway::TestGateway;

/// Connections in which each of a service's few pods is met.
const TRIES: usize = 24;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    config: String,
    #[serde(default)]
    pods: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Objects that are made, or become so.
    Apply(String),
    /// `PLURAL NAMESPACE NAME` of objects that go.
    Delete(Vec<String>),
    /// An event at the API server.
    Api(String),
    /// `PLURAL FAULT`.
    Fail(Vec<String>),
    /// Plurals whose faults end.
    Mend(Vec<String>),
    /// Plurals whose definitions go, and come back.
    Uninstall(Vec<String>),
    Install(Vec<String>),
    /// The keys of the section `kubernetes` are others now.
    Reload(String),
    /// The results of connections, by the name that they ask for.
    Expect(BTreeMap<String, Expected>),
    /// Metrics: name and labels as they are scraped, and the value that comes.
    Metrics(BTreeMap<String, f64>),
    /// The same, where the value may be larger: `expect` asks again until the results are right.
    MetricsAtLeast(BTreeMap<String, f64>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    Pods(BTreeSet<String>),
    /// `OUTCOME: part of the detail`.
    Refused(String),
}

/// Plays the scenario of a file; panics where it goes otherwise.
pub fn play(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let text: String = text.map(|line| format!("{line}\n")).collect();
    let names: Scenario = serde_saphyr::from_str(&text).expect("a scenario");
    let names: Vec<&str> = names.pods.iter().map(String::as_str).collect();
    let pods = Pods::start(if names.is_empty() { &["none"] } else { &names });
    let text = text.replace("$PORT", &pods.port.to_string());
    let scenario: Scenario = serde_saphyr::from_str(&text).expect("a scenario");
    let api = ApiServer::start();
    let mut gateway = None;
    for (index, step) in scenario.steps.iter().enumerate() {
        println!("step {}: {step:?}", index + 1);
        if matches!(
            step,
            Step::Expect(_) | Step::Metrics(_) | Step::MetricsAtLeast(_)
        ) && gateway.is_none()
        {
            let started = TestGateway::start(&super::config(&api, &scenario.config));
            started.wait_ready();
            gateway = Some(started);
        }
        take(step, &api, gateway.as_ref());
    }
    assert!(gateway.is_some(), "a scenario that expects nothing");
}

fn take(step: &Step, api: &ApiServer, gateway: Option<&TestGateway>) {
    match step {
        Step::Apply(yaml) => {
            let port = gateway.map(|gateway| gateway.address().port().to_string());
            api.apply(&yaml.replace("$GATEWAY_PORT", &port.unwrap_or_default()));
        }
        Step::Delete(objects) => {
            for object in objects {
                let words: Vec<&str> = object.split(' ').collect();
                let [plural, namespace, name] = words[..] else {
                    panic!("{object}: PLURAL NAMESPACE NAME, - for no namespace")
                };
                assert!(
                    api.delete(plural, namespace.trim_matches('-'), name),
                    "{object}"
                );
            }
        }
        Step::Api(what) => happen(what, api),
        Step::Fail(faults) => {
            for fault in faults {
                let (plural, fault) = fault.split_once(' ').expect("PLURAL FAULT");
                api.fail(plural, self::fault(fault));
            }
        }
        Step::Mend(plurals) => plurals.iter().for_each(|plural| api.mend(plural)),
        Step::Uninstall(plurals) => plurals.iter().for_each(|plural| api.uninstall(plural)),
        Step::Install(plurals) => plurals.iter().for_each(|plural| api.install(plural)),
        Step::Reload(keys) => {
            let gateway = gateway.expect("a gateway that runs");
            gateway.reload(&super::config(api, keys)).unwrap();
        }
        Step::Expect(expected) => expect(expected, gateway.expect("started")),
        Step::Metrics(expected) => metrics(
            expected,
            |value, wanted| (value - wanted).abs() < 0.01,
            gateway.expect("started"),
        ),
        Step::MetricsAtLeast(expected) => {
            metrics(
                expected,
                |value, wanted| value >= wanted,
                gateway.expect("started"),
            );
        }
    }
}

fn happen(what: &str, api: &ApiServer) {
    match what {
        "down" => api.down(),
        "up" => api.up(),
        "forget" => api.forget(),
        "cut" => api.cut(Cut::Clean),
        "cut_abruptly" => api.cut(Cut::Abrupt),
        "cut_in_line" => api.cut(Cut::InLine),
        "bookmark" => api.bookmark(),
        "small_pages" => api.page(2),
        _ => panic!("nothing happens that is called {what}"),
    }
}

fn fault(name: &str) -> Fault {
    match name {
        "forbidden" => Fault::Forbidden,
        "too_many_requests" => Fault::TooManyRequests,
        "internal_error" => Fault::InternalError,
        "gone_by_status" => Fault::GoneByStatus,
        "slow" => Fault::Slow(Duration::from_secs(1)),
        _ => panic!("no fault is called {name}"),
    }
}

/// `OPTIONS,NAME`: a name after `istio,` is asked for with Istio's ALPN.
fn met(gateway: &TestGateway, name: &str) -> Result<BTreeSet<String>, String> {
    let (alpn, name): (&[&str], _) = match name.strip_prefix("istio,") {
        Some(name) => (&["istio"], name),
        None => (&[], name),
    };
    let mut pods = BTreeSet::new();
    for _ in 0..TRIES {
        match ask(gateway.address(), name, alpn) {
            Ok((_, pod)) => pods.insert(pod),
            Err(own) => {
                let record = gateway.record_of(own);
                let detail = record.detail.as_deref().unwrap_or_default();
                return Err(format!("{}: {detail}", record.outcome));
            }
        };
    }
    Ok(pods)
}

fn expect(expected: &BTreeMap<String, Expected>, gateway: &TestGateway) {
    for (name, expected) in expected {
        let start = Instant::now();
        loop {
            let met = met(gateway, name);
            let right = match (&met, expected) {
                (Ok(pods), Expected::Pods(wanted)) => pods == wanted,
                (Err(refusal), Expected::Refused(wanted)) => {
                    let (outcome, detail) = wanted.split_once(": ").unwrap_or((wanted, ""));
                    refusal.starts_with(outcome) && refusal.contains(detail)
                }
                _ => false,
            };
            if right {
                break;
            }
            assert!(
                start.elapsed() < 3 * DEADLINE,
                "{name}: {met:?}, not {expected:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn metrics(
    expected: &BTreeMap<String, f64>,
    is_right: fn(f64, f64) -> bool,
    gateway: &TestGateway,
) {
    for (series, wanted) in expected {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels: Vec<(&str, &str)> = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|label| label.split_once('='))
            .collect();
        let start = Instant::now();
        loop {
            let value = gateway.metric(name, &labels);
            if is_right(value, *wanted) {
                break;
            }
            assert!(
                start.elapsed() < 3 * DEADLINE,
                "{series} is {value}, not {wanted}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
