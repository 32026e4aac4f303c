//! `strait doctor --kubeconfig`: the objects of `config/federation` in the API of each side's cluster, then one mistake
//! each. The rights that are shipped for it are those that it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::kubernetes::api_server::{ApiServer, Fault};
use crate::support::gateway::get;
use crate::support::server::refusing_address;
use crate::support::wait_until;

/// The longest that a run may take, silent peers included. The machine of the tests may be busy.
const LONGEST_MS: u64 = 15_000;

fn shipped(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/federation");
    std::fs::read_to_string(path.join(file)).unwrap()
}

/// The documents of a shipped file.
fn documents(file: &str) -> Vec<Value> {
    let text = shipped(file);
    let each = text.split("\n---\n");
    each.map(|one| serde_saphyr::from_str(one).unwrap())
        .collect()
}

/// The API of a cluster to which the shipped files were applied.
fn cluster(folder: &str, call: &str) -> ApiServer {
    let api = ApiServer::start();
    for file in ["federation", call] {
        api.put_all(documents(&format!("{folder}/{file}.yaml")));
    }
    let mesh: Value = serde_saphyr::from_str(&shipped(&format!("{folder}/istiod.yaml"))).unwrap();
    api.put(config_map(
        "istio-system",
        "istio",
        "mesh",
        &mesh["meshConfig"],
    ));
    let spire: Value = serde_saphyr::from_str(&shipped(&format!("{folder}/spire.yaml"))).unwrap();
    let sds = &spire["spire-agent"]["sds"];
    // As templates/configmap.yaml of the chart does (helm-charts-hardened).
    let conf = json!({ "agent": { "sds": {
        "default_svid_name": sds["defaultSVIDName"],
        "default_bundle_name": sds["defaultBundleName"],
        "default_all_bundles_name": sds["defaultAllBundlesName"],
    }}});
    api.put(config_map("spire", "spire-agent", "agent.conf", &conf));
    api
}

fn config_map(namespace: &str, name: &str, key: &str, value: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": namespace, "name": name },
        "data": { key: value.to_string() },
    })
}

/// The shipped file, with gateways that nobody can reach.
fn federation() -> String {
    let closed = refusing_address().to_string();
    let text = shipped("doctor.yaml");
    let text = text.replace("east-west.alpha.com:15443", &format!("'{closed}'"));
    text.replace("east-west.beta.com:15443", &format!("'{closed}'"))
}

