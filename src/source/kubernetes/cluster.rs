//! Every record there is, and which services a change concerns.

mod concern;
mod index;
mod strings;
mod table;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::records::gateway::{
    GatewayClassRecord, GatewayRecord, ReferenceGrantRecord, TlsRouteRecord,
};
use super::records::mesh::{DEFAULT_ROOT_NAMESPACE, MeshConfigRecord};
use super::records::{
    DestinationRuleRecord, NamespaceRecord, NodeRecord, ObjectKey, PeerAuthenticationRecord,
    PodRecord, ServiceExportRecord, ServiceRecord, SliceRecord,
};
use concern::{Changed, Concern};
use index::Index;
use strings::Share as _;
pub(super) use strings::Strings;
pub use table::Table;
pub use unreadable::Unreadable;
use unreadable::UnreadableObjects;

/// Why a kind is absent that the API does not serve.
const NOT_INSTALLED: &str = "not installed";

/// What a watch tells.
#[derive(Debug, Clone)]
pub enum Change {
    /// The object is there, and is so now.
    Set(ObjectKey, Record),
    /// The object is gone.
    Removed(Kind, ObjectKey),
    /// A completed list: an object of this kind that is not in it is gone.
    All(Kind, Vec<(ObjectKey, Record)>),
    /// The kind cannot be watched for this reason. What was known of it stays, and while it was never
    /// listed nothing is known of it; a completed list ends the absence.
    Absent(Kind, Arc<str>),
    /// The API says that it does not serve the kind (404): there is no object of it.
    NotInstalled(Kind),
}

macro_rules! kinds {
    ($($kind:ident($record:ty), $table:ident, $label:literal;)*) => {
        /// The kinds of object that are watched.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = concat!("`", stringify!($kind), "`.")] $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// As logs and the metric label `kind` call it.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$kind => $label,)*
                }
            }
        }

        /// What is kept of an object.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Record {
            $(#[doc = concat!("Of a `", stringify!($kind), "`.")] $kind($record),)*
            /// Of an object of any kind that cannot be read.
            Unreadable(Unreadable),
        }

        impl Record {
            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                    Self::Unreadable(object) => object.kind,
                }
            }
        }

        /// Every record, a table a kind.
        #[derive(Debug, Clone, Default)]
        pub struct Cluster {
            $(
                #[doc = concat!("Of kind `", stringify!($kind), "`.")]
                pub $table: Table<$record>,
            )*
            unreadable: UnreadableObjects,
            absent: BTreeMap<Kind, Arc<str>>,
            known: BTreeSet<Kind>,
            index: Index,
            strings: Strings,
            /// The namespace of Istio's control plane and gateways.
            istio_namespace: Arc<str>,
        }

        impl Cluster {
            /// How many objects of `kind` there are.
            pub fn len(&self, kind: Kind) -> usize {
                match kind {
                    $(Kind::$kind => self.$table.len(),)*
                }
            }

            /// Whether an object is there.
            pub fn has(&self, kind: Kind, key: &ObjectKey) -> bool {
                match kind {
                    $(Kind::$kind => self.$table.get(key).is_some(),)*
                }
            }

            /// All of it, as changes of a cluster in which nothing is.
            pub fn changes(&self) -> Vec<Change> {
                let mut changes = Vec::new();
                $({
                    let record = |(key, record): (&ObjectKey, &$record)| {
                        (key.clone(), Record::$kind(record.clone()))
                    };
                    let unreadable = |(key, object): (&ObjectKey, &Unreadable)| {
                        (key.clone(), Record::Unreadable(object.clone()))
                    };
                    let unreadable = self.unreadable.of(Kind::$kind).map(unreadable);
                    let records = self.$table.iter().map(record).chain(unreadable);
                    // Of a kind that was never listed there is nothing.
                    changes.extend(self.is_known(Kind::$kind).then(|| {
                        Change::All(Kind::$kind, records.collect())
                    }));
                })*
                // A list ends an absence.
                let absent = self.absent.iter();
                changes.extend(absent.map(|(kind, reason)| Change::Absent(*kind, reason.clone())));
                changes
            }

            fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
                match kind {
                    $(Kind::$kind => {
                        let read = self.$table.iter().map(|(key, _)| key);
                        let unreadable = self.unreadable.of(kind).map(|(key, _)| key);
                        read.chain(unreadable).cloned().collect()
                    })*
                }
            }

            fn set(&mut self, mut key: ObjectKey, record: Record, dirty: &mut Dirty) {
                match record {
                    Record::Unreadable(object) => {
                        let kind = object.kind;
                        self.take(kind, &key, dirty);
                        if let Some(key) = self.unreadable.set(key, object) {
                            dirty.add_unreadable(kind, &key, self);
                        }
                    }
                    $(Record::$kind(mut record) => {
                        self.readable(Kind::$kind, &key, dirty);
                        if self.$table.get(&key) == Some(&record) {
                            return;
                        }
                        self.strings.key(&mut key);
                        record.share(&mut self.strings);
                        let old = self.$table.remove(&key);
                        let (old, new) = (old.as_ref(), Some(&record));
                        Concern::note(&Changed { key: &key, old, new }, self, dirty);
                        self.$table.set(key, record);
                    })*
                }
            }

            /// Takes a record out of its table.
            fn take(&mut self, kind: Kind, key: &ObjectKey, dirty: &mut Dirty) {
                match kind {
                    $(Kind::$kind => {
                        if let Some(old) = self.$table.remove(key) {
                            let (old, new) = (Some(&old), None);
                            Concern::note(&Changed { key, old, new }, self, dirty);
                        }
                    })*
                }
            }
        }
    };
}

