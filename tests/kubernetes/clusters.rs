//! Several clusters of one network: the API of each is watched on its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::kubernetes::api_server::{ApiServer, Cut, Fault};
use crate::kubernetes::objects::{pod, service, slice};
use crate::kubernetes::pods::{Pods, ask};
use crate::support::config_text::ConfigText;
use crate::support::gateway::{TestGateway, get};
use crate::support::process::{Folder, Process};
use crate::{kubernetes, soon};

const HOST: &str = "web.apps.svc.cluster.local";

/// A kubeconfig of `api` in the form of `istioctl create-remote-secret`, with this token.
fn remote(api: &ApiServer, token: &str) -> String {
    let text = std::fs::read_to_string(api.kubeconfig()).unwrap();
    text.replace("token: none", &format!("token: {token}"))
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    // As the kubelet does it: readers see the old file or the new one.
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, &path).unwrap();
    path
}

/// A gateway in cluster `c1` and network `n1`, with these other clusters: name, network, file.
fn config(own: &ApiServer, others: &[(&str, &str, &Path)]) -> ConfigText {
    with_keys(own, others, "")
}

/// The same with further keys.
fn with_keys(own: &ApiServer, others: &[(&str, &str, &Path)], keys: &str) -> ConfigText {
    let others = others.iter().map(|(name, network, path)| {
        let path = path.display();
        format!("{{ name: {name}, network: {network}, kubeconfig: '{path}' }}")
    });
    let others: Vec<String> = others.collect();
    let keys = format!(
        "{keys}cluster: c1, network: n1, istio: {{ config_map: off }}, export: {{ mode: all, alpn: any }}, clusters: [{}]",
        others.join(", ")
    );
    kubernetes::config(own, &keys)
}

/// The Service `apps/web` with one pod.
fn serve(api: &ApiServer, pods: &Pods, pod: &str) {
    api.put(service("apps", "web", 80));
    move_to(api, pods, pod);
}

fn move_to(api: &ApiServer, pods: &Pods, name: &str) {
    let address = pods.address(name);
    api.put(slice("apps", "web", "1", pods.port, &[(name, address)]));
    api.put(pod("apps", name, &json!({})));
}

/// The pods that take connections to `name`: asked for as often as two of them would not both hide.
fn takers(gateway: &TestGateway, name: &str) -> BTreeSet<String> {
    let asked = (0..24).filter_map(|_| ask(gateway.address(), name, &[]).ok());
    asked.map(|(_, pod)| pod).collect()
}

fn wait_for(gateway: &TestGateway, name: &str, pods: &[&str]) {
    let wanted: BTreeSet<String> = pods.iter().map(|pod| (*pod).to_owned()).collect();
    soon(&format!("{name} leads to {pods:?}"), || {
        takers(gateway, name) == wanted
    });
}

#[test]
fn pods_of_other_clusters_of_the_network_are_endpoints_and_a_cluster_that_is_away_takes_nothing() {
    let names = ["own", "own-2", "other", "other-2", "only", "far"];
    let pods = Pods::start(&names);
    let [own, other, far] = [(); 3].map(|()| ApiServer::start());
    serve(&own, &pods, "own");
    serve(&other, &pods, "other");
    serve(&far, &pods, "far");
    let by_cluster =
        |name: &str| json!({ "name": name, "labels": { "topology.istio.io/cluster": name } });
    own.put(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": { "namespace": "apps", "name": "web" },
        "spec": { "host": "web", "subsets": [by_cluster("c1"), by_cluster("c2"), by_cluster("c3")] },
    }));
    other.put(service("apps", "only", 80));
    let only = [("only", pods.address("only"))];
    other.put(slice("apps", "only", "1", pods.port, &only));
    other.put(pod("apps", "only", &json!({})));

    let files = [&other, &far].map(|api| write(api.folder(), "remote", &remote(api, "none")));
    let gateway = TestGateway::start(&config(
        &own,
        &[("c2", "n1", &files[0]), ("c3", "n2", &files[1])],
    ));
    gateway.wait_ready();
    wait_for(&gateway, HOST, &["own", "other"]);
    wait_for(&gateway, "only.apps.svc.cluster.local", &["only"]);
    for (subset, pods) in [("c1", &["own"][..]), ("c2", &["other"]), ("c3", &[])] {
        let name = format!("outbound_.80_.{subset}_.{HOST}");
        assert!(takers(&gateway, &name).iter().eq(pods), "{subset}");
    }
    let upstreams = gateway.dump("/upstreams");
    let mut upstreams = upstreams["upstreams"].as_array().unwrap().iter();
    let web = upstreams.find(|one| one["name"] == "apps/web:80").unwrap();
    let endpoints = web["endpoints"].as_array().unwrap().iter();
    let clusters: BTreeSet<&str> = endpoints
        .map(|endpoint| endpoint["origin"]["cluster"].as_str().unwrap())
        .collect();
    assert!(clusters.iter().eq(&["c1", "c2"]), "{web}");
    let gauge = |name: &str, cluster: &str, kind: &str| {
        let name = format!("strait_kubernetes_cluster_{name}");
        gateway.metric(&name, &[("cluster", cluster), ("kind", kind)])
    };
    assert_eq!(gauge("objects", "c2", "service"), 2.0);
    assert_eq!(gauge("watch_up", "c2", "endpoint_slice"), 1.0);

    // One is away: its pods stay, and the changes of the others are heard.
    other.down();
    soon("the cluster is stale", || {
        gauge("stale", "c2", "endpoint_slice") == 1.0
    });
    assert_eq!(gateway.health("/healthz/ready").unwrap().0, 200);
    assert_eq!(gauge("stale", "c3", "endpoint_slice"), 0.0);
    move_to(&own, &pods, "own-2");
    wait_for(&gateway, HOST, &["own-2", "other"]);

    // It is back, with another pod.
    other.up();
    move_to(&other, &pods, "other-2");
    wait_for(&gateway, HOST, &["own-2", "other-2"]);
    soon("the cluster is watched again", || {
        gauge("stale", "c2", "endpoint_slice") == 0.0
    });
    // A rollout of the own cluster that goes wrong leaves the pods of the other one.
    own.delete("endpointslices", "apps", "web-1");
    wait_for(&gateway, HOST, &["other-2"]);
}