fn doctor(apis: &[(&str, &ApiServer)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
    command.args(["doctor", "-o", "json"]);
    for (side, api) in apis {
        command.arg("--kubeconfig");
        command.arg(format!("{side}={}", api.kubeconfig().display()));
    }
    run(command.arg("-"))
}

fn run(command: &mut Command) -> Output {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let file = federation();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(file.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// The checks of the objects: side, check, state and cause, each with its finding.
fn of_objects(output: &Output) -> BTreeMap<String, String> {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let took = report["took_ms"].as_u64().unwrap();
    assert!(took < LONGEST_MS, "it took {took} ms");
    let checks = report["checks"].as_array().unwrap().iter();
    let checks = checks.filter(|one| {
        let name = one["check"].as_str().unwrap();
        name.starts_with("cluster-")
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |one: &Value| {
        let side = text(&one["group"]);
        let side = side.split(':').next().unwrap();
        let (check, state) = (text(&one["check"]), text(&one["state"]));
        let cause = text(&one["cause"]);
        let key = format!("{side} {check} {state} {cause}");
        (key.trim_end().to_owned(), text(&one["finding"]))
    };
    checks.map(line).collect()
}

/// The checks of the objects that did not pass.
fn faults(output: &Output) -> Vec<String> {
    let all = of_objects(output).into_keys();
    all.filter(|one| !one.ends_with(" passed")).collect()
}

#[test]
fn the_shipped_objects_get_no_cross() {
    let (alpha, beta) = (
        cluster("cluster-a", "call-svcb"),
        cluster("cluster-b", "call-svca"),
    );
    let both = [("alpha.com", &alpha), ("beta.com", &beta)];
    let output = doctor(&both);
    let all = of_objects(&output);
    assert_eq!(all.len(), 10, "{all:#?}");
    assert_eq!(faults(&output), Vec::<String>::new(), "{all:#?}");
    // One side alone.
    assert_eq!(of_objects(&doctor(&both[..1])).len(), 5);
}

/// Changes a part of an object.
fn set(api: &ApiServer, plural: &str, (namespace, name): (&str, &str), part: (&str, Value)) {
    let mut object = api.get(plural, namespace, name).unwrap();
    *object.pointer_mut(part.0).unwrap() = part.1;
    api.put(object);
}

#[test]
fn each_mistake_of_a_callers_cluster_is_named() {
    type Mistake = fn(&ApiServer);
    const APPS: &str = "apps";
    let mistakes: &[(Mistake, &str)] = &[
        (
            |api| assert!(api.delete("clusterfederatedtrustdomains", "", "beta.com")),
            "cluster-domain failed no_domain",
        ),
        (
            |api| assert!(api.delete("serviceentries", APPS, "svcb-of-beta")),
            "cluster-callers failed no_service_entry",
        ),
        (
            |api| assert!(api.delete("destinationrules", APPS, "svcb-of-beta")),
            "cluster-callers failed no_destination_rule",
        ),
        (
            |api| {
                let map = config_map(
                    "spire",
                    "spire-agent",
                    "agent.conf",
                    &json!({ "agent": { "sds": {} } }),
                );
                api.put(map);
            },
            "cluster-sds failed sds_names",
        ),
        (
            |api| {
                let map = config_map(
                    "istio-system",
                    "istio",
                    "mesh",
                    &json!({ "trustDomain": "alpha.com" }),
                );
                api.put(map);
            },
            "cluster-mesh failed ca_certificates",
        ),
        (
            |api| {
                let mesh = json!({ "caCertificates": [{ "trustDomains": ["beta.com"] }], "trustDomainAliases": ["beta.com"] });
                api.put(config_map("istio-system", "istio", "mesh", &mesh));
            },
            "cluster-mesh failed aliases",
        ),
    ];
    for (mistake, fault) in mistakes {
        let api = cluster("cluster-a", "call-svcb");
        mistake(&api);
        let output = doctor(&[("alpha.com", &api)]);
        assert_eq!(faults(&output), [format!("alpha.com {fault}")]);
    }
    let api = cluster("cluster-a", "call-svcb");
    let workloads = ("", "istio-workloads");
    let federates = |with: &str| ("/spec/federatesWith", json!([with]));
    set(&api, "clusterspiffeids", workloads, federates("gamma.com"));
    let output = doctor(&[("alpha.com", &api)]);
    let expected = ["alpha.com cluster-entries failed no_federates_with"];
    assert_eq!(faults(&output), expected);
    set(&api, "clusterspiffeids", workloads, federates("beta.com"));
    // As spire-controller-manager counts them.
    let count = |failures: u64| {
        let mut object = api.get("clusterspiffeids", "", "istio-workloads").unwrap();
        object["status"] = json!({ "stats": { "podsSelected": 1, "entryFailures": failures } });
        api.put(object);
    };
    count(2);
    let output = doctor(&[("alpha.com", &api)]);
    let expected = ["alpha.com cluster-entries failed entry_failures"];
    assert_eq!(faults(&output), expected);
    count(0);
    let rule = ("apps", "svcb-of-beta");
    let simple = ("/spec/trafficPolicy/tls/mode", json!("SIMPLE"));
    set(&api, "destinationrules", rule, simple);
    let output = doctor(&[("alpha.com", &api)]);
    let expected = ["alpha.com cluster-callers failed tls_mode"];
    assert_eq!(faults(&output), expected);
}

#[test]
fn an_api_that_does_not_answer_or_denies_is_told_and_no_cross() {
    let api = cluster("cluster-a", "call-svcb");
    api.fail("clusterspiffeids", Fault::Forbidden);
    let output = doctor(&[("alpha.com", &api)]);
    let all = of_objects(&output);
    assert_eq!(faults(&output), ["alpha.com cluster-entries not_told"]);
    let words = &all["alpha.com cluster-entries not_told"];
    assert!(words.contains("403"), "{words}");
    api.mend("clusterspiffeids");
    api.fail("clusterspiffeids", Fault::Silent);
    let output = doctor(&[("alpha.com", &api)]);
    assert_eq!(faults(&output), ["alpha.com cluster-domain not_told"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
    let kubeconfig = format!("gamma.com={}", api.kubeconfig().display());
    let output = run(command.args(["doctor", "--kubeconfig", &kubeconfig, "-"]));
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("the sides are alpha.com and beta.com"),
        "{error}"
    );
}

#[test]
fn the_shipped_rights_are_those_that_it_uses() {
    let api = cluster("cluster-a", "call-svcb");
    doctor(&[("alpha.com", &api)]);
    let rules = documents("doctor-rbac.yaml");
    let rules = rules.iter().filter_map(|one| one["rules"].as_array());
    let mut granted = BTreeSet::new();
    for rule in rules.flatten() {
        let words = |key: &str| -> Vec<String> {
            let all = rule[key].as_array().into_iter().flatten();
            all.map(|one| one.as_str().unwrap().to_owned()).collect()
        };
        for resource in words("resources") {
            for verb in words("verbs") {
                granted.insert(format!("{verb} {resource}"));
                let asked = api.requests(&verb, &resource);
                assert!(asked > 0, "{verb} {resource} is granted and not used");
            }
        }
        // Of ConfigMaps only those that are named, for some hold what others should not read.
        if words("resources") == ["configmaps"] {
            assert_eq!(words("resourceNames").len(), 1, "{rule}");
        }
    }
    let expected = [
        "get configmaps",
        "list clusterfederatedtrustdomains",
        "list clusterspiffeids",
        "list destinationrules",
        "list serviceentries",
    ];
    assert_eq!(granted, expected.map(str::to_owned).into());
}

#[test]
fn the_manifests_of_both_clusters_make_the_shipped_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/federation");
    let from = |one: &str, other: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
        let folders = [folder.join(one), folder.join(other)];
        command.args(["doctor", "--from"]).args(folders);
        command.output().unwrap()
    };
    let output = from("cluster-a", "cluster-b");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let made: Value = serde_saphyr::from_slice(&output.stdout).unwrap();
    let shipped: Value = serde_saphyr::from_str(&shipped("doctor.yaml")).unwrap();
    assert_eq!(made, shipped);
    let output = from("cluster-a", "doctor.yaml");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    let says = "the second cluster's manifests: 0 ClusterFederatedTrustDomains where one is needed";
    assert!(error.contains(says), "{error}");
}

/// The text at a place of a document.
fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    let found = document.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {pointer}: {document:#}"))
}

#[test]
fn the_shipped_watch_starts_a_doctor_that_can_be_scraped() {
    let documents = documents("doctor-watch.yaml");
    let kind = |name: &str| {
        let mut all = documents.iter();
        all.find(|one| one["kind"] == *name).unwrap()
    };
    let (deployment, policy) = (kind("Deployment"), kind("NetworkPolicy"));
    let template = &deployment["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let arguments: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    let ["doctor", file, "--watch", interval, "--metrics", metrics] = arguments[..] else {
        panic!("{arguments:?}");
    };
    // The file of the ConfigMap, at the place of its volume.
    let mount = &container["volumeMounts"][0];
    assert_eq!(file, format!("{}/doctor.yaml", text(mount, "/mountPath")));
    let volume = &template["spec"]["volumes"][0];
    assert_eq!(text(volume, "/name"), text(mount, "/name"));
    assert_eq!(text(volume, "/configMap/name"), "strait-doctor");
    // One port, everywhere.
    let (_, port) = metrics.rsplit_once(':').unwrap();
    let annotation = "/metadata/annotations/prometheus.io~1port";
    assert_eq!(text(template, annotation), port);
    let ports = [
        &container["ports"][0]["containerPort"],
        &policy["spec"]["ingress"][0]["ports"][0]["port"],
    ];
    assert_eq!(ports.map(Value::to_string), [port, port]);
    let labels = &template["metadata"]["labels"];
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    // It has no right in the cluster, and cannot become more than it is.
    assert_eq!(template["spec"]["automountServiceAccountToken"], false);
    let context = &container["securityContext"];
    let expected = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
        "capabilities": { "drop": ["ALL"] },
    });
    assert_eq!(context, &expected);

    let mut child = Command::new(env!("CARGO_BIN_EXE_strait"))
        .args([
            "doctor",
            "--watch",
            interval,
            "--metrics",
            "127.0.0.1:0",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(federation().as_bytes())
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = errors.next().unwrap().unwrap();
    let (_, at) = line.split_once("metrics at http://").unwrap();
    let at: SocketAddr = at.strip_suffix("/metrics").unwrap().parse().unwrap();
    wait_until("it has looked", || {
        let (status, text) = get(at, "/metrics").unwrap();
        status == 200 && text.contains("cause=\"unreached\",state=\"failed\"} 1\n")
    });
    child.kill().unwrap();
    child.wait().unwrap();
}
