//! An index of ServiceEntries by host, and of those that select workloads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::entry::ServiceEntryRecord;

#[derive(Debug, Clone, Default)]
pub(super) struct EntryHosts {
    /// The ServiceEntries that have each host. An entry that names a host twice counts twice.
    by_host: BTreeMap<Arc<str>, BTreeMap<ObjectKey, u32>>,
    /// The entries with a `workloadSelector`.
    selecting: BTreeSet<ObjectKey>,
}

impl EntryHosts {
    /// Updates the index when the entry at `key` changes from `old` to `new`.
    pub(super) fn replace(
        &mut self,
        key: &ObjectKey,
        old: Option<&ServiceEntryRecord>,
        new: Option<&ServiceEntryRecord>,
    ) {
        for host in old.iter().flat_map(|entry| &entry.hosts) {
            let Some(entries) = self.by_host.get_mut(host) else {
                continue;
            };
            match entries.get_mut(key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(entries.remove(key)),
            }
            if entries.is_empty() {
                self.by_host.remove(host);
            }
        }
        for host in new.iter().flat_map(|entry| &entry.hosts) {
            let entries = self.by_host.entry(host.clone()).or_default();
            *entries.entry(key.clone()).or_default() += 1;
        }
        match new.is_some_and(|entry| entry.selector.is_some()) {
            true => self.selecting.insert(key.clone()),
            false => self.selecting.remove(key),
        };
    }

    /// The entries of a namespace that select workloads, by name.
    pub(super) fn selecting_in(&self, namespace: &Arc<str>) -> impl Iterator<Item = &ObjectKey> {
        let first = ObjectKey {
            namespace: namespace.clone(),
            name: Arc::default(),
        };
        let from = self.selecting.range(first..);
        from.take_while(move |key| key.namespace == *namespace)
    }

    /// The entries that select workloads.
    pub(super) fn selecting(&self) -> impl Iterator<Item = &ObjectKey> {
        self.selecting.iter()
    }

    /// The keys of the entries with a host, by namespace and name.
    pub(super) fn entries_of(&self, host: &str) -> impl Iterator<Item = &ObjectKey> {
        self.by_host.get(host).into_iter().flat_map(BTreeMap::keys)
    }
}