#[test]
fn a_gateway_starts_without_a_cluster_and_follows_its_file() {
    let pods = Pods::start(&["own", "other", "other-2", "other-3", "other-4"]);
    let [own, other] = [(); 2].map(|()| ApiServer::start());
    serve(&own, &pods, "own");
    serve(&other, &pods, "other");
    let path = other.folder().join("remote");
    let gateway = TestGateway::start(&config(&own, &[("c2", "n1", &path)]));
    gateway.wait_ready();
    wait_for(&gateway, HOST, &["own"]);
    let dump = gateway.dump("/config_dump");
    let cluster = &dump["discovery"]["clusters"][0];
    assert_eq!(cluster["name"], "c2", "{dump}");
    assert_eq!(cluster["missing"].as_array().unwrap().len(), 5, "{dump}");

    // A kubeconfig whose keys read files of the gateway's host is refused.
    let token_file = remote(&other, "x").replace("token: x", "tokenFile: /etc/hostname");
    write(other.folder(), "remote", &token_file);
    soon("the file is refused", || {
        let dump = gateway.dump("/config_dump");
        dump["discovery"]["clusters"]
            .to_string()
            .contains("tokenFile")
    });
    other.demand_token("first");
    write(other.folder(), "remote", &remote(&other, "first"));
    wait_for(&gateway, HOST, &["own", "other"]);
    soon("every kind is watched", || {
        let dump = gateway.dump("/config_dump");
        dump["discovery"]["clusters"][0]["missing"] == json!([])
    });

    // A file that cannot be used leaves the watches as they are.
    write(other.folder(), "remote", "clusters: [");
    move_to(&other, &pods, "other-2");
    wait_for(&gateway, HOST, &["own", "other-2"]);

    // Nor does one that the API refuses take anything away.
    write(other.folder(), "remote", &remote(&other, "wrong"));
    let cluster = [
        ("cluster", "c2"),
        ("kind", "service"),
        ("reason", "malformed"),
    ];
    let errors = || gateway.metric("strait_kubernetes_cluster_errors_total", &cluster);
    let before = errors();
    soon("the token is tried", || errors() > before);
    move_to(&other, &pods, "other-4");
    wait_for(&gateway, HOST, &["own", "other-4"]);

    // Another token: the old one is refused from now on.
    other.demand_token("second");
    write(other.folder(), "remote", &remote(&other, "second"));
    other.cut(Cut::Abrupt);
    move_to(&other, &pods, "other-3");
    wait_for(&gateway, HOST, &["own", "other-3"]);
}

/// Whether all that is known of the slices of a cluster is from before the gateway's start, or before a reload.
fn is_from_before(gateway: &TestGateway, cluster: &str) -> bool {
    let labels = [("cluster", cluster), ("kind", "endpoint_slice")];
    let name = "strait_kubernetes_cluster_saved_state_in_force";
    gateway.metric(name, &labels) > 0.5
}

/// Waits until the slices of a cluster count as stale.
fn wait_stale(gateway: &TestGateway, cluster: &str) {
    let labels = [("cluster", cluster), ("kind", "endpoint_slice")];
    soon("the cluster is known to be away", || {
        gateway.metric("strait_kubernetes_cluster_stale", &labels) > 0.5
    });
}

/// Waits until that is so, or is not. Metrics are told after the endpoints that calls reach have changed.
fn wait_from_before(gateway: &TestGateway, cluster: &str, wanted: bool) {
    let what = format!("state of {cluster} from before: {wanted}");
    soon(&what, || is_from_before(gateway, cluster) == wanted);
}

