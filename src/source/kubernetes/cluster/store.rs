//! Every record there is, a table a kind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::entry_hosts::EntryHosts;
use super::index::Index;
use super::kinds::kinds;
use super::nameless::NamelessAddresses;
use super::record::{ClusterChange, Record};
use super::strings::Strings;
use super::table::Table;
use super::unreadable::{Unreadable, UnreadableObjects};
use crate::config::ISTIO_ROOT_NAMESPACE;
use crate::metrics::Kind;
use crate::source::kubernetes::records::entry::{ServiceEntryRecord, WorkloadEntryRecord};
use crate::source::kubernetes::records::gateway::{
    GatewayClassRecord, GatewayRecord, ReferenceGrantRecord, TlsRouteRecord,
};
use crate::source::kubernetes::records::mesh::MeshConfigRecord;
use crate::source::kubernetes::records::{
    DestinationRuleRecord, NamespaceRecord, NodeRecord, ObjectKey, PeerAuthenticationRecord,
    PodRecord, ServiceExportRecord, ServiceRecord, SliceRecord,
};

/// The reason of a kind's absence when the API does not serve the kind.
pub(super) const NOT_INSTALLED: &str = "not installed";

/// A type of record, and where it is kept.
pub(super) trait Stored: Clone {
    const KIND: Kind;

    fn into_record(self) -> Record;

    fn table(cluster: &Cluster) -> &Table<Self>;

    fn table_mut(cluster: &mut Cluster) -> &mut Table<Self>;
}

/// A table of whichever kind.
trait AnyTable {
    fn len(&self) -> usize;

    fn has(&self, key: &ObjectKey) -> bool;

    fn keys(&self) -> Vec<ObjectKey>;

    fn records(&self) -> Vec<(ObjectKey, Record)>;
}

impl<R: Stored> AnyTable for Table<R> {
    fn len(&self) -> usize {
        self.len()
    }

    fn has(&self, key: &ObjectKey) -> bool {
        self.get(key).is_some()
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.iter().map(|(key, _)| key.clone()).collect()
    }

    fn records(&self) -> Vec<(ObjectKey, Record)> {
        let record = |(key, record): (&ObjectKey, &R)| (key.clone(), record.clone().into_record());
        self.iter().map(record).collect()
    }
}

macro_rules! store {
    ($($kind:ident($record:ty), $table:ident;)*) => {
        /// All records, in one table for each kind.
        #[derive(Debug, Clone, Default)]
        pub struct Cluster {
            $(
                #[doc = concat!("Of kind `", stringify!($kind), "`.")]
                pub $table: Table<$record>,
            )*
            pub(super) unreadable: UnreadableObjects,
            pub(super) absent: BTreeMap<Kind, Arc<str>>,
            pub(super) known: BTreeSet<Kind>,
            pub(super) index: Index,
            pub(super) nameless: NamelessAddresses,
            pub(super) entry_hosts: EntryHosts,
            pub(super) strings: Strings,
            /// The namespace of Istio's control plane and gateways.
            istio_namespace: Arc<str>,
        }

        impl Cluster {
            fn table(&self, kind: Kind) -> &dyn AnyTable {
                match kind {
                    $(Kind::$kind => &self.$table,)*
                }
            }
        }

        $(impl Stored for $record {
            const KIND: Kind = Kind::$kind;

            fn into_record(self) -> Record {
                Record::$kind(self)
            }

            fn table(cluster: &Cluster) -> &Table<Self> {
                &cluster.$table
            }

            fn table_mut(cluster: &mut Cluster) -> &mut Table<Self> {
                &mut cluster.$table
            }
        })*
    };
}
kinds!(store);

impl Cluster {
    /// Creates a cluster without any object. Istio's control plane and gateways are in
    /// `istio_namespace`.
    pub fn new(istio_namespace: Arc<str>) -> Self {
        Self {
            istio_namespace,
            ..Self::default()
        }
    }

    /// The number of objects of `kind`.
    pub fn len(&self, kind: Kind) -> usize {
        self.table(kind).len()
    }

    /// Whether the object exists.
    pub fn has(&self, kind: Kind, key: &ObjectKey) -> bool {
        self.table(kind).has(key)
    }

    /// The whole content as changes to an empty cluster.
    pub fn changes(&self) -> Vec<ClusterChange> {
        // A kind that was never listed has no records.
        let known = Kind::ALL.iter().filter(|kind| self.is_known(**kind));
        let lists = known.map(|kind| ClusterChange::All(*kind, self.list(*kind)));
        // A list ends an absence, so absences come last.
        let absent = self.absent.iter();
        let absent = absent.map(|(kind, reason)| ClusterChange::Absent(*kind, reason.clone()));
        lists.chain(absent).collect()
    }

    /// The records of a kind, those of objects that cannot be read included.
    pub fn list(&self, kind: Kind) -> Vec<(ObjectKey, Record)> {
        let mut records = self.table(kind).records();
        let unreadable = self.unreadable.of(kind);
        records.extend(
            unreadable.map(|(key, object)| (key.clone(), Record::Unreadable(object.clone()))),
        );
        records
    }

    /// Whether the API serves the kind, as far as it has said.
    pub fn is_installed(&self, kind: Kind) -> bool {
        let reason = self.absent(kind).map(|reason| &**reason);
        reason != Some(NOT_INSTALLED)
    }

