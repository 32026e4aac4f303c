//! One question to DNS: servers, transports, aliases and the search list.
//!
//! hickory's pool asks one server over UDP, repeats lost packets and turns to TCP when the answer is
//! truncated. This file does the rest itself instead of using hickory's `Resolver`. That one caches,
//! takes SERVFAIL of the first server as final, and reports an outage as "no such name" when the last
//! name of the search list does not exist.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError as HickoryError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::DnsError;
use crate::config::ResolverConfig;
use crate::file;
use crate::server_name::ServerName;

/// The file that the system's resolver configuration is read from.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The largest resolv.conf that is read, in bytes.
const MAX_RESOLV_CONF: usize = 1 << 20;
/// "If this file does not exist, only the name server on the local machine will be queried"
/// (resolv.conf(5)).
const LOCAL_SERVER: &[u8] = b"nameserver 127.0.0.1\n";
/// The characters of a line that the log shows.
const MAX_SHOWN: usize = 200;
/// Domains of the search list that are used; Kubernetes allows a pod 32.
const MAX_SEARCH_DOMAINS: usize = 32;
/// Aliases followed in a row.
const MAX_ALIASES: usize = 8;
/// Questions in flight at once, each with a socket. Thousands of upstreams must not take the file
/// descriptors that connections need.
const MAX_QUESTIONS: usize = 64;

/// The lines of a resolv.conf that can be understood, with the server of this machine if they name none.
fn usable_lines(text: &[u8]) -> Vec<u8> {
    let mut usable = Vec::with_capacity(text.len());
    let mut servers = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match parse_resolv_conf(line) {
            Ok((parsed, _)) => {
                servers |= !parsed.name_servers().is_empty();
                usable.extend_from_slice(line);
            }
            Err(error) => {
                let line = String::from_utf8_lossy(line);
                let line: String = line.trim_end().chars().take(MAX_SHOWN).collect();
                tracing::warn!(?line, %error, "strait leaves out a line of {RESOLV_CONF} that it does not understand");
            }
        }
    }
    if !servers {
        usable.push(b'\n');
        usable.extend_from_slice(LOCAL_SERVER);
    }
    usable
}

/// A client of DNS servers. It is cheap to clone, and clones share their knowledge of which server
/// answers.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    /// At least one.
    servers: Vec<Server>,
    /// The index of the server to ask first: the one after the last that failed.
    first: AtomicUsize,
    search: Vec<Name>,
    ndots: usize,
    timeout: Duration,
    questions: Semaphore,
}

struct Server {
    address: SocketAddr,
    pool: NameServerPool<TokioRuntimeProvider>,
}

/// The records of one type that a name has, aliases followed.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Empty when the name does not exist or has no record of the type.
    pub(super) data: Vec<RData>,
    /// The smallest TTL, in seconds, of the records and of the aliases that led to them. `u32::MAX`
    /// when there are no records.
    pub(super) ttl: u32,
}

impl Resolver {
    /// Creates a resolver that asks the servers of `config`, each at its port. If `config` lists none,
    /// it asks those of /etc/resolv.conf as it is now, with its search list. Lines that cannot be understood
    /// are left out. Without that file, and without a server in it, it asks the local machine, as
    /// resolv.conf(5) says.
    ///
    /// # Errors
    /// Only a defect of the client of DNS.
    pub fn new(config: &ResolverConfig) -> Result<Self, DnsError> {
        if config.servers.is_empty() {
            let text = match file::read(Path::new(RESOLV_CONF), MAX_RESOLV_CONF) {
                Ok((text, _)) => text,
                Err(error) => {
                    if error.kind() != std::io::ErrorKind::NotFound {
                        tracing::warn!(%error, "strait cannot read {RESOLV_CONF} and asks the DNS server of this machine");
                    }
                    Vec::new()
                }
            };
            return Self::with_resolv_conf(&usable_lines(&text), config);
        }
        Self::of(&config.servers, &[], 1, config.timeout)
    }