#[test]
fn a_start_while_another_cluster_is_away_has_what_it_said_last() {
    let pods = Pods::start(&["own", "other", "other-2"]);
    let [own, other] = [(); 2].map(|()| ApiServer::start());
    serve(&own, &pods, "own");
    serve(&other, &pods, "other");
    let folder = Folder::create();
    let file = folder.path("state");
    let path = write(other.folder(), "remote", &remote(&other, "none"));
    let config = with_keys(
        &own,
        &[("c2", "n1", &path)],
        &format!("saved_state: {{ path: '{}' }}, ", file.display()),
    );
    {
        let gateway = TestGateway::start(&config);
        gateway.wait_ready();
        soon("the state of both clusters is saved", || {
            let saved = std::fs::read_to_string(&file).unwrap_or_default();
            saved.contains(r#"{"name":"c2""#) && saved.contains(r#""web-1""#)
        });
    }
    other.down();
    // Each is away alone, and then both.
    for own_too in [false, true] {
        if own_too {
            own.down();
        }
        let gateway = TestGateway::start(&config);
        gateway.wait_ready();
        wait_for(&gateway, HOST, &["own", "other"]);
        wait_from_before(&gateway, "c2", true);
        wait_stale(&gateway, "c2");
        if own_too {
            // It is back, with another pod.
            other.up();
            move_to(&other, &pods, "other-2");
            wait_for(&gateway, HOST, &["own", "other-2"]);
            wait_from_before(&gateway, "c2", false);
        }
    }
}

#[test]
fn a_reload_while_another_cluster_is_away_keeps_what_it_said_last() {
    let pods = Pods::start(&["own", "other", "third", "elsewhere"]);
    let [own, other, third] = [(); 3].map(|()| ApiServer::start());
    serve(&own, &pods, "own");
    serve(&other, &pods, "other");
    serve(&third, &pods, "third");
    let files = [&other, &third].map(|api| write(api.folder(), "remote", &remote(api, "none")));
    let gateway = TestGateway::start(&config(&own, &[("c2", "n1", &files[0])]));
    gateway.wait_ready();
    wait_for(&gateway, HOST, &["own", "other"]);
    other.down();
    wait_stale(&gateway, "c2");
    // Another list of clusters starts the source anew.
    let both = [("c2", "n1", &*files[0]), ("c3", "n1", &*files[1])];
    gateway.reload(&config(&own, &both)).unwrap();
    wait_for(&gateway, HOST, &["own", "other", "third"]);
    wait_from_before(&gateway, "c2", true);
    wait_from_before(&gateway, "c3", false);
    // Another file may be that of another cluster: nothing is taken over.
    let moved = other.folder().join("elsewhere");
    let both = [("c2", "n1", &*moved), ("c3", "n1", &*files[1])];
    gateway.reload(&config(&own, &both)).unwrap();
    wait_for(&gateway, HOST, &["own", "third"]);
}

#[test]
fn another_api_server_that_refuses_a_kind_ends_what_the_one_before_had_said_of_it() {
    let pods = Pods::start(&["own", "other", "third"]);
    let [own, other, third] = [(); 3].map(|()| ApiServer::start());
    serve(&own, &pods, "own");
    serve(&other, &pods, "other");
    serve(&third, &pods, "third");
    let path = write(other.folder(), "remote", &remote(&other, "none"));
    let gateway = TestGateway::start(&config(&own, &[("c2", "n1", &path)]));
    gateway.wait_ready();
    wait_for(&gateway, HOST, &["own", "other"]);
    // The new one has a pod of that name too: the slice of the server before would give it connections.
    third.put(pod("apps", "other", &json!({})));
    third.fail("endpointslices", Fault::Forbidden);
    write(other.folder(), "remote", &remote(&third, "none"));
    wait_from_before(&gateway, "c2", true);
    wait_for(&gateway, HOST, &["own"]);
    wait_from_before(&gateway, "c2", false);
    third.mend("endpointslices");
    wait_for(&gateway, HOST, &["own", "third"]);
}

#[test]
fn a_reload_says_what_it_keeps_of_a_cluster_and_does_not_call_its_api_away() {
    let [own, other, third] = [(); 3].map(|()| ApiServer::start());
    let files = [&other, &third].map(|api| write(api.folder(), "remote", &remote(api, "none")));
    let one = config(&own, &[("c2", "n1", &*files[0])]);
    let both = config(&own, &[("c2", "n1", &*files[0]), ("c3", "n1", &*files[1])]);
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &one.text());
    let process = Process::of_file(&path);
    soon("the cluster is known", || {
        let text = get(process.server("admin"), "/config_dump").unwrap().1;
        let dump: serde_json::Value = serde_json::from_str(&text).unwrap();
        dump["discovery"]["clusters"][0]["missing"] == json!([])
    });
    write(path.parent().unwrap(), "strait.yaml", &both.text());
    let line = process.wait_for("what it knew of the cluster before the reload");
    assert!(
        line.contains("INFO") && line.contains("cluster=\"c2\""),
        "{line}"
    );
    process.wait_for("from before the reload is no longer in use");
    assert_eq!(process.said("does not answer"), 0);
}
