//! Errors of questions to the API.

use std::error::Error;
use std::time::Duration;

use kube::client::AuthError;
use kube::config::KubeconfigError;
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

/// The error of a question, for a person.
pub(super) fn describe(error: &AskError) -> String {
    if let Some(status) = error.status() {
        let message = status.message.trim_end();
        return match status.code {
            0 => message.to_owned(),
            code => format!("{code} {message}"),
        };
    }
    in_words(error)
}

/// An error with its causes, which say more, but nothing that may be secret.
pub(super) fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(safe) = without_secrets(error) {
            return safe;
        }
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The words for an error whose own have secrets: the text of a kubeconfig, the arguments and the output of a program
/// that it runs for a token, or the password of a proxy.
fn without_secrets(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(KubeconfigError::Parse(error)) = error.downcast_ref::<KubeconfigError>() {
        let place = error.location().map_or_else(String::new, |place| {
            format!(" (line {}, column {})", place.line(), place.column())
        });
        return Some(format!("it is no kubeconfig{place}"));
    }
    if let Some(
        kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. },
    ) = error.downcast_ref::<kube::Error>()
    {
        return Some("this build cannot use the proxy that it names".to_owned());
    }
    match error.downcast_ref::<AuthError>()? {
        AuthError::AuthExecRun { out, .. } => Some(format!(
            "the program that the kubeconfig runs for a token ends with {}",
            out.status
        )),
        AuthError::AuthExecParse(_) => Some(
            "the program that the kubeconfig runs for a token prints no ExecCredential".to_owned(),
        ),
        AuthError::AuthExec(_) | AuthError::ParseTokenKey(_) => {
            Some("the program that the kubeconfig runs for a token fails".to_owned())
        }
        _ => None,
    }
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