    /// Creates a resolver of these servers, which follows this search list as resolv.conf(5) says.
    ///
    /// # Errors
    /// There is no server, or a domain of the list cannot be asked for.
    pub fn of(
        servers: &[SocketAddr],
        search: &[ServerName],
        ndots: usize,
        timeout: Duration,
    ) -> Result<Self, DnsError> {
        let servers = servers.iter().map(|address| {
            let transports = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let transports = transports.map(|mut transport| {
                transport.port = address.port();
                transport
            });
            NameServerConfig::new(address.ip(), true, transports.to_vec())
        });
        let search = search.iter().map(askable).collect::<Result<_, _>>()?;
        Self::build(servers.collect(), search, ndots, timeout)
    }

    /// Creates a resolver from the `text` of a resolv.conf. Only the timeout is taken from `config`.
    ///
    /// # Errors
    /// The text lists no server or an impossible search domain.
    pub fn with_resolv_conf(text: &[u8], config: &ResolverConfig) -> Result<Self, DnsError> {
        let (parsed, options) =
            parse_resolv_conf(text).map_err(|error| DnsError::SystemConfig(error.to_string()))?;
        // resolv.conf(5): without a search list the local domain is searched.
        let search = if parsed.search().is_empty() {
            parsed.domain().into_iter().cloned().collect()
        } else {
            parsed.search().to_vec()
        };
        let servers = parsed.name_servers().to_vec();
        Self::build(servers, search, options.ndots, config.timeout)
    }

    fn build(
        servers: Vec<NameServerConfig>,
        mut search: Vec<Name>,
        ndots: usize,
        timeout: Duration,
    ) -> Result<Self, DnsError> {
        let setup = |error: NetError| DnsError::Setup(error.to_string());
        let mut pools = Vec::with_capacity(servers.len());
        for server in servers {
            let mut options = ResolverOpts::default();
            options.timeout = timeout;
            let port = server.connections.first().map_or(53, |udp| udp.port);
            let context = PoolContext::new(options, TlsConfig::new().map_err(setup)?);
            pools.push(Server {
                address: SocketAddr::new(server.ip, port),
                pool: NameServerPool::from_config(
                    [server],
                    Arc::new(context),
                    TokioRuntimeProvider::default(),
                ),
            });
        }
        if pools.is_empty() {
            return Err(DnsError::SystemConfig("no nameserver".to_owned()));
        }
        search.truncate(MAX_SEARCH_DOMAINS);
        Ok(Self(Arc::new(Inner {
            servers: pools,
            first: AtomicUsize::new(0),
            search,
            ndots,
            timeout,
            questions: Semaphore::new(MAX_QUESTIONS),
        })))
    }

    /// The time limit for questions asked side by side: enough for a dead server's timeout and then an
    /// answer, or for a truncated answer and then TCP.
    pub(super) fn patience(&self) -> Duration {
        self.0.timeout.saturating_mul(2)
    }

    /// The names to ask for `name`, in order.
    ///
    /// # Errors
    /// `name` does not fit into a question.
    pub(super) fn candidates(&self, name: &ServerName) -> Result<Vec<Name>, DnsError> {
        let absolute = askable(name)?;
        let mut relative = absolute.clone();
        relative.set_fqdn(false);
        // A domain that would make the name too long cannot hold it.
        let mut candidates: Vec<Name> = self
            .0
            .search
            .iter()
            .flat_map(|domain| relative.clone().append_domain(domain))
            .collect();
        let dots = name.as_str().bytes().filter(|byte| *byte == b'.').count();
        let place = if dots >= self.0.ndots {
            0
        } else {
            candidates.len()
        };
        candidates.insert(place, absolute);
        let mut seen = std::collections::HashSet::new();
        candidates.retain(|candidate| seen.insert(candidate.clone()));
        Ok(candidates)
    }

