//! The reading of one object, of a list or of a watch: its record, or the reason why it cannot be read.

use std::sync::Arc;

use serde_json::Value;

use super::ask::{Decoded, clip};
use super::object::{Watched, key, version_of};
use super::served::Served;
use crate::source::kubernetes::cluster::{Kind, Record, Unreadable};
use crate::source::kubernetes::records::ObjectKey;

/// An object after reading.
pub(super) struct Item {
    pub(super) key: ObjectKey,
    /// `None` if the object has no meaning for strait.
    pub(super) record: Option<Record>,
    /// Its version, if it has one.
    pub(super) version: Option<String>,
}

impl Item {
    /// The problem, if the object cannot be read.
    pub(super) fn problem(&self) -> Option<&Arc<str>> {
        match &self.record {
            Some(Record::Unreadable(object)) => Some(&object.problem),
            _ => None,
        }
    }
}

/// Reads an object of `kind`.
pub(super) fn read<O: Watched>(object: Decoded<O>, kind: Kind, served: &Served) -> Item {
    match object {
        Ok(object) => {
            let (key, version) = (key(object.meta()), object.meta().resource_version.clone());
            let record = object.record(served).unwrap_or_else(|problem| {
                Some(Record::Unreadable(Unreadable {
                    kind,
                    problem: clip(&problem).into(),
                    about: None,
                }))
            });
            Item {
                key,
                record,
                version,
            }
        }
        Err((value, error)) => Item {
            key: key_of(&value),
            version: version_of(&value),
            record: Some(Record::Unreadable(Unreadable {
                kind,
                problem: clip(&error.to_string()).into(),
                about: about(kind, &value),
            })),
        },
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// The key of an object that cannot be read. A missing text is empty, which means any object of the
/// kind.
fn key_of(value: &Value) -> ObjectKey {
    ObjectKey {
        namespace: text(value, "/metadata/namespace")
            .unwrap_or_default()
            .into(),
        name: text(value, "/metadata/name").unwrap_or_default().into(),
    }
}

fn about(kind: Kind, value: &Value) -> Option<Arc<str>> {
    let pointer = match kind {
        Kind::DestinationRule => "/spec/host",
        Kind::Slice => "/metadata/labels/kubernetes.io~1service-name",
        _ => return None,
    };
    text(value, pointer).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::kubernetes::watch::entry::{ServiceEntryObject, WorkloadEntryObject};
    use crate::source::kubernetes::watch::istio::{
        DestinationRuleObject, PeerAuthenticationObject,
    };
    use crate::source::kubernetes::watch::read::{
        GatewayClassObject, GatewayObject, NamespaceObject, NodeObject, PodObject,
        ReferenceGrantObject, ServiceExportObject, ServiceObject, SliceObject, TlsRouteObject,
    };

    fn item<O: Watched>(kind: Kind, value: Value) -> Item {
        let served = Served {
            group: "",
            version: "v1",
            plural: "",
            only: None,
        };
        let object = O::deserialize(&value).map_err(|error| (value, error));
        read::<O>(object, kind, &served)
    }

    #[test]
    fn an_object_of_any_kind_that_cannot_be_read_keeps_its_name_and_version() {
        let metadata = json!({ "namespace": "apps", "name": "a", "resourceVersion": "9" });
        let spec = |spec: Value| json!({ "metadata": metadata, "spec": spec });
        let mut labelled = json!({ "metadata": metadata });
        labelled["metadata"]["labels"] = json!("no labels");
        let mut slice = json!({ "metadata": metadata, "ports": [{ "port": 70000 }] });
        slice["metadata"]["labels"] = json!({ "kubernetes.io/service-name": "web" });
        type Case = (Kind, fn(Kind, Value) -> Item, Value, Option<&'static str>);
        let cases: [Case; 14] = [
            (
                Kind::Service,
                item::<ServiceObject>,
                spec(json!({ "ports": [{ "port": -1 }] })),
                None,
            ),
            (Kind::Slice, item::<SliceObject>, slice, Some("web")),
            (Kind::Pod, item::<PodObject>, labelled.clone(), None),
            (
                Kind::Namespace,
                item::<NamespaceObject>,
                labelled.clone(),
                None,
            ),
            (Kind::Node, item::<NodeObject>, labelled.clone(), None),
            (
                Kind::ServiceExport,
                item::<ServiceExportObject>,
                labelled,
                None,
            ),
            (
                Kind::PeerAuthentication,
                item::<PeerAuthenticationObject>,
                spec(json!({ "mtls": { "mode": "LAX" } })),
                None,
            ),
            (
                Kind::DestinationRule,
                item::<DestinationRuleObject>,
                spec(json!({ "host": "web", "trafficPolicy": { "tls": { "mode": "LAX" } } })),
                Some("web"),
            ),
            (
                Kind::ServiceEntry,
                item::<ServiceEntryObject>,
                spec(json!({ "hosts": ["web"], "location": "NOWHERE" })),
                None,
            ),
            (
                Kind::WorkloadEntry,
                item::<WorkloadEntryObject>,
                spec(json!({ "ports": { "http": "web" } })),
                None,
            ),
            (
                Kind::GatewayClass,
                item::<GatewayClassObject>,
                spec(json!(1)),
                None,
            ),
            (
                Kind::Gateway,
                item::<GatewayObject>,
                spec(json!({ "listeners": 1 })),
                None,
            ),
            (
                Kind::TlsRoute,
                item::<TlsRouteObject>,
                spec(json!({ "rules": 1 })),
                None,
            ),
            (
                Kind::ReferenceGrant,
                item::<ReferenceGrantObject>,
                spec(json!({ "from": 1 })),
                None,
            ),
        ];
        for (kind, read, value, wanted) in cases {
            let item = read(kind, value);
            assert_eq!(
                (&*item.key.namespace, &*item.key.name),
                ("apps", "a"),
                "{kind:?}"
            );
            assert_eq!(item.version.as_deref(), Some("9"), "{kind:?}");
            let Some(Record::Unreadable(object)) = item.record else {
                panic!("{kind:?}: {:?}", item.record);
            };
            assert_eq!((object.kind, object.about.as_deref()), (kind, wanted));
            assert!(!object.problem.is_empty());
        }
    }

    #[test]
    fn what_says_no_name_stands_for_any_object() {
        let item = item::<PeerAuthenticationObject>(Kind::PeerAuthentication, json!([]));
        assert_eq!((&*item.key.namespace, &*item.key.name), ("", ""));
        assert!(item.problem().is_some());
    }
}
