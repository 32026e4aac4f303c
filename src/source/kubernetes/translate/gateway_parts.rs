//! The Gateway API's part of a translation, and the data that it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::translation::Backend;
use crate::config::{RouteConfig, ServicePort};
use crate::source::kubernetes::cluster::{Cluster, Kind};
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

impl GatewayParts {
    /// Notes the versions of objects of which nothing else has changed. The writer of statuses compares with them.
    pub(super) fn note_versions(
        &mut self,
        cluster: &Cluster,
        written: &BTreeSet<(Kind, ObjectKey)>,
    ) {
        let revision = |(kind, key): &(Kind, ObjectKey)| match kind {
            Kind::GatewayClass => Some(&cluster.gateway_classes.get(key)?.revision),
            Kind::Gateway => Some(&cluster.gateways.get(key)?.revision),
            Kind::TlsRoute => Some(&cluster.tls_routes.get(key)?.revision),
            _ => None,
        };
        for object in written {
            let wanted = self.statuses.objects.get(object);
            if let (Some(wanted), Some(revision)) = (wanted, revision(object))
                && wanted.revision != *revision
                && let Some(wanted) = Arc::make_mut(&mut self.statuses).objects.get_mut(object)
            {
                wanted.revision = revision.clone();
            }
        }
    }
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
