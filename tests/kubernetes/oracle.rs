//! The answers of istiod for its own east-west gateway, replayed: strait must route the same names to the same
//! endpoints, but for differences that are listed with their reason.
//!
//! `tests/cluster/oracle/run record` asked istiod, and stored its answers with the objects that the API
//! held. docs/src/internals/oracle.md describes the files, and what to do when a difference comes or goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kubernetes;
use crate::kubernetes::api_server::ApiServer;
use crate::support::DEADLINE;
use crate::support::gateway::TestGateway;

/// Endpoints by `outbound_` name.
type Names = BTreeMap<String, Vec<String>>;

/// A file of istiod's answers.
#[derive(Deserialize)]
struct Answers {
    namespaces: Vec<String>,
    states: Vec<State>,
}

/// The answer of istiod when the API held some objects.
#[derive(Deserialize)]
struct State {
    /// All objects of the first state; of a later one those that are new or have changed.
    objects: Option<Vec<Value>>,
    gone: Option<Vec<Key>>,
    /// The same for the second cluster, if the answers are about two.
    #[serde(default)]
    other: Option<Vec<Value>>,
    #[serde(default)]
    other_gone: Option<Vec<Key>>,
    names: Names,
}

#[derive(Deserialize)]
struct Key {
    kind: String,
    namespace: String,
    name: String,
}

/// A name for which strait says otherwise than istiod.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
struct Differs {
    /// The file of answers, without its end, and the number of the state in it.
    answers: String,
    state: usize,
    name: String,
    /// `None` if strait does not route the name.
    strait: Option<Vec<String>>,
    classes: BTreeSet<String>,
}

/// A class of differences.
#[derive(Deserialize)]
struct Class {
    name: String,
    decision: String,
    reason: String,
}

/// The place of a name in the answers.
type Place = (String, usize, String);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/oracle")
}

fn differing_file() -> PathBuf {
    folder().join("answers/differing.jsonl")
}

/// The stored differences, in order.
fn differing() -> BTreeMap<Place, Differs> {
    let text = fs::read_to_string(differing_file()).unwrap();
    let lines = text.lines().map(|line| {
        let differs: Differs = serde_json::from_str(line).unwrap();
        let place = (differs.answers.clone(), differs.state, differs.name.clone());
        (place, differs)
    });
    lines.collect()
}

/// The files of answers, by name.
fn all_answers() -> BTreeMap<String, Answers> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder().join("answers")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let answers = serde_json::from_slice(&fs::read(&path).unwrap());
            let answers = answers.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            all.insert(name, answers);
        }
    }
    all
}

/// Whether strait reads objects of that kind, and so the stand-in has it.
fn is_read(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().unwrap();
    let kind = object["kind"].as_str().unwrap();
    // Istio's own Gateway has the name of a kind of the Gateway API.
    !(group.starts_with("networking.istio.io/") && kind == "Gateway")
}

/// The `outbound_` names that the gateway routes.
fn routed(gateway: &TestGateway) -> Names {
    let upstreams = gateway.dump("/upstreams");
    let endpoints = |upstream: &Value| {
        let endpoints = upstream["endpoints"].as_array().into_iter().flatten();
        let addresses = endpoints.filter_map(|endpoint| endpoint["address"].as_str());
        let mut addresses: Vec<String> = addresses.map(str::to_owned).collect();
        addresses.sort_unstable();
        addresses
    };
    let upstreams: BTreeMap<&str, Vec<String>> = upstreams["upstreams"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|upstream| (upstream["name"].as_str().unwrap(), endpoints(upstream)))
        .collect();
    let dump = gateway.dump("/config_dump");
    let mut names = Names::new();
    for route in dump["config"]["listeners"][0]["routes"].as_array().unwrap() {
        let target = route["targets"][0]["upstream"].as_str().unwrap();
        // An upstream that appears between the two pages has no endpoints yet.
        let endpoints = upstreams.get(target).cloned().unwrap_or_default();
        names.insert(outbound_name(&route["matches"]), endpoints);
    }
    names
}

