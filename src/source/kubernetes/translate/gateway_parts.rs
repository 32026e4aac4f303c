//! The Gateway API's part of a translation, and the data that it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::translation::Backend;
use crate::config::{RouteConfig, ServicePort};
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::status::Statuses;

/// The content of the Gateway API's objects.
#[derive(Debug, Default)]
pub(super) struct GatewayParts {
    pub(super) routes: BTreeMap<u16, Vec<Arc<RouteConfig>>>,
    /// By the Service that each is a port of.
    pub(super) backends: BTreeMap<ObjectKey, Vec<Backend>>,
    /// The data that they were made from.
    pub(super) services: BTreeMap<ObjectKey, Dependencies>,
    pub(super) statuses: Arc<Statuses>,
}

/// One Service as the last translation of the Gateway API read it. While none of it changes, the
/// translation still holds; pods come and go far more often.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    /// The version of the Service; `None` if it did not exist.
    pub(super) version: Option<Arc<str>>,
    /// Its ports, and whether a pod of each was in the mesh.
    pub(super) mesh: Vec<(ServicePort, bool)>,
    /// The ports of its pods, if it stands in front of this gateway.
    pub(super) front: Option<BTreeSet<u16>>,
}

/// The Service that a port belongs to.
pub(super) fn service_of(port: &ServicePort) -> ObjectKey {
    ObjectKey {
        namespace: port.namespace.clone(),
        name: port.service.clone(),
    }
}
