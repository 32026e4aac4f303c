//! Which slices a Service has, and which Services a pod is behind.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::source::kubernetes::records::{ObjectKey, SliceRecord};

/// What the slices say, the other way round.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    slices_of: HashMap<ObjectKey, Vec<ObjectKey>>,
    /// Names of Services; one that names the pod in two slices is there twice.
    services_of: HashMap<ObjectKey, Vec<Arc<str>>>,
}

/// Most lists have one member: room for that one, not for the four of the first `push`.
fn add<T>(lists: &mut HashMap<ObjectKey, Vec<T>>, key: ObjectKey, member: T) {
    match lists.entry(key) {
        Entry::Occupied(mut list) => list.get_mut().push(member),
        Entry::Vacant(list) => {
            list.insert(vec![member]);
        }
    }
}

fn drop_one<T: PartialEq>(lists: &mut HashMap<ObjectKey, Vec<T>>, key: ObjectKey, member: &T) {
    if let Entry::Occupied(mut list) = lists.entry(key) {
        if let Some(position) = list.get().iter().position(|have| have == member) {
            list.get_mut().swap_remove(position);
        }
        if list.get().is_empty() {
            list.remove();
        }
    }
}

impl Index {
    pub(super) fn slices_of(&self, service: &ObjectKey) -> &[ObjectKey] {
        self.slices_of.get(service).map_or(&[], Vec::as_slice)
    }

    /// Names of Services in the pod's namespace.
    pub(super) fn services_of(&self, pod: &ObjectKey) -> &[Arc<str>] {
        self.services_of.get(pod).map_or(&[], Vec::as_slice)
    }

    pub(super) fn add(&mut self, key: &ObjectKey, slice: &SliceRecord) {
        add(&mut self.slices_of, service(key, slice), key.clone());
        for pod in pods(key, slice) {
            add(&mut self.services_of, pod, slice.service.clone());
        }
    }

    pub(super) fn remove(&mut self, key: &ObjectKey, slice: &SliceRecord) {
        drop_one(&mut self.slices_of, service(key, slice), key);
        for pod in pods(key, slice) {
            drop_one(&mut self.services_of, pod, &slice.service);
        }
    }
}

/// The Service of a slice.
pub(super) fn service(key: &ObjectKey, slice: &SliceRecord) -> ObjectKey {
    key.beside(&slice.service)
}

fn pods(key: &ObjectKey, slice: &SliceRecord) -> impl Iterator<Item = ObjectKey> {
    let pods = slice.endpoints.iter().filter_map(|at| at.pod.as_ref());
    pods.map(|pod| key.beside(pod))
}
