//! An index of slices by Service and of Services by pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::source::kubernetes::records::{ObjectKey, SliceRecord};

/// The slices' references in reverse: pairs, sorted by the key that is looked up.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Pairs of a Service and the name of one of its slices.
    slices: Pairs,
    /// Pairs of a pod and the name of a Service that selects it, counted once for each slice that names
    /// the pod.
    services: Pairs,
}

/// Pairs with their counts. A pair takes a few words; a list for each pod would take twice that.
#[derive(Debug, Clone, Default)]
struct Pairs(BTreeMap<(ObjectKey, Arc<str>), u32>);

impl Pairs {
    fn add(&mut self, key: ObjectKey, name: &Arc<str>) {
        *self.0.entry((key, name.clone())).or_default() += 1;
    }

    fn remove(&mut self, key: ObjectKey, name: &Arc<str>) {
        let pair = (key, name.clone());
        match self.0.get_mut(&pair) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.0.remove(&pair);
            }
        }
    }

    /// The partners of `key`, each once, by name.
    fn of(&self, key: ObjectKey) -> impl Iterator<Item = &Arc<str>> {
        let from = self.0.range((key.clone(), Arc::default())..);
        from.take_while(move |((of, _), _)| *of == key)
            .map(|((_, name), _)| name)
    }
}

impl Index {
    /// The slices of a Service.
    pub(super) fn slices_of(&self, service: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        self.slices
            .of(service.clone())
            .map(|name| service.beside(name))
    }

    /// The Services that a pod belongs to.
    pub(super) fn services_of(&self, pod: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        self.services.of(pod.clone()).map(|name| pod.beside(name))
    }

    /// Updates the index when the slice at `key` changes from `old` to `new`.
    pub(super) fn replace(
        &mut self,
        key: &ObjectKey,
        old: Option<&SliceRecord>,
        new: Option<&SliceRecord>,
    ) {
        let (service_before, service_now) = (old.map(|it| &it.service), new.map(|it| &it.service));
        if service_before != service_now {
            if let Some(service) = service_before {
                self.slices.remove(key.beside(service), &key.name);
            }
            if let Some(service) = service_now {
                self.slices.add(key.beside(service), &key.name);
            }
        }
        let (old, new) = (old.map(pods), new.map(pods));
        let (mut old, mut new) = (old.into_iter().flatten(), new.into_iter().flatten());
        loop {
            // Usually the pods are the same, in the same order, and only a condition has changed.
            let (before, now) = (old.next(), new.next());
            if before.is_none() && now.is_none() {
                return;
            }
            if before == now {
                continue;
            }
            if let Some((pod, service)) = before {
                self.services.remove(key.beside(pod), service);
            }
            if let Some((pod, service)) = now {
                self.services.add(key.beside(pod), service);
            }
        }
    }
}

/// The Service of a slice.
pub(super) fn service(key: &ObjectKey, slice: &SliceRecord) -> ObjectKey {
    key.beside(&slice.service)
}

/// Each pod that a slice names, with the name of the slice's Service.
fn pods(slice: &SliceRecord) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
    let pods = slice.endpoints.iter().filter_map(|at| at.pod.as_ref());
    pods.map(|pod| (pod, &slice.service))
}
