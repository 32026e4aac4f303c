//! Endpoints out of DNS: A and AAAA of one name, or SRV and the addresses of its targets.
//!
//! **What is asked.** Only names that the config holds, and the targets of their SRV records; never
//! a name that a client sent. Without `servers` in the config /etc/resolv.conf is followed as
//! resolv.conf(5) describes: a name with at least `ndots` dots is asked as it stands first, another
//! one with each domain of the search list first; `x.ns.svc.cluster.local` resolves in a pod either
//! way. With `servers` names are asked as they stand. The spelling that answered is remembered and
//! asked first from then on: with the `ndots:5` of a pod that is 2 questions a round, not 10, and a
//! failure of that spelling is a failure, so that an outage never lets another name take its
//! place. /etc/hosts is not read. An alias (CNAME) is followed, up to 8 deep.
//!
//! **When it is asked again.** After the smallest TTL of the records used, held within `min_ttl` and
//! `max_ttl`, give or take 10 %. After a failure in 1 s, 2 s, 4 s ... up to 30 s or `max_ttl`,
//! whichever is less.
//!
//! **When the config changes.** The same question with another policy (`min_ttl`, `max_ttl`,
//! `max_endpoints`, `allow`) keeps its endpoints and is asked again at once; endpoints whose kind is
//! not allowed any more go at once. Another question has the endpoints of the one before until it is
//! answered, and is stale until then.
//!
//! **What an answer changes.** Nothing that DNS says or fails to say takes the last endpoints away:
//!
//! | the answer | endpoints | `strait_source_answers_total` | `strait_source_stale` |
//! |---|---|---|---|
//! | addresses | those | `success` | 0 |
//! | addresses, but a question (a family, an SRV target) failed | those, and for the failed question the ones it last gave | `success` | 1 |
//! | NXDOMAIN, no record, SRV target `.` | stay | `empty` | 1 |
//! | every address refused by policy | stay | `empty` | 1 |
//! | SERVFAIL, REFUSED, timeout, network error | stay | `failure` | 1 |
//!
//! With nothing to serve there is nothing stale: an upstream without endpoints has
//! `strait_source_stale` 0.
//!
//! An empty answer does not empty the upstream because a headless Service between two rollouts, a
//! zone caught half-loaded and a resolver that lost its API server all look the same, and because
//! connecting to a dead endpoint fails by itself, fast, and is retried on another one. To take an
//! upstream out of service, take its route out of the config.
//!
//! **What is refused.** See [`AddressPolicy`].

mod address_policy;
mod lookup;
mod resolver;
mod schedule;
mod service;
mod task;

use std::net::SocketAddr;
use std::time::Duration;

pub use address_policy::{AddressPolicy, kind_label};
pub use lookup::resolve;
pub use resolver::Resolver;
pub use task::{SourceTask, spawn};

use crate::config::{AddressKind, EndpointSpec};
pub use crate::socket::{OwnAddresses, OwnListeners};

/// One answer: what the records say, policy applied.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Sorted by address, no address twice, at most `max_endpoints`. May be empty: `problem` says
    /// why then.
    pub endpoints: Vec<EndpointSpec>,
    /// The smallest TTL of the records used, within `min_ttl..=max_ttl`.
    pub ttl: Duration,
    /// Addresses that the policy refuses, in canonical form.
    pub refused: Vec<(SocketAddr, AddressKind)>,
    /// Addresses, or SRV records, beyond `max_endpoints`.
    pub too_many: usize,
    /// Why there is no endpoint, or which question failed while another was answered.
    pub problem: Option<DnsError>,
}

/// Why DNS gave no endpoints, or not all of them.
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
        /// As hickory tells it.
        reason: String,
    },
    /// No server answered, or each answered that it could not tell.
    #[error("{kind} of {name}: {reason} (server {server})")]
    Failed {
        /// What was asked, with the search domain.
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
        /// What was asked, with the search domain.
        name: String,
        /// How many are followed.
        limit: usize,
    },
    /// All the time that a round of questions may take was over.
    #[error("{kind} of {name}: no answer in time")]
    TooSlow {
        /// What was asked, with the search domain.
        name: String,
        /// A, AAAA or SRV.
        kind: String,
    },
    /// The name does not exist, or has no record of the type asked for.
    #[error("`{name}` has no {kind} record")]
    Empty {
        /// As configured.
        name: String,
        /// What it has none of.
        kind: &'static str,
    },
    /// An SRV record with the target `.`: "the service is decidedly not available at this domain"
    /// (RFC 2782). Or none with a target and a port to connect to.
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
