//! References of the Gateway API's objects, which may name objects of other namespaces.

use std::sync::Arc;

use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::gateway::{GROUP, GrantFrom, ReferenceGrantSpec};

/// A reference from an object of the Gateway API to another object.
pub(super) struct Reference<'a> {
    /// The kind and the namespace of the object that refers.
    pub(super) from: (&'a str, &'a str),
    /// The group and the kind of the other object.
    pub(super) to: (&'a str, &'a str),
    /// The namespace of the other object.
    pub(super) namespace: &'a Arc<str>,
    /// The name of the other object.
    pub(super) name: &'a str,
}

/// Whether the reference stays in its namespace, or a ReferenceGrant of the other namespace allows it.
pub(super) fn is_allowed(cluster: &Cluster, reference: &Reference<'_>) -> bool {
    let (kind, namespace) = reference.from;
    if **reference.namespace == *namespace {
        return true;
    }
    let from = |from: &GrantFrom| {
        &*from.group == GROUP && &*from.kind == kind && &*from.namespace == namespace
    };
    let grants = |grant: &ReferenceGrantSpec| {
        let mut to = grant.to.iter();
        grant.from.iter().any(from)
            && to.any(|to| {
                let name = to.name.as_deref().filter(|name| !name.is_empty());
                (&*to.group, &*to.kind) == reference.to
                    && name.is_none_or(|name| name == reference.name)
            })
    };
    let mut there = cluster.reference_grants.in_namespace(reference.namespace);
    there.any(|(_, grant)| grants(&grant.spec))
}
