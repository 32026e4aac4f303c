//! Upstreams from DNS: the query and its limits.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::config::bounds;
use crate::server_name::ServerName;

/// An upstream whose endpoints are the answers for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DnsConfig {
    /// The question.
    pub query: DnsQuery,
    /// The shortest time between two questions, even if an answer's TTL is smaller.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub min_ttl: Duration,
    /// The longest time between two questions, even if an answer's TTL is larger.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub max_ttl: Duration,
    /// The number of endpoints that are kept. The rest of a larger answer is left out and counted.
    pub max_endpoints: usize,
    /// The time after which a name without a record has no endpoints any more; `None` for never.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub gone_after: Option<Duration>,
    /// Kinds of address that are accepted although they are refused by default.
    pub allow: Vec<AddressKind>,
}

/// The question to DNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsQuery {
    /// A and AAAA of `name`. Every address of the answer is an endpoint at `port`.
    Address {
        /// The host.
        name: ServerName,
        /// The port of every endpoint.
        port: u16,
    },
    /// SRV of `name`, then A and AAAA of each target; ports and weights come from the records.
    Service {
        /// For instance `_https._tcp.spire.example.com`.
        name: ServerName,
    },
}

impl fmt::Display for DnsQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { name, port } => write!(f, "{name}:{port}"),
            Self::Service { name } => write!(f, "SRV {name}"),
        }
    }
}

/// Kinds of address that are refused in a DNS answer unless the upstream allows them by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// The clouds' instance metadata services.
    Metadata,
    /// 0.0.0.0/8, ::.
    Unspecified,
    /// 224.0.0.0/4, ff00::/8, and 255.255.255.255.
    Multicast,
    /// An address and port that this gateway listens on: a loop.
    OwnListener,
}

/// The resolver of `dns` upstreams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolverConfig {
    /// The DNS servers. Empty for those of /etc/resolv.conf, with its search list.
    pub servers: Vec<SocketAddr>,
    /// Per query and server.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub timeout: Duration,
}
