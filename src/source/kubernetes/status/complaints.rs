//! Log lines about statuses that could not be written. Trouble with an object is logged once, and again
//! if it comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::statuses::Key;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// The number of objects, and of namespaces, that the log names at the same time. The metric
/// `strait_kubernetes_status_writes_total` counts all.
const MAX_NAMED: usize = 20;

/// Trouble that was logged already.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    denied: BTreeSet<(Kind, Arc<str>)>,
    objects: BTreeSet<Key>,
    /// True if the log said that there are more than [`MAX_NAMED`] objects.
    more: bool,
}

impl Complaints {
    /// Logs that RBAC denies writing statuses of the kind, at least in the object's namespace.
    pub(super) fn denied(&mut self, (kind, key): &Key, error: &kube::Error) {
        let place = (*kind, key.namespace.clone());
        if self.denied.len() < MAX_NAMED && self.denied.insert(place) {
            let (kind, namespace) = (kind.label(), &key.namespace);
            tracing::warn!(
                kind, %namespace, %error,
                "RBAC does not let this gateway write statuses of this kind in this namespace; routes \
                 are not concerned. RBAC needs get of the objects, and patch of their status"
            );
        }
    }

    /// Logs that the API refuses the status of this object.
    pub(super) fn refused(&mut self, key: &Key, error: &kube::Error) {
        if self.is_new(key) {
            let (kind, ObjectKey { namespace, name }) = (key.0.label(), &key.1);
            tracing::warn!(
                kind, %namespace, %name, %error,
                "the API refuses the status of this object: its validation or an admission policy of the \
                 cluster. Its routes are not concerned, nor are other objects; it is tried again"
            );
        }
    }

    /// Logs that the status of this object was not written, and that the API may be in trouble.
    pub(super) fn failed(&mut self, key: &Key, error: &str) {
        if self.is_new(key) {
            let (kind, ObjectKey { namespace, name }) = (key.0.label(), &key.1);
            tracing::warn!(kind, %namespace, %name, error, "strait could not write the status of this object; it tries again");
        }
    }

    /// Logs that the status of this object is written again.
    pub(super) fn settle(&mut self, key: &Key) {
        let place = (key.0, key.1.namespace.clone());
        if self.objects.remove(key) | self.denied.remove(&place) {
            let (kind, ObjectKey { namespace, name }) = (key.0.label(), &key.1);
            tracing::info!(kind, %namespace, %name, "strait writes the status of this object again");
        }
        self.more &= !self.objects.is_empty();
    }

    /// Forgets objects that no longer exist.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.objects.retain(is_there);
        self.more &= !self.objects.is_empty();
    }

    fn is_new(&mut self, key: &Key) -> bool {
        if self.objects.contains(key) {
            return false;
        }
        if self.objects.len() < MAX_NAMED {
            return self.objects.insert(key.clone());
        }
        if !std::mem::replace(&mut self.more, true) {
            tracing::warn!(
                "statuses of more than {MAX_NAMED} objects are not written; further ones are not logged, \
                 strait_kubernetes_status_writes_total counts them"
            );
        }
        false
    }
}

/// Returns a function that logs, once, why the Lease cannot be read or written.
pub(super) fn lease_complaint() -> impl FnMut(&kube::Error) {
    let mut complained = false;
    move |error| {
        if !std::mem::replace(&mut complained, true) {
            tracing::warn!(
                %error,
                "the Lease of status writes cannot be read or written, so that no status is written; \
                 routes are not concerned. RBAC needs get, create and update of leases in this \
                 gateway's namespace"
            );
        }
    }
}
