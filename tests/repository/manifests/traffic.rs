//! The way to the pods, and their number.

use serde_json::{Value, json};
use strait::config::{ExportMode, GatewayAddresses};
use strait::metrics::{Metrics, SeriesKey};

use super::{Check, Gateway, items, selects};

pub fn check(check: &mut Check<'_>, gateway: &Gateway) {
    services(check, gateway);
    monitors(check, gateway);
    pod_monitors(check, gateway);
    budget(check, gateway);
    autoscaler(check, gateway);
    network(check, gateway);
    kubernetes(check, gateway);
}

/// The routes that strait takes from the API fit its place in the cluster.
fn kubernetes(check: &mut Check<'_>, gateway: &Gateway) {
    let Some(kubernetes) = &gateway.config.kubernetes else {
        return check.problem("nothing is taken from the API");
    };
    // Callers of a mesh weight its gateway for every service.
    let in_mesh = check.rendered.folder.starts_with("istio");
    let all = kubernetes.export.mode == ExportMode::All || kubernetes.export.dry_run;
    check.same("a share of the calls would fail", all, in_mesh);
    let addresses = kubernetes.gateway_api.as_ref().map(|api| &api.addresses);
    if let Some(GatewayAddresses::Service { namespace, name }) = addresses {
        let service = check.rendered.named("Service", &name.as_ref().into());
        let here = service["metadata"]["namespace"] == **namespace;
        check.holds(
            "whose addresses Gateways show",
            here && service["spec"]["type"] == "LoadBalancer",
        );
    }
}

fn services(check: &mut Check<'_>, gateway: &Gateway) {
    let status = gateway.config.status.map(|bind| u64::from(bind.port()));
    let traffic = gateway.config.listeners.first();
    let traffic = traffic.map(|listener| u64::from(listener.bind.port()));
    for service in check.rendered.all("Service") {
        let spec = &service["spec"];
        check.holds(
            "a Service's selector",
            gateway.is_selected_by(&spec["selector"]),
        );
        for port in items(&spec["ports"]) {
            let (number, target) = (port["port"].as_u64(), gateway.port(&port["targetPort"]));
            check.same("a Service's port and where it leads", number, target);
        }
        if spec["type"] == "LoadBalancer" {
            let ports: Vec<_> = items(&spec["ports"])
                .map(|port| port["port"].as_u64())
                .collect();
            let gateways = gateway.gateway_ports();
            let gateways = gateways.iter().map(|port| Some(u64::from(*port)));
            let expected: Vec<_> = [traffic]
                .into_iter()
                .chain(gateways)
                .chain([status])
                .collect();
            check.same("the load balancer's ports", ports, expected);
            let policy = &spec["externalTrafficPolicy"];
            check.same("externalTrafficPolicy", policy, &json!("Local"));
        }
        let families = &spec["ipFamilyPolicy"];
        check.same("ipFamilyPolicy", families, &json!("PreferDualStack"));
    }
    check.same("the listener's port", traffic, Some(15443));
}

/// A ServiceMonitor finds a Service of its namespace, by a port that it has.
fn monitors(check: &mut Check<'_>, gateway: &Gateway) {
    let metrics = gateway.config.metrics.map(|bind| u64::from(bind.port()));
    for monitor in check.rendered.all("ServiceMonitor") {
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        let services = check.rendered.all("Service").filter(|service| {
            let here = service["metadata"]["namespace"] == monitor["metadata"]["namespace"];
            here && selects(selector, &service["metadata"]["labels"])
        });
        let services: Vec<_> = services.collect();
        check.same(
            "Services that the ServiceMonitor finds",
            services.len(),
            1_usize,
        );
        for endpoint in items(&monitor["spec"]["endpoints"]) {
            let ports = services
                .iter()
                .flat_map(|service| items(&service["spec"]["ports"]));
            let mut ports = ports.filter(|port| port["name"] == endpoint["port"]);
            let target = ports
                .next()
                .and_then(|port| gateway.port(&port["targetPort"]));
            check.same("the ServiceMonitor's port", target, metrics);
            let is_served =
                endpoint["path"] == "/metrics" || endpoint["path"] == "/stats/prometheus";
            check.holds("the ServiceMonitor's path", is_served);
        }
    }
}

/// A PodMonitor finds the pods of its namespace, by a port that they have.
fn pod_monitors(check: &mut Check<'_>, gateway: &Gateway) {
    let metrics = gateway.config.metrics.map(|bind| u64::from(bind.port()));
    for monitor in check.rendered.all("PodMonitor") {
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        let found = gateway.is_selected_by(selector);
        check.holds("the PodMonitor's selector", found);
        let namespace = &gateway.deployment["metadata"]["namespace"];
        let here = monitor["metadata"]["namespace"] == *namespace;
        check.holds("the PodMonitor's namespace", here);
        for endpoint in items(&monitor["spec"]["podMetricsEndpoints"]) {
            let target = gateway.port(&endpoint["port"]);
            check.same("the PodMonitor's port", target, metrics);
            let is_served = endpoint["path"] == "/metrics";
            check.holds("the PodMonitor's path", is_served);
        }
    }
}

fn budget(check: &mut Check<'_>, gateway: &Gateway) {
    // If budgets of others may select its pods, it must bring no budget (neighbours.rs).
    if check.rendered.folder == "istio-migration" {
        return;
    }
    let budget = &check.rendered.only("PodDisruptionBudget")["spec"];
    let selector = &budget["selector"]["matchLabels"];
    check.holds("the budget's selector", gateway.is_selected_by(selector));
    check.same("the budget", &budget["maxUnavailable"], &json!(1));
}

