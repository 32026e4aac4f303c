//! Addresses of slices that name no pod, as people write them, and the pods that other slices of the
//! namespace have there.
//!
//! Only namespaces with such addresses are indexed: in most there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::table::Table;
use crate::source::kubernetes::records::{ObjectKey, SliceRecord};

/// The namespaces with addresses that name no pod.
#[derive(Debug, Clone, Default)]
pub(super) struct NamelessAddresses(BTreeMap<Arc<str>, AddressIndex>);

/// The addresses of one namespace. Each pair is counted once for each endpoint that says it.
#[derive(Debug, Clone, Default)]
struct AddressIndex {
    /// Addresses without a pod, each with the name of a Service that lists it.
    services: BTreeMap<(IpAddr, Arc<str>), u32>,
    /// Addresses with the name of the pod that is there.
    pods: BTreeMap<(IpAddr, Arc<str>), u32>,
}

impl AddressIndex {
    /// Counts the endpoints of a slice by `step`. Returns the Services that list one of its pods'
    /// addresses.
    fn count(&mut self, slice: &SliceRecord, step: fn(u32) -> u32) -> BTreeSet<Arc<str>> {
        let mut concerned = BTreeSet::new();
        for endpoint in &slice.endpoints {
            let (index, name) = match &endpoint.pod {
                None => (&mut self.services, &slice.service),
                Some(pod) => (&mut self.pods, pod),
            };
            let pair = (endpoint.address, name.clone());
            let count = index.entry(pair.clone()).or_default();
            *count = step(*count);
            if *count == 0 {
                index.remove(&pair);
            }
            if endpoint.pod.is_some() {
                concerned.extend(at(&self.services, endpoint.address).cloned());
            }
        }
        concerned
    }
}

/// The names at an address.
fn at(
    index: &BTreeMap<(IpAddr, Arc<str>), u32>,
    address: IpAddr,
) -> impl Iterator<Item = &Arc<str>> {
    let from = index.range((address, Arc::default())..);
    from.take_while(move |((of, _), _)| *of == address)
        .map(|((_, name), _)| name)
}

/// An address of a slice with its pod.
type SliceAddress<'a> = (IpAddr, Option<&'a Arc<str>>);

/// The Service of a slice, and each of its addresses.
fn addresses(slice: &SliceRecord) -> (&Arc<str>, Vec<SliceAddress<'_>>) {
    let endpoints = slice.endpoints.iter();
    let addresses = endpoints.map(|at| (at.address, at.pod.as_ref()));
    (&slice.service, addresses.collect())
}

impl NamelessAddresses {
    /// Updates the index when the slice at `key` changes from `old` to `new`. `others` are all other
    /// slices. Returns the Services with an address whose pod may be another one now.
    pub(super) fn replace(
        &mut self,
        others: &Table<SliceRecord>,
        key: &ObjectKey,
        old: Option<&SliceRecord>,
        new: Option<&SliceRecord>,
    ) -> BTreeSet<Arc<str>> {
        let mut endpoints = new.iter().flat_map(|slice| &slice.endpoints);
        let begins = endpoints.any(|endpoint| endpoint.pod.is_none());
        let known = self.0.contains_key(&key.namespace);
        if !(known || begins) || old.map(addresses) == new.map(addresses) {
            return BTreeSet::new();
        }
        let index = self.0.entry(key.namespace.clone()).or_default();
        let mut concerned = BTreeSet::new();
        if known {
            let old = old.map(|slice| index.count(slice, |count| count.saturating_sub(1)));
            concerned.extend(old.into_iter().flatten());
        } else {
            for (_, slice) in others.in_namespace(&key.namespace) {
                index.count(slice, |count| count.saturating_add(1));
            }
        }
        let new = new.map(|slice| index.count(slice, |count| count.saturating_add(1)));
        concerned.extend(new.into_iter().flatten());
        if index.services.is_empty() {
            self.0.remove(&key.namespace);
        }
        concerned
    }

    /// The pods that slices of a namespace have at an address, if other slices list it without a pod.
    pub(super) fn pods_at(
        &self,
        namespace: &str,
        address: IpAddr,
    ) -> impl Iterator<Item = &Arc<str>> {
        let index = self.0.get(namespace).into_iter();
        index.flat_map(move |index| at(&index.pods, address))
    }

    /// The Services that list an address of a pod without naming the pod.
    pub(super) fn services_of(&self, pod: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        let index = self.0.get(&pod.namespace).into_iter();
        index.flat_map(move |index| {
            let there = index.pods.keys().filter(|(_, name)| *name == pod.name);
            let services = there.flat_map(|(address, _)| at(&index.services, *address));
            services.map(|service| pod.beside(service))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kubernetes::records::SliceEndpoint;

    fn slice(service: &str, endpoints: &[(u8, &str)]) -> SliceRecord {
        let endpoint = |(last, pod): &(u8, &str)| SliceEndpoint {
            address: [10, 0, 0, *last].into(),
            ready: true,
            serving: true,
            terminating: false,
            zone: None,
            node: None,
            hostname: None,
            pod: (!pod.is_empty()).then(|| (*pod).into()),
        };
        SliceRecord {
            service: service.into(),
            ports: Box::default(),
            endpoints: endpoints.iter().map(endpoint).collect(),
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: "apps".into(),
            name: name.into(),
        }
    }

    /// A table that keeps the index up to date.
    #[derive(Default)]
    struct Slices(Table<SliceRecord>, NamelessAddresses);

    impl Slices {
        fn set(&mut self, name: &str, new: Option<SliceRecord>) -> Vec<String> {
            let old = self.0.remove(&key(name));
            let concerned = self
                .1
                .replace(&self.0, &key(name), old.as_ref(), new.as_ref());
            if let Some(new) = new {
                self.0.set(key(name), new);
            }
            concerned.iter().map(ToString::to_string).collect()
        }

        fn pods(&self, last: u8) -> Vec<&str> {
            let pods = self.1.pods_at("apps", [10, 0, 0, last].into());
            pods.map(|pod| &**pod).collect()
        }
    }

    #[test]
    fn only_namespaces_with_an_address_without_a_pod_are_indexed() {
        let mut slices = Slices::default();
        assert!(
            slices
                .set("a", Some(slice("web", &[(1, "p"), (2, "q")])))
                .is_empty()
        );
        assert!(slices.1.0.is_empty());
        slices.set("x", Some(slice("byhand", &[(1, "")])));
        assert_eq!((slices.pods(1), slices.pods(2)), (vec!["p"], vec!["q"]));
        let services: Vec<ObjectKey> = slices.1.services_of(&key("p")).collect();
        assert_eq!(services, [key("byhand")]);
        assert_eq!(slices.1.services_of(&key("q")).count(), 0);
        // Conditions alone concern nothing here.
        assert!(
            slices
                .set("a", Some(slice("web", &[(1, "p"), (2, "q")])))
                .is_empty()
        );
        assert_eq!(
            slices.set("b", Some(slice("more", &[(1, "p")]))),
            ["byhand"]
        );
        assert_eq!(slices.set("a", None), ["byhand"]);
        assert_eq!(slices.pods(1), ["p"], "the other slice has it too");
        assert_eq!(
            slices.set("b", Some(slice("more", &[(1, "r")]))),
            ["byhand"]
        );
        assert_eq!(slices.pods(1), ["r"]);
        slices.set("x", Some(slice("byhand", &[(9, "r")])));
        assert!(slices.1.0.is_empty());
    }
}
