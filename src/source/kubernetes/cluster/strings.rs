//! A store that keeps one copy of each text, however many records hold it.
//!
//! Namespaces, zones, nodes, port names and labels repeat by the thousand; a pod's name stands in its
//! slice and in its own key.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use crate::source::kubernetes::records::entry::{
    ServiceEntryRecord, WorkloadEntryRecord, WorkloadRecord,
};
use crate::source::kubernetes::records::gateway::{
    GatewayClassRecord, GatewayRecord, ReferenceGrantRecord, TlsRouteRecord,
};
use crate::source::kubernetes::records::mesh::MeshConfigRecord;
use crate::source::kubernetes::records::{
    DestinationRuleRecord, Labels, NamespaceRecord, NodeRecord, ObjectKey,
    PeerAuthenticationRecord, PodRecord, ServiceExportRecord, ServiceRecord, SliceRecord,
};

/// Sets smaller than this are not searched for unused texts.
const SMALL: usize = 1024;

/// Texts and label sets that records hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strings {
    texts: HashSet<Arc<str>>,
    labels: HashSet<Labels>,
    /// The number of texts when unused ones were last dropped.
    swept: usize,
}

fn share<T: Clone + Eq + Hash>(known: &mut HashSet<T>, mine: &mut T) {
    if let Some(known) = known.get(mine) {
        mine.clone_from(known);
    } else {
        known.insert(mine.clone());
    }
}

impl Strings {
    /// The one copy of `text`.
    pub(crate) fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }

    fn text(&mut self, text: &mut Arc<str>) {
        share(&mut self.texts, text);
    }

    fn texts<'a>(&mut self, texts: impl IntoIterator<Item = &'a mut Arc<str>>) {
        for text in texts {
            self.text(text);
        }
    }

    fn labels(&mut self, labels: &mut Labels) {
        if !self.labels.contains(labels) {
            let mut shared: Vec<(Arc<str>, Arc<str>)> = Vec::new();
            for (key, value) in labels.iter() {
                let (mut key, mut value) = (key.clone(), value.clone());
                self.texts([&mut key, &mut value]);
                shared.push((key, value));
            }
            *labels = shared.into_iter().collect();
        }
        share(&mut self.labels, labels);
    }

    pub(super) fn key(&mut self, key: &mut ObjectKey) {
        self.texts([&mut key.namespace, &mut key.name]);
    }

    /// Drops texts that nothing else holds, once the sets have doubled.
    pub(crate) fn sweep(&mut self) {
        let count = self.texts.len() + self.labels.len();
        if count > SMALL && count / 2 > self.swept {
            self.labels.retain(|labels| !labels.is_only_holder());
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.swept = self.texts.len() + self.labels.len();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.texts.len() + self.labels.len()
    }
}

/// A record whose texts can be replaced by equal ones.
pub(super) trait Intern {
    /// Replaces the texts by the stored copies.
    fn share(&mut self, _strings: &mut Strings) {}
}

impl Intern for ServiceRecord {
    fn share(&mut self, strings: &mut Strings) {
        strings.labels(&mut self.labels);
        strings.labels(&mut self.annotations);
        strings.texts(&mut self.export_to);
        strings.labels(&mut self.selector);
        for port in &mut self.ports {
            strings.text(&mut port.name);
            strings.texts(&mut port.target_name);
        }
    }
}

impl Intern for SliceRecord {
    fn share(&mut self, strings: &mut Strings) {
        strings.text(&mut self.service);
        strings.texts(self.ports.iter_mut().map(|(name, _)| name));
        for endpoint in &mut self.endpoints {
            strings.texts(&mut endpoint.zone);
            strings.texts(&mut endpoint.node);
            strings.texts(&mut endpoint.hostname);
            strings.texts(&mut endpoint.pod);
        }
    }
}

impl Intern for PodRecord {
    fn share(&mut self, strings: &mut Strings) {
        strings.labels(&mut self.labels);
    }
}

impl Intern for NodeRecord {
    fn share(&mut self, strings: &mut Strings) {
        strings.texts(&mut self.region);
        strings.texts(&mut self.zone);
        strings.texts(&mut self.subzone);
    }
}

impl Intern for ServiceEntryRecord {
    fn share(&mut self, strings: &mut Strings) {
        strings.labels(&mut self.labels);
        strings.labels(&mut self.annotations);
        strings.texts(&mut self.hosts);
        strings.texts(&mut self.export_to);
        strings.texts(self.ports.iter_mut().map(|port| &mut port.name));
        for endpoint in &mut self.endpoints {
            endpoint.share(strings);
        }
    }
}

impl Intern for WorkloadEntryRecord {
    fn share(&mut self, strings: &mut Strings) {
        self.workload.share(strings);
    }
}

impl Intern for WorkloadRecord {
    fn share(&mut self, strings: &mut Strings) {
        strings.labels(&mut self.labels);
        strings.texts(&mut self.network);
        strings.texts(&mut self.locality);
        strings.texts(self.ports.iter_mut().map(|(name, _)| name));
    }
}

impl Intern for NamespaceRecord {}
impl Intern for ServiceExportRecord {}
impl Intern for PeerAuthenticationRecord {}
impl Intern for DestinationRuleRecord {}
impl Intern for MeshConfigRecord {}
impl Intern for GatewayClassRecord {}
impl Intern for GatewayRecord {}
impl Intern for TlsRouteRecord {}
impl Intern for ReferenceGrantRecord {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_become_one_and_unheld_ones_go() {
        let mut strings = Strings::default();
        let pod = |number: usize| {
            let labels = [("app", "svcb".to_owned()), ("v", format!("{}", number % 2))];
            PodRecord {
                labels: labels.into_iter().collect(),
            }
        };
        let mut pods: Vec<PodRecord> = (0..10).map(pod).collect();
        for pod in &mut pods {
            pod.share(&mut strings);
        }
        assert_eq!(strings.len(), 2 + "app svcb v 0 1".split(' ').count());

        for number in 0..SMALL {
            let mut text: Arc<str> = number.to_string().into();
            strings.text(&mut text);
        }
        strings.sweep();
        assert_eq!(strings.len(), 7, "what the pods hold");
        drop(pods);
    }
}