    /// The keys of the objects of a kind, those that cannot be read included.
    pub(super) fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
        let mut keys = self.table(kind).keys();
        keys.extend(self.unreadable.of(kind).map(|(key, _)| key.clone()));
        keys
    }

    /// All unreadable objects, by kind and name.
    pub fn unreadable(&self) -> impl Iterator<Item = (&ObjectKey, &Unreadable)> {
        self.unreadable.iter()
    }

    /// The unreadable objects of a kind.
    pub(super) fn unreadable_of(
        &self,
        kind: Kind,
    ) -> impl Iterator<Item = (&ObjectKey, &Unreadable)> {
        self.unreadable.of(kind)
    }

    /// The number of unreadable objects of a kind.
    pub fn count_unreadable(&self, kind: Kind) -> usize {
        self.unreadable.of(kind).count()
    }

    /// The reason why an existing object cannot be read.
    pub fn why_unreadable(&self, kind: Kind, key: &ObjectKey) -> Option<&Arc<str>> {
        self.unreadable.get(kind, key).map(|it| &it.problem)
    }

    /// The unreadable objects of a kind that may be in this namespace: those of the namespace, and
    /// those whose name cannot be read either.
    pub fn unreadable_in<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Unreadable)> {
        let own = self.unreadable.in_namespace(kind, namespace);
        let named = (!namespace.is_empty()).then_some(own).into_iter().flatten();
        named.chain(self.unreadable.in_namespace(kind, ""))
    }

    /// The settings of the mesh; `None` when there are none.
    ///
    /// # Errors
    /// The reason why they are not known.
    pub fn mesh_config(&self) -> Result<Option<&MeshConfigRecord>, &str> {
        if let Some((_, record)) = self.mesh_configs.iter().next() {
            return Ok(Some(record));
        }
        if let Some((_, object)) = self.unreadable_of(Kind::MeshConfig).next() {
            return Err(&object.problem);
        }
        if self.is_known(Kind::MeshConfig) {
            return Ok(None);
        }
        let reason = self.absent(Kind::MeshConfig);
        Err(reason.map_or("not listed yet", |reason| reason))
    }

    /// Whether Istio's policies of a namespace may apply to other namespaces too.
    pub(super) fn is_mesh_wide(&self, namespace: &str) -> bool {
        let root = match self.mesh_config() {
            Ok(Some(config)) => &*config.root_namespace,
            Ok(None) | Err(_) => ISTIO_ROOT_NAMESPACE,
        };
        namespace == root || namespace == &*self.istio_namespace
    }

    /// The ServiceEntries with a host, by namespace and name.
    pub fn entries_of(
        &self,
        host: &str,
    ) -> impl Iterator<Item = (&ObjectKey, &ServiceEntryRecord)> {
        let keys = self.entry_hosts.entries_of(host);
        keys.filter_map(|key| Some((key, self.service_entries.get(key)?)))
    }

    /// The ServiceEntries of one namespace with a host, by name.
    pub fn entries_in(
        &self,
        namespace: &str,
        host: &str,
    ) -> impl Iterator<Item = (&ObjectKey, &ServiceEntryRecord)> {
        let entries = self.entries_of(host);
        entries.filter(move |(key, _)| &*key.namespace == namespace)
    }

    /// Each host of each ServiceEntry, with the namespace of the entry.
    pub fn entry_hosts(&self) -> impl Iterator<Item = ObjectKey> {
        let entries = self.service_entries.iter();
        entries.flat_map(|(key, entry)| entry.hosts.iter().map(|host| key.beside(host)))
    }

    /// The slices of the Services that a pod is behind.
    pub fn slices_with(&self, pod: &ObjectKey) -> impl Iterator<Item = &SliceRecord> {
        let services = self.index.services_of(pod);
        services.flat_map(|service| self.slices_of(&service).collect::<Vec<_>>())
    }

    /// The slices of a Service.
    pub fn slices_of(&self, service: &ObjectKey) -> impl Iterator<Item = &SliceRecord> {
        self.keyed_slices_of(service).map(|(_, slice)| slice)
    }

    /// The slices of a Service, each with its key.
    pub fn keyed_slices_of(
        &self,
        service: &ObjectKey,
    ) -> impl Iterator<Item = (&ObjectKey, &SliceRecord)> {
        let keys = self.index.slices_of(service);
        keys.filter_map(|key| self.slices.entry(&key))
    }

    /// The pod at an address that a slice of the namespace lists without a pod. Other slices say which
    /// one; `None` if they name several that exist.
    pub fn pod_at(&self, namespace: &Arc<str>, address: IpAddr) -> Option<&Arc<str>> {
        let exists = |name: &&Arc<str>| {
            let (namespace, name) = (namespace.clone(), (*name).clone());
            self.pods.get(&ObjectKey { namespace, name }).is_some()
        };
        // A slice may name a pod that is gone.
        let mut pods = self.nameless.pods_at(namespace, address).filter(exists);
        let first = pods.next()?;
        pods.next().is_none().then_some(first)
    }

    /// Whether all objects of `kind` are known, or were before its watch failed. While they are not, an
    /// object may exist although its table lacks it.
    pub fn is_known(&self, kind: Kind) -> bool {
        self.known.contains(&kind)
    }

    /// The reason why `kind` cannot be watched, if it cannot.
    pub fn absent(&self, kind: Kind) -> Option<&Arc<str>> {
        self.absent.get(&kind)
    }
}
