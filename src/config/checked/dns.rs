//! Upstreams from DNS: what is asked, and of whom.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::config::bounds;
use crate::server_name::ServerName;

/// An upstream whose endpoints are the answers for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DnsConfig {
    /// What is asked.
    pub query: DnsQuery,
    /// Answers are asked again no sooner than this, however small their TTL.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub min_ttl: Duration,
    /// And no later than this, however large.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub max_ttl: Duration,
    /// Endpoints kept at the most; the rest of a larger answer is left out and counted.
    pub max_endpoints: usize,
    /// Kinds of address that are taken although they are refused by default.
    pub allow: Vec<AddressKind>,
}

/// What is asked of DNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsQuery {
    /// A and AAAA of `name`; every answer is an endpoint at `port`.
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

/// Kinds of address that a DNS answer may not hold unless the upstream allows them by name.
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

/// How names of `dns` upstreams are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolverConfig {
    /// Empty: those of /etc/resolv.conf, with its search list.
    pub servers: Vec<SocketAddr>,
    /// Per query and server.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub timeout: Duration,
}
