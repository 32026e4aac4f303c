//! The errors of a start and of a new config.

use std::io;
use std::net::SocketAddr;

/// The reason why a gateway could not start, or could not apply a new config. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({what}): {error}")]
    Bind {
        /// The listener's name, or the name of the server.
        what: String,
        /// The address.
        address: SocketAddr,
        /// The reason.
        error: io::Error,
    },
    /// The sockets of the process that serves now cannot be taken over, or this process could not pass them on.
    #[error("cannot take over at {path} (takeover.path): {error}")]
    Takeover {
        /// The Unix socket.
        path: String,
        /// The reason.
        error: io::Error,
    },
    /// A thread cannot be created.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The resolver cannot be set up.
    #[error("cannot set up the resolver: {0}")]
    Resolver(#[from] crate::source::dns::DnsError),
    /// Access to the Kubernetes API cannot be set up.
    #[error(transparent)]
    Kubernetes(#[from] crate::source::kubernetes::KubernetesError),
    /// A metric is registered twice, which is a defect.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The process is draining.
    #[error("the gateway is draining")]
    Draining,
    /// The task that makes changes has failed in the middle of this one: a defect.
    #[error("a defect of strait: the change was given up, the log says why")]
    GivenUp,
}
