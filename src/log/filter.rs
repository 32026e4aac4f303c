//! From a log filter to the one that `tracing` works by.

use tracing_subscriber::EnvFilter;

use super::LogError;
use crate::config::{LogFilter, LogFilterError};

/// The targets of the library that talks to the Kubernetes API. It warns at every attempt, and the
/// source logs the same once. A filter that names a target shows its lines.
const CLIENT: [&str; 2] = ["kube=", "kube_"];

pub(super) fn for_tracing(filter: &LogFilter) -> Result<EnvFilter, LogError> {
    let named = CLIENT.iter().any(|target| filter.contains(target));
    let filter = match named {
        true => (**filter).to_owned(),
        false => format!("{},kube_runtime=off,kube_client=off", &**filter),
    };
    let parsed = EnvFilter::builder().parse(filter);
    parsed.map_err(|error| LogFilterError::Malformed(error.to_string()).into())
}
