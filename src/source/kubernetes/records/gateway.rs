//! The records of the Gateway API's objects: the parts of their `spec` that routing needs, spelled as
//! the API spells them.
//!
//! The crate `gateway-api` is not used: its 0.22 is made for kube 4, keeps every field, and has no
//! TLSRoute of `v1alpha2`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::labels::Labels;

/// The API group of all of them.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// The state of the object that a record was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// `metadata.resourceVersion`: changes with every write, to its status too.
    pub resource_version: Arc<str>,
    /// `metadata.generation`: changes with its spec only.
    pub generation: i64,
    /// `metadata.creationTimestamp`, seconds since 1970.
    pub created: i64,
}

/// A GatewayClass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayClassRecord {
    /// Its state.
    pub revision: Revision,
    /// Its `spec`.
    pub spec: GatewayClassSpec,
}

/// A Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRecord {
    /// Its state.
    pub revision: Revision,
    /// Its `spec`.
    pub spec: GatewaySpec,
}

/// A TLSRoute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsRouteRecord {
    /// Its state.
    pub revision: Revision,
    /// The API version that it was read with and that its status is written with: `v1`, or an older one
    /// where the cluster serves only that.
    pub api_version: Arc<str>,
    /// strait's annotations (`strait.dev/...`), without the prefix.
    pub annotations: Labels,
    /// Its `spec`.
    pub spec: TlsRouteSpec,
    /// Every `controllerName` with an entry in `status.parents`, once each.
    pub reported_by: Box<[Arc<str>]>,
}

/// A ReferenceGrant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceGrantRecord {
    /// Its `spec`.
    pub spec: ReferenceGrantSpec,
}

/// `spec` of a GatewayClass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// The controller that serves its Gateways.
    pub controller_name: Arc<str>,
    /// True if it refers to an object with parameters.
    #[serde(
        default,
        rename = "parametersRef",
        deserialize_with = "is_there",
        serialize_with = "there",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub has_parameters: bool,
}

/// `spec` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// The name of its GatewayClass.
    pub gateway_class_name: Arc<str>,
    /// Up to 64.
    #[serde(default)]
    pub listeners: Box<[GatewayListener]>,
    /// The addresses that it asks for.
    #[serde(default)]
    pub addresses: Box<[AddressRequest]>,
    /// The infrastructure that it asks for.
    #[serde(default)]
    pub infrastructure: Infrastructure,
}

/// `infrastructure` of a Gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infrastructure {
    /// True if it refers to an object with parameters.
    #[serde(
        default,
        rename = "parametersRef",
        deserialize_with = "is_there",
        serialize_with = "there",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub has_parameters: bool,
}

/// An address that a Gateway asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRequest {
    /// `IPAddress` (the default), `Hostname`, or an address type of some implementation.
    #[serde(default, rename = "type")]
    pub kind: Option<Arc<str>>,
    /// The address. Empty for any address of the type.
    #[serde(default)]
    pub value: Arc<str>,
}

/// A listener of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayListener {
    /// Its name, unique in its Gateway.
    pub name: Arc<str>,
    /// The server names that it takes; `None` or empty for all.
    #[serde(default)]
    pub hostname: Option<Arc<str>>,
    /// The port that it listens on.
    pub port: u16,
    /// `TLS`, or a protocol that strait does not serve.
    pub protocol: Arc<str>,
    /// The treatment of TLS.
    #[serde(default)]
    pub tls: ListenerTls,
    /// The routes that may attach.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// `tls` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerTls {
    /// `Passthrough`, or `Terminate` (the default).
    #[serde(default)]
    pub mode: Option<Arc<str>>,
    /// The certificates of a listener that ends TLS; up to 64. strait reads none of them.
    #[serde(default, rename = "certificateRefs")]
    pub certificate_refs: Box<[CertificateRef]>,
}

/// A reference to a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRef {
    /// The core group (empty) by default.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// `Secret` by default.
    #[serde(default)]
    pub kind: Option<Arc<str>>,
    /// The Gateway's namespace by default.
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

/// `allowedRoutes` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedRoutes {
    /// The namespaces of the routes.
    #[serde(default)]
    pub namespaces: RouteNamespaces,
    /// The kinds of the routes; empty for all that suit the protocol.
    #[serde(default)]
    pub kinds: Box<[RouteKind]>,
}

/// A kind of route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteKind {
    /// [`GROUP`] by default.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// The kind, for instance `TLSRoute`.
    pub kind: Arc<str>,
}

/// The namespaces whose routes may attach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteNamespaces {
    /// `Same` (the default), `All` or `Selector`; any other value admits no namespace.
    #[serde(default)]
    pub from: Option<Arc<str>>,
    /// The namespaces when `from` is `Selector`.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
}

/// A `LabelSelector`. All demands must hold; an empty selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that the object must have with these values.
    #[serde(default)]
    pub match_labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Further demands.
    #[serde(default)]
    pub match_expressions: Box<[LabelDemand]>,
}

