//! A listener: one bound address with its policy and its routes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::limits::{ConnectionLimits, SourceLimits};
use super::route::RouteConfig;
use super::sources::SourcePolicy;
use super::tcp::TcpOptions;
use crate::config::bounds::{self, HelloSize};
use crate::names::ListenerName;
use crate::server_name::ServerName;

/// One bound address with its policy and its routes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListenerConfig {
    /// Its name.
    pub name: ListenerName,
    /// Unique among the listeners, unless the port is 0.
    pub bind: SocketAddr,
    /// Who may connect.
    pub source_policy: SourcePolicy,
    /// Peers that announce the source with a PROXY protocol header; empty when nobody does.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds on the ClientHello.
    pub client_hello: HelloLimits,
    /// Bounds on the relay.
    pub timeouts: RelayTimeouts,
    /// Options of the downstream sockets.
    pub tcp: TcpOptions,
    /// On all of its connections together.
    pub limits: ConnectionLimits,
    /// On the connections of each source address.
    pub limits_per_source: SourceLimits,
    /// What is reachable, by precedence. Empty means that nothing is.
    pub routes: Vec<Arc<RouteConfig>>,
    /// Hosts that are known and not routed, with the reason: what a client that asks for one is told
    /// in the log.
    #[serde(skip)]
    pub unrouted: Arc<HashMap<ServerName, Arc<str>>>,
}

/// Bounds on the ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HelloLimits {
    /// From accept to the last byte of the hello: one absolute deadline.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub timeout: Duration,
    /// Bytes of the handshake message with its 4-byte header.
    pub max_size: HelloSize,
}

/// Bounds on the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RelayTimeouts {
    /// Without a byte either way.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub idle: Duration,
    /// Since the last byte, once one side has closed.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub half_closed: Duration,
}
