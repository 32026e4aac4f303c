//! The question of an upstream, and the answer made of its round.

use super::answer::{Answer, DnsError};
use super::resolver::Resolver;
use super::round::{Found, RememberedAnswer, Round};
use super::service;
use crate::config::{DnsConfig, DnsQuery, EndpointSpec, Weight};
use crate::server_name::ServerName;
use crate::socket::OwnAddresses;

/// Asks one round of questions and applies the policy: addresses are checked, TTL and count are
/// bounded. Takes at most four times the resolver's timeout for SRV, otherwise twice.
///
/// # Errors
/// Nothing was answered. An answer without a usable address is an [`Answer`] without endpoints.
pub async fn resolve(
    resolver: &Resolver,
    config: &DnsConfig,
    own: &OwnAddresses,
) -> Result<Answer, DnsError> {
    resolve_again(resolver, config, own, &mut RememberedAnswer::default()).await
}

/// Like [`resolve`], with the knowledge of earlier rounds. `memory` changes with every answer that has
/// endpoints.
pub(super) async fn resolve_again(
    resolver: &Resolver,
    config: &DnsConfig,
    own: &OwnAddresses,
    memory: &mut RememberedAnswer,
) -> Result<Answer, DnsError> {
    let (DnsQuery::Address { name, .. } | DnsQuery::Service { name }) = &config.query;
    let own = own.now();
    let mut round = Round::new(resolver, config, &own, memory);
    let endpoints = ask(&mut round, &config.query, name).await?;
    let (answer, learnt) = round.conclude(endpoints, config, name);
    if !answer.endpoints.is_empty() {
        *memory = learnt;
    }
    Ok(answer)
}

/// Asks `query`, and for the addresses of what it leads to.
async fn ask(
    round: &mut Round<'_>,
    query: &DnsQuery,
    name: &ServerName,
) -> Result<Vec<EndpointSpec>, DnsError> {
    match (query, round.search(query, name).await?) {
        (DnsQuery::Address { port, .. }, Some(Found::Addresses(mut host))) => {
            round.take_in(&mut host);
            Ok(round.endpoints(&host, *port, Weight::MIN))
        }
        (DnsQuery::Service { .. }, Some(Found::Services(records))) => {
            round.ttl = round.ttl.min(records.ttl);
            round.deadline += round.resolver.patience();
            service::endpoints(round, name, records.data).await
        }
        (DnsQuery::Address { .. }, _) => round.nothing(name, "A or AAAA"),
        (DnsQuery::Service { .. }, _) => round.nothing(name, "SRV"),
    }
}
