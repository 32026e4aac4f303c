//! The writer of one object's status, over the status that the object has.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::merge::Merging;
use super::statuses::{Key, Wanted};
use crate::clock;
use crate::metrics::{Metrics, StatusWrite, WrittenObject};
use crate::source::kubernetes::api_names::ApiNames;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// The time limit of a request. It is no longer than the time between giving a Lease up and its end:
/// the last write of one leader is over before the next one begins.
pub(super) const REQUEST: Duration = Duration::from_secs(5);
/// The number of version conflicts that one object may meet before other objects are handled.
const MAX_CONFLICTS: usize = 5;

/// The result for one object.
pub(super) enum Done {
    /// The status is as wanted, at this version of the object.
    UpToDate(Arc<str>),
    /// The object does not exist, or is not the one that was translated. The watch will report that.
    Gone,
    /// RBAC does not let us read objects of this kind, or write their status, in this namespace.
    Denied(kube::Error),
    /// The API refuses this status of this object, by its validation or an admission policy.
    Refused(kube::Error),
    /// Somebody else wrote first.
    Conflict,
    /// The API did not answer, or answered that it cannot.
    Failed(String),
}

/// The tools to read and write objects.
pub(super) struct ObjectWriter {
    pub(super) client: Client,
    /// The `controllerName` of entries that are ours.
    pub(super) controller: Arc<str>,
    pub(super) metrics: Arc<Metrics>,
}

impl ObjectWriter {
    pub(super) fn count(&self, kind: Kind, write: StatusWrite) {
        self.count_of(WrittenObject::Status(kind), write);
    }

    pub(super) fn count_of(&self, written: WrittenObject, write: StatusWrite) {
        self.metrics.statuses.writes(written, write).inc();
    }

    /// Reads an object and writes its status if it differs, and again after a conflict. Asks
    /// `is_leading` right before each write.
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
                return Done::UpToDate(version);
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
                    return Done::UpToDate(
                        object.metadata.resource_version.unwrap_or_default().into(),
                    );
                }
                Err(Done::Conflict) => self.count(*kind, StatusWrite::Conflict),
                Err(done) => return done,
            }
        }
        Done::Conflict
    }

    pub(super) fn api(&self, kind: Kind, key: &ObjectKey, version: &str) -> Api<DynamicObject> {
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
        Ok(Err(kube::Error::Api(status))) => Err(verdict(status)),
        Ok(Err(error)) => Err(Done::Failed(error.to_string())),
        Err(_) => Err(Done::Failed("the API did not answer in time".to_owned())),
    }
}

/// The result for an answer that is not a success.
fn verdict(status: Box<Status>) -> Done {
    let refused = is_refused_by_admission(&status.message);
    match status.code {
        404 => Done::Gone,
        409 => Done::Conflict,
        403 if is_denied_by_rbac(&status.message) => Done::Denied(kube::Error::Api(status)),
        400 | 403 | 422 => Done::Refused(kube::Error::Api(status)),
        _ if refused => Done::Refused(kube::Error::Api(status)),
        _ => Done::Failed(status.to_string()),
    }
}

/// Whether a 403 is the authorizer's: `... is forbidden: User "NAME" cannot VERB resource "PLURAL" ...`
/// (k8s.io/apiserver, `responsewriters.Forbidden`). Admission policies answer 403 too, with other words.
fn is_denied_by_rbac(message: &str) -> bool {
    let said = message.split_once("is forbidden: ").map(|(_, said)| said);
    said.is_some_and(|said| said.starts_with("User \"") && said.contains("\" cannot "))
}

/// Whether an admission webhook has denied the request, whatever the code, or has not answered although
/// it must (k8s.io/apiserver, `plugin/webhook/errors`; the API makes that a 500).
fn is_refused_by_admission(message: &str) -> bool {
    let denied =
        message.starts_with("admission webhook ") && message.contains(" denied the request");
    denied || message.contains("failed calling webhook ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rbac_is_blamed_for_its_own_words_only_and_an_object_for_what_concerns_it_alone() {
        for (code, message, expected) in [
            (404, "tlsroutes \"r\" not found", "gone"),
            (
                409,
                "Operation cannot be fulfilled on tlsroutes \"r\"",
                "conflict",
            ),
            (
                403,
                "tlsroutes.gateway.networking.k8s.io \"r\" is forbidden: User \"system:serviceaccount:\
                 strait:strait\" cannot patch resource \"tlsroutes/status\" in API group \
                 \"gateway.networking.k8s.io\" in the namespace \"apps\"",
                "denied",
            ),
            (
                403,
                "tlsroutes.gateway.networking.k8s.io \"r\" is forbidden: ValidatingAdmissionPolicy 'p' \
                 with binding 'b' denied request: not now",
                "refused",
            ),
            (
                403,
                "admission webhook \"policy.example\" denied the request: User \"x\" cannot do that",
                "refused",
            ),
            (403, "", "refused"),
            (
                400,
                "admission webhook \"p\" denied the request without explanation",
                "refused",
            ),
            (
                500,
                "admission webhook \"p\" denied the request: no",
                "refused",
            ),
            (
                422,
                "TLSRoute \"r\" is invalid: status.parents: Too many",
                "refused",
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"p\": failed to call webhook: Post",
                "refused",
            ),
            (500, "etcdserver: leader changed", "failed"),
            (
                503,
                "the server is currently unable to handle the request",
                "failed",
            ),
            (429, "too many requests", "failed"),
            (401, "Unauthorized", "failed"),
        ] {
            let status = Status {
                code,
                message: message.to_owned(),
                ..Status::default()
            };
            let done = match verdict(status.boxed()) {
                Done::UpToDate(_) => "up to date",
                Done::Gone => "gone",
                Done::Denied(_) => "denied",
                Done::Refused(_) => "refused",
                Done::Conflict => "conflict",
                Done::Failed(_) => "failed",
            };
            assert_eq!(done, expected, "{code} {message}");
        }
    }
}
