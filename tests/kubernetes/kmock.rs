//! List and watch against an API server that others wrote: PyPI's kmock, which `tests/run` installs.
//!
//! It knows neither pages nor versions (a list's is `...`, an object's is what the test gives it), and a
//! watch of it begins with everything there is: the basics must hold there too. It fails to list namespaces,
//! so the config is one that routes without them.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::kubernetes::objects::{pod, service, slice};
use crate::kubernetes::pods::{Pods, ask};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::wait_until;

/// The server's process, and what it is reached by.
struct Kmock {
    process: Child,
    url: String,
}

impl Kmock {
    fn start() -> Self {
        let folder = std::env::var_os("STRAIT_KMOCK").map_or_else(installed, PathBuf::from);
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/kubernetes/kmock_server.py"
        );
        let process = Command::new(folder.join("bin/python"))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = process
            .unwrap_or_else(|error| panic!("kmock: {error}; `tests/run --kmock` installs it"));
        let mut url = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "kmock says {url:?}");
        Self {
            process,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for Kmock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The folder into which tests/run installs it.
fn installed() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache");
    cache.unwrap_or_else(home).join("strait-tools/kmock-0.8")
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let (group, version) = object["apiVersion"]
        .as_str()
        .unwrap()
        .split_once('/')
        .unwrap_or(("", "v1"));
    let kind = object["kind"].as_str().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let namespace = object["metadata"]["namespace"].as_str().unwrap();
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// The object as version `version`, which kmock leaves to its clients.
fn at(mut object: Value, version: u32) -> Value {
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    object
}

#[test]
fn list_and_watch_work_with_an_api_server_that_others_wrote() {
    let (kmock, pods) = (Kmock::start(), Pods::start(&["web-1", "web-2"]));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        Client::try_from(kube::Config::new(kmock.url.parse().unwrap())).unwrap()
    });
    let create = |object: &Value| {
        let made: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let api = api(&client, object);
        runtime
            .block_on(api.create(&PostParams::default(), &made))
            .unwrap();
    };
    let slice = |pod: &str| slice("apps", "web", "1", pods.port, &[(pod, pods.address(pod))]);
    for (version, name) in (1..).zip(["web-1", "web-2"]) {
        create(&at(pod("apps", name, &json!({ "app": "web" })), version));
    }
    create(&at(service("apps", "web", 80), 3));
    create(&at(slice("web-1"), 4));

    let folder = std::env::temp_dir().join(format!("strait-kmock-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let kubeconfig = folder.join("kubeconfig");
    let text = format!(
        "current-context: kmock
contexts: [{{ name: kmock, context: {{ cluster: kmock, user: kmock }} }}]
clusters: [{{ name: kmock, cluster: {{ server: '{}' }} }}]
users: [{{ name: kmock, user: {{}} }}]
",
        kmock.url
    );
    std::fs::File::create(&kubeconfig)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let config = ConfigText::verbatim(&format!(
        "listeners: [{{ name: east-west, bind: '127.0.0.1:0' }}]
kubernetes: {{ kubeconfig: '{}', network: main, gateway_api: off, export: {{ mode: all, alpn: any }} }}",
        kubeconfig.display()
    ));
    let gateway = TestGateway::start(&config);
    gateway.wait_ready();
    let host = "web.apps.svc.cluster.local";
    let meets = |pod: &str| {
        let met = ask(gateway.address(), host, &[]);
        met.is_ok_and(|(_, met)| met == pod)
    };
    wait_until("the list is routed", || meets("web-1"));

    let moved = at(slice("web-2"), 5);
    let slices = api(&client, &moved);
    let patch = Patch::Merge(&moved);
    runtime
        .block_on(slices.patch("web-1", &PatchParams::default(), &patch))
        .unwrap();
    wait_until("a change is routed", || meets("web-2"));

    runtime
        .block_on(slices.delete("web-1", &DeleteParams::default()))
        .unwrap();
    wait_until("no pod is left", || {
        ask(gateway.address(), host, &[]).is_err()
    });
    std::fs::remove_dir_all(&folder).unwrap();
}
