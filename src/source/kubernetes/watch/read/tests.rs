use serde_json::{Value, json};

use super::*;
use crate::source::kubernetes::records::{ClientTls, Labels};
use crate::source::kubernetes::watch::istio::{DestinationRuleObject, PeerAuthenticationObject};

fn served(version: &'static str) -> Served {
    Served {
        group: "",
        version,
        plural: "",
        only: None,
    }
}

/// Reads an object with the metadata that the API adds to every one.
fn read<O: Watched>(mut object: Value) -> Result<Option<Record>, String> {
    let metadata = &mut object["metadata"];
    metadata["namespace"] = "apps".into();
    metadata["name"] = "a".into();
    metadata["resourceVersion"] = "7".into();
    metadata["creationTimestamp"] = "1970-01-01T00:01:00Z".into();
    metadata["managedFields"] = json!([{ "manager": "m", "fieldsV1": { "f:spec": {} } }]);
    let object: O = serde_json::from_value(object).map_err(|error| error.to_string())?;
    object.record(&served("v1alpha2"))
}

macro_rules! record {
    ($kind:ident of $object:ty: $json:expr) => {
        match read::<$object>($json) {
            Ok(Some(Record::$kind(record))) => record,
            other => panic!("{other:?}"),
        }
    };
}

#[test]
fn a_service_is_cut_down_to_its_tcp_ports_and_what_the_policy_asks_for() {
    let service = record!(Service of ServiceObject: json!({
        "metadata": {
            "labels": { "team": "a" },
            "annotations": { "strait.dev/export": "true", "other/x": "y", "networking.istio.io/exportTo": "., *" },
        },
        "spec": {
            "type": "LoadBalancer", "clusterIP": "fd00::1", "ipFamilies": ["IPv6", "IPv4"],
            "externalIPs": ["192.0.2.9"],
            "ports": [
                { "name": "web", "port": 80, "targetPort": "http" },
                { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53 },
                { "port": 443, "protocol": "TCP", "nodePort": 31000, "targetPort": 8443 },
            ],
        },
        "status": { "loadBalancer": { "ingress": [{ "hostname": "lb.example" }, { "ip": "192.0.2.1" }] } },
    }));
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| (&*port.name, port.port, port.target.map(NonZeroU16::get)))
        .collect();
    assert_eq!(ports, [("web", 80, None), ("", 443, Some(8443))]);
    assert_eq!(
        (&*service.resource_version, service.kind),
        ("7", ServiceKind::Balanced)
    );
    assert_eq!(service.labels, Labels::from_iter([("team", "a")]));
    assert_eq!(service.annotations, Labels::from_iter([("export", "true")]));
    assert!(service.ipv6_first);
    assert_eq!(*service.export_to, [".".into(), "*".into()]);
    assert_eq!(
        *service.addresses,
        ["lb.example".into(), "192.0.2.1".into()]
    );
}

#[test]
fn a_headless_service_an_alias_and_what_one_is_exported_to() {
    let spec =
        |spec: Value| record!(Service of ServiceObject: json!({ "metadata": {}, "spec": spec }));
    let headless = spec(json!({ "clusterIP": "None", "externalIPs": ["192.0.2.9"] }));
    assert_eq!(
        (headless.kind, &*headless.addresses),
        (ServiceKind::Headless, &["192.0.2.9".into()][..])
    );
    let alias = spec(json!({ "type": "ExternalName", "externalName": "x.example" }));
    assert_eq!(
        (alias.kind, alias.ports.len()),
        (ServiceKind::ExternalName, 0)
    );
    let export_to = |to: &str| {
        let annotations = json!({ "networking.istio.io/exportTo": to });
        let object = json!({ "metadata": { "annotations": annotations }, "spec": {} });
        record!(Service of ServiceObject: object).export_to
    };
    assert_eq!(
        *export_to("apps, istio-system"),
        ["apps".into(), "istio-system".into()]
    );
    assert_eq!(*export_to(" "), ["".into()]);
    // An empty annotation counts as none.
    assert!(export_to("").is_empty());
}

