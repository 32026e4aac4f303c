//! The API's objects, read as far as their records need them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::served::Served;
use crate::source::kubernetes::api_names::OURS;
use crate::source::kubernetes::cluster::Record;
use crate::source::kubernetes::records::{Labels, ObjectKey};

/// The number of objects kept of one kind. Further ones are left out and counted.
pub(super) const MAX_OBJECTS: usize = 200_000;

/// An object of the API, with the fields that strait reads.
pub(super) trait Object: DeserializeOwned + Send + 'static {
    /// True if only its metadata is requested.
    const METADATA_ONLY: bool = false;

    fn meta(&self) -> &ObjectMeta;
}

/// An object that is converted into a record.
pub(super) trait Watched: Object {
    /// The record; `None` if the object has no meaning for strait.
    ///
    /// # Errors
    /// The problem of the object.
    fn record(self, served: &Served) -> Result<Option<Record>, String>;
}

/// The name of an object.
pub(super) fn key(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        namespace: meta.namespace.as_deref().unwrap_or_default().into(),
        name: meta.name.as_deref().unwrap_or_default().into(),
    }
}

pub(super) fn labels(meta: &mut ObjectMeta) -> Labels {
    meta.labels.take().unwrap_or_default().into_iter().collect()
}

/// strait's annotations, without their prefix.
pub(super) fn annotations(meta: &ObjectMeta) -> Labels {
    let all = meta.annotations.iter().flatten();
    let ours = all.filter_map(|(key, value)| Some((key.strip_prefix(OURS)?, value.as_str())));
    ours.collect()
}

pub(super) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn version(meta: &ObjectMeta) -> Arc<str> {
    meta.resource_version.as_deref().unwrap_or_default().into()
}

/// The version of an object, if it has one.
pub(super) fn version_of(value: &serde_json::Value) -> Option<String> {
    let version = value.pointer("/metadata/resourceVersion")?.as_str()?;
    (!version.is_empty()).then(|| version.to_owned())
}

/// `creationTimestamp`, seconds since 1970; 0 without one.
pub(super) fn created(meta: &ObjectMeta) -> i64 {
    let created = meta.creation_timestamp.as_ref();
    created.map_or(0, |Time(time)| time.as_second())
}

/// Metadata without fields that strait does not need: `managedFields` are often most of an object.
pub(super) fn slim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        generation: Option<i64>,
        creation_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
    }
    let slim = Slim::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        resource_version: slim.resource_version,
        generation: slim.generation,
        creation_timestamp: slim.creation_timestamp,
        labels: slim.labels,
        annotations: slim.annotations,
        ..ObjectMeta::default()
    })
}

/// A part of a custom resource. Its definition is not ours, and a part that cannot be read must not
/// spoil the whole list.
#[derive(Debug, Clone)]
pub(super) struct Lenient<T>(pub(super) Result<T, String>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(
            T::deserialize(value).map_err(|error| error.to_string()),
        ))
    }
}

impl<T: DeserializeOwned> Default for Lenient<T> {
    fn default() -> Self {
        let nothing = T::deserialize(serde_json::json!({}));
        Self(nothing.map_err(|error| error.to_string()))
    }
}

/// Declares an object of the API: its metadata and some of its fields.
macro_rules! object {
    ($(#[doc = $about:literal])+ $name:ident $(($metadata_only:ident))? { $($field:ident $(as $key:literal)?: $type:ty,)* }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, serde::Deserialize)]
        pub(super) struct $name {
            #[serde(deserialize_with = "crate::source::kubernetes::watch::object::slim")]
            pub(super) metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            $(#[serde(default $(, rename = $key)?)] pub(super) $field: $type,)*
        }

        impl crate::source::kubernetes::watch::object::Object for $name {
            $(
                const METADATA_ONLY: bool = {
                    let _ = stringify!($metadata_only);
                    true
                };
            )?

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
        }
    };
}
pub(super) use object;
