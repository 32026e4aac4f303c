//! A listener: one bound address with its policy and its routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::limits::{ConnectionLimits, SourceLimits};
use super::route_list::RouteList;
use super::sources::SourcePolicy;
use super::tcp::TcpOptions;
use crate::config::bounds::{self, HelloSize};
use crate::names::ListenerName;
use crate::server_name::ServerName;
use crate::shared_map::SharedMap;

/// One bound address with its policy and its routes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListenerConfig {
    /// Its name.
    pub name: ListenerName,
    /// The address, unique among the listeners unless the port is 0.
    pub bind: SocketAddr,
    /// The sources that may connect.
    pub source_policy: SourcePolicy,
    /// Peers that announce the source with a PROXY protocol header. Empty without such peers.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds on the ClientHello.
    pub client_hello: HelloLimits,
    /// The protocol whose clients ask for TLS before their hello.
    pub starttls: Option<StartTls>,
    /// Bounds on the relay.
    pub timeouts: RelayTimeouts,
    /// The end of connections that would no longer be let in; `None`: they go on.
    pub end_disallowed: Option<EndDisallowed>,
    /// The answer to a client that is refused after its hello was read.
    pub refuse: Refuse,
    /// Options of the downstream sockets.
    pub tcp: TcpOptions,
    /// The limits on all of its connections together.
    pub limits: ConnectionLimits,
    /// The limits on the connections of each source address.
    pub limits_per_source: SourceLimits,
    /// The routes in order of precedence. Without any, every connection is refused.
    pub routes: RouteList,
    /// Known hosts without a route, with the reason for the log line of a client that asks for one.
    #[serde(skip)]
    pub unrouted: SharedMap<ServerName, Arc<str>>,
}

impl ListenerConfig {
    /// Whether another config differs from this one in its routes at most.
    pub fn has_policy_of(&self, other: &Self) -> bool {
        let without_routes = |one: &Self| Self {
            routes: RouteList::default(),
            unrouted: SharedMap::default(),
            ..one.clone()
        };
        without_routes(self) == without_routes(other)
    }
}

/// Bounds on the ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HelloLimits {
    /// The time from accept to the last byte of the hello: one absolute deadline.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub timeout: Duration,
    /// Bytes of the handshake message with its 4-byte header.
    pub max_size: HelloSize,
}

/// The answer of a listener to a TLS client that gets no relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuse {
    /// A fatal TLS alert with the reason, then a close.
    #[default]
    Alert,
    /// A close alone: FIN, or RST.
    Close,
}

/// The end of connections that would no longer be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EndDisallowed {
    /// The time for which such a connection may go on.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub grace: Duration,
    /// Whether a connection ends too when its endpoint has left the upstream.
    pub endpoints: bool,
}

/// A protocol in which a request for TLS may come before the ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartTls {
    /// PostgreSQL's, with SSLRequest.
    Postgres,
}

/// Bounds on the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RelayTimeouts {
    /// The longest time without a byte in either direction.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub idle: Duration,
    /// The longest time since the last byte, once one side has closed.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub half_closed: Duration,
    /// The longest life of a connection.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub max_age: Option<Duration>,
}
