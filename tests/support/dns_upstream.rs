//! Queries and expectations of the DNS source's tests.

use std::time::Duration;

use strait::config::{DnsConfig, DnsQuery, EndpointSpec, ResolverConfig};
use strait::server_name::ServerName;
use strait::source::dns::{Answer, DnsError, OwnAddresses, Resolver, resolve};

use super::dns_server::DnsServer;

pub const NAME: &str = "svcb.apps.example";
pub const SERVICE: &str = "_https._tcp.example";
/// A timeout for servers that answer every query: no loaded machine takes that long.
pub const LONG: Duration = Duration::from_secs(5);
/// A timeout for a server that is silent while a test waits for it.
pub const SHORT: Duration = Duration::from_millis(400);
pub const MIN_TTL: Duration = Duration::from_millis(20);
pub const MAX_TTL: Duration = Duration::from_millis(60);

pub fn name(text: &str) -> ServerName {
    ServerName::parse(text.as_bytes()).unwrap()
}

pub fn addresses_of(text: &str) -> DnsConfig {
    DnsConfig {
        query: DnsQuery::Address {
            name: name(text),
            port: 8443,
        },
        min_ttl: MIN_TTL,
        max_ttl: MAX_TTL,
        max_endpoints: 2000,
        gone_after: None,
        allow: Vec::new(),
    }
}

pub fn service_of(text: &str) -> DnsConfig {
    DnsConfig {
        query: DnsQuery::Service { name: name(text) },
        ..addresses_of(text)
    }
}

pub fn resolver(servers: &[&DnsServer], timeout: Duration) -> Resolver {
    Resolver::new(&ResolverConfig {
        servers: servers.iter().map(|server| server.address).collect(),
        timeout,
    })
    .unwrap()
}

/// As [`resolver`], with a search list; names with fewer than 5 dots are searched for first.
pub fn searching(servers: &[&DnsServer], timeout: Duration, domains: &[ServerName]) -> Resolver {
    let servers: Vec<_> = servers.iter().map(|server| server.address).collect();
    Resolver::of(&servers, domains, 5, timeout).unwrap()
}

pub fn no_listener() -> OwnAddresses {
    OwnAddresses::new(Vec::new())
}

pub async fn ask(server: &DnsServer, config: &DnsConfig) -> Result<Answer, DnsError> {
    resolve(&resolver(&[server], LONG), config, &no_listener()).await
}

pub fn texts(answer: &Answer) -> Vec<String> {
    let address = |endpoint: &EndpointSpec| endpoint.address.to_string();
    answer.endpoints.iter().map(address).collect()
}
