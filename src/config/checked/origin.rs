//! The origin of a route: the file, or an object of the Kubernetes API.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// The origin of a route. It is also the order of precedence: an earlier origin keeps a name that a
/// later one claims too.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The config file.
    #[default]
    File,
    /// A Service that the export policy exports.
    Export(ObjectRef),
    /// A ServiceEntry that the export policy exports.
    ServiceEntry(ObjectRef),
    /// A TLSRoute of the Gateway API.
    TlsRoute(ObjectRef),
    /// A Gateway with a listener that keeps its names from the routes of less specific listeners.
    Gateway(ObjectRef),
}

/// An object of the Kubernetes API in one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ObjectRef {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.resourceVersion`, opaque.
    pub resource_version: Arc<str>,
}

impl Origin {
    /// Whether both are the same object, in whatever version.
    pub fn is_same_object(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Export(one), Self::Export(other))
            | (Self::ServiceEntry(one), Self::ServiceEntry(other))
            | (Self::TlsRoute(one), Self::TlsRoute(other))
            | (Self::Gateway(one), Self::Gateway(other)) => one.key() == other.key(),
            (Self::File, Self::File) => true,
            _ => false,
        }
    }
}

impl ObjectRef {
    fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the config file"),
            Self::Export(object) => write!(f, "Service {object}"),
            Self::ServiceEntry(object) => write!(f, "ServiceEntry {object}"),
            Self::TlsRoute(object) => write!(f, "TLSRoute {object}"),
            Self::Gateway(object) => write!(f, "Gateway {object}"),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            name,
            resource_version,
        } = self;
        write!(f, "{namespace}/{name} (resourceVersion {resource_version})")
    }
}
