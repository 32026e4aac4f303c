//! The addresses of one name, asked for again and again, for those who need no upstream.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::answer::DnsError;
use super::lookup::resolve_again;
use super::resolver::Resolver;
use super::round::RememberedAnswer;
use super::schedule::Schedule;
use crate::config::{DnsConfig, DnsQuery};
use crate::server_name::ServerName;
use crate::socket::OwnAddresses;

/// The port of the question. The answer has none.
const ANY_PORT: u16 = 1;
/// The shortest and the longest time between two questions.
const MIN_TTL: Duration = Duration::from_secs(10);
const MAX_TTL: Duration = Duration::from_secs(300);
/// The number of addresses of a name that are kept.
const MAX_ADDRESSES: usize = 64;

/// A name that is asked for again and again. Addresses that no workload has are left out, as for upstreams
/// from DNS; the last ones stay while DNS fails.
#[derive(Debug)]
pub struct NameWatch {
    resolver: Resolver,
    config: DnsConfig,
    memory: RememberedAnswer,
    schedule: Schedule,
    wait: Duration,
    last: Vec<IpAddr>,
    /// The problem with the answer whose addresses were given, until it is told.
    problem: Option<DnsError>,
}

impl NameWatch {
    /// Asks for nothing yet.
    pub fn new(resolver: Resolver, name: ServerName) -> Self {
        Self {
            resolver,
            config: DnsConfig {
                query: DnsQuery::Address {
                    name,
                    port: ANY_PORT,
                },
                min_ttl: MIN_TTL,
                max_ttl: MAX_TTL,
                max_endpoints: MAX_ADDRESSES,
                gone_after: None,
                allow: Vec::new(),
            },
            memory: RememberedAnswer::default(),
            schedule: Schedule::default(),
            wait: Duration::ZERO,
            last: Vec::new(),
            problem: None,
        }
    }

    /// Waits for other addresses than the last ones: those of IPv4 if there are any, otherwise those of IPv6,
    /// at least one.
    ///
    /// # Errors
    /// The first of the questions in a row that were not answered in full. The last addresses stay, or those that
    /// were answered are given before.
    pub async fn next(&mut self) -> Result<Vec<IpAddr>, DnsError> {
        let own = OwnAddresses::default();
        loop {
            if let Some(problem) = self.problem.take() {
                return Err(problem);
            }
            sleep(self.wait).await;
            let answer = resolve_again(&self.resolver, &self.config, &own, &mut self.memory).await;
            let is_first = self.schedule.failures_in_a_row() == 0;
            match answer {
                Ok(answer) if !answer.endpoints.is_empty() => {
                    let all = answer.endpoints.iter().map(|one| one.address.ip());
                    let has_v4 = all.clone().any(|ip| ip.is_ipv4());
                    let addresses: Vec<IpAddr> = all.filter(|ip| ip.is_ipv4() == has_v4).collect();
                    self.wait = match answer.problem {
                        Some(problem) => {
                            self.problem = is_first.then_some(problem);
                            self.schedule.answered_in_part(answer.ttl, &self.config)
                        }
                        None => self.schedule.answered(answer.ttl, &self.config),
                    };
                    if addresses != self.last {
                        self.last.clone_from(&addresses);
                        return Ok(addresses);
                    }
                }
                Ok(answer) => {
                    self.wait = self.schedule.answered_with_nothing(&self.config);
                    if let (true, Some(problem)) = (is_first, answer.problem) {
                        return Err(problem);
                    }
                }
                Err(error) => {
                    self.wait = self.schedule.failed(&self.config);
                    if is_first {
                        return Err(error);
                    }
                }
            }
        }
    }
}
