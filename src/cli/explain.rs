//! `strait explain`: what would happen to a connection, and why.
//!
//! Asks the very code that traffic asks: the source policy, the name normaliser and the route table.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use super::{ANSWER_IS_NO, ExplainArguments, failed, runtime};
use crate::config::{Config, ISTIO_ALPNS, ListenerConfig, UpstreamSource};
use crate::outcome::Outcome;
use crate::route::{Route, RouteTable};
use crate::server_name::ServerName;
use crate::source::dns::{self, OwnAddresses, Resolver, kind_label};
use crate::upstream::{UpstreamMap, Upstreams};

/// Routes shown when none matches.
const NEAREST: usize = 5;
/// Endpoints shown of one upstream.
const ENDPOINTS: usize = 20;

pub(super) fn explain(arguments: &ExplainArguments) -> ExitCode {
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    let listeners: Vec<&ListenerConfig> = config
        .listeners
        .iter()
        .filter(|one| {
            arguments
                .listener
                .as_deref()
                .is_none_or(|name| name == &*one.name)
        })
        .collect();
    if listeners.is_empty() {
        let names: Vec<&str> = config.listeners.iter().map(|one| &*one.name).collect();
        return failed(&format!("no such listener; there is {}", names.join(", ")));
    }
    let upstreams = Upstreams::default().prepare(&config);
    let mut routed = false;
    for listener in listeners {
        println!("listener {} ({})", listener.name, listener.bind);
        match explain_one(&config, listener, &upstreams, arguments) {
            Ok(None) => {}
            Ok(Some(route)) => routed |= show_route(&config, &route),
            Err(error) => return failed(&error),
        }
    }
    if routed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(ANSWER_IS_NO)
    }
}

/// The route that a listener gives the connection; prints why it gives none.
fn explain_one(
    config: &Config,
    listener: &ListenerConfig,
    upstreams: &UpstreamMap,
    arguments: &ExplainArguments,
) -> Result<Option<Arc<Route>>, crate::route::RouteError> {
    if let Some(from) = arguments.from.map(|from| IpAddr::to_canonical(&from)) {
        let group = config.sources.name(config.sources.index_of(from));
        println!("  source       {from}, group {group}");
        if !listener.source_policy.admits(from) {
            refused(Outcome::SourceDenied, None);
            return Ok(None);
        }
    }
    let name = match ServerName::parse(arguments.sni.as_bytes()) {
        Ok(name) => name,
        Err(error) => {
            refused(Outcome::BadServerName, Some(error.to_string()));
            return Ok(None);
        }
    };
    println!("  server name  {name}");
    let offers = offers(&arguments.alpn);
    let shown = if offers.is_empty() {
        "none".into()
    } else {
        offers.join(", ")
    };
    println!("  ALPN         {shown}");
    let find = |name: &str| upstreams.get(name).cloned();
    let table = RouteTable::build(listener, &config.sources, find)?;
    match table.decide(&name, offers.iter().map(|offer| offer.as_bytes())) {
        Ok(route) => Ok(Some(route.clone())),
        Err(refusal) => {
            refused(refusal.outcome(), refusal.detail());
            if refusal.outcome() == Outcome::NoRoute {
                show_nearest(&table, &name);
            }
            Ok(None)
        }
    }
}

fn offers(asked: &[String]) -> Vec<String> {
    let expand = |one: &String| match one.as_str() {
        "istio" => ISTIO_ALPNS.map(String::from).to_vec(),
        _ => vec![one.clone()],
    };
    asked.iter().flat_map(expand).collect()
}

fn refused(outcome: Outcome, detail: Option<String>) {
    println!(
        "  refused      {} (Envoy: {})",
        outcome.label(),
        outcome.envoy_flag()
    );
    println!("               {}", outcome.meaning());
    if let Some(detail) = detail {
        println!("               {detail}");
    }
}

fn show_nearest(table: &RouteTable, name: &ServerName) {
    let nearest = table.nearest(name, NEAREST);
    if nearest.is_empty() {
        println!("  nearest      this listener has no route");
    }
    for (position, (pattern, route)) in nearest.iter().enumerate() {
        let title = if position == 0 { "nearest" } else { "" };
        println!("  {title:<12} {pattern} (route {})", route.name);
    }
}

/// Prints a route's upstream and endpoints. Returns whether there is an endpoint to connect to.
fn show_route(config: &Config, route: &Route) -> bool {
    let upstream = route.upstream.config();
    println!("  route        {}, which takes {}", route.name, route.alpn);
    println!("  upstream     {}", upstream.name);
    if let UpstreamSource::Dns(query) = &upstream.source {
        println!("  resolved     {}", query.query);
        let resolved = runtime()
            .map_err(|error| error.to_string())
            .and_then(|runtime| {
                let listening = config.listeners.iter().map(|one| one.bind);
                let own = OwnAddresses::new(listening.collect());
                runtime.block_on(async {
                    let resolver =
                        Resolver::new(&config.resolver).map_err(|error| error.to_string())?;
                    let answer = dns::resolve(&resolver, query, &own).await;
                    answer.map_err(|error| error.to_string())
                })
            });
        match resolved {
            Ok(answer) => {
                for (address, kind) in &answer.refused {
                    println!(
                        "               {address} is not used: {}",
                        kind_label(*kind)
                    );
                }
                if let Some(problem) = &answer.problem {
                    println!("               {problem}");
                }
                route.upstream.replace_endpoints(answer.endpoints);
            }
            Err(error) => println!("               {error}"),
        }
    }
    let endpoints = route.upstream.endpoints();
    for (position, endpoint) in endpoints.iter().take(ENDPOINTS).enumerate() {
        let title = if position == 0 { "endpoints" } else { "" };
        let zone = endpoint.spec.zone.as_deref();
        let zone = zone
            .map(|zone| format!(", zone {zone}"))
            .unwrap_or_default();
        println!(
            "  {title:<12} {}, weight {}{zone}",
            endpoint.spec.address, endpoint.spec.weight
        );
    }
    if endpoints.len() > ENDPOINTS {
        println!("               and {} more", endpoints.len() - ENDPOINTS);
    }
    if endpoints.is_empty() {
        refused(Outcome::NoEndpoint, None);
    }
    !endpoints.is_empty()
}
