//! One round of questions for an upstream.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::Instant;

use super::address_policy::AddressPolicy;
use super::answer::{Answer, DnsError};
use super::resolver::{Records, Resolver};
use crate::config::{AddressKind, DnsConfig, DnsQuery, EndpointSpec, Weight};
use crate::server_name::ServerName;
use crate::socket::OwnListeners;

/// The content of the last good answer. It shows which addresses a question that now fails would have
/// given.
#[derive(Debug, Default)]
pub(super) struct RememberedAnswer {
    /// The spelling, search list applied, that had records.
    name: Option<Name>,
    addresses: HashMap<(Name, RecordType), Vec<IpAddr>>,
}

/// The questions of one round and their results.
pub(super) struct Round<'a> {
    pub(super) resolver: &'a Resolver,
    memory: &'a RememberedAnswer,
    learnt: RememberedAnswer,
    policy: AddressPolicy<'a>,
    pub(super) max_endpoints: usize,
    /// The time at which unanswered questions count as failed.
    pub(super) deadline: Instant,
    refused: Vec<(SocketAddr, AddressKind)>,
    pub(super) too_many: usize,
    pub(super) ttl: u32,
    pub(super) problem: Option<DnsError>,
}

/// The records found for a name, by the kind of question.
pub(super) enum Found {
    Addresses(Box<Host>),
    Services(Records),
}

impl<'a> Round<'a> {
    pub(super) fn new(
        resolver: &'a Resolver,
        config: &'a DnsConfig,
        own: &'a OwnListeners,
        memory: &'a RememberedAnswer,
    ) -> Self {
        Self {
            resolver,
            memory,
            learnt: RememberedAnswer::default(),
            policy: AddressPolicy {
                allow: &config.allow,
                own,
            },
            max_endpoints: config.max_endpoints,
            deadline: Instant::now() + resolver.patience(),
            refused: Vec::new(),
            too_many: 0,
            ttl: u32::MAX,
            problem: None,
        }
    }

    pub(super) fn nothing(
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
    /// A spelling that fails is skipped: a search domain that belongs to somebody else must not keep a
    /// name from being found. The spelling that answered last time is not skipped, since its failure is
    /// an outage.
    pub(super) async fn search(
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
                let mut host = Host::ask(self.resolver, name, self.deadline).await;
                // If neither family was answered, the remembered addresses are no answer.
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
                let records = self
                    .resolver
                    .ask(name, RecordType::SRV, self.deadline)
                    .await?;
                Ok((!records.data.is_empty()).then_some(Found::Services(records)))
            }
        }
    }

    /// Accounts for `host` in this round. A family that failed gets the addresses that the last good
    /// answer had.
    pub(super) fn take_in(&mut self, host: &mut Host) {
        host.recall(self.memory);
        self.ttl = self.ttl.min(host.ttl);
        self.too_many += host.left_out;
        self.problem = self.problem.take().or(host.failure.clone());
        self.learnt.addresses.extend(host.by_family.clone());
    }

    /// The endpoints for the addresses of `host`.
    pub(super) fn endpoints(
        &mut self,
        host: &Host,
        port: u16,
        weight: Weight,
    ) -> Vec<EndpointSpec> {
        let mut endpoints = Vec::new();
        for ip in host.addresses() {
            match self.policy.check(SocketAddr::new(ip, port)) {
                Ok(address) => endpoints.push(EndpointSpec {
                    address,
                    other: None,
                    zone: None,
                    node: None,
                    hostname: None,
                    weight,
                    terminating: false,
                    origin: None,
                }),
                Err(refused) => self.refused.push(refused),
            }
        }
        endpoints
    }

    pub(super) fn conclude(
        mut self,
        mut endpoints: Vec<EndpointSpec>,
        config: &DnsConfig,
        name: &ServerName,
    ) -> (Answer, RememberedAnswer) {
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

/// Sorts, keeps each address once with its largest weight, and keeps at most `most` of them. Returns
/// the number left out.
fn bound(endpoints: &mut Vec<EndpointSpec>, most: usize) -> usize {
    endpoints.sort_by_key(|endpoint| (endpoint.address, std::cmp::Reverse(endpoint.weight)));
    endpoints.dedup_by_key(|endpoint| endpoint.address);
    let left_out = keep(endpoints, most, |endpoint| endpoint.address);
    if left_out > 0 {
        endpoints.sort();
    }
    left_out
}

/// Keeps `most` of `items`, in any order, and returns the number left out.
///
/// The choice depends on a hash of each key alone. So one item more or less in an answer changes at
/// most one of those kept, those kept are not all of one subnet, and all gateways of one build keep the
/// same.
pub(super) fn keep<T, K: Hash + Ord>(
    items: &mut Vec<T>,
    most: usize,
    key: impl Fn(&T) -> K,
) -> usize {
    let left_out = items.len().saturating_sub(most);
    if left_out > 0 {
        items.sort_by_cached_key(|item| {
            let mut hasher = DefaultHasher::new();
            let key = key(item);
            key.hash(&mut hasher);
            (hasher.finish(), key)
        });
        items.truncate(most);
    }
    left_out
}

/// The addresses of one name, both families.
#[derive(Debug)]
pub(super) struct Host {
    name: Name,
    by_family: Vec<((Name, RecordType), Vec<IpAddr>)>,
    /// Families that failed and that were not yet filled from memory.
    failed: Vec<RecordType>,
    /// In seconds; `u32::MAX` without records.
    ttl: u32,
    /// True if a family answered, even without an address.
    answered: bool,
    failure: Option<DnsError>,
    /// The number of addresses that [`Host::keep`] left out.
    left_out: usize,
}

impl Host {
    /// Asks for A and AAAA side by side.
    pub(super) async fn ask(resolver: &Resolver, name: &Name, deadline: Instant) -> Self {
        let (v4, v6) = tokio::join!(
            resolver.ask(name, RecordType::A, deadline),
            resolver.ask(name, RecordType::AAAA, deadline)
        );
        let mut host = Self {
            name: name.clone(),
            by_family: Vec::new(),
            failed: Vec::new(),
            ttl: u32::MAX,
            answered: false,
            failure: None,
            left_out: 0,
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

    /// Keeps `most` addresses of each family. Otherwise each target of an SRV answer could bring as
    /// many addresses as a message holds.
    pub(super) fn keep(&mut self, most: usize) {
        for (_, addresses) in &mut self.by_family {
            self.left_out += keep(addresses, most, |address| *address);
        }
    }

    fn recall(&mut self, memory: &RememberedAnswer) {
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

    fn endpoint(last: u16, weight: u32) -> EndpointSpec {
        let [high, low] = last.to_be_bytes();
        EndpointSpec {
            address: SocketAddr::from(([10, 0, high, low], 80)),
            other: None,
            zone: None,
            node: None,
            hostname: None,
            weight: Weight::saturating(weight),
            terminating: false,
            origin: None,
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
