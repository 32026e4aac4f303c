//! A record as the object that the API would send: the inverse of what `watch` reads.
//!
//! The fields of a record are named one by one. So a field that is added to a record must be added here,
//! or this file does not compile.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::entries::{entry, workload_entry};
use super::istio_kinds::{ConfigMap, mesh_data, peers, rule};
use super::kubernetes_kinds::{node_labels, service, slice};
use super::metadata::{Metadata, Whole, only, with_spec};
use crate::source::kubernetes::cluster::Record;
use crate::source::kubernetes::records::gateway::{
    GatewayClassRecord, GatewayRecord, ReferenceGrantRecord, TlsRouteRecord, TlsRouteSpec,
};
use crate::source::kubernetes::records::{
    DestinationRuleRecord, NamespaceRecord, ObjectKey, PeerAuthenticationRecord, PodRecord,
    ServiceExportRecord,
};

/// A record with its key. It serialises as the object. One that cannot be read is no object, and fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct SavedObject<'a>(pub(super) &'a ObjectKey, pub(super) &'a Record);

impl Serialize for SavedObject<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(key, record) = self;
        let metadata = Metadata::of(key);
        match record {
            Record::Service(record) => service(metadata, record).serialize(to),
            Record::Slice(record) => slice(metadata, record).serialize(to),
            Record::Pod(PodRecord { labels }) | Record::Namespace(NamespaceRecord { labels }) => {
                only(metadata.with_labels(labels)).serialize(to)
            }
            Record::Node(node) => only(metadata.with_labels(&node_labels(node))).serialize(to),
            Record::ServiceExport(ServiceExportRecord { invalid }) => Whole {
                metadata,
                spec: None::<()>,
                status: invalid.as_deref().map(invalid_export),
            }
            .serialize(to),
            Record::PeerAuthentication(policy) => {
                let PeerAuthenticationRecord { created, .. } = policy;
                with_spec(metadata.created(*created), peers(policy)).serialize(to)
            }
            Record::DestinationRule(record) => {
                let DestinationRuleRecord { created, .. } = record;
                with_spec(metadata.created(*created), rule(record)).serialize(to)
            }
            Record::ServiceEntry(record) => {
                let metadata = metadata.created(record.created);
                let metadata = metadata.versioned(&record.resource_version);
                let metadata = metadata.with_labels(&record.labels);
                let metadata = metadata.annotated(&record.annotations, &[]);
                with_spec(metadata, entry(record)).serialize(to)
            }
            Record::WorkloadEntry(record) => workload_entry(metadata, record).serialize(to),
            Record::MeshConfig(config) => {
                let data = mesh_data(config).map_err(serde::ser::Error::custom)?;
                ConfigMap { metadata, data }.serialize(to)
            }
            Record::GatewayClass(GatewayClassRecord { revision, spec }) => {
                with_spec(metadata.at(revision), spec).serialize(to)
            }
            Record::Gateway(GatewayRecord { revision, spec }) => {
                with_spec(metadata.at(revision), spec).serialize(to)
            }
            Record::TlsRoute(record) => route(metadata, record).serialize(to),
            Record::ReferenceGrant(ReferenceGrantRecord { spec }) => {
                with_spec(metadata, spec).serialize(to)
            }
            Record::Unreadable(_) => Err(serde::ser::Error::custom("an object without a record")),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRouteStatus<'a> {
    parents: Vec<WrittenRouteParent<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRouteParent<'a> {
    controller_name: &'a Arc<str>,
}

fn route<'a>(
    metadata: Metadata<'a>,
    record: &'a TlsRouteRecord,
) -> Whole<'a, &'a TlsRouteSpec, WrittenRouteStatus<'a>> {
    let TlsRouteRecord {
        revision,
        // The version of its kind, which the line of the kind has.
        api_version: _,
        annotations,
        spec,
        reported_by,
    } = record;
    let parent = |name| WrittenRouteParent {
        controller_name: name,
    };
    Whole {
        metadata: metadata.at(revision).annotated(annotations, &[]),
        spec: Some(spec),
        status: Some(WrittenRouteStatus {
            parents: reported_by.iter().map(parent).collect(),
        }),
    }
}

#[derive(Serialize)]
struct WrittenExportStatus<'a> {
    conditions: [WrittenCondition<'a>; 1],
}

#[derive(Serialize)]
struct WrittenCondition<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    reason: &'a str,
    message: &'a str,
}

/// The status of an export that is not valid for this reason: the condition's reason and message.
fn invalid_export(invalid: &str) -> WrittenExportStatus<'_> {
    let (reason, message) = invalid.split_once(": ").unwrap_or((invalid, ""));
    WrittenExportStatus {
        conditions: [WrittenCondition {
            kind: "Valid",
            status: "False",
            reason,
            message,
        }],
    }
}
