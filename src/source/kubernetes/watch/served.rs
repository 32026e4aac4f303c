//! The versions in which the API serves each kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResourceList};
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::de::DeserializeOwned;

use super::error::AskError;
use super::timing::{ApiTiming, within};
use crate::source::kubernetes::api_names::ApiNames;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// A kind's names in the API, and the version to use.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
    /// The only object to ask for, if it is only one.
    pub(super) only: Option<ObjectKey>,
}

impl Served {
    /// The path of all its objects, or of those in the namespace of the only one.
    pub(super) fn path(&self) -> String {
        let Self {
            group,
            version,
            plural,
            only,
        } = self;
        let base = if group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{group}/{version}")
        };
        match only {
            None => format!("{base}/{plural}"),
            Some(ObjectKey { namespace, .. }) => format!("{base}/namespaces/{namespace}/{plural}"),
        }
    }

    /// The field selector of the only object. With it, RBAC access to objects of that name is enough.
    pub(super) fn field_selector(&self) -> Option<String> {
        let only = self.only.as_ref()?;
        Some(format!("metadata.name={}", only.name))
    }

    /// The newest version of `kind` that the API serves and strait knows. `None` if the kind is not
    /// installed.
    ///
    /// # Errors
    /// The API gives no answer, or serves only versions that strait does not know.
    pub(super) async fn find(
        kind: Kind,
        client: &Client,
        timing: &ApiTiming,
    ) -> Result<Option<Self>, AskError> {
        let ApiNames {
            group,
            versions,
            plural,
            ..
        } = ApiNames::of(kind);
        let served = |version| Self {
            group,
            version,
            plural,
            only: None,
        };
        if let ([version], true) = (versions, group.is_empty() || kind == Kind::Slice) {
            return Ok(Some(served(version)));
        }
        let asks = Asks { client, timing };
        for version in versions {
            if asks.serves(group, version, plural).await? {
                return Ok(Some(served(version)));
            }
        }
        // Objects of a version that strait cannot read exist nevertheless.
        for version in asks.versions(group).await? {
            if !versions.contains(&&*version) && asks.serves(group, &version, plural).await? {
                let text =
                    format!("{plural} are served in version {version}, which is not known here");
                return Err(AskError::Answer(text));
            }
        }
        Ok(None)
    }
}

struct Asks<'a> {
    client: &'a Client,
    timing: &'a ApiTiming,
}

impl Asks<'_> {
    /// The object at a path, if there is one.
    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<Option<T>, AskError> {
        let request = Request::new(path).list(&ListParams::default());
        let request = request.map_err(kube::Error::BuildRequest)?;
        let answer = async { Ok(self.client.request::<T>(request).await?) };
        match within(self.timing.answer, answer).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.status().is_some_and(|status| status.code == 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn serves(&self, group: &str, version: &str, plural: &str) -> Result<bool, AskError> {
        let path = format!("/apis/{group}/{version}");
        let list: Option<APIResourceList> = self.get(path).await?;
        let resources = list.into_iter().flat_map(|list| list.resources);
        Ok(resources.into_iter().any(|one| one.name == plural))
    }

    /// The versions in which a group is served.
    async fn versions(&self, group: &str) -> Result<Vec<String>, AskError> {
        let found: Option<APIGroup> = self.get(format!("/apis/{group}")).await?;
        let versions = found.into_iter().flat_map(|group| group.versions);
        Ok(versions.map(|one| one.version).collect())
    }
}
