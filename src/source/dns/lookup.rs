//! One round of questions for an upstream, and the answer made of them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::resolver::{Records, Resolver};
use super::{AddressPolicy, Answer, DnsError, OwnAddresses, service};
use crate::config::{AddressKind, DnsConfig, DnsQuery, EndpointSpec};
use crate::server_name::ServerName;

/// Asks once, as the gateway does: addresses are checked by the policy, TTL and number are bounded.
/// Takes at most four times the resolver's timeout for SRV, else twice.
///
/// # Errors
/// Nothing was answered. An answer without a usable address is an [`Answer`] without endpoints.
pub async fn resolve(
    resolver: &Resolver,
    config: &DnsConfig,
    own: &OwnAddresses,
) -> Result<Answer, DnsError> {
    resolve_again(resolver, config, own, &mut Memory::default()).await
}

/// What the last good answer was made of, to tell what a question that now fails would have given.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The spelling, search list applied, that had records.
    name: Option<Name>,
    addresses: HashMap<(Name, RecordType), Vec<IpAddr>>,
}

/// [`resolve`], with what earlier rounds learnt. `memory` changes with an answer that has endpoints.
pub(super) async fn resolve_again(
    resolver: &Resolver,
    config: &DnsConfig,
    own: &OwnAddresses,
    memory: &mut Memory,
) -> Result<Answer, DnsError> {
    let (name, stages) = match &config.query {
        DnsQuery::Address { name, .. } => (name, 1),
        DnsQuery::Service { name } => (name, 2),
    };
    let patience = resolver.patience() * stages;
    let own = own.now();
    let policy = AddressPolicy {
        allow: &config.allow,
        own: &own,
    };
    let mut round = Round {
        resolver,
        memory,
        learnt: Memory::default(),
        policy,
        max_endpoints: config.max_endpoints,
        refused: Vec::new(),
        too_many: 0,
        ttl: u32::MAX,
        problem: None,
    };
    let endpoints = tokio::time::timeout(patience, round.ask(&config.query, name))
        .await
        .unwrap_or_else(|_| {
            Err(DnsError::TooSlow {
                name: name.to_string(),
                within: patience,
            })
        })?;
    let (answer, learnt) = round.conclude(endpoints, config, name);
    if !answer.endpoints.is_empty() {
        *memory = learnt;
    }
    Ok(answer)
}

/// The questions of one round and what comes of them.
pub(super) struct Round<'a> {
    pub(super) resolver: &'a Resolver,
    pub(super) memory: &'a Memory,
    learnt: Memory,
    policy: AddressPolicy<'a>,
    pub(super) max_endpoints: usize,
    refused: Vec<(SocketAddr, AddressKind)>,
    pub(super) too_many: usize,
    ttl: u32,
    pub(super) problem: Option<DnsError>,
}

/// What the records of a name are, by the question that was asked for it.
enum Found {
    Addresses(Box<Host>),
    Services(Records),
}

