//! strait's rights in the API: those that it needs, and no others.

use serde_json::{Value, json};

use super::{Check, Gateway, items};

pub fn check(check: &mut Check<'_>, gateway: &Gateway) {
    let read = json!(["list", "watch"]);
    // The writer of a status reads the object first.
    let reported = ["gatewayclasses", "gateways", "tlsroutes"];
    let read_one = json!(["get", "list", "watch"]);
    let write = json!(["patch"]);
    for rule in items(&check.rendered.only("ClusterRole")["rules"]) {
        let resources = || items(&rule["resources"]).filter_map(Value::as_str);
        let status = resources().all(|resource| resource.ends_with("/status"));
        let events = rule["resources"] == json!(["events"]);
        let has_status = resources().all(|resource| reported.contains(&resource));
        let expected = match (status, events) {
            (true, _) => &write,
            (_, true) => &json!(["create"]),
            _ if has_status => &read_one,
            _ => &read,
        };
        check.same("verbs in the cluster", &rule["verbs"], expected);
        check.holds(
            "a right to a subresource or to all",
            resources().all(is_plain(status)),
        );
        named(check, rule, mesh_config(gateway));
    }
    for rule in items(&check.rendered.only("Role")["rules"]) {
        check.same("in its namespace", &rule["resources"], &json!(["leases"]));
        let expected = if rule["resourceNames"] == json!(["strait-status"]) {
            json!(["get", "update"])
        } else {
            json!(["create"])
        };
        check.same("verbs on leases", &rule["verbs"], &expected);
        named(check, rule, None);
    }
    needs(check, gateway);
    bindings(check, gateway);
}

fn is_plain(status: bool) -> impl Fn(&str) -> bool {
    move |resource| {
        let whole = resource.strip_suffix("/status").filter(|_| status);
        let letters = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase());
        letters(whole.unwrap_or(resource))
    }
}

/// The ConfigMap that the gateway reads.
fn mesh_config(gateway: &Gateway) -> Option<&str> {
    let kubernetes = gateway.config.kubernetes.as_ref()?;
    kubernetes.istio.config_map.as_deref()
}

/// A rule names what it is about, and neither everything nor secrets, nor more rights. ConfigMaps may be
/// the one of the mesh.
fn named(check: &mut Check<'_>, rule: &Value, config_map: Option<&str>) {
    for key in ["apiGroups", "resources", "verbs"] {
        check.holds(
            "a rule of everything",
            items(&rule[key]).all(|one| one != "*"),
        );
    }
    let secret = [
        "secrets",
        "configmaps",
        "serviceaccounts",
        "roles",
        "clusterroles",
    ];
    let of_mesh = rule["resources"] == json!(["configmaps"])
        && config_map.is_some_and(|name| rule["resourceNames"] == json!([name]));
    let is_secret = |one: &Value| secret.iter().any(|name| one == name);
    let spared = of_mesh || !items(&rule["resources"]).any(is_secret);
    check.holds("a right to secrets", spared);
    check.holds("a rule of paths", rule["nonResourceURLs"].is_null());
}

/// The objects that the source reads and that the status writer writes.
fn needs(check: &mut Check<'_>, gateway: &Gateway) {
    if mesh_config(gateway).is_some() {
        let rules = &check.rendered.only("ClusterRole")["rules"];
        let granted = items(rules).any(|rule| rule["resources"] == json!(["configmaps"]));
        check.holds("no right to the settings of the mesh", granted);
    }
    for (group, resource) in [
        ("", "services"),
        ("", "pods"),
        ("", "namespaces"),
        ("", "nodes"),
        ("discovery.k8s.io", "endpointslices"),
        ("multicluster.x-k8s.io", "serviceexports"),
        ("security.istio.io", "peerauthentications"),
        ("networking.istio.io", "destinationrules"),
        ("networking.istio.io", "serviceentries"),
        ("networking.istio.io", "workloadentries"),
        ("gateway.networking.k8s.io", "gatewayclasses"),
        ("gateway.networking.k8s.io", "gateways"),
        ("gateway.networking.k8s.io", "tlsroutes"),
        ("gateway.networking.k8s.io", "referencegrants"),
        ("gateway.networking.k8s.io", "gatewayclasses/status"),
        ("gateway.networking.k8s.io", "gateways/status"),
        ("gateway.networking.k8s.io", "tlsroutes/status"),
        ("events.k8s.io", "events"),
    ] {
        let granted = items(&check.rendered.only("ClusterRole")["rules"]).any(|rule| {
            let has = |key: &str, one: &str| items(&rule[key]).any(|found| found == one);
            has("apiGroups", group) && has("resources", resource)
        });
        check.holds(&format!("no right to {resource}"), granted);
    }
    let lease = |named: bool| {
        let mut rules = items(&check.rendered.only("Role")["rules"]);
        rules.any(|rule| rule["resourceNames"].is_null() != named)
    };
    let (create, renew) = (lease(false), lease(true));
    check.holds("no right to a lease", create && renew);
}

/// The pods' account has the roles, and nobody else has.
fn bindings(check: &mut Check<'_>, gateway: &Gateway) {
    let account = &gateway.pod()["serviceAccountName"];
    let found = check.rendered.named("ServiceAccount", account);
    let namespace = &gateway.deployment["metadata"]["namespace"];
    check.same(
        "the account's namespace",
        &found["metadata"]["namespace"],
        namespace,
    );
    let watches = gateway.config.kubernetes.is_some();
    let token = [
        &found["automountServiceAccountToken"],
        &gateway.pod()["automountServiceAccountToken"],
    ];
    check.same("who gets a token", token, [&json!(false), &json!(watches)]);
    let subjects = json!([{ "kind": "ServiceAccount", "name": account, "namespace": namespace }]);
    for (kind, role) in [
        ("ClusterRoleBinding", "ClusterRole"),
        ("RoleBinding", "Role"),
    ] {
        let binding = check.rendered.only(kind);
        check.same("who is bound", &binding["subjects"], &subjects);
        check.same("roleRef", &binding["roleRef"]["kind"], &json!(role));
        let bound = check.rendered.named(role, &binding["roleRef"]["name"]);
        check.holds("no such role", bound["rules"].is_array());
    }
}
