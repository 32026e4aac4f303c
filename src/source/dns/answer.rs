//! The answer of DNS, and the reasons why there may be none.

use std::net::SocketAddr;
use std::time::Duration;

use super::address_policy::kind_label;
use crate::config::{AddressKind, EndpointSpec};

/// One answer: the endpoints that the records give after the policy was applied.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Sorted by address, each address once, at most `max_endpoints`. If it is empty, `problem` says
    /// why.
    pub endpoints: Vec<EndpointSpec>,
    /// The smallest TTL of the records used, within `min_ttl..=max_ttl`.
    pub ttl: Duration,
    /// Addresses that the policy refuses, in canonical form.
    pub refused: Vec<(SocketAddr, AddressKind)>,
    /// Addresses, or SRV records, beyond `max_endpoints`.
    pub too_many: usize,
    /// The reason why there is no endpoint, or the question that failed while another was answered.
    pub problem: Option<DnsError>,
}

/// The reason why DNS gave no endpoints, or not all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// /etc/resolv.conf cannot be read or understood.
    #[error("/etc/resolv.conf: {0}")]
    SystemConfig(String),
    /// The resolver cannot be set up.
    #[error("the DNS resolver cannot be set up: {0}")]
    Setup(String),
    /// A name that cannot be put into a question.
    #[error("`{name}` cannot be asked: {reason}")]
    Unaskable {
        /// As configured.
        name: String,
        /// hickory's text.
        reason: String,
    },
    /// No server answered, or each reported a failure of its own.
    #[error("{kind} of {name}: {reason} (server {server})")]
    Failed {
        /// The name asked for, with the search domain.
        name: String,
        /// A, AAAA or SRV.
        kind: String,
        /// The server that was asked last.
        server: SocketAddr,
        /// SERVFAIL, a timeout, a network error.
        reason: String,
    },
    /// More alias records in a row than are followed.
    #[error("{name}: more than {limit} aliases (CNAME) in a row")]
    TooManyAliases {
        /// The name asked for, with the search domain.
        name: String,
        /// The number of aliases that are followed.
        limit: usize,
    },
    /// The time limit of a round of questions passed.
    #[error("{kind} of {name}: no answer in time")]
    TooSlow {
        /// The name asked for, with the search domain.
        name: String,
        /// A, AAAA or SRV.
        kind: String,
    },
    /// The name does not exist, or has no record of the type asked for.
    #[error("`{name}` has no {kind} record")]
    Empty {
        /// As configured.
        name: String,
        /// The record type that is missing.
        kind: &'static str,
    },
    /// The SRV records have the target `.` ("the service is decidedly not available at this domain",
    /// RFC 2782), or none of them has a target and a port to connect to.
    #[error("the SRV records of `{name}` say that the service is not available")]
    NotAvailable {
        /// As configured.
        name: String,
    },
    /// Every address is of a kind that is not allowed.
    #[error(
        "every address of `{name}` is refused: {address} is of the kind {kind}; if that is meant, \
         set `allow: [{kind}]` on the upstream",
        kind = kind_label(*kind)
    )]
    AllRefused {
        /// As configured.
        name: String,
        /// One of them.
        address: SocketAddr,
        /// Its kind.
        kind: AddressKind,
    },
}