    /// The records of `kind` that `name` has.
    ///
    /// # Errors
    /// No server answered before the deadline, or each reported a failure of its own. "There are no
    /// records" is an answer, not an error.
    pub(super) async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<Records, DnsError> {
        tokio::time::timeout_at(deadline, self.follow(name, kind))
            .await
            .unwrap_or_else(|_| {
                Err(DnsError::TooSlow {
                    name: name.to_string(),
                    kind: kind.to_string(),
                })
            })
    }

    /// Asks, and follows aliases.
    async fn follow(&self, name: &Name, kind: RecordType) -> Result<Records, DnsError> {
        let mut owner = name.clone();
        let mut ttl = u32::MAX;
        let mut aliases = 0;
        loop {
            let asked = owner.clone();
            let Some(response) = self.ask_servers(&owner, kind).await? else {
                return Ok(Records { data: vec![], ttl });
            };
            while let Some((alias, target)) = alias_of(&owner, &response.answers) {
                aliases += 1;
                if aliases > MAX_ALIASES {
                    return Err(DnsError::TooManyAliases {
                        name: name.to_string(),
                        limit: MAX_ALIASES,
                    });
                }
                ttl = ttl.min(alias.ttl);
                owner = target.clone();
            }
            let mut data = Vec::new();
            for record in &response.answers {
                if record.record_type() == kind && record.name == owner {
                    ttl = ttl.min(record.ttl);
                    data.push(record.data.clone());
                }
            }
            // A server may leave the end of a chain of aliases for the client to ask for (RFC 1034
            // section 3.6.2), unless it says that the end does not exist (RFC 2308 section 2.1).
            let open = owner != asked && response.response_code != ResponseCode::NXDomain;
            if !data.is_empty() || !open {
                return Ok(Records { data, ttl });
            }
        }
    }

    /// Asks one server after the other. Returns `None` if the name or a record of this type does not
    /// exist.
    async fn ask_servers(
        &self,
        name: &Name,
        kind: RecordType,
    ) -> Result<Option<DnsResponse>, DnsError> {
        let inner = &*self.0;
        // The semaphore is never closed, so `acquire` always gives a permit.
        let _permit = inner.questions.acquire().await;
        let servers = inner.servers.len();
        let first = inner.first.load(Ordering::Relaxed);
        let mut failure = DnsError::Setup("no nameserver".to_owned());
        for index in (first..first + servers).map(|index| index % servers) {
            let server = &inner.servers[index];
            let query = Query::query(name.clone(), kind);
            let answer = server.pool.lookup(query, DnsRequestOptions::default());
            match answer.first_answer().await {
                Ok(response) => return Ok(Some(response)),
                Err(NetError::Dns(HickoryError::NoRecordsFound(_))) => return Ok(None),
                Err(error) => {
                    tracing::debug!(%name, %kind, server = %server.address, %error, "a DNS query failed");
                    // Moves on at once, not after the loop: a caller that gives up must not come back
                    // to a dead server each time.
                    inner.first.store((index + 1) % servers, Ordering::Relaxed);
                    failure = DnsError::Failed {
                        name: name.to_string(),
                        kind: kind.to_string(),
                        server: server.address,
                        reason: reason(&error),
                    };
                }
            }
        }
        Err(failure)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.0.servers.iter().map(|server| server.address);
        f.debug_struct("Resolver")
            .field("servers", &servers.collect::<Vec<_>>())
            .field("search", &self.0.search)
            .field("ndots", &self.0.ndots)
            .field("timeout", &self.0.timeout)
            .finish()
    }
}

fn askable(name: &ServerName) -> Result<Name, DnsError> {
    absolute(name.as_str()).map_err(|error| DnsError::Unaskable {
        name: name.to_string(),
        reason: error.to_string(),
    })
}

fn absolute(name: &str) -> Result<Name, hickory_resolver::proto::ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}