impl Round<'_> {
    async fn ask(
        &mut self,
        query: &DnsQuery,
        name: &ServerName,
    ) -> Result<Vec<EndpointSpec>, DnsError> {
        match (query, self.search(query, name).await?) {
            (DnsQuery::Address { port, .. }, Some(Found::Addresses(mut host))) => {
                self.take_in(&mut host);
                Ok(self.endpoints(&host, *port, 1))
            }
            (DnsQuery::Service { .. }, Some(Found::Services(records))) => {
                self.ttl = self.ttl.min(records.ttl);
                service::endpoints(self, name, records.data).await
            }
            (DnsQuery::Address { .. }, _) => self.nothing(name, "A or AAAA"),
            (DnsQuery::Service { .. }, _) => self.nothing(name, "SRV"),
        }
    }

    fn nothing(
        &mut self,
        name: &ServerName,
        kind: &'static str,
    ) -> Result<Vec<EndpointSpec>, DnsError> {
        let name = name.to_string();
        self.problem = Some(DnsError::Empty { name, kind });
        Ok(Vec::new())
    }

    /// The records of the first spelling that has any.
    ///
    /// A spelling that fails is passed over, as a search domain of somebody else's must not keep a
    /// name from being found; but not the one that answered last time, whose failure is an outage.
    async fn search(
        &mut self,
        query: &DnsQuery,
        name: &ServerName,
    ) -> Result<Option<Found>, DnsError> {
        let mut candidates = self.resolver.candidates(name)?;
        let known = candidates
            .iter()
            .position(|candidate| Some(candidate) == self.memory.name.as_ref());
        if let Some(known) = known {
            candidates[..=known].rotate_right(1);
        }
        let mut failure = None;
        for (index, candidate) in candidates.into_iter().enumerate() {
            match self.ask_candidate(query, &candidate).await {
                Ok(None) => {}
                Ok(found) => {
                    self.learnt.name = Some(candidate);
                    return Ok(found);
                }
                Err(error) if index == 0 && known.is_some() => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    async fn ask_candidate(
        &self,
        query: &DnsQuery,
        name: &Name,
    ) -> Result<Option<Found>, DnsError> {
        match query {
            DnsQuery::Address { .. } => {
                let mut host = Host::ask(self.resolver, name).await;
                // What is remembered is no answer when neither family was answered.
                if host.answered {
                    host.recall(self.memory);
                }
                match host.failure {
                    _ if host.addresses().next().is_some() => {
                        Ok(Some(Found::Addresses(Box::new(host))))
                    }
                    Some(failure) => Err(failure),
                    None => Ok(None),
                }
            }
            DnsQuery::Service { .. } => {
                let records = self.resolver.ask(name, RecordType::SRV).await?;
                Ok((!records.data.is_empty()).then_some(Found::Services(records)))
            }
        }
    }

    /// Notes what there is to be said of `host`, and adds to it what a family that failed had in
    /// the last good answer.
    pub(super) fn take_in(&mut self, host: &mut Host) {
        host.recall(self.memory);
        self.ttl = self.ttl.min(host.ttl);
        self.problem = self.problem.take().or(host.failure.clone());
        self.learnt.addresses.extend(host.by_family.clone());
    }

    /// The endpoints that `host` gives.
    pub(super) fn endpoints(&mut self, host: &Host, port: u16, weight: u16) -> Vec<EndpointSpec> {
        let mut endpoints = Vec::new();
        for ip in host.addresses() {
            match self.policy.check(SocketAddr::new(ip, port)) {
                Ok(address) => endpoints.push(EndpointSpec {
                    address,
                    zone: None,
                    weight,
                }),
                Err(refused) => self.refused.push(refused),
            }
        }
        endpoints
    }

    fn conclude(
        mut self,
        mut endpoints: Vec<EndpointSpec>,
        config: &DnsConfig,
        name: &ServerName,
    ) -> (Answer, Memory) {
        self.too_many += bound(&mut endpoints, self.max_endpoints);
        self.refused.sort_by_key(|(address, _)| *address);
        self.refused.dedup();
        if let (true, Some((address, kind))) = (endpoints.is_empty(), self.refused.first()) {
            self.problem = Some(DnsError::AllRefused {
                name: name.to_string(),
                address: *address,
                kind: *kind,
            });
        }
        let answer = Answer {
            endpoints,
            ttl: Duration::from_secs(self.ttl.into())
                .min(config.max_ttl)
                .max(config.min_ttl),
            refused: self.refused,
            too_many: self.too_many,
            problem: self.problem,
        };
        (answer, self.learnt)
    }
}

/// Sorts, leaves each address once with its largest weight, and keeps `most` of them. Which ones
/// are kept depends on each address alone, so that one address more or less in an answer changes at
/// most one in the set, and not on their order, so that they are not all of one subnet. Returns how
/// many were left out.
fn bound(endpoints: &mut Vec<EndpointSpec>, most: usize) -> usize {
    endpoints.sort_by_key(|endpoint| (endpoint.address, std::cmp::Reverse(endpoint.weight)));
    endpoints.dedup_by_key(|endpoint| endpoint.address);
    let left_out = endpoints.len().saturating_sub(most);
    if left_out > 0 {
        endpoints.sort_by_cached_key(|endpoint| (scatter(&endpoint.address), endpoint.address));
        endpoints.truncate(most);
        endpoints.sort();
    }
    left_out
}

/// The same for the same value at all times in all gateways of one build.
pub(super) fn scatter(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The addresses of one name, both families.
#[derive(Debug)]
pub(super) struct Host {
    name: Name,
    by_family: Vec<((Name, RecordType), Vec<IpAddr>)>,
    /// Families that failed and that memory was not asked for.
    failed: Vec<RecordType>,
    /// In seconds; `u32::MAX` without records.
    ttl: u32,
    /// Whether a family answered, be it with no address.
    answered: bool,
    failure: Option<DnsError>,
}

impl Host {
    /// Asks for A and AAAA side by side.
    pub(super) async fn ask(resolver: &Resolver, name: &Name) -> Self {
        let (v4, v6) = tokio::join!(
            resolver.ask(name, RecordType::A),
            resolver.ask(name, RecordType::AAAA)
        );
        let mut host = Self {
            name: name.clone(),
            by_family: Vec::new(),
            failed: Vec::new(),
            ttl: u32::MAX,
            answered: false,
            failure: None,
        };
        for (family, result) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
            match result {
                Ok(records) => {
                    let addresses = records.data.iter().filter_map(address).collect();
                    host.by_family.push(((name.clone(), family), addresses));
                    host.ttl = host.ttl.min(records.ttl);
                    host.answered = true;
                }
                Err(failure) => {
                    host.failed.push(family);
                    host.failure.get_or_insert(failure);
                }
            }
        }
        host
    }

    fn recall(&mut self, memory: &Memory) {
        for family in std::mem::take(&mut self.failed) {
            let question = (self.name.clone(), family);
            if let Some(addresses) = memory.addresses.get(&question) {
                self.by_family.push((question, addresses.clone()));
            }
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_family
            .iter()
            .flat_map(|(_, addresses)| addresses)
            .copied()
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u16, weight: u16) -> EndpointSpec {
        let [high, low] = last.to_be_bytes();
        EndpointSpec {
            address: SocketAddr::from(([10, 0, high, low], 80)),
            zone: None,
            weight,
        }
    }

    #[test]
    fn an_address_counts_once_with_its_largest_weight() {
        let mut endpoints = vec![endpoint(2, 1), endpoint(1, 3), endpoint(1, 7)];
        assert_eq!(bound(&mut endpoints, 10), 0);
        assert_eq!(endpoints, [endpoint(1, 7), endpoint(2, 1)]);
    }

    #[test]
    fn what_is_kept_of_too_many_hardly_changes() {
        let all: Vec<EndpointSpec> = (0..1000).map(|last| endpoint(last, 1)).collect();
        let mut kept = all.clone();
        assert_eq!(bound(&mut kept, 100), 900);
        let mut reversed: Vec<_> = all.iter().rev().cloned().collect();
        bound(&mut reversed, 100);
        assert_eq!(kept, reversed);
        for gone in 0..50 {
            let mut fewer = all.clone();
            fewer.remove(gone * 20);
            bound(&mut fewer, 100);
            let same = fewer.iter().filter(|spec| kept.contains(spec)).count();
            assert!(same >= 99, "{same} of 100 stay");
        }
        let low = kept.iter().filter(|spec| **spec < endpoint(500, 0)).count();
        assert!((25..75).contains(&low), "{low} of 100 from the lower half");
    }
}