fn autoscaler(check: &mut Check<'_>, gateway: &Gateway) {
    let replicas = &gateway.deployment["spec"]["replicas"];
    let mut autoscalers = check.rendered.all("HorizontalPodAutoscaler");
    let Some(autoscaler) = autoscalers.next() else {
        return check.holds("nobody says how many pods", replicas.is_u64());
    };
    let spec = &autoscaler["spec"];
    check.holds("replicas and an autoscaler", replicas.is_null());
    let target = json!({
        "apiVersion": gateway.deployment["apiVersion"],
        "kind": "Deployment",
        "name": gateway.deployment["metadata"]["name"],
    });
    check.same("what is scaled", &spec["scaleTargetRef"], &target);
    let least = spec["minReplicas"].as_u64() >= Some(2);
    check.holds("a single pod is no gateway", least);
    check.same(
        "metrics that scale",
        items(&spec["metrics"]).count(),
        1_usize,
    );
    let pods = &spec["metrics"][0]["pods"];
    let metric = pods["metric"]["name"].as_str().unwrap_or_default();
    check.holds("strait has no such metric", is_gauge(metric));
    let average = pods["target"]["averageValue"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let connections = gateway.config.limits.connections.unwrap_or_default();
    let below = average.is_some_and(|average: usize| average * 2 <= connections);
    check.holds("the autoscaler acts too late for limits.connections", below);
}

/// Whether strait has a gauge of that name with a series for each connection's labels.
fn is_gauge(name: &str) -> bool {
    let metrics = Metrics::new().unwrap();
    metrics.connections(SeriesKey {
        listener: "east-west".into(),
        route: "svcb".into(),
        upstream: "svcb".into(),
        source: "other".into(),
    });
    let mut text = Vec::new();
    metrics.encode(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.contains(&format!("# TYPE {name} gauge\n{name}{{"))
}

fn network(check: &mut Check<'_>, gateway: &Gateway) {
    let policy = &check.rendered.only("NetworkPolicy")["spec"];
    let selector = &policy["podSelector"]["matchLabels"];
    check.holds(
        "the NetworkPolicy's selector",
        gateway.is_selected_by(selector),
    );
    check.same(
        "policyTypes",
        &policy["policyTypes"],
        &json!(["Ingress", "Egress"]),
    );
    let config = &gateway.config;
    let binds = config.listeners.iter().map(|listener| listener.bind);
    let anyone = binds.chain(config.status).map(|bind| bind.port());
    for number in anyone.chain(gateway.gateway_ports()) {
        let port = json!({ "protocol": "TCP", "port": number });
        let open = items(&policy["ingress"]).any(|rule| rule["from"].is_null() && has(rule, &port));
        check.holds(&format!("not admitted from everywhere: {number}"), open);
    }
    if let Some(bind) = config.metrics {
        let port = json!({ "protocol": "TCP", "port": bind.port() });
        let in_cluster = json!([{ "namespaceSelector": {} }]);
        let rules = items(&policy["ingress"]).filter(|rule| has(rule, &port));
        let peers: Vec<_> = rules.map(|rule| &rule["from"]).collect();
        check.same("who may read metrics", peers, [&in_cluster]);
    }
    let admitted = items(&policy["ingress"]).flat_map(|rule| items(&rule["ports"]));
    let known = admitted
        .filter(|port| gateway.port(&port["port"]).is_some())
        .count();
    let all = items(&policy["ingress"]).map(|rule| items(&rule["ports"]).count());
    // A rule without ports admits every one.
    check.same(
        "ports admitted that strait has",
        known,
        all.map(|count| count.max(1)).sum::<usize>(),
    );
    leaving(check, &policy["egress"]);
}

/// Pods and DNS; of the rest only what the API needs, and never a cloud's metadata service.
fn leaving(check: &mut Check<'_>, egress: &Value) {
    let to_pods = json!({ "to": [{ "namespaceSelector": {} }] });
    check.holds(
        "pods cannot be reached",
        items(egress).any(|rule| *rule == to_pods),
    );
    for protocol in ["UDP", "TCP"] {
        let dns = json!({ "protocol": protocol, "port": 53 });
        let open = items(egress).any(|rule| rule["to"].is_null() && has(rule, &dns));
        check.holds("DNS cannot be reached", open);
    }
    for port in [443, 6443] {
        let api = json!({ "protocol": "TCP", "port": port });
        check.holds(
            "the API cannot be reached",
            items(egress).any(|rule| has(rule, &api)),
        );
    }
    for rule in items(egress).filter(|rule| **rule != to_pods) {
        check.holds(
            "every port may be left by",
            items(&rule["ports"]).next().is_some(),
        );
        for block in items(&rule["to"]).map(|to| &to["ipBlock"]) {
            let except = if block["cidr"] == "0.0.0.0/0" {
                json!("169.254.0.0/16")
            } else {
                json!("fd00:ec2::/32")
            };
            let spared = items(&block["except"]).any(|network| *network == except);
            check.holds("metadata services can be reached", spared);
        }
    }
}

fn has(rule: &Value, port: &Value) -> bool {
    items(&rule["ports"]).any(|one| one == port)
}
