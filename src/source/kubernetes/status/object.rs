//! Writes the status of one object, over what it says now.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Wanted;
use super::merge::Merging;
use super::write::Key;
use crate::clock;
use crate::metrics::{Metrics, StatusWrite};
use crate::source::kubernetes::api_names::ApiNames;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// A request that takes longer has failed. No longer than the time between giving a Lease up and its end:
/// the last write of one leader is over when the next one begins.
pub(super) const REQUEST: Duration = Duration::from_secs(5);
/// Writes of one object that meet a newer version each time, before others have their turn.
const MAX_CONFLICTS: usize = 5;

/// What has become of one object.
pub(super) enum Done {
    /// It says what it should, at this version.
    Says(Arc<str>),
    /// It is not there, or is another than the one that was translated: the watch will tell.
    Gone,
    /// The API takes no status of this kind from us.
    Denied(kube::Error),
    /// The API does not take this status.
    Invalid(kube::Error),
    /// Somebody else was faster.
    Conflict,
    /// To be tried again.
    Failed(String),
}

/// What objects are read and written by.
pub(super) struct ObjectWriter {
    pub(super) client: Client,
    /// The `controllerName` of entries that are ours.
    pub(super) controller: Arc<str>,
    pub(super) metrics: Arc<Metrics>,
}

impl ObjectWriter {
    pub(super) fn count(&self, kind: Kind, write: StatusWrite) {
        self.metrics.statuses.writes(kind.label(), write).inc();
    }

    /// Reads an object, and writes its status if it differs; again when somebody else was faster.
    /// `is_leading` is asked right before each write.
    pub(super) async fn write(
        &self,
        (kind, key): &Key,
        wanted: &Wanted,
        is_leading: impl Fn() -> bool,
    ) -> Done {
        let api = self.api(*kind, key, &wanted.api_version);
        for _ in 0..MAX_CONFLICTS {
            let object = match request(api.get(&key.name)).await {
                Ok(object) => object,
                Err(done) => return done,
            };
            if object.metadata.generation != Some(wanted.revision.generation) {
                return Done::Gone;
            }
            let version: Arc<str> = object.metadata.resource_version.unwrap_or_default().into();
            let before = object.data.get("status").unwrap_or(&Value::Null);
            let now = humantime::format_rfc3339_seconds(clock::now()).to_string();
            let merging = Merging {
                controller: &self.controller,
                namespace: &key.namespace,
                generation: wanted.revision.generation,
                now: &now,
            };
            if merging.is_late(before) {
                return Done::Gone;
            }
            let Some(changes) = merging.changes(before, &wanted.status) else {
                return Done::Says(version);
            };
            if !is_leading() {
                return Done::Failed("this replica leads no longer".to_owned());
            }
            let patch = json!({ "metadata": { "resourceVersion": version }, "status": changes });
            let params = PatchParams {
                field_manager: Some("strait".to_owned()),
                ..PatchParams::default()
            };
            match request(api.patch_status(&key.name, &params, &Patch::Merge(patch))).await {
                Ok(object) => {
                    self.count(*kind, StatusWrite::Written);
                    return Done::Says(object.metadata.resource_version.unwrap_or_default().into());
                }
                Err(Done::Conflict) => self.count(*kind, StatusWrite::Conflict),
                Err(done) => return done,
            }
        }
        Done::Conflict
    }

    fn api(&self, kind: Kind, key: &ObjectKey, version: &str) -> Api<DynamicObject> {
        let names = ApiNames::of(kind);
        let resource = ApiResource {
            group: names.group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{}/{version}", names.group),
            kind: names.kind.to_owned(),
            plural: names.plural.to_owned(),
        };
        let client = self.client.clone();
        if key.namespace.is_empty() {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, &key.namespace, &resource)
        }
    }
}

async fn request<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Done> {
    match timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => Done::Gone,
            409 => Done::Conflict,
            401 | 403 => Done::Denied(kube::Error::Api(status)),
            400 | 422 => Done::Invalid(kube::Error::Api(status)),
            _ => Done::Failed(status.to_string()),
        }),
        Ok(Err(error)) => Err(Done::Failed(error.to_string())),
        Err(_) => Err(Done::Failed("the API did not answer in time".to_owned())),
    }
}
