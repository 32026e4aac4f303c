//! Why a gateway does not start, or does not take a new config.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::route::RouteError;

/// Why a gateway could not start, or could not take a new config. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address that cannot be bound.
    #[error("cannot listen on {address} ({what}): {error}")]
    Bind {
        /// The listener's name, or which server.
        what: String,
        /// What was to be bound.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A thread that cannot be made.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A route that is ambiguous or dangling.
    #[error("listener {listener}: {error}")]
    Route {
        /// The listener.
        listener: Arc<str>,
        /// What is wrong with its routes.
        error: RouteError,
    },
    /// Name resolution that cannot be set up.
    #[error("cannot set up the resolver: {0}")]
    Resolver(#[from] crate::source::dns::DnsError),
    /// Access to the Kubernetes API that cannot be set up.
    #[error(transparent)]
    Kubernetes(#[from] crate::source::kubernetes::KubernetesError),
    /// A metric registered twice: a defect.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The process is on its way out.
    #[error("the gateway is draining")]
    Draining,
    /// The task that makes changes has failed in the middle of this one: a defect.
    #[error("a defect of strait: the change was given up, the log says why")]
    GivenUp,
}
