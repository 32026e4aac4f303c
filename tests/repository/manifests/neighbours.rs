//! strait's neighbours in a cluster: Istio and Gateway API.

use serde_json::{Value, json};

use super::{Check, items, selects};

/// The label by which istiod knows a network's gateway.
const NETWORK: &str = "topology.istio.io/network";

pub fn check(check: &mut Check<'_>) {
    match &*check.rendered.folder {
        "istio" => network_gateway(check),
        "istio-migration" => migration(check),
        "gateway-api" => gateway_api(check),
        // Elsewhere istiod must not take it for one.
        _ => {
            let services = check.rendered.all("Service");
            let unlabelled = |service: &Value| service["metadata"]["labels"][NETWORK].is_null();
            let unlabelled = { services }.all(unlabelled);
            check.holds("istiod takes it for a network's gateway", unlabelled);
        }
    }
}

fn network_gateway(check: &mut Check<'_>) {
    let service = check.rendered.only("Service");
    let network = service["metadata"]["labels"][NETWORK].as_str();
    let named = network.is_some_and(|name| !name.is_empty());
    check.holds("istiod does not know it as a network's gateway", named);
    // The Service's port, by number; its name means nothing to istiod.
    let port = items(&service["spec"]["ports"]).any(|port| port["port"] == 15443);
    check.holds("istiod finds no port 15443", port);
    check.same(
        "where istiod gets addresses",
        &service["spec"]["type"],
        &json!("LoadBalancer"),
    );
}

/// The selector of the existing gateway's Service and the labels of its pods, as the Helm chart
/// `gateway` has them, and as `istioctl` with the output of gen-eastwest-gateway.sh has them.
fn existing() -> [(Value, Value); 2] {
    let chart = json!({ "app": "istio-eastwestgateway", "istio": "eastwestgateway" });
    let mut generated = chart.clone();
    generated[NETWORK] = "network1".into();
    let pods = |own: &Value| {
        let mut labels = own.clone();
        labels["app.kubernetes.io/name"] = "istio-eastwestgateway".into();
        labels["sidecar.istio.io/inject"] = "true".into();
        labels[NETWORK] = "network1".into();
        labels
    };
    let (of_chart, of_generated) = (pods(&chart), pods(&generated));
    [(chart, of_chart), (generated, of_generated)]
}

fn migration(check: &mut Check<'_>) {
    let deployment = check.rendered.only("Deployment");
    let template = &deployment["spec"]["template"];
    let own = &deployment["spec"]["selector"]["matchLabels"];
    for (service, pods) in existing() {
        let joins = selects(&service, &template["metadata"]["labels"]);
        check.holds("the existing Service does not select its pods", joins);
        check.holds(
            "it would select the existing gateway's pods",
            !selects(own, &pods),
        );
    }
    for object in &check.rendered.objects {
        let namespace = &object["metadata"]["namespace"];
        let there = namespace.is_null() || namespace == "istio-system";
        check.holds("not in the existing gateway's namespace", there);
        for theirs in [
            "Namespace",
            "Service",
            "HorizontalPodAutoscaler",
            "PodDisruptionBudget",
        ] {
            check.holds("not its own to bring", object["kind"] != theirs);
        }
        // An object without a namespace must not be the base's, which may be in the same cluster.
        let apart = !namespace.is_null() || object["metadata"]["name"] != "strait";
        check.holds("the same name as an object of the base", apart);
    }
    check.same("the canary", &deployment["spec"]["replicas"], &json!(1));
    // Its targetPorts are numbers.
    let ports: Vec<_> = items(&template["spec"]["containers"][0]["ports"])
        .map(|port| &port["containerPort"])
        .collect();
    for number in [15443, 15021] {
        check.holds(
            "a targetPort leads nowhere",
            ports.contains(&&json!(number)),
        );
    }
}

fn gateway_api(check: &mut Check<'_>) {
    let class = check.rendered.only("GatewayClass");
    let controller = &class["spec"]["controllerName"];
    check.same(
        "the controller",
        controller,
        &json!("strait.dev/gateway-controller"),
    );
    let gateway = check.rendered.only("Gateway");
    let named = &gateway["spec"]["gatewayClassName"];
    check.same("the Gateway's class", named, &class["metadata"]["name"]);
    for listener in items(&gateway["spec"]["listeners"]) {
        let kind = [&listener["protocol"], &listener["tls"]["mode"]];
        check.same("a listener", kind, [&json!("TLS"), &json!("Passthrough")]);
        let served = [json!(443), json!(15443)].contains(&listener["port"]);
        check.holds("a listener's port", served);
    }
    for route in check.rendered.all("TLSRoute") {
        for parent in items(&route["spec"]["parentRefs"]) {
            let same = |key: &str| parent[key] == gateway["metadata"][key];
            check.holds("a route's Gateway", same("name") && same("namespace"));
            let mut listeners = items(&gateway["spec"]["listeners"]);
            let listener = listeners.find(|listener| listener["name"] == parent["sectionName"]);
            let pattern = listener.and_then(|listener| listener["hostname"].as_str());
            let suffix = pattern.unwrap_or_default().trim_start_matches('*');
            let mut names = items(&route["spec"]["hostnames"]).filter_map(Value::as_str);
            let inside = !suffix.is_empty() && names.all(|name| name.ends_with(suffix));
            check.holds("a route's hostname is not one of its listener's", inside);
        }
    }
}
