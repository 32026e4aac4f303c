//! The parts that the objects of all kinds have.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::clock;
use crate::source::kubernetes::api_names::{EXPORT_TO, HEALTH_CHECKS, OURS, SERVICE_NAME};
use crate::source::kubernetes::records::gateway::Revision;
use crate::source::kubernetes::records::{Labels, ObjectKey};

/// An object. Empty parts are left out.
#[derive(Serialize)]
pub(super) struct Whole<'a, S, T> {
    pub(super) metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spec: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<T>,
}

pub(super) fn only(metadata: Metadata<'_>) -> Whole<'_, (), ()> {
    Whole {
        metadata,
        spec: None,
        status: None,
    }
}

pub(super) fn with_spec<S>(metadata: Metadata<'_>, spec: S) -> Whole<'_, S, ()> {
    Whole {
        metadata,
        spec: Some(spec),
        status: None,
    }
}

#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    resource_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<LabelsOf<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations<'a>>,
}

impl<'a> Metadata<'a> {
    pub(super) fn of(key: &'a ObjectKey) -> Self {
        Self {
            namespace: &key.namespace,
            name: &key.name,
            ..Self::default()
        }
    }

    pub(super) fn with_labels(self, labels: &'a Labels) -> Self {
        Self {
            labels: (!labels.is_empty()).then_some(LabelsOf::Object(labels)),
            ..self
        }
    }

    /// Of a slice only the name of its Service is kept.
    pub(super) fn of_service(self, service: &'a str) -> Self {
        Self {
            labels: Some(LabelsOf::Slice(service)),
            ..self
        }
    }

    pub(super) fn annotated(self, ours: &'a Labels, export_to: &'a [Arc<str>]) -> Self {
        let annotations = Annotations::Object { ours, export_to };
        let empty = ours.is_empty() && export_to.is_empty();
        Self {
            annotations: (!empty).then_some(annotations),
            ..self
        }
    }

    pub(super) fn with_health_checks(self) -> Self {
        Self {
            annotations: Some(Annotations::HealthChecks),
            ..self
        }
    }

    pub(super) fn versioned(self, resource_version: &'a str) -> Self {
        Self {
            resource_version,
            ..self
        }
    }

    pub(super) fn created(self, seconds: i64) -> Self {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let at = SystemTime::UNIX_EPOCH.checked_add(since);
        let at = clock::writable(at.unwrap_or(SystemTime::UNIX_EPOCH));
        Self {
            creation_timestamp: Some(humantime::format_rfc3339_seconds(at).to_string()),
            ..self
        }
    }

    pub(super) fn at(self, revision: &'a Revision) -> Self {
        let Revision {
            resource_version,
            generation,
            created,
        } = revision;
        Self {
            resource_version,
            generation: Some(*generation),
            ..self.created(*created)
        }
    }
}

/// The labels that an object keeps.
#[derive(Clone, Copy)]
enum LabelsOf<'a> {
    Object(&'a Labels),
    Slice(&'a str),
}

impl Serialize for LabelsOf<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(labels) => labels.serialize(to),
            Self::Slice(service) => to.collect_map([(SERVICE_NAME, service)]),
        }
    }
}

/// strait's annotations and Istio's `exportTo`, or the one by which a WorkloadEntry has health checks.
#[derive(Clone, Copy)]
enum Annotations<'a> {
    Object {
        ours: &'a Labels,
        export_to: &'a [Arc<str>],
    },
    HealthChecks,
}

impl Serialize for Annotations<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (ours, export_to) = match self {
            Self::Object { ours, export_to } => (ours, export_to),
            Self::HealthChecks => return to.collect_map([(HEALTH_CHECKS, "true")]),
        };
        let ours = ours.iter();
        let ours = ours.map(|(key, value)| (format!("{OURS}{key}"), value.to_string()));
        // A space, since an empty annotation would count as none.
        let export_to = match *export_to {
            [] => None,
            [one] if one.is_empty() => Some(" ".to_owned()),
            names => Some(names.join(",")),
        };
        to.collect_map(ours.chain(export_to.map(|names| (EXPORT_TO.to_owned(), names))))
    }
}
