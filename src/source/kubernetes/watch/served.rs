//! In which versions the API serves the kinds.

use kube::Client;

use super::ask::AskError;
use crate::source::kubernetes::api_names::ApiNames;
use crate::source::kubernetes::cluster::Kind;

/// A kind's names in the API, and the version that is used.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
}

impl Served {
    /// The path of all its objects.
    pub(super) fn path(&self) -> String {
        let Self {
            group,
            version,
            plural,
        } = self;
        if group.is_empty() {
            format!("/api/{version}/{plural}")
        } else {
            format!("/apis/{group}/{version}/{plural}")
        }
    }

    /// The version in which the API serves `kind`: the newest that we know. `None`: it is not installed.
    ///
    /// # Errors
    /// The API does not say.
    pub(super) async fn find(kind: Kind, client: &Client) -> Result<Option<Self>, AskError> {
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
        };
        if let ([version], true) = (versions, group.is_empty() || kind == Kind::Slice) {
            return Ok(Some(served(version)));
        }
        for version in versions {
            let group_version = format!("{group}/{version}");
            match client.list_api_group_resources(&group_version).await {
                Ok(list) if list.resources.iter().any(|one| one.name == plural) => {
                    return Ok(Some(served(version)));
                }
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}
