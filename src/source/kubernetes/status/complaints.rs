//! Log lines about statuses that are not written: trouble is told once, and again after it was over.

use std::collections::BTreeSet;

use super::write::Key;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    denied: BTreeSet<Kind>,
    failed: BTreeSet<Kind>,
}

impl Complaints {
    pub(super) fn denied(&mut self, kind: Kind, error: &kube::Error) {
        if self.denied.insert(kind) {
            let kind = kind.label();
            tracing::warn!(
                kind, %error,
                "the API does not let this gateway write statuses of this kind; routes are not \
                 concerned. RBAC needs get of the objects, and patch of their status"
            );
        }
    }

    pub(super) fn failed(&mut self, kind: Kind, error: &str) {
        if self.failed.insert(kind) {
            let kind = kind.label();
            tracing::warn!(kind, error, "a status was not written; it is tried again");
        }
    }

    pub(super) fn settle(&mut self, kind: Kind) {
        if self.denied.remove(&kind) | self.failed.remove(&kind) {
            let kind = kind.label();
            tracing::info!(kind, "statuses of this kind are written again");
        }
    }
}

pub(super) fn complain_of_invalid((kind, key): &Key, error: &kube::Error) {
    let (kind, ObjectKey { namespace, name }) = (kind.label(), key);
    tracing::warn!(kind, %namespace, %name, %error, "the API does not take this status");
}

/// Says once why the Lease cannot be had.
pub(super) fn lease_complaint() -> impl FnMut(&kube::Error) {
    let mut told = false;
    move |error| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                %error,
                "the Lease of status writes cannot be read or written, so that no status is written; \
                 routes are not concerned. RBAC needs get, create and update of leases in this \
                 gateway's namespace"
            );
        }
    }
}
