//! The cluster: one record for each watched object. It says which services a change concerns.

mod concern;
mod entry_hosts;
mod index;
mod kinds;
mod nameless;
mod record;
mod store;
mod strings;
mod table;
mod unreadable;

use std::collections::BTreeSet;

use super::records::entry::{ServiceEntryRecord, WorkloadEntryRecord};
use super::records::gateway::{
    GatewayClassRecord, GatewayRecord, ReferenceGrantRecord, TlsRouteRecord,
};
use super::records::mesh::MeshConfigRecord;
use super::records::{
    DestinationRuleRecord, NamespaceRecord, NodeRecord, ObjectKey, PeerAuthenticationRecord,
    PodRecord, ServiceExportRecord, ServiceRecord, SliceRecord,
};
pub use crate::metrics::Kind;
pub use concern::Dirty;
use concern::{Concern, RecordChange};
use kinds::kinds;
pub use record::{ClusterChange, Record};
pub use store::Cluster;
use store::{NOT_INSTALLED, Stored};
use strings::Intern;
pub(super) use strings::Strings;
pub use table::Table;
pub use unreadable::Unreadable;

impl Cluster {
    /// Applies `change`, and adds what it concerns to `dirty`.
    pub fn apply(&mut self, change: ClusterChange, dirty: &mut Dirty) {
        self.strings.sweep();
        match change {
            ClusterChange::Set(key, record) => self.set_any(key, record, dirty),
            ClusterChange::Removed(kind, key) => self.remove(kind, &key, dirty),
            ClusterChange::All(kind, records) => {
                dirty.everything |= self.absent.remove(&kind).is_some() | self.known.insert(kind);
                let listed: BTreeSet<&ObjectKey> = records.iter().map(|(key, _)| key).collect();
                let mut gone = self.keys(kind);
                gone.retain(|key| !listed.contains(key));
                for key in &gone {
                    self.remove(kind, key, dirty);
                }
                for (key, record) in records {
                    self.set_any(key, record, dirty);
                }
            }
            ClusterChange::Absent(kind, reason) => {
                dirty.everything |= self.absent.insert(kind, reason).is_none();
            }
            ClusterChange::NotInstalled(kind) => {
                let before = self.absent.insert(kind, NOT_INSTALLED.into());
                dirty.everything |= before.is_none() | self.known.insert(kind);
            }
            ClusterChange::Forgotten(kind, reason) => {
                for key in &self.keys(kind) {
                    self.remove(kind, key, dirty);
                }
                self.known.remove(&kind);
                self.absent.insert(kind, reason);
                dirty.everything = true;
            }
        }
    }

    /// Keeps `record`, and adds what that concerns to `dirty`.
    fn set<R>(&mut self, mut key: ObjectKey, mut record: R, dirty: &mut Dirty)
    where
        R: Stored + Intern + Concern + PartialEq,
    {
        self.readable(R::KIND, &key, dirty);
        if R::table(self).get(&key) == Some(&record) {
            return;
        }
        self.strings.key(&mut key);
        record.share(&mut self.strings);
        let old = R::table_mut(self).remove(&key);
        let (old, new) = (old.as_ref(), Some(&record));
        R::note(
            &RecordChange {
                key: &key,
                old,
                new,
            },
            self,
            dirty,
        );
        R::table_mut(self).set(key, record);
    }

    fn set_unreadable(&mut self, key: ObjectKey, object: Unreadable, dirty: &mut Dirty) {
        let kind = object.kind;
        self.take_any(kind, &key, dirty);
        if let Some(key) = self.unreadable.set(key, object) {
            dirty.add_unreadable(kind, &key, self);
        }
    }

    fn remove(&mut self, kind: Kind, key: &ObjectKey, dirty: &mut Dirty) {
        self.readable(kind, key, dirty);
        self.take_any(kind, key, dirty);
    }

    /// Takes a record out of its table.
    fn take<R: Stored + Concern>(&mut self, key: &ObjectKey, dirty: &mut Dirty) {
        if let Some(old) = R::table_mut(self).remove(key) {
            let (old, new) = (Some(&old), None);
            R::note(&RecordChange { key, old, new }, self, dirty);
        }
    }

    /// Removes an object from the unreadable ones, if it was among them.
    fn readable(&mut self, kind: Kind, key: &ObjectKey, dirty: &mut Dirty) {
        if self.unreadable.remove(kind, key) {
            dirty.add_unreadable(kind, key, self);
        }
    }
}

/// From a kind that is a value to the type of its records.
macro_rules! dispatch {
    ($($kind:ident($record:ty), $table:ident;)*) => {
        impl Cluster {
            fn set_any(&mut self, key: ObjectKey, record: Record, dirty: &mut Dirty) {
                match record {
                    $(Record::$kind(record) => self.set(key, record, dirty),)*
                    Record::Unreadable(object) => self.set_unreadable(key, object, dirty),
                }
            }

            fn take_any(&mut self, kind: Kind, key: &ObjectKey, dirty: &mut Dirty) {
                match kind {
                    $(Kind::$kind => self.take::<$record>(key, dirty),)*
                }
            }
        }
    };
}
kinds!(dispatch);
