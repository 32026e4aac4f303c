//! The changes that the state in force can get.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::AppError;
use crate::config::{Config, ConfigSource};
use crate::source::kubernetes::Publication;

/// A change that is asked for.
#[derive(Debug)]
pub(super) enum Change {
    /// Another config file.
    File(NewFile, ResultSender),
    /// A discovery of the Kubernetes source.
    Found(Arc<Publication>),
    /// The Kubernetes source has broken down. It must start again.
    Broken(ResultSender),
    /// Ports that could not be bound are due for another attempt.
    Retry,
}

/// A config file that is to come into force.
#[derive(Debug, Clone)]
pub(super) struct NewFile {
    pub(super) config: Arc<Config>,
    /// The file itself; `None` if the config did not come from one.
    pub(super) source: Option<ConfigSource>,
}

impl From<Arc<Config>> for NewFile {
    fn from(config: Arc<Config>) -> Self {
        Self {
            config,
            source: None,
        }
    }
}

/// The channel on which the caller gets the result of a change.
pub(super) type ResultSender = oneshot::Sender<Result<(), AppError>>;
