//! Errors of questions to the API.

use std::time::Duration;

use kube::core::response::Status;

/// Why the API gave no answer that is of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// It refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Its answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// It said nothing for so long.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// A watch told nothing for so long, and did not end when it was to.
    #[error("nothing came on the watch for {0:?}")]
    Silent(Duration),
}

impl AskError {
    /// The status by which the API refused.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            Self::Api(_) | Self::Answer(_) | Self::NoAnswer(_) | Self::Silent(_) => None,
        }
    }
}
