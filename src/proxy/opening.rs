//! Opening: the part of a connection's record that others may read before its relay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listener::ListenerPolicy;
use crate::open_connections::ConnectionFacts;
use crate::route::Target;
use crate::server_name::ServerName;

/// The facts about a connection that has no relay yet.
#[derive(Debug)]
pub(super) struct OpeningFacts {
    /// Its number.
    pub number: u64,
    /// The client's address.
    pub source: SocketAddr,
    /// The moment of accept.
    pub accepted: Instant,
    /// The server name, once a route has it.
    pub server_name: Option<ServerName>,
    /// The target, once there is a route.
    pub target: Option<Arc<Target>>,
}

impl OpeningFacts {
    /// The facts as an answer needs them. `idle` is the time since the connection has come to its stage.
    pub(super) fn facts<'a>(
        &'a self,
        policy: &'a ListenerPolicy,
        idle: Duration,
    ) -> ConnectionFacts<'a> {
        let target = self.target.as_deref();
        let group = policy.sources.group_of(self.source.ip());
        ConnectionFacts {
            id: self.number,
            listener: &policy.name,
            source: self.source,
            proxy: None,
            source_net: policy.source_net(self.source.ip()),
            source_group: policy.sources.name(group),
            server_name: self.server_name.as_ref().map(ServerName::as_str),
            alpn: None,
            route: target.map(|target| &*target.route),
            upstream: target.map(|target| &*target.name),
            endpoint: None,
            attempts: 0,
            state: match target {
                None => "hello",
                Some(_) => "connecting",
            },
            handshake: None,
            accepted: self.accepted,
            idle,
            to_upstream: 0,
            to_downstream: 0,
        }
    }
}
