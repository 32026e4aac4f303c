//! An index of ServiceEntries by host.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::entry::ServiceEntryRecord;

/// The ServiceEntries that have each host. An entry that names a host twice counts twice.
#[derive(Debug, Clone, Default)]
pub(super) struct EntryHosts(BTreeMap<Arc<str>, BTreeMap<ObjectKey, u32>>);

impl EntryHosts {
    /// Updates the index when the entry at `key` changes from `old` to `new`.
    pub(super) fn replace(
        &mut self,
        key: &ObjectKey,
        old: Option<&ServiceEntryRecord>,
        new: Option<&ServiceEntryRecord>,
    ) {
        for host in old.iter().flat_map(|entry| &entry.hosts) {
            let Some(entries) = self.0.get_mut(host) else {
                continue;
            };
            match entries.get_mut(key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(entries.remove(key)),
            }
            if entries.is_empty() {
                self.0.remove(host);
            }
        }
        for host in new.iter().flat_map(|entry| &entry.hosts) {
            let entries = self.0.entry(host.clone()).or_default();
            *entries.entry(key.clone()).or_default() += 1;
        }
    }

    /// The keys of the entries with a host, by namespace and name.
    pub(super) fn entries_of(&self, host: &str) -> impl Iterator<Item = &ObjectKey> {
        self.0.get(host).into_iter().flat_map(BTreeMap::keys)
    }
}
