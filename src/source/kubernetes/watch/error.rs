//! Errors of questions to the API.

use std::time::Duration;

use kube::core::response::Status;

use crate::metrics::WatchError;

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

pub(super) fn reason(error: &AskError) -> WatchError {
    match error {
        AskError::Api(kube::Error::Api(status)) => match status.code {
            401 | 403 => WatchError::Forbidden,
            404 => WatchError::NotFound,
            410 => WatchError::Gone,
            429 => WatchError::TooManyRequests,
            _ => WatchError::Server,
        },
        AskError::Api(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_))
        | AskError::Answer(_) => WatchError::Malformed,
        AskError::NoAnswer(_) | AskError::Silent(_) => WatchError::Timeout,
        AskError::Api(_) => WatchError::Connection,
    }
}

/// Whether the API is away, or cannot answer now.
pub(super) fn is_away(reason: WatchError) -> bool {
    match reason {
        WatchError::TooManyRequests
        | WatchError::Server
        | WatchError::Connection
        | WatchError::Timeout => true,
        WatchError::Forbidden
        | WatchError::NotFound
        | WatchError::Gone
        | WatchError::Malformed
        | WatchError::TooMany => false,
    }
}

/// The error with its causes, which say more.
pub(super) fn describe(error: &AskError) -> String {
    if let Some(status) = error.status() {
        let message = status.message.trim_end();
        return match status.code {
            0 => message.to_owned(),
            code => format!("{code} {message}"),
        };
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The wait that the server asks for.
pub(super) fn asked_wait(error: &AskError) -> Option<Duration> {
    let status = error.status()?;
    let asked = status
        .details
        .as_ref()
        .map(|details| details.retry_after_seconds);
    match (status.code, asked) {
        // Its `Retry-After` is a second, which the library does not pass on.
        (429, None | Some(0)) => Some(Duration::from_secs(1)),
        (_, asked) => asked.map(|seconds| Duration::from_secs(seconds.into())),
    }
}