#[test]
fn conditions_of_an_endpoint_that_are_not_said_count_as_the_api_has_it() {
    let slice = record!(Slice of SliceObject: json!({
        "metadata": { "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "ports": [{ "name": "web", "port": 8080, "protocol": "TCP" }, { "name": "all" }, { "name": null, "port": 9 }],
        "endpoints": [
            { "addresses": ["10.0.0.1", "10.0.0.2"] },
            { "addresses": ["10.0.0.3"], "conditions": { "ready": false, "serving": false }, "zone": "z",
              "nodeName": "n", "hostname": "web-0", "targetRef": { "kind": "Pod", "name": "web-0" } },
            { "addresses": ["10.0.0.4"], "conditions": { "ready": false, "serving": true, "terminating": true },
              "targetRef": { "kind": "VirtualMachine", "name": "vm" } },
            { "addresses": ["web.example"] },
            { "addresses": [] },
        ],
    }));
    assert_eq!(
        (&*slice.service, &*slice.ports),
        ("web", &[("web".into(), 8080), ("".into(), 9)][..])
    );
    let conditions: Vec<_> = slice
        .endpoints
        .iter()
        .map(|it| (it.ready, it.serving, it.terminating))
        .collect();
    let expected = [
        (true, true, false),
        (false, false, false),
        (false, true, true),
    ];
    assert_eq!(conditions, expected);
    assert_eq!(slice.endpoints[1].pod.as_deref(), Some("web-0"));
    assert_eq!(slice.endpoints[2].pod, None, "not a pod");
    let nobodys = read::<SliceObject>(json!({ "metadata": {}, "endpoints": null, "ports": null }));
    assert_eq!(nobodys, Ok(None));
    let labels = json!({
        "kubernetes.io/service-name": "web", "multicluster.kubernetes.io/service-name": "web",
    });
    let imported = read::<SliceObject>(json!({ "metadata": { "labels": labels } }));
    assert_eq!(imported, Ok(None), "its endpoints are in other clusters");
}

#[test]
fn a_service_export_counts_unless_its_controller_says_that_it_is_invalid() {
    let read = |status: Value| {
        let object = json!({ "metadata": {}, "status": status });
        record!(ServiceExport of ServiceExportObject: object).invalid
    };
    let condition = |kind: &str, status: &str| json!({ "conditions": [{ "type": kind, "status": status, "reason": "R", "message": "no" }] });
    for status in [
        json!({}),
        json!({ "conditions": null }),
        condition("Valid", "True"),
        condition("Valid", "Unknown"),
        condition("Conflict", "True"),
    ] {
        assert_eq!(read(status.clone()), None, "{status}");
    }
    assert_eq!(read(condition("Valid", "False")).as_deref(), Some("R: no"));
    let odd = json!({ "metadata": {}, "status": { "conditions": 1 } });
    assert!(self::read::<ServiceExportObject>(odd).is_err());
}

#[test]
fn of_pods_and_nodes_metadata_is_enough() {
    let pod = record!(Pod of PodObject: json!({ "metadata": { "labels": { "app": "web" } } }));
    assert_eq!(pod.labels.get("app"), Some("web"));
    let zone = json!({ "topology.kubernetes.io/zone": "z", "kubernetes.io/arch": "amd64" });
    let node = record!(Node of NodeObject: json!({ "metadata": { "labels": zone } }));
    assert_eq!(node.zone.as_deref(), Some("z"));
    let old = json!({
        "failure-domain.beta.kubernetes.io/region": "old", "topology.kubernetes.io/region": "r",
        "failure-domain.beta.kubernetes.io/zone": "z", "topology.istio.io/subzone": "s",
    });
    let node = record!(Node of NodeObject: json!({ "metadata": { "labels": old } }));
    let parts = [&node.region, &node.zone, &node.subzone].map(Option::as_deref);
    assert_eq!(parts, [Some("r"), Some("z"), Some("s")]);
    let node = record!(Node of NodeObject: json!({ "metadata": { "labels": null } }));
    assert_eq!(node.zone, None);
}

#[test]
fn a_peer_authentication_says_disable_or_something_else_or_nothing() {
    let read = |spec: Value| record!(PeerAuthentication of PeerAuthenticationObject: json!({ "metadata": {}, "spec": spec }));
    let one = read(json!({
        "selector": { "matchLabels": { "app": "web" } },
        "mtls": { "mode": "STRICT" },
        "portLevelMtls": { "80": { "mode": "DISABLE" }, "81": { "mode": "UNSET" }, "x": { "mode": "DISABLE" } },
    }));
    assert_eq!((one.created, one.disabled), (60, Some(false)));
    assert_eq!(one.selector.get("app"), Some("web"));
    assert_eq!(one.disabled_ports, [(80, Some(true)), (81, None)].into());
    assert_eq!(
        read(json!({ "mtls": { "mode": "DISABLE" } })).disabled,
        Some(true)
    );
    assert_eq!(read(json!({ "mtls": {} })).disabled, None);
    assert_eq!(read(json!({})).disabled, None);
}

#[test]
fn a_destination_rule_says_tls_for_all_ports_for_one_and_for_a_subset() {
    let rule = record!(DestinationRule of DestinationRuleObject: json!({
        "metadata": {},
        "spec": {
            "host": "web", "exportTo": ["."], "workloadSelector": { "matchLabels": {} },
            "trafficPolicy": {
                "tls": { "mode": "ISTIO_MUTUAL" },
                "portLevelSettings": [
                    { "port": { "number": 80 }, "tls": { "mode": "SIMPLE" } },
                    { "port": { "number": 81 }, "tls": {} },
                    { "port": { "number": 82 }, "loadBalancer": { "simple": "RANDOM" } },
                ],
            },
            "subsets": [
                { "name": "v1", "labels": { "version": "v1" }, "trafficPolicy": { "tls": { "mode": "DISABLE" } } },
                { "name": "all" },
            ],
        },
    }));
    assert!(rule.for_workloads);
    let tls = rule.tls.unwrap();
    assert_eq!(tls.mode, Some(ClientTls::IstioMutual));
    assert_eq!(
        tls.ports,
        [(80, ClientTls::Own), (81, ClientTls::Disable)].into()
    );
    assert_eq!(rule.subsets[0].tls.mode, Some(ClientTls::Disable));
    assert!(rule.subsets[1].labels.is_empty());
    let plain = record!(DestinationRule of DestinationRuleObject: json!({ "metadata": {}, "spec": { "host": "web" } }));
    assert_eq!((plain.tls, plain.for_workloads), (None, false));
}

#[test]
fn a_custom_resource_that_cannot_be_read_does_not_spoil_its_list() {
    let wrong = json!({ "metadata": {}, "spec": { "host": ["not a text"] } });
    let error = read::<DestinationRuleObject>(wrong).unwrap_err();
    assert!(error.contains("invalid type"), "{error}");
    assert!(
        read::<GatewayClassObject>(json!({ "metadata": {} })).is_err(),
        "no spec"
    );
}

#[test]
fn a_tls_route_says_who_reports_on_it_and_by_which_version() {
    let route = record!(TlsRoute of TlsRouteObject: json!({
        "metadata": { "generation": 3, "annotations": { "strait.dev/alpn": "any" } },
        "spec": { "hostnames": ["a.example"], "rules": [] },
        "status": { "parents": [
            { "controllerName": "b/x", "parentRef": { "name": "g" }, "conditions": [] },
            { "controllerName": "a/x", "parentRef": { "name": "g" } },
            { "controllerName": "b/x", "parentRef": { "name": "h" } },
        ] },
    }));
    assert_eq!(*route.reported_by, ["a/x".into(), "b/x".into()]);
    assert_eq!(
        (&*route.api_version, route.revision.generation),
        ("v1alpha2", 3)
    );
    assert_eq!(route.annotations.get("alpn"), Some("any"));
}
