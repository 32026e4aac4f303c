//! Errors of questions to the API.

use std::time::Duration;

use kube::core::response::Status;

/// The reason why the API gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The API refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The API did not answer within this time.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// Nothing came on a watch for this time, and the watch did not end when it should have.
    #[error("nothing came on the watch for {0:?}")]
    Silent(Duration),
}

impl AskError {
    /// The status with which the API refused.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            Self::Api(_) | Self::Answer(_) | Self::NoAnswer(_) | Self::Silent(_) => None,
        }
    }
}
