//! The names that a config gives to its parts: a type for each, so that none is taken for another.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self
            }
        }

        impl From<Arc<str>> for $name {
            fn from(name: Arc<str>) -> Self {
                Self(name)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&**self, f)
            }
        }
    )+};
}

names! {
    /// The name of a listener, unique among them: a metric label.
    ListenerName;
    /// The name of a route, unique in its listener: a metric label.
    RouteName;
    /// The name of an upstream, unique among them: a metric label.
    UpstreamName;
    /// The name of a source group, unique among them: a metric label.
    SourceGroupName;
    /// The name of a workload, or of a namespace, in Istio's metrics: a metric label.
    WorkloadName;
    /// The name of a zone, as in the label `topology.kubernetes.io/zone`.
    Zone;
    /// The name of a node: the machine that a pod runs on.
    NodeName;
}
