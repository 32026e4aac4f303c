//! What is kept of the Gateway API's objects: their `spec`, as far as routing needs it, spelled as the
//! API spells it.
//!
//! The types are not those of the crate `gateway-api`: its 0.22 is made for kube 4, keeps every field,
//! and has no TLSRoute of `v1alpha2`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Labels;

/// The API group of all of them.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// Which state of an object a record is of.
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
    /// The version of the API that it was read by, and that its status is written by: `v1`, or an older
    /// one where that is what the cluster serves.
    pub api_version: Arc<str>,
    /// Annotations of ours (`strait.dev/...`), without the prefix.
    pub annotations: Labels,
    /// Its `spec`.
    pub spec: TlsRouteSpec,
    /// Each `controllerName` that has an entry in `status.parents`, once.
    pub reported_by: Box<[Arc<str>]>,
}

/// A ReferenceGrant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceGrantRecord {
    /// Its `spec`.
    pub spec: ReferenceGrantSpec,
}

/// `spec` of a GatewayClass.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// Who serves its Gateways.
    pub controller_name: Arc<str>,
    /// Whether it refers to an object with parameters.
    #[serde(default, deserialize_with = "is_there", rename = "parametersRef")]
    pub has_parameters: bool,
}

/// `spec` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// The name of its GatewayClass.
    pub gateway_class_name: Arc<str>,
    /// Up to 64.
    #[serde(default)]
    pub listeners: Box<[Listener]>,
    /// Which addresses are asked for.
    #[serde(default)]
    pub addresses: Box<[AddressRequest]>,
    /// What is made for it.
    #[serde(default)]
    pub infrastructure: Infrastructure,
}

/// `infrastructure` of a Gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Infrastructure {
    /// Whether it refers to an object with parameters.
    #[serde(default, deserialize_with = "is_there", rename = "parametersRef")]
    pub has_parameters: bool,
}

/// An address that a Gateway asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AddressRequest {
    /// `IPAddress` (when not said), `Hostname`, or a kind of address of some implementation.
    #[serde(default, rename = "type")]
    pub kind: Option<Arc<str>>,
    /// Empty: any address of the kind.
    #[serde(default)]
    pub value: Arc<str>,
}

/// A listener of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Unique in its Gateway.
    pub name: Arc<str>,
    /// Which server names it takes; `None` or empty: all.
    #[serde(default)]
    pub hostname: Option<Arc<str>>,
    /// Where it listens.
    pub port: u16,
    /// `TLS`, or something that is not served here.
    pub protocol: Arc<str>,
    /// What is done with TLS.
    #[serde(default)]
    pub tls: ListenerTls,
    /// Which routes may attach.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// `tls` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ListenerTls {
    /// `Passthrough`, or `Terminate` (when not said).
    #[serde(default)]
    pub mode: Option<Arc<str>>,
}

/// `allowedRoutes` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AllowedRoutes {
    /// Of which namespaces.
    #[serde(default)]
    pub namespaces: RouteNamespaces,
    /// Of which kinds; empty: all that suit the protocol.
    #[serde(default)]
    pub kinds: Box<[RouteKind]>,
}

/// A kind of route.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RouteKind {
    /// [`GROUP`] when not said.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// For instance `TLSRoute`.
    pub kind: Arc<str>,
}

/// Of which namespaces routes may attach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RouteNamespaces {
    /// `Same` (when not said), `All` or `Selector`; anything else admits nothing.
    #[serde(default)]
    pub from: Option<Arc<str>>,
    /// Which namespaces, when `from` is `Selector`.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
}

/// A `LabelSelector`: all of it must hold, and an empty one holds for anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    #[serde(default)]
    pub match_labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Further demands.
    #[serde(default)]
    pub match_expressions: Box<[LabelDemand]>,
}

/// A demand of a [`LabelSelector`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LabelDemand {
    /// The label.
    pub key: Arc<str>,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`; anything else holds for nothing.
    pub operator: Arc<str>,
    /// For `In` and `NotIn`.
    #[serde(default)]
    pub values: Box<[Arc<str>]>,
}

impl LabelSelector {
    /// Whether it takes an object with `labels`.
    pub fn takes(&self, labels: &Labels) -> bool {
        let demand = |demand: &LabelDemand| {
            let value = labels.get(&demand.key);
            let listed = || demand.values.iter().any(|wanted| Some(&**wanted) == value);
            match &*demand.operator {
                "In" => listed(),
                // An object without the label is taken too.
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    /// Where it wants to attach; up to 32.
    #[serde(default)]
    pub parent_refs: Box<[ParentRef]>,
    /// Up to 1,024. `v1` demands one at least; before, none meant every name of the listener.
    #[serde(default)]
    pub hostnames: Box<[Arc<str>]>,
    /// `v1` has exactly one.
    #[serde(default)]
    pub rules: Box<[TlsRouteRule]>,
}

/// A reference to what a route attaches to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// [`GROUP`] when not said.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// `Gateway` when not said.
    #[serde(default)]
    pub kind: Option<Arc<str>>,
    /// The route's when not said.
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// The name of one listener; `None` or empty: any.
    #[serde(default)]
    pub section_name: Option<Arc<str>>,
    /// The port of the listeners; `None`: any.
    #[serde(default)]
    pub port: Option<u16>,
}

/// A rule of a TLSRoute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteRule {
    /// Up to 16.
    #[serde(default)]
    pub backend_refs: Box<[BackendRef]>,
}

/// A reference to what a route sends its connections to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BackendRef {
    /// The core group (empty) when not said.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// `Service` when not said.
    #[serde(default)]
    pub kind: Option<Arc<str>>,
    /// The route's when not said.
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// The port of the Service, never the targetPort.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its share of the connections, 0..=1,000,000; 1 when not said.
    #[serde(default)]
    pub weight: Option<u32>,
}

/// `spec` of a ReferenceGrant: what of its namespace others may refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    #[serde(default)]
    pub from: Box<[GrantFrom]>,
    /// To what.
    #[serde(default)]
    pub to: Box<[GrantTo]>,
}

/// Who may refer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GrantFrom {
    /// The API group.
    pub group: Arc<str>,
    /// The kind.
    pub kind: Arc<str>,
    /// The namespace.
    pub namespace: Arc<str>,
}

/// What may be referred to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GrantTo {
    /// The API group; empty: the core group.
    pub group: Arc<str>,
    /// The kind.
    pub kind: Arc<str>,
    /// `None` or empty: every object of the kind.
    #[serde(default)]
    pub name: Option<Arc<str>>,
}

/// Whether a field is there, whatever it holds.
fn is_there<'de, D: serde::Deserializer<'de>>(field: D) -> Result<bool, D::Error> {
    Ok(Option::<serde::de::IgnoredAny>::deserialize(field)?.is_some())
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
