//! The ties of a connection to some of an upstream's endpoints.

use super::Endpoint;

/// The ties of a connection: what its balance, or its server name, says about the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ties {
    /// The hash of what the balance ties to an endpoint; 0 if it ties nothing.
    pub(super) hash: u64,
    /// The hostname of the pod that the connection asks for, where the upstream's connections ask for one.
    pub(super) pod: Option<Box<str>>,
}

impl Ties {
    /// Whether the connection may go to `endpoint`.
    pub fn allow(&self, endpoint: &Endpoint) -> bool {
        let hostname = endpoint.spec.hostname.as_deref();
        self.pod.as_deref().is_none_or(|pod| hostname == Some(pod))
    }

    /// The reason why no endpoint is allowed, where the upstream has some.
    pub fn no_endpoint(&self) -> Option<&'static str> {
        let text = "no pod of this name gets connections: it is not ready, or there is none";
        self.pod.is_some().then_some(text)
    }
}
