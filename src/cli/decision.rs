//! The decision of a listener about a connection, without the connection: `explain`, `test` and `diff`
//! ask the code that traffic asks.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Config, ListenerConfig};
use crate::limits::Scopes;
use crate::outcome::Outcome;
use crate::route::{Route, RouteTable};
use crate::server_name::Name;
use crate::upstream::Upstreams;

/// A connection as a listener would see it.
#[derive(Debug)]
pub(super) struct AskedConnection<'a> {
    /// The client's address in canonical form; `None` if it is not known, and then the source policy is
    /// not asked.
    pub(super) from: Option<IpAddr>,
    /// The server name as the client sends it; `None` for a hello without one.
    pub(super) sni: Option<&'a str>,
    /// The ALPN protocols of the hello.
    pub(super) alpn: &'a [String],
}

/// The answer to an attempt.
#[derive(Debug)]
pub(super) enum Decision<'a> {
    Routed(&'a Arc<Route>),
    Refused(Outcome, Option<String>),
}

/// A listener with the routes that it has now.
pub(super) struct Decider<'a> {
    pub(super) listener: &'a ListenerConfig,
    pub(super) table: RouteTable,
}

impl<'a> Decider<'a> {
    pub(super) fn new(
        config: &'a Config,
        listener: &'a ListenerConfig,
        upstreams: &Upstreams,
    ) -> Self {
        let find = |name: &str| upstreams.get(name).cloned();
        Self {
            listener,
            table: RouteTable::build(listener, &config.sources, &Scopes::default(), find),
        }
    }

    pub(super) fn decide(&self, attempt: &AskedConnection<'_>) -> Decision<'_> {
        let policy = &self.listener.source_policy;
        if let Some(from) = attempt.from
            && !policy.admits(from)
        {
            return Decision::Refused(Outcome::SourceDenied, Some(policy.denial(from)));
        }
        let name = attempt.sni.map(|sni| Name::parse(sni.as_bytes()));
        let name = match name.transpose() {
            Ok(name) => name,
            Err(error) => {
                return Decision::Refused(Outcome::BadServerName, Some(error.to_string()));
            }
        };
        let offers = attempt.alpn.iter().map(String::as_bytes);
        match self.table.decide(name.as_ref(), offers) {
            Ok(decided) => Decision::Routed(decided.route),
            Err(refusal) => Decision::Refused(refusal.outcome(), refusal.detail()),
        }
    }
}
