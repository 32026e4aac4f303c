//! The Deployment: whether its pods can start, may do no more than they must, and end in order.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Check, Gateway, items};

/// Memory that strait takes for each connection (both sockets in the kernel included), beside all
/// limits.
const PER_CONNECTION: u64 = 10 << 10;
const AT_REST: u64 = 64 << 20;

/// The sysctls that Kubernetes lets every pod set, since 1.30.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];

pub fn check(check: &mut Check<'_>, gateway: &Gateway) {
    image(check, gateway);
    rights(check, gateway);
    config(check, gateway);
    saved_state(check, gateway);
    ports(check, gateway);
    probes(check, gateway);
    drain(check, gateway);
    resources(check, gateway);
    environment(check, gateway);
    placement(check, gateway);
}

fn image(check: &mut Check<'_>, gateway: &Gateway) {
    let image = concat!("strait:", env!("CARGO_PKG_VERSION"));
    check.same("the image", &gateway.container["image"], &json!(image));
    let policy = &gateway.container["imagePullPolicy"];
    check.same("imagePullPolicy", policy, &json!("IfNotPresent"));
    check.same(
        "containers",
        items(&gateway.pod()["containers"]).count(),
        1_usize,
    );
}

fn rights(check: &mut Check<'_>, gateway: &Gateway) {
    let (pod, container) = (gateway.pod(), &gateway.container["securityContext"]);
    let context = &pod["securityContext"];
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let dockerfile = fs::read_to_string(dockerfile).unwrap();
    let user = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("USER "));
    let ours = format!("{}:{}", context["runAsUser"], context["runAsGroup"]);
    check.same("the image's user", user, Some(&*ours));
    check.same("runAsNonRoot", &context["runAsNonRoot"], &json!(true));
    let seccomp = &context["seccompProfile"]["type"];
    check.same("seccomp", seccomp, &json!("RuntimeDefault"));
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
    });
    check.same("the container's rights", container, &expected);
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        check.holds(shared, pod[shared].is_null());
    }
    for sysctl in items(&context["sysctls"]) {
        let is_safe = SAFE_SYSCTLS.iter().any(|safe| sysctl["name"] == *safe);
        check.holds("a sysctl is not safe", is_safe);
    }
    let own = items(&context["sysctls"]).find(|s| s["name"] == "net.ipv4.ip_local_port_range");
    let range = own
        .and_then(|sysctl| sysctl["value"].as_str())
        .unwrap_or("0");
    let first = range
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok());
    let listens = bound(gateway);
    let above = listens.iter().all(|port| Some(*port) < first);
    check.holds("local ports hold those that strait listens on", above);
}

/// The ConfigMap arrives where the program looks for it, and later changes do too.
fn config(check: &mut Check<'_>, gateway: &Gateway) {
    let (volume, mounts) = (
        &gateway.pod()["volumes"][0],
        &gateway.container["volumeMounts"],
    );
    let mount = items(mounts).find(|mount| mount["name"] == volume["name"]);
    let mount = mount.unwrap_or(&Value::Null);
    let path = format!(
        "{}/strait.yaml",
        mount["mountPath"].as_str().unwrap_or_default()
    );
    let expected = json!(["run", "--config", path]);
    check.same("the arguments", &gateway.container["args"], &expected);
    check.holds("a subPath is never updated", mount["subPath"].is_null());
    // A name that kustomize makes of the content would replace the pods.
    let name = &gateway.deployment["metadata"]["name"];
    let map = &volume["configMap"]["name"];
    check.same("the ConfigMap's name", map, name);
}

/// The saved state lies in a folder that lasts as long as the pod, that strait may write, and that a new
/// file fits beside the old one.
fn saved_state(check: &mut Check<'_>, gateway: &Gateway) {
    let kubernetes = gateway.config.kubernetes.as_ref();
    let Some(config) = kubernetes.and_then(|kubernetes| kubernetes.saved_state.as_ref()) else {
        return check.problem("no state of the cluster is saved");
    };
    let folder = config.path.parent().and_then(Path::to_str);
    let mut mounts = items(&gateway.container["volumeMounts"]);
    let mount = mounts.find(|mount| mount["mountPath"].as_str() == folder);
    let Some(mount) = mount.filter(|mount| mount["readOnly"] != true) else {
        return check.problem("the saved state's folder is not mounted to be written");
    };
    let mut volumes = items(&gateway.pod()["volumes"]);
    let volume = volumes.find(|volume| volume["name"] == mount["name"]);
    let limit = volume.and_then(|volume| volume["emptyDir"]["sizeLimit"].as_str());
    let limit = limit.and_then(|limit| limit.strip_suffix("Mi")?.parse::<usize>().ok());
    let fits = limit.is_some_and(|limit| limit << 20 > 2 * config.max_size);
    check.holds("the saved state's folder is too small for two files", fits);
}

/// The ports on which strait listens for others.
fn bound(gateway: &Gateway) -> Vec<u64> {
    let config = &gateway.config;
    let listeners = config.listeners.iter().map(|one| one.bind.port());
    let servers = [config.status, config.metrics].into_iter().flatten();
    let all = listeners
        .chain(gateway.gateway_ports())
        .chain(servers.map(|bind| bind.port()));
    all.map(u64::from).collect()
}

