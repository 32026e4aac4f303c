//! The reason why a TLS connection brought no answer, from the caller's side.

use std::fmt;
use std::io;

use rustls::AlertDescription;

use super::spiffe::tls::peer_error;

/// A call that was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallRefusal {
    /// A fatal TLS alert from the other side (the gateway or the pod).
    Alert(AlertDescription),
    /// This side refused the server's certificate.
    Server(String),
    /// The connection closed without a byte of an answer.
    Closed,
    /// Any other failure.
    Failed(String),
}

impl fmt::Display for CallRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(alert) => write!(f, "TLS alert {alert:?}"),
            Self::Server(why) => write!(f, "server not accepted: {why}"),
            Self::Closed => f.write_str("closed without an answer"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for CallRefusal {
    fn from(error: io::Error) -> Self {
        if let Some(refused) = peer_error(&error) {
            return Self::Server(refused.to_string());
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Failed(error.to_string()),
        }
    }
}