/// The `outbound_` name of a discovered route, in lower case as in the stored answers; `*` stands for the names of pods.
fn outbound_name(matches: &Value) -> String {
    let (kind, found) = matches.as_object().unwrap().iter().next().unwrap();
    let (port, host) = (&found["port"], found["host"].as_str().unwrap());
    let subset = found["subset"].as_str().unwrap_or_default();
    let pod = if kind == "pods" { "*." } else { "" };
    format!("outbound_.{port}_.{subset}_.{pod}{host}").to_ascii_lowercase()
}

/// The names of hosts in the namespaces, and those of hosts that are no Kubernetes Services.
fn of_namespaces(mut names: Names, namespaces: &[String]) -> Names {
    names.retain(|name, _| {
        let service = name.strip_suffix(".svc.cluster.local");
        service.is_none_or(|of| {
            let namespace = of.rsplit('.').next();
            namespaces.iter().any(|known| Some(&**known) == namespace)
        })
    });
    names
}

fn plural(kind: &str) -> &'static str {
    match kind {
        "DestinationRule" => "destinationrules",
        "EndpointSlice" => "endpointslices",
        "PeerAuthentication" => "peerauthentications",
        "Pod" => "pods",
        "Service" => "services",
        "ServiceEntry" => "serviceentries",
        "WorkloadEntry" => "workloadentries",
        _ => panic!("no state removes a {kind}"),
    }
}

/// Brings an API from one state to the next.
fn enter(api: &ApiServer, objects: Option<&Vec<Value>>, gone: Option<&Vec<Key>>) {
    for key in gone.into_iter().flatten() {
        if key.kind != "Gateway" {
            assert!(api.delete(plural(&key.kind), &key.namespace, &key.name));
        }
    }
    let objects = objects.into_iter().flatten();
    api.put_all(objects.filter(|object| is_read(object)).cloned());
}

/// The keys of a gateway's config, for one cluster or for two.
fn keys(other: Option<&ApiServer>) -> String {
    let other = other.map(|api| {
        let kubeconfig = api.kubeconfig();
        let kubeconfig = kubeconfig.display();
        format!(
            "network: network1, clusters: [{{ name: cluster-2, network: network1, kubeconfig: '{kubeconfig}' }}], "
        )
    });
    let other = other.unwrap_or_default();
    format!("cluster: cluster-1, {other}export: {{ mode: all }}")
}