/// A demand of a [`LabelSelector`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelDemand {
    /// The label.
    pub key: Arc<str>,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`; any other operator matches nothing.
    pub operator: Arc<str>,
    /// The values for `In` and `NotIn`.
    #[serde(default)]
    pub values: Box<[Arc<str>]>,
}

impl LabelSelector {
    /// Whether an object with `labels` matches.
    pub fn takes(&self, labels: &Labels) -> bool {
        let demand = |demand: &LabelDemand| {
            let value = labels.get(&demand.key);
            let listed = || demand.values.iter().any(|wanted| Some(&**wanted) == value);
            match &*demand.operator {
                "In" => listed(),
                // An object without the label matches too.
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        };
        labels.have_all(&self.match_labels) && self.match_expressions.iter().all(demand)
    }
}

/// `spec` of a TLSRoute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    /// The Gateways that it attaches to; up to 32.
    #[serde(default)]
    pub parent_refs: Box<[ParentRef]>,
    /// Up to 1,024. `v1` demands at least one; before `v1`, none meant every name of the listener.
    #[serde(default)]
    pub hostnames: Box<[Arc<str>]>,
    /// `v1` has exactly one.
    #[serde(default)]
    pub rules: Box<[TlsRouteRule]>,
}

/// A reference to a Gateway that a route attaches to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// [`GROUP`] by default.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// `Gateway` by default.
    #[serde(default)]
    pub kind: Option<Arc<str>>,
    /// The route's namespace by default.
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// The name of one listener; `None` or empty for any.
    #[serde(default)]
    pub section_name: Option<Arc<str>>,
    /// The port of the listeners; `None` for any.
    #[serde(default)]
    pub port: Option<u16>,
}

/// A rule of a TLSRoute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteRule {
    /// Up to 16.
    #[serde(default)]
    pub backend_refs: Box<[BackendRef]>,
}

/// A reference to a Service that a route sends its connections to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRef {
    /// The core group (empty) by default.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// `Service` by default.
    #[serde(default)]
    pub kind: Option<Arc<str>>,
    /// The route's namespace by default.
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// The Service's port, never its targetPort.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its share of the connections, 0..=1,000,000; 1 by default.
    #[serde(default)]
    pub weight: Option<u32>,
}

/// `spec` of a ReferenceGrant: the objects of its namespace that others may refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantSpec {
    /// The objects that may refer.
    #[serde(default)]
    pub from: Box<[GrantFrom]>,
    /// The objects that may be referred to.
    #[serde(default)]
    pub to: Box<[GrantTo]>,
}

/// The kind and namespace of objects that may refer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantFrom {
    /// The API group.
    pub group: Arc<str>,
    /// The kind.
    pub kind: Arc<str>,
    /// The namespace.
    pub namespace: Arc<str>,
}

/// Objects that may be referred to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTo {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The kind.
    pub kind: Arc<str>,
    /// The object's name; `None` or empty for every object of the kind.
    #[serde(default)]
    pub name: Option<Arc<str>>,
}

/// Reads any value, and returns whether the field exists.
fn is_there<'de, D: serde::Deserializer<'de>>(field: D) -> Result<bool, D::Error> {
    Ok(Option::<serde::de::IgnoredAny>::deserialize(field)?.is_some())
}

/// Writes an empty object: the field exists.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn there<S: serde::Serializer>(_: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map::<(), (), _>([])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_holds_only_if_every_demand_does() {
        let labels: Labels = [("team", "a"), ("tier", "web")].into_iter().collect();
        for (selector, takes) in [
            ("{}", true),
            ("matchLabels: {team: a}", true),
            ("matchLabels: {team: b}", false),
            (
                "matchExpressions: [{key: team, operator: In, values: [b, a]}]",
                true,
            ),
            (
                "matchExpressions: [{key: team, operator: In, values: []}]",
                false,
            ),
            (
                "matchExpressions: [{key: team, operator: NotIn, values: [b]}]",
                true,
            ),
            (
                "matchExpressions: [{key: team, operator: NotIn, values: [a]}]",
                false,
            ),
            (
                "matchExpressions: [{key: none, operator: NotIn, values: [a]}]",
                true,
            ),
            ("matchExpressions: [{key: tier, operator: Exists}]", true),
            ("matchExpressions: [{key: none, operator: Exists}]", false),
            (
                "matchExpressions: [{key: tier, operator: DoesNotExist}]",
                false,
            ),
            (
                "matchExpressions: [{key: none, operator: DoesNotExist}]",
                true,
            ),
            ("matchExpressions: [{key: tier, operator: Newer}]", false),
            (
                "{matchLabels: {team: a}, matchExpressions: [{key: tier, operator: DoesNotExist}]}",
                false,
            ),
        ] {
            let parsed: LabelSelector = serde_saphyr::from_str(selector).unwrap();
            assert_eq!(parsed.takes(&labels), takes, "{selector}");
        }
    }

    #[test]
    fn unknown_fields_and_nulls_are_no_errors() {
        let spec: GatewaySpec = serde_json::from_value(serde_json::json!({
            "gatewayClassName": "strait",
            "infrastructure": {"labels": {"a": "b"}, "parametersRef": {"kind": "X"}},
            "listeners": [{
                "name": "tls", "port": 443, "protocol": "TLS", "hostname": null,
                "tls": {"mode": "Passthrough", "options": {}},
                "newField": 1,
            }],
        }))
        .unwrap();
        assert!(spec.infrastructure.has_parameters);
        assert_eq!(spec.listeners[0].hostname, None);
        let spec: GatewayClassSpec = serde_json::from_value(
            serde_json::json!({"controllerName": "x", "parametersRef": null}),
        )
        .unwrap();
        assert!(!spec.has_parameters);
    }
}
