//! The reading of a text that is one object of the API, by the parser of its answers.

use serde_json::Value;

use super::ask;
use super::entry::{ServiceEntryObject, WorkloadEntryObject};
use super::istio::{DestinationRuleObject, PeerAuthenticationObject};
use super::item;
use super::mesh::MeshConfigObject;
use super::object::Watched;
use super::read::{
    GatewayClassObject, GatewayObject, NamespaceObject, NodeObject, PodObject,
    ReferenceGrantObject, ServiceExportObject, ServiceObject, SliceObject, TlsRouteObject,
};
use super::served::Served;
use crate::source::kubernetes::cluster::{Kind, Record};
use crate::source::kubernetes::records::ObjectKey;

/// An object with its record; no record if the object has no meaning for strait.
type Reread = Result<(ObjectKey, Option<Record>), String>;

/// Reads the text of an object of a kind that was served in this version.
pub(super) fn reread(kind: Kind, version: &'static str, text: &[u8]) -> Reread {
    let of_kind = match kind {
        Kind::Service => object::<ServiceObject>,
        Kind::Slice => object::<SliceObject>,
        Kind::Pod => object::<PodObject>,
        Kind::Namespace => object::<NamespaceObject>,
        Kind::Node => object::<NodeObject>,
        Kind::ServiceExport => object::<ServiceExportObject>,
        Kind::PeerAuthentication => object::<PeerAuthenticationObject>,
        Kind::DestinationRule => object::<DestinationRuleObject>,
        Kind::ServiceEntry => object::<ServiceEntryObject>,
        Kind::WorkloadEntry => object::<WorkloadEntryObject>,
        Kind::MeshConfig => object::<MeshConfigObject>,
        Kind::GatewayClass => object::<GatewayClassObject>,
        Kind::Gateway => object::<GatewayObject>,
        Kind::TlsRoute => object::<TlsRouteObject>,
        Kind::ReferenceGrant => object::<ReferenceGrantObject>,
    };
    of_kind(kind, version, text)
}

fn object<O: Watched>(kind: Kind, version: &'static str, text: &[u8]) -> Reread {
    let object = match serde_json::from_slice::<O>(text) {
        Ok(object) => Ok(object),
        Err(_) => {
            let value = serde_json::from_slice::<Value>(text).map_err(|error| error.to_string())?;
            ask::object(value)
        }
    };
    let item = item::read(object, kind, &Served::as_of(kind, version));
    Ok((item.key, item.record))
}

#[cfg(test)]
mod tests;
