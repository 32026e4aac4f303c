//! Objects that exist and cannot be read.
//!
//! An unreadable object affects only itself. If it may narrow who is reached, strait refuses everything
//! that it could cover until it can be read or no longer exists.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metrics::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// The number of objects kept by name, of all kinds together. The objects beyond it are represented by
/// one object without a name for each kind; it closes whatever an object of the kind could close.
const MAX: usize = 1000;

/// An object that exists and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its kind.
    pub kind: Kind,
    /// The part that cannot be read, and the reason.
    pub problem: Arc<str>,
    /// The host of a `DestinationRule`, or the Service of an `EndpointSlice`, if that part can be read.
    pub about: Option<Arc<str>>,
}

impl Unreadable {
    /// The object that represents all objects of a kind beyond [`MAX`].
    pub(super) fn too_many(kind: Kind) -> (ObjectKey, Self) {
        let object = Self {
            kind,
            problem: "more objects than are kept of a kind".into(),
            about: None,
        };
        (nameless(), object)
    }
}

/// The unreadable objects of all kinds.
#[derive(Debug, Clone, Default)]
pub(super) struct UnreadableObjects(BTreeMap<(Kind, ObjectKey), Unreadable>);

/// The key for objects without a name, and for the objects beyond [`MAX`].
fn nameless() -> ObjectKey {
    ObjectKey {
        namespace: Arc::default(),
        name: Arc::default(),
    }
}

impl UnreadableObjects {
    /// Keeps the object. Returns the key that it is kept under if something has changed.
    pub(super) fn set(&mut self, mut key: ObjectKey, object: Unreadable) -> Option<ObjectKey> {
        let kind = object.kind;
        if self.0.len() >= MAX && !self.0.contains_key(&(kind, key.clone())) {
            key = nameless();
        }
        let before = self.0.insert((kind, key.clone()), object);
        let now = self.0.get(&(kind, key.clone()));
        (before.as_ref() != now).then_some(key)
    }

    /// Removes the object. Returns whether it was there.
    pub(super) fn remove(&mut self, kind: Kind, key: &ObjectKey) -> bool {
        !self.0.is_empty() && self.0.remove(&(kind, key.clone())).is_some()
    }

    /// The unreadable objects of one kind, by namespace and then by name.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Unreadable)> {
        let from = self.0.range((kind, nameless())..);
        let of_kind = from.take_while(move |((of, _), _)| *of == kind);
        of_kind.map(|((_, key), object)| (key, object))
    }

    /// Every one, by kind and name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Unreadable)> {
        self.0.iter().map(|((_, key), object)| (key, object))
    }

    pub(super) fn get(&self, kind: Kind, key: &ObjectKey) -> Option<&Unreadable> {
        // Usually the map is empty, and no key need be built.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(kind, key.clone()))
    }

    /// Those of one kind and namespace, by name.
    pub(super) fn in_namespace(
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
