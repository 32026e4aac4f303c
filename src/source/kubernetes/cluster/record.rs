//! A record of any kind, and the changes that a watch reports.

use std::sync::Arc;

use super::kinds::kinds;
use super::unreadable::Unreadable;
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

macro_rules! record {
    ($($kind:ident($record:ty), $table:ident;)*) => {
        /// The part of an object that strait keeps.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Record {
            $(#[doc = concat!("Of a `", stringify!($kind), "`.")] $kind($record),)*
            /// The record of an object, of any kind, that cannot be read.
            Unreadable(Unreadable),
        }

        impl Record {
            /// Stands for all objects of a kind beyond those that are kept.
            pub fn too_many(kind: Kind) -> (ObjectKey, Self) {
                let (key, object) = Unreadable::too_many(kind);
                (key, Self::Unreadable(object))
            }

            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                    Self::Unreadable(object) => object.kind,
                }
            }
        }
    };
}
kinds!(record);

/// A change that a watch reports.
#[derive(Debug, Clone)]
pub enum ClusterChange {
    /// The object exists and has this content now.
    Set(ObjectKey, Record),
    /// The object no longer exists.
    Removed(Kind, ObjectKey),
    /// A completed list: objects of this kind that are not in it no longer exist.
    All(Kind, Vec<(ObjectKey, Record)>),
    /// The kind cannot be watched, for this reason. What was known of it stays; if it was never listed,
    /// nothing is known of it. A completed list ends the absence.
    Absent(Kind, Arc<str>),
    /// The API says that it does not serve the kind (404): there is no object of it.
    NotInstalled(Kind),
    /// Nothing is known of the kind any more, for this reason: what was known came from a saved state, and
    /// the API refuses the kind.
    Forgotten(Kind, Arc<str>),
}

impl ClusterChange {
    /// The kind that it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Set(_, record) => record.kind(),
            Self::Removed(kind, _)
            | Self::All(kind, _)
            | Self::Absent(kind, _)
            | Self::NotInstalled(kind)
            | Self::Forgotten(kind, _) => *kind,
        }
    }
}
