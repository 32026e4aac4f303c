//! SRV records (RFC 2782) and the endpoints that they give.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData};
use tokio::task::JoinSet;

use super::answer::DnsError;
use super::round::{Host, Round, keep};
use crate::config::{EndpointSpec, Weight};
use crate::server_name::ServerName;

/// The number of targets that are resolved at the same time.
const TARGETS_AT_ONCE: usize = 16;
/// The largest weight an endpoint may have.
const MAX_WEIGHT: u32 = Weight::MAX.get();

/// The endpoints of the records with the lowest priority number. The next number is used only if those
/// give no usable endpoint, and so on. Endpoints that fail later do not bring the next number in.
pub(super) async fn endpoints(
    round: &mut Round<'_>,
    name: &ServerName,
    records: Vec<RData>,
) -> Result<Vec<EndpointSpec>, DnsError> {
    let groups = by_priority(records);
    if groups.is_empty() {
        let name = name.to_string();
        round.problem = Some(DnsError::NotAvailable { name });
        return Ok(Vec::new());
    }
    for (_, mut services) in groups {
        round.too_many += keep(&mut services, round.max_endpoints, |service| {
            (service.target.clone(), service.port)
        });
        let endpoints = group_endpoints(round, &services).await;
        if !endpoints.is_empty() {
            return Ok(endpoints);
        }
    }
    match round.problem.take() {
        Some(failure) => Err(failure),
        None => {
            let (name, kind) = (name.to_string(), "A or AAAA (of any SRV target)");
            round.problem = Some(DnsError::Empty { name, kind });
            Ok(Vec::new())
        }
    }
}

/// Usable records by priority. Each target and port occurs once.
fn by_priority(records: Vec<RData>) -> BTreeMap<u16, Vec<SRV>> {
    let mut groups: BTreeMap<u16, Vec<SRV>> = BTreeMap::new();
    for record in records {
        if let RData::SRV(service) = record
            && !service.target.is_root()
            && service.port != 0
        {
            groups.entry(service.priority).or_default().push(service);
        }
    }
    groups
}

async fn group_endpoints(round: &mut Round<'_>, services: &[SRV]) -> Vec<EndpointSpec> {
    let heaviest = services.iter().map(|service| service.weight).max();
    let heaviest = heaviest.unwrap_or_default();
    let targets: BTreeSet<&Name> = services.iter().map(|service| &service.target).collect();
    let hosts = hosts(round, targets.into_iter().cloned()).await;
    let mut endpoints = Vec::new();
    for service in services {
        let Some(host) = hosts.get(&service.target) else {
            continue;
        };
        let weight = weight(service.weight, heaviest);
        endpoints.extend(round.endpoints(host, service.port, weight));
    }
    endpoints
}

/// Resolves the addresses of `targets`, some at the same time.
async fn hosts(round: &mut Round<'_>, targets: impl Iterator<Item = Name>) -> HashMap<Name, Host> {
    let mut hosts = HashMap::new();
    let mut asking = JoinSet::new();
    for target in targets {
        if asking.len() == TARGETS_AT_ONCE
            && let Some(Ok((target, host))) = asking.join_next().await
        {
            hosts.insert(target, host);
        }
        let (resolver, deadline) = (round.resolver.clone(), round.deadline);
        let most = round.max_endpoints;
        asking.spawn(async move {
            let mut host = Host::ask(&resolver, &target, deadline).await;
            host.keep(most);
            (target, host)
        });
    }
    while let Some(answer) = asking.join_next().await {
        hosts.extend(answer);
    }
    for host in hosts.values_mut() {
        round.take_in(host);
    }
    hosts
}

/// The endpoint's weight for the weight of an SRV record. A weight of 0, for which RFC 2782 wants "a
/// very small chance of being selected in the presence of records containing weights greater than 0",
/// becomes 1. Every address of a target gets the target's weight.
fn weight(weight: u16, heaviest: u16) -> Weight {
    let (weight, heaviest) = (u32::from(weight), u32::from(heaviest));
    Weight::saturating(match heaviest {
        ..=MAX_WEIGHT => weight,
        _ => weight * MAX_WEIGHT / heaviest,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn weights_keep_their_proportions() {
        let weight = |weight, heaviest| super::weight(weight, heaviest).get();
        assert_eq!([0, 1, 1000].map(|w| weight(w, 1000)), [1, 1, 1000]);
        assert_eq!(
            [0, 1, 32768, 65535].map(|w| weight(w, 65535)),
            [1, 1, 500, 1000]
        );
        assert_eq!(weight(0, 0), 1);
    }
}
