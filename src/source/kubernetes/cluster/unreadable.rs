//! Objects that are there and cannot be read.
//!
//! Each costs itself and nothing else. One that may narrow who is reached closes what it could cover
//! until it can be read, or is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cluster, Dirty, Kind, Record};
use crate::source::kubernetes::records::ObjectKey;

/// Objects that are kept by name, of all kinds together. Those beyond stand as one object without a
/// name for each kind, which closes whatever an object of the kind could.
const MAX: usize = 1000;

/// An object that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: Kind,
    /// The part that cannot be read, and the reason.
    pub problem: Arc<str>,
    /// The host of a `DestinationRule`, or the Service of an `EndpointSlice`, if the object can be read
    /// as far as that.
    pub about: Option<Arc<str>>,
}

impl Unreadable {
    /// Stands for all objects of a kind beyond those that are kept.
    pub fn too_many(kind: Kind) -> (ObjectKey, Record) {
        let object = Self {
            kind,
            problem: "more objects than are kept of a kind".into(),
            about: None,
        };
        (nameless(), Record::Unreadable(object))
    }
}

/// The unreadable objects of all kinds.
#[derive(Debug, Clone, Default)]
pub(super) struct UnreadableObjects(BTreeMap<(Kind, ObjectKey), Unreadable>);

/// Stands for objects that have no name, or for too many of them.
fn nameless() -> ObjectKey {
    ObjectKey {
        namespace: Arc::default(),
        name: Arc::default(),
    }
}

impl UnreadableObjects {
    /// The key that the object is kept under, when something has changed.
    pub(super) fn set(&mut self, mut key: ObjectKey, object: Unreadable) -> Option<ObjectKey> {
        let kind = object.kind;
        if self.0.len() >= MAX && !self.0.contains_key(&(kind, key.clone())) {
            key = nameless();
        }
        let before = self.0.insert((kind, key.clone()), object);
        let now = self.0.get(&(kind, key.clone()));
        (before.as_ref() != now).then_some(key)
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, kind: Kind, key: &ObjectKey) -> bool {
        !self.0.is_empty() && self.0.remove(&(kind, key.clone())).is_some()
    }

    /// Those of one kind, by namespace and then by name.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Unreadable)> {
        let from = self.0.range((kind, nameless())..);
        let of_kind = from.take_while(move |((of, _), _)| *of == kind);
        of_kind.map(|((_, key), object)| (key, object))
    }

    fn in_namespace(
        &self,
        kind: Kind,
        namespace: &str,
    ) -> impl Iterator<Item = (&ObjectKey, &Unreadable)> {
        let first = ObjectKey {
            namespace: namespace.into(),
            name: Arc::default(),
        };
        let from = self.0.range((kind, first)..);
        let there =
            from.take_while(move |((of, key), _)| *of == kind && &*key.namespace == namespace);
        there.map(|((_, key), object)| (key, object))
    }
}

impl Cluster {
    /// Every object that is there and cannot be read, by kind and name.
    pub fn unreadable(&self) -> impl Iterator<Item = (&ObjectKey, &Unreadable)> {
        let all = self.unreadable.0.iter();
        all.map(|((_, key), object)| (key, object))
    }

    /// Every object of a kind that cannot be read.
    pub(super) fn unreadable_of(
        &self,
        kind: Kind,
    ) -> impl Iterator<Item = (&ObjectKey, &Unreadable)> {
        self.unreadable.of(kind)
    }

    /// How many objects of a kind cannot be read.
    pub fn count_unreadable(&self, kind: Kind) -> usize {
        self.unreadable.of(kind).count()
    }

    /// Why an object cannot be read that is there.
    pub fn why_unreadable(&self, kind: Kind, key: &ObjectKey) -> Option<&Arc<str>> {
        let objects = &self.unreadable.0;
        if objects.is_empty() {
            return None;
        }
        objects.get(&(kind, key.clone())).map(|it| &it.problem)
    }

    /// The objects of a kind that cannot be read and may stand in this namespace: those of the
    /// namespace, and those of which not even the name can be read.
    pub fn unreadable_in<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Unreadable)> {
        let own = self.unreadable.in_namespace(kind, namespace);
        let named = (!namespace.is_empty()).then_some(own).into_iter().flatten();
        named.chain(self.unreadable.in_namespace(kind, ""))
    }
}

impl Dirty {
    /// Adds what an object may concern that became unreadable, or readable, or went: `key` is all that
    /// is known of it.
    pub(super) fn add_unreadable(&mut self, kind: Kind, key: &ObjectKey, cluster: &Cluster) {
        match kind {
            Kind::Service | Kind::ServiceExport => {
                self.services.insert(key.clone());
            }
            // A pod that was never read before counts as not known yet, and now as one that cannot be read.
            Kind::Pod => self.services.extend(cluster.index.services_of(key)),
            // A node that cannot be read counts as one that is not there.
            Kind::Node => {}
            Kind::Slice => self.add_namespace(&key.namespace, cluster),
            Kind::Namespace => {
                self.add_namespace(&key.name, cluster);
                self.gateways = true;
            }
            Kind::PeerAuthentication | Kind::DestinationRule => {
                self.everything |= key.namespace.is_empty();
                self.add_istio_namespace(&key.namespace, cluster);
            }
            Kind::MeshConfig => self.everything = true,
            Kind::GatewayClass | Kind::Gateway | Kind::TlsRoute | Kind::ReferenceGrant => {
                self.gateways = true;
            }
        }
    }
}
