//! The versions in which the API serves each kind.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResourceList};
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::Instant;

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
    /// The names of a kind that is served in this version.
    pub(super) fn as_of(kind: Kind, version: &'static str) -> Self {
        let ApiNames { group, plural, .. } = ApiNames::of(kind);
        Self {
            group,
            version,
            plural,
            only: None,
        }
    }

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
}

/// The time for which an answer serves for all kinds of a group. They ask at the same moments: at a
/// start, and after an outage.
const FRESH: Duration = Duration::from_secs(2);

/// The names of a group's resources or versions; `None` if the API does not serve the group or version.
type Names = Option<Arc<[String]>>;

/// The last answer at a path, and its time.
type LastAnswer = Arc<Mutex<Option<(Instant, Names)>>>;

/// The questions to the API about what it serves. Kinds of one group share the answers.
pub(super) struct ApiDiscovery {
    client: Client,
    timing: ApiTiming,
    answers: std::sync::Mutex<HashMap<String, LastAnswer>>,
}

impl ApiDiscovery {
    pub(super) fn new(client: Client, timing: ApiTiming) -> Self {
        Self {
            client,
            timing,
            answers: std::sync::Mutex::default(),
        }
    }

    /// The client of the API.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The newest version of `kind` that the API serves and strait knows. `None` if the kind is not
    /// installed.
    ///
    /// # Errors
    /// The API gives no answer, or serves only versions that strait does not know.
    pub(super) async fn find(&self, kind: Kind) -> Result<Option<Served>, AskError> {
        let ApiNames {
            group,
            versions,
            plural,
            ..
        } = ApiNames::of(kind);
        let served = |version| Served::as_of(kind, version);
        if let ([version], true) = (versions, group.is_empty() || kind == Kind::Slice) {
            return Ok(Some(served(version)));
        }
        for version in versions {
            if self.serves(group, version, plural).await? {
                return Ok(Some(served(version)));
            }
        }
        // Objects of a version that strait cannot read exist nevertheless.
        let known = self.versions(group).await?;
        for version in known.iter().flat_map(|known| known.iter()) {
            if !versions.contains(&&**version) && self.serves(group, version, plural).await? {
                let text =
                    format!("{plural} are served in version {version}, which is not known here");
                return Err(AskError::Answer(text));
            }
        }
        Ok(None)
    }

    async fn serves(&self, group: &str, version: &str, plural: &str) -> Result<bool, AskError> {
        let path = format!("/apis/{group}/{version}");
        let names = |list: APIResourceList| {
            let resources = list.resources.into_iter();
            resources.map(|one| one.name).collect()
        };
        let known = self.names(path, names).await?;
        Ok(known.is_some_and(|known| known.iter().any(|name| name == plural)))
    }

    /// The versions in which a group is served.
    async fn versions(&self, group: &str) -> Result<Names, AskError> {
        let names = |group: APIGroup| group.versions.into_iter().map(|one| one.version).collect();
        self.names(format!("/apis/{group}"), names).await
    }

    /// The names in the answer at a path, from a moment ago or from now.
    async fn names<T: DeserializeOwned>(
        &self,
        path: String,
        names: impl FnOnce(T) -> Arc<[String]>,
    ) -> Result<Names, AskError> {
        let answer = {
            let answers = self.answers.lock();
            let mut answers = answers.unwrap_or_else(PoisonError::into_inner);
            answers.entry(path.clone()).or_default().clone()
        };
        // While one kind asks, the others of its group wait for the same answer.
        let mut answer = answer.lock().await;
        if let Some((at, names)) = &*answer
            && at.elapsed() < FRESH
        {
            return Ok(names.clone());
        }
        let found = self.get(path).await?.map(names);
        *answer = Some((Instant::now(), found.clone()));
        Ok(found)
    }

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
}