fn ports(check: &mut Check<'_>, gateway: &Gateway) {
    let ports = items(&gateway.container["ports"]);
    let numbers: Vec<_> = ports
        .filter_map(|port| port["containerPort"].as_u64())
        .collect();
    let mut expected = bound(gateway);
    // Its config serves no Gateways, and the base's port stays.
    if check.rendered.folder == "istio-migration" {
        expected.insert(1, 443);
    }
    check.same("the container's ports", &numbers, &expected);
    let sysctls = &gateway.pod()["securityContext"]["sysctls"];
    let mut sysctls = items(sysctls);
    let free = sysctls.find(|sysctl| sysctl["name"] == "net.ipv4.ip_unprivileged_port_start");
    let free = free.and_then(|sysctl| sysctl["value"].as_str()?.parse().ok());
    check.holds(
        "a port below those that a user without rights may open",
        numbers.iter().all(|port| free.unwrap_or(1024) <= *port),
    );
    let admin = gateway.config.admin;
    let closed = admin.is_none_or(|bind| bind.ip().is_loopback());
    check.holds("the admin server is not on loopback", closed);
}

fn probes(check: &mut Check<'_>, gateway: &Gateway) {
    let status = gateway.config.status.map(|bind| u64::from(bind.port()));
    for (probe, path) in [
        ("startupProbe", "/healthz/live"),
        ("readinessProbe", "/healthz/ready"),
        ("livenessProbe", "/healthz/live"),
    ] {
        let get = &gateway.container[probe]["httpGet"];
        check.same(probe, &get["path"], &json!(path));
        check.same(probe, gateway.port(&get["port"]), status);
    }
    let startup = &gateway.container["startupProbe"];
    let tries = [&startup["periodSeconds"], &startup["failureThreshold"]];
    check.same("startupProbe", tries, [&json!(1), &json!(30)]);
}

fn drain(check: &mut Check<'_>, gateway: &Gateway) {
    let seconds = |value: &Value| Duration::from_secs(value.as_u64().unwrap_or_default());
    let drain = gateway.config.drain;
    let grace = seconds(&gateway.pod()["terminationGracePeriodSeconds"]);
    let fits = drain.readiness_delay + drain.window < grace;
    check.holds("the drain does not fit the grace period", fits);
    let readiness = &gateway.container["readinessProbe"];
    let tries = readiness["failureThreshold"].as_u64().unwrap_or(3);
    let seen = seconds(&readiness["periodSeconds"]) * u32::try_from(tries).unwrap();
    let in_time = seen < drain.readiness_delay;
    check.holds("readiness is lost after the listeners have closed", in_time);
    let strategy = &gateway.deployment["spec"]["strategy"]["rollingUpdate"];
    check.same("maxUnavailable", &strategy["maxUnavailable"], &json!(0));
}

fn resources(check: &mut Check<'_>, gateway: &Gateway) {
    let resources = &gateway.container["resources"];
    let limit = resources["limits"]["memory"].as_str().unwrap_or_default();
    let number = |unit| limit.strip_suffix(unit)?.parse::<u64>().ok();
    let limit = number("Gi")
        .map(|gi| gi << 30)
        .or(number("Mi").map(|mi| mi << 20));
    let limits = &gateway.config.limits;
    let Some(connections) = limits.connections else {
        return check.problem("limits.connections is as the node's file limit has it");
    };
    let needed = u64::try_from(connections).unwrap() * PER_CONNECTION
        + u64::try_from(limits.hello_memory + limits.carry_memory).unwrap()
        + AT_REST;
    check.holds(
        "the memory limit is below what strait's limits allow",
        Some(needed) < limit,
    );
    let asked = &resources["requests"];
    let both = asked["cpu"].is_string() && asked["memory"].is_string();
    check.holds("no requests for CPU and memory", both);
    // Without a quota `auto` is the node's CPUs; the config is read here as on a node with one.
    let bounded = resources["limits"]["cpu"].is_string() || gateway.config.workers.get() > 1;
    check.holds("workers are as many as the node has CPUs", bounded);
}

fn environment(check: &mut Check<'_>, gateway: &Gateway) {
    let expected = [
        ("STRAIT_POD_NAME", "metadata.name"),
        ("STRAIT_POD_NAMESPACE", "metadata.namespace"),
        ("STRAIT_NODE_NAME", "spec.nodeName"),
        (
            "STRAIT_ZONE",
            "metadata.labels['topology.kubernetes.io/zone']",
        ),
    ];
    let found = items(&gateway.container["env"]).map(|variable| {
        let path = &variable["valueFrom"]["fieldRef"]["fieldPath"];
        (
            variable["name"].as_str().unwrap_or_default(),
            path.as_str().unwrap_or_default(),
        )
    });
    check.same(
        "the environment",
        found.collect::<Vec<_>>(),
        expected.to_vec(),
    );
    let links = &gateway.pod()["enableServiceLinks"];
    check.same("enableServiceLinks", links, &json!(false));
}

fn placement(check: &mut Check<'_>, gateway: &Gateway) {
    let pod = gateway.pod();
    let selector = &gateway.deployment["spec"]["selector"]["matchLabels"];
    check.holds(
        "the Deployment's selector",
        gateway.is_selected_by(selector),
    );
    let constraints = &pod["topologySpreadConstraints"];
    for constraint in items(constraints) {
        let selector = &constraint["labelSelector"]["matchLabels"];
        check.holds("a spread's selector", gateway.is_selected_by(selector));
    }
    let keys: Vec<_> = items(constraints)
        .map(|constraint| &constraint["topologyKey"])
        .collect();
    let expected = [
        &json!("topology.kubernetes.io/zone"),
        &json!("kubernetes.io/hostname"),
    ];
    check.same("what pods are spread over", keys, expected);
    let class = check
        .rendered
        .named("PriorityClass", &pod["priorityClassName"]);
    check.holds("no such PriorityClass", class["value"].is_u64());
    check.same(
        "sidecar injection",
        &gateway.labels["sidecar.istio.io/inject"],
        &json!("false"),
    );
}
