//! A table of the records of one kind, by namespace and name.

use std::collections::BTreeMap;

use crate::source::kubernetes::records::ObjectKey;

/// The records of one kind, by namespace and then by name.
#[derive(Debug, Clone)]
pub struct Table<R>(BTreeMap<ObjectKey, R>);

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R> Table<R> {
    /// The record of an object.
    pub fn get(&self, key: &ObjectKey) -> Option<&R> {
        self.0.get(key)
    }

    /// The record of an object, with the key that the table has.
    pub fn entry(&self, key: &ObjectKey) -> Option<(&ObjectKey, &R)> {
        self.0.get_key_value(key)
    }

    /// Every object, by namespace and then by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &R)> {
        self.0.iter()
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&ObjectKey, &R)> {
        let first = ObjectKey {
            namespace: namespace.into(),
            name: "".into(),
        };
        let from = self.0.range(first..);
        from.take_while(move |(key, _)| &*key.namespace == namespace)
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn set(&mut self, key: ObjectKey, record: R) {
        self.0.insert(key, record);
    }

    /// Removes the record and returns it.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<R> {
        self.0.remove(key)
    }
}