/// Plays one file of answers; returns what strait says in each state where it is not as `expected`.
fn play(answers: &Answers, expected: &[Names]) -> Vec<(usize, Names)> {
    let api = ApiServer::start();
    let is_of_two = answers.states.iter().any(|state| state.other.is_some());
    let other = is_of_two.then(ApiServer::start);
    let mut gateway = None;
    let mut others = Vec::new();
    for (number, (state, expected)) in answers.states.iter().zip(expected).enumerate() {
        enter(&api, state.objects.as_ref(), state.gone.as_ref());
        if let Some(other) = &other {
            enter(other, state.other.as_ref(), state.other_gone.as_ref());
        }
        let gateway = gateway.get_or_insert_with(|| {
            let config = kubernetes::config(&api, &keys(other.as_ref()));
            let gateway = TestGateway::start_on_node("node1", &config);
            gateway.wait_ready();
            gateway
        });
        let start = Instant::now();
        let names = loop {
            let names = of_namespaces(routed(gateway), &answers.namespaces);
            if names == *expected || start.elapsed() > DEADLINE {
                break names;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if names != *expected {
            others.push((number, names));
        }
    }
    others
}

/// The names that strait must have: those of istiod, but for the stored differences.
fn expected(name: &str, answers: &Answers, differing: &BTreeMap<Place, Differs>) -> Vec<Names> {
    let states = answers.states.iter().enumerate();
    let of_state = |(number, state): (usize, &State)| {
        let mut names = state.names.clone();
        for differs in differing.values() {
            if (&*differs.answers, differs.state) == (name, number) {
                match &differs.strait {
                    Some(endpoints) => names.insert(differs.name.clone(), endpoints.clone()),
                    None => names.remove(&differs.name),
                };
            }
        }
        names
    };
    states.map(of_state).collect()
}

/// A line for each name of which strait does not say what it must.
fn surprises(state: usize, istiod: &Names, expected: &Names, strait: &Names) -> Vec<String> {
    let names: BTreeSet<&String> = expected.keys().chain(strait.keys()).collect();
    let surprise = |name: &&String| expected.get(*name) != strait.get(*name);
    let said = |names: &Names, name| {
        let endpoints = names.get(name);
        endpoints.map_or_else(|| "no route".to_owned(), |all| format!("{all:?}"))
    };
    let line = |name| {
        format!(
            "state {state}: {name}\n    istiod {}\n    strait {}, expected {}",
            said(istiod, name),
            said(strait, name),
            said(expected, name),
        )
    };
    names.into_iter().filter(surprise).map(line).collect()
}

/// Replaces the stored differences of a state by those that there are.
fn bless(
    differing: &mut BTreeMap<Place, Differs>,
    (answers, state): (&str, usize),
    istiod: &Names,
    strait: &Names,
) {
    let before = differing.clone();
    differing.retain(|(of, number, _), _| (&**of, *number) != (answers, state));
    let names: BTreeSet<&String> = istiod.keys().chain(strait.keys()).collect();
    for name in names {
        let place = (answers.to_owned(), state, name.clone());
        let classes = match before.get(&place) {
            Some(differs) => differs.classes.clone(),
            None => BTreeSet::from(["unknown".to_owned()]),
        };
        let strait = strait.get(name).cloned();
        if istiod.get(name) != strait.as_ref() {
            let differs = Differs {
                answers: answers.to_owned(),
                state,
                name: name.clone(),
                strait,
                classes,
            };
            differing.insert(place, differs);
        }
    }
}

#[test]
fn strait_routes_what_istiod_gives_its_own_gateway_but_for_listed_differences() {
    let mut differing = differing();
    let all = all_answers();
    assert!(all.len() > 10, "answers are missing");
    let mut report = Vec::new();
    for (name, answers) in &all {
        let expected = expected(name, answers, &differing);
        for (state, strait) in play(answers, &expected) {
            let istiod = &answers.states[state].names;
            let lines = surprises(state, istiod, &expected[state], &strait);
            report.extend(lines.into_iter().map(|line| format!("{name}, {line}")));
            bless(&mut differing, (name, state), istiod, &strait);
        }
    }
    if std::env::var_os("STRAIT_BLESS").is_some() {
        let lines = differing
            .values()
            .map(|differs| serde_json::to_string(differs).unwrap() + "\n");
        fs::write(differing_file(), lines.collect::<String>()).unwrap();
        return;
    }
    assert!(
        report.is_empty(),
        "docs/src/internals/oracle.md says what to do:\n{}",
        report.join("\n")
    );
}

#[test]
fn every_listed_difference_has_a_reason_and_an_example() {
    let text = fs::read_to_string(folder().join("differences.yaml")).unwrap();
    let classes: Vec<Class> = serde_saphyr::from_str(&text).unwrap();
    for class in &classes {
        assert!(
            ["policy", "missing"].contains(&&*class.decision),
            "{}",
            class.name
        );
        assert!(class.reason.len() > 40, "{} has no reason", class.name);
    }
    let listed: BTreeSet<String> = classes.into_iter().map(|class| class.name).collect();
    let needed = differing().into_values();
    let needed: BTreeSet<String> = needed.flat_map(|differs| differs.classes).collect();
    assert_eq!(
        listed, needed,
        "differences.yaml, and the classes of the stored differences"
    );
}