fn alias_of<'a>(owner: &Name, answers: &'a [Record]) -> Option<(&'a Record, &'a Name)> {
    answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *owner => Some((record, &target.0)),
        _ => None,
    })
}

/// The operators' word for an error.
fn reason(error: &NetError) -> String {
    match error {
        NetError::Dns(HickoryError::ResponseCode(ResponseCode::ServFail)) => "SERVFAIL".to_owned(),
        NetError::Dns(HickoryError::ResponseCode(ResponseCode::Refused)) => "REFUSED".to_owned(),
        NetError::Timeout => "timed out".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(resolv_conf: &str, name: &str) -> Vec<String> {
        let config = ResolverConfig {
            servers: Vec::new(),
            timeout: Duration::from_secs(1),
        };
        let name = ServerName::parse(name.as_bytes()).unwrap();
        Resolver::with_resolv_conf(resolv_conf.as_bytes(), &config)
            .unwrap()
            .candidates(&name)
            .unwrap()
            .iter()
            .map(Name::to_string)
            .collect()
    }

    const POD: &str = "nameserver 10.96.0.10\n\
        search apps.svc.cluster.local svc.cluster.local cluster.local\n\
        options ndots:5\n";

    #[test]
    fn a_name_with_few_dots_is_searched_first() {
        assert_eq!(
            candidates(POD, "svcb.apps"),
            [
                "svcb.apps.apps.svc.cluster.local.",
                "svcb.apps.svc.cluster.local.",
                "svcb.apps.cluster.local.",
                "svcb.apps.",
            ]
        );
    }

    #[test]
    fn a_name_with_many_dots_is_asked_as_it_stands_first() {
        let name = "_https._tcp.svcb.apps.svc.cluster.local";
        let first = candidates(POD, name).remove(0);
        assert_eq!(first, format!("{name}."));
        let plain = "nameserver 10.96.0.10\nsearch example.com\n";
        assert_eq!(candidates(plain, "a.b"), ["a.b.", "a.b.example.com."]);
        assert_eq!(candidates(plain, "a"), ["a.example.com.", "a."]);
    }

    #[test]
    fn a_search_domain_that_makes_the_name_too_long_is_left_out() {
        let long = vec!["a".repeat(60); 4].join(".");
        assert_eq!(candidates(POD, &long), [format!("{long}.")]);
    }

    #[tokio::test]
    async fn odd_lines_of_a_resolv_conf_are_left_out_and_the_rest_counts() {
        let config = ResolverConfig {
            servers: Vec::new(),
            timeout: Duration::from_secs(1),
        };
        for (text, servers) in [
            ("nameserver 10.0.0.1\nsearch a.b\n", &["10.0.0.1"][..]),
            (
                "nameserver not-an-address\nnameserver 10.0.0.2\n",
                &["10.0.0.2"],
            ),
            ("what is this\nnameserver 10.0.0.3", &["10.0.0.3"]),
            ("\u{feff}\0\nnameserver 10.0.0.4\r\n", &["10.0.0.4"]),
            ("search a.b\n", &["127.0.0.1"]),
            ("nameserver\n", &["127.0.0.1"]),
            ("", &["127.0.0.1"]),
        ] {
            let usable = usable_lines(text.as_bytes());
            let resolver = Resolver::with_resolv_conf(&usable, &config).unwrap();
            let asked = resolver.0.servers.iter().map(|one| one.address.ip());
            let asked: Vec<String> = asked.map(|ip| ip.to_string()).collect();
            assert_eq!(asked, servers, "{text:?}");
        }
    }

    #[test]
    fn a_resolv_conf_without_server_is_an_error() {
        let config = ResolverConfig {
            servers: Vec::new(),
            timeout: Duration::from_secs(1),
        };
        assert!(matches!(
            Resolver::with_resolv_conf(b"search a.b\n", &config),
            Err(DnsError::SystemConfig(_))
        ));
    }
}
