//! `strait explain` and the config dump tell where a discovered route comes from, and why a name has none.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::kubernetes;
use crate::kubernetes::api_server::{ApiServer, Fault};
use crate::kubernetes::objects::{pod, served, service, slice};
use crate::soon;
use crate::support::gateway::TestGateway;

/// An API with a service that has a pod, one whose pod is outside the mesh, and one that is not exported.
fn api() -> ApiServer {
    let api = ApiServer::start();
    let pods =
        |name: &str, number: u8| [(name.to_owned(), std::net::IpAddr::from([10, 0, 0, number]))];
    for (name, number) in [("web", 1), ("plain", 2)] {
        let [(pod_name, address)] = pods(name, number);
        api.put(service("apps", name, 80));
        api.put(slice("apps", name, "1", 8080, &[(&pod_name, address)]));
    }
    api.put(pod(
        "apps",
        "web",
        &json!({ "security.istio.io/tlsMode": "istio" }),
    ));
    api.put(pod("apps", "plain", &json!({ "app": "plain" })));
    let named = |name: &str, number: u8| {
        let mut slice = slice(
            "apps",
            "set",
            name,
            8080,
            &pods(name, number)
                .each_ref()
                .map(|(name, ip)| (&**name, *ip)),
        );
        slice["endpoints"][0]["hostname"] = json!(name);
        slice
    };
    let mut set = service("apps", "set", 80);
    set["spec"]["clusterIP"] = json!("None");
    api.put(set);
    for (name, number) in [("set-0", 4), ("set-1", 5)] {
        api.put(named(name, number));
        api.put(pod(
            "apps",
            name,
            &json!({ "security.istio.io/tlsMode": "istio" }),
        ));
    }
    api.put_all(served("hidden", "db", 5432, ([10, 0, 0, 3], 5432).into()));
    api
}

const EXPORT: &str = "export: { mode: selected, namespaces: [apps] }";

fn explain(file: &PathBuf, sni: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_strait"))
        .args(["explain", "--alpn", "istio", "--sni", sni, "--config"])
        .arg(file)
        .output()
        .unwrap();
    let text =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

#[test]
fn explain_lists_once_and_tells_object_version_and_reason() {
    let api = api();
    api.fail("nodes", Fault::Forbidden);
    let file = api.folder().join("strait.yaml");
    std::fs::write(&file, kubernetes::config(&api, EXPORT).text()).unwrap();
    let version =
        api.get("services", "apps", "web").unwrap()["metadata"]["resourceVersion"].clone();
    let from = format!(
        "Service apps/web (resourceVersion {})",
        version.as_str().unwrap()
    );
    for (sni, code, says) in [
        (
            "web.apps.svc.cluster.local",
            0,
            &[
                "10.0.0.1:8080",
                "from pod web, EndpointSlice apps/web-1",
                &from,
                "node: nodes is forbidden",
            ][..],
        ),
        ("plain.apps.svc.cluster.local", 1, &["no_endpoint", "mesh"]),
        (
            "outbound_.5432_._.db.hidden.svc.cluster.local",
            1,
            &["no_route", "hidden", "not"],
        ),
        ("nobody.apps.svc.cluster.local", 1, &["no_route"]),
        (
            "outbound_.80_._.set-1.set.apps.svc.cluster.local",
            0,
            &["10.0.0.5:8080", "from pod set-1", "apps/set:80@*"],
        ),
        (
            "set-2.set.apps.svc.cluster.local",
            1,
            &[
                "*.set.apps.svc.cluster.local:80",
                "no_endpoint",
                "no pod of this name",
            ],
        ),
    ] {
        let (exit, text) = explain(&file, sni);
        assert_eq!(exit, Some(code), "{text}");
        for part in says {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
    let (_, text) = explain(&file, "set-1.set.apps.svc.cluster.local");
    assert!(!text.contains("10.0.0.4"), "another pod: {text}");
    let lists = api.requests("list", "services");
    assert_eq!(lists, 7, "one list for each time it was asked");
    api.down();
    let (exit, text) = explain(&file, "web.apps.svc.cluster.local");
    assert_eq!(exit, Some(2), "{text}");
    assert!(text.contains("has not listed what routing needs"), "{text}");
}

#[test]
fn the_dump_shows_origins_and_what_is_missing() {
    let api = api();
    api.fail("nodes", Fault::Forbidden);
    let gateway = TestGateway::start(&kubernetes::config(&api, EXPORT));
    gateway.wait_ready();
    let dump = gateway.dump("/config_dump");
    let route = &dump["config"]["listeners"][0]["routes"][3];
    assert_eq!(route["name"], "web.apps.svc.cluster.local:80");
    assert_eq!(route["origin"]["export"]["namespace"], "apps");
    let upstreams = gateway.dump("/upstreams");
    let mut upstreams = upstreams["upstreams"].as_array().unwrap().iter();
    let web = upstreams.find(|one| one["name"] == "apps/web:80").unwrap();
    let origin =
        json!({ "kind": "EndpointSlice", "namespace": "apps", "name": "web-1", "pod": "web" });
    assert_eq!(web["endpoints"][0]["origin"], origin, "{web}");
    let in_words = "pod web, EndpointSlice apps/web-1";
    let state = gateway.dump("/status");
    let mut rows = state["endpoints"]["rows"].as_array().unwrap().iter();
    let web = rows.find(|one| one["upstream"] == "apps/web:80").unwrap();
    assert_eq!(web["origin"], in_words);
    let page = gateway.admin_text("/?format=html").replace("<wbr>", "");
    assert!(page.contains(in_words), "{page}");
    let discovery = &dump["discovery"];
    assert_eq!(
        (&discovery["exported_routes"], &discovery["unrouted_hosts"]),
        (&json!(4), &json!(1))
    );
    assert!(
        discovery["missing"][0]
            .to_string()
            .contains("nodes is forbidden"),
        "{discovery}"
    );
    soon("the metric says the same", || {
        (gateway.metric("strait_kubernetes_unrouted_hosts", &[]) - 1.0).abs() < 0.1
    });
}
