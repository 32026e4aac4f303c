//! A federation file from the manifests of both clusters: each side is as the other side's objects say.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::objects::{EntryObject, FederatedDomain, RuleObject};

/// The federation file for two clusters with these objects.
///
/// # Errors
/// The object that is missing, of which cluster.
pub(crate) fn federation_file(one: &[Value], other: &[Value]) -> Result<String, String> {
    let second = side(one).map_err(|why| format!("the first cluster's manifests: {why}"))?;
    let first = side(other).map_err(|why| format!("the second cluster's manifests: {why}"))?;
    Ok(format!("sides:\n{first}{second}"))
}

/// The side that these objects of the other one are about.
fn side(objects: &[Value]) -> Result<String, String> {
    let domains: Vec<FederatedDomain> = specs(objects, "ClusterFederatedTrustDomain")?;
    let [domain] = &domains[..] else {
        return Err(format!(
            "{} ClusterFederatedTrustDomains where one is needed",
            domains.len()
        ));
    };
    let entries: Vec<EntryObject> = specs(objects, "ServiceEntry")?;
    let rules: Vec<RuleObject> = specs(objects, "DestinationRule")?;
    let prefix = format!("spiffe://{}/", domain.trust_domain);
    let mut gateway = None;
    let mut services = String::new();
    for rule in &rules {
        let names = rule.traffic_policy.tls.iter();
        let mut names = names.flat_map(|tls| &tls.subject_alt_names);
        let Some(id) = names.find(|name| name.starts_with(&prefix)) else {
            continue;
        };
        for entry in entries.iter().filter(|one| one.hosts.contains(&rule.host)) {
            for port in &entry.ports {
                let (host, number) = (quoted(&rule.host), port.number);
                let _ = writeln!(
                    services,
                    "      - {{ host: {host}, port: {number}, spiffe_id: {} }}",
                    quoted(id)
                );
                if let (None, Some(endpoint)) = (&gateway, entry.endpoints.first()) {
                    let port = endpoint.ports.get(&port.name).copied().unwrap_or(number);
                    gateway = Some(match endpoint.address.contains(':') {
                        true => format!("[{}]:{port}", endpoint.address),
                        false => format!("{}:{port}", endpoint.address),
                    });
                }
            }
        }
    }
    let gateway = gateway.ok_or_else(|| {
        format!("no DestinationRule with a subjectAltName of {prefix}, for the host of a ServiceEntry with an endpoint")
    })?;
    Ok(format!(
        "  - trust_domain: {}
    gateway: {}
    bundle_endpoint:
      url: {}
      profile: {}
      spiffe_id: {}
    services:
{services}",
        quoted(&domain.trust_domain),
        quoted(&gateway),
        quoted(&domain.url),
        quoted(&domain.profile.kind),
        quoted(&domain.profile.spiffe_id),
    ))
}

/// The specs of all objects of `kind`.
///
/// # Errors
/// The first object that has none, or one of another form.
fn specs<T: DeserializeOwned>(objects: &[Value], kind: &str) -> Result<Vec<T>, String> {
    let text = |object: &Value, field: &str| {
        let found = object.pointer(field).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let of_kind = objects
        .iter()
        .filter(|object| text(object, "/kind") == kind);
    let spec = |object: &Value| {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        T::deserialize(spec).map_err(|error| {
            let name = text(object, "/metadata/name");
            format!("the spec of {kind} {name} is not as its kind demands: {error}; mend it, or leave it out")
        })
    };
    of_kind.map(spec).collect()
}

/// A text in YAML's double quotes, which JSON's are.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_of_another_form_is_named_and_not_left_out() {
        for spec in [json!({ "trustDomain": 7 }), json!("beta.com"), Value::Null] {
            let kind = "ClusterFederatedTrustDomain";
            let object = json!({ "kind": kind, "metadata": { "name": "beta" }, "spec": spec });
            let why = side(&[object]).unwrap_err();
            let named = "the spec of ClusterFederatedTrustDomain beta is not as its kind demands";
            assert!(why.starts_with(named), "{why}");
            assert!(why.ends_with("; mend it, or leave it out"), "{why}");
        }
    }

    #[test]
    fn an_endpoint_of_ipv6_is_a_gateway_too() {
        for (address, gateway) in [
            ("2001:db8::7", "gateway: \"[2001:db8::7]:15443\""),
            ("192.0.2.7", "gateway: \"192.0.2.7:15443\""),
            ("gate.example", "gateway: \"gate.example:15443\""),
        ] {
            let objects = [
                json!({ "kind": "ClusterFederatedTrustDomain", "spec": { "trustDomain": "beta.com" } }),
                json!({ "kind": "ServiceEntry", "spec": {
                    "hosts": ["web.apps"],
                    "ports": [{ "name": "tcp", "number": 80 }],
                    "endpoints": [{ "address": address, "ports": { "tcp": 15443 } }],
                } }),
                json!({ "kind": "DestinationRule", "spec": { "host": "web.apps", "trafficPolicy": {
                    "tls": { "subjectAltNames": ["spiffe://beta.com/ns/apps/sa/web"] },
                } } }),
            ];
            let side = side(&objects).unwrap();
            assert!(side.contains(gateway), "{side}");
        }
    }
}
