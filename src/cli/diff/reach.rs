//! The server names that lead elsewhere, by the clients that send them.
//!
//! Each name that a route of either config has is decided by both tables, once for each kind of client
//! that a route tells apart by its ALPN offers. So a name that falls back to a wildcard is seen too.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decision::{AskedConnection, Decider, Decision};
use crate::config::{AlpnPolicy, ISTIO_ALPNS, SniPattern, offers_in_words};
use crate::server_name::ServerName;

/// A label that no route has, for the names below a wildcard.
const ANY_LABEL: &str = "any-other-label";
/// A name that only `*` matches.
const ANY_NAME: &str = "any-other-name.invalid";
/// A protocol that no route names.
const OTHER_PROTOCOL: &str = "none-of-those-that-a-route-names";

/// The clients that every route of both configs treats alike.
struct Clients {
    words: String,
    offers: Vec<String>,
}

/// The place where a connection ends up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Destination {
    /// At these upstreams.
    Upstream(String),
    /// Refused, with the outcome or the reason.
    Refused(&'static str),
}

pub(super) fn changes(old: Option<&Decider<'_>>, new: Option<&Decider<'_>>) -> Vec<String> {
    let both = || old.into_iter().chain(new);
    let patterns: BTreeSet<SniPattern> = both()
        .flat_map(|one| one.table.patterns().map(|(pattern, _)| pattern))
        .collect();
    let clients = clients(both());
    let mut lines = Vec::new();
    for pattern in &patterns {
        let Some(name) = example(pattern) else {
            continue;
        };
        let mut moves: BTreeMap<(Destination, Destination), Vec<&str>> = BTreeMap::new();
        for kind in &clients {
            let attempt = AskedConnection {
                from: None,
                sni: name.as_ref().map(ServerName::as_str),
                alpn: &kind.offers,
            };
            let change = (end(old, &attempt), end(new, &attempt));
            moves.entry(change).or_default().push(&kind.words);
        }
        for ((before, after), who) in moves {
            let who = match who.len() == clients.len() {
                true => "all clients".to_owned(),
                false => who.join(" and "),
            };
            lines.extend(line(pattern, &who, &before, &after));
        }
    }
    lines
}

/// The difference in words; `None` if the clients reach what they reached.
fn line(
    pattern: &SniPattern,
    who: &str,
    before: &Destination,
    after: &Destination,
) -> Option<String> {
    match (before, after) {
        (Destination::Refused(_), Destination::Refused(_)) => None,
        (Destination::Upstream(before), Destination::Upstream(after)) if before == after => None,
        (Destination::Refused(why), Destination::Upstream(after)) => Some(format!(
            "{pattern}: {who} reach upstream {after} now, before {why}"
        )),
        (Destination::Upstream(before), Destination::Refused(why)) => Some(format!(
            "{pattern}: {who} do not reach upstream {before} any more, now {why}"
        )),
        (Destination::Upstream(before), Destination::Upstream(after)) => Some(format!(
            "{pattern}: {who} move from upstream {before} to {after}"
        )),
    }
}

fn end(decider: Option<&Decider<'_>>, attempt: &AskedConnection<'_>) -> Destination {
    let Some(decider) = decider else {
        return Destination::Refused("no listener");
    };
    match decider.decide(attempt) {
        Decision::Refused(outcome, _) => Destination::Refused(outcome.label()),
        Decision::Routed(route) => {
            let targets = route.targets.iter().map(|target| &*target.name);
            Destination::Upstream(targets.collect::<Vec<_>>().join(" and "))
        }
    }
}

/// A name that the pattern stands for, and no longer pattern; `Some(None)` for no name at all. `None` if
/// there is no such name.
fn example(pattern: &SniPattern) -> Option<Option<ServerName>> {
    let parse = |name: &str| ServerName::parse(name.as_bytes()).ok();
    match pattern {
        SniPattern::Exact(name) => Some(Some(name.clone())),
        SniPattern::OneBelow(name) => {
            let with = |label: &str| name.below(label).ok();
            with(ANY_LABEL).or_else(|| with("x")).map(Some)
        }
        SniPattern::Below(name) => {
            let with = |label: &str| parse(&format!("{label}.{name}"));
            with(ANY_LABEL).or_else(|| with("x")).map(Some)
        }
        SniPattern::Any => parse(ANY_NAME).map(Some),
        SniPattern::Absent => Some(None),
    }
}

fn clients<'a>(deciders: impl Iterator<Item = &'a Decider<'a>>) -> Vec<Clients> {
    let mut named = BTreeSet::new();
    for decider in deciders {
        for route in decider.listener.routes.iter() {
            if let AlpnPolicy::OneOf(protocols) = &route.alpn {
                named.extend(protocols.iter().cloned());
            }
        }
    }
    let istio = named.iter().any(|one| ISTIO_ALPNS.contains(&&**one));
    let mut clients = Vec::new();
    if istio {
        clients.push(Clients {
            words: "clients with Istio's mutual TLS".to_owned(),
            offers: offers_in_words(&["istio"]),
        });
    }
    let others = named.iter().filter(|one| !ISTIO_ALPNS.contains(&&***one));
    clients.extend(others.map(|protocol| Clients {
        words: format!("clients that offer {protocol}"),
        offers: vec![protocol.to_string()],
    }));
    clients.push(Clients {
        words: "other clients".to_owned(),
        offers: vec![OTHER_PROTOCOL.to_owned()],
    });
    clients
}