kinds! {
    Service(ServiceRecord), services, "service";
    Slice(SliceRecord), slices, "endpoint_slice";
    Pod(PodRecord), pods, "pod";
    Namespace(NamespaceRecord), namespaces, "namespace";
    Node(NodeRecord), nodes, "node";
    ServiceExport(ServiceExportRecord), service_exports, "service_export";
    PeerAuthentication(PeerAuthenticationRecord), peer_authentications, "peer_authentication";
    DestinationRule(DestinationRuleRecord), destination_rules, "destination_rule";
    MeshConfig(MeshConfigRecord), mesh_configs, "mesh_config";
    GatewayClass(GatewayClassRecord), gateway_classes, "gateway_class";
    Gateway(GatewayRecord), gateways, "gateway";
    TlsRoute(TlsRouteRecord), tls_routes, "tls_route";
    ReferenceGrant(ReferenceGrantRecord), reference_grants, "reference_grant";
}

/// What a change concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services whose routes or endpoints may have changed, or that are gone.
    pub services: BTreeSet<ObjectKey>,
    /// Whether that holds for every service.
    pub everything: bool,
    /// Whether what Gateways and TLSRoutes say may have changed.
    pub gateways: bool,
}

impl Cluster {
    /// Without any object; Istio's control plane and gateways are in `istio_namespace`.
    pub fn new(istio_namespace: Arc<str>) -> Self {
        Self {
            istio_namespace,
            ..Self::default()
        }
    }

    /// Takes `change` over, and adds what it concerns to `dirty`.
    pub fn apply(&mut self, change: Change, dirty: &mut Dirty) {
        self.strings.sweep();
        match change {
            Change::Set(key, record) => self.set(key, record, dirty),
            Change::Removed(kind, key) => self.remove(kind, &key, dirty),
            Change::All(kind, records) => {
                dirty.everything |= self.absent.remove(&kind).is_some() | self.known.insert(kind);
                let listed: BTreeSet<&ObjectKey> = records.iter().map(|(key, _)| key).collect();
                let mut gone = self.keys(kind);
                gone.retain(|key| !listed.contains(key));
                for key in &gone {
                    self.remove(kind, key, dirty);
                }
                for (key, record) in records {
                    self.set(key, record, dirty);
                }
            }
            Change::Absent(kind, reason) => {
                dirty.everything |= self.absent.insert(kind, reason).is_none();
            }
            Change::NotInstalled(kind) => {
                let before = self.absent.insert(kind, NOT_INSTALLED.into());
                dirty.everything |= before.is_none() | self.known.insert(kind);
            }
        }
    }

    fn remove(&mut self, kind: Kind, key: &ObjectKey, dirty: &mut Dirty) {
        self.readable(kind, key, dirty);
        self.take(kind, key, dirty);
    }

    /// An object is not among the unreadable ones any more, if it was.
    fn readable(&mut self, kind: Kind, key: &ObjectKey, dirty: &mut Dirty) {
        if self.unreadable.remove(kind, key) {
            dirty.add_unreadable(kind, key, self);
        }
    }

    /// The settings of the mesh; `None` when nothing says any.
    ///
    /// # Errors
    /// Why they are not known.
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

    /// Whether Istio's policies of a namespace may hold for other namespaces too.
    fn is_mesh_wide(&self, namespace: &str) -> bool {
        let root = match self.mesh_config() {
            Ok(Some(config)) => &*config.root_namespace,
            Ok(None) | Err(_) => DEFAULT_ROOT_NAMESPACE,
        };
        namespace == root || namespace == &*self.istio_namespace
    }

    /// The slices of a Service.
    pub fn slices_of(&self, service: &ObjectKey) -> impl Iterator<Item = &SliceRecord> {
        let keys = self.index.slices_of(service);
        keys.filter_map(|key| self.slices.get(&key))
    }

    /// Whether everything there is of `kind` is known, or was before its watch failed. While it is not,
    /// an object that is not in its table may be there all the same.
    pub fn is_known(&self, kind: Kind) -> bool {
        self.known.contains(&kind)
    }

    /// Why `kind` cannot be watched, if it cannot.
    pub fn absent(&self, kind: Kind) -> Option<&Arc<str>> {
        self.absent.get(&kind)
    }
}
