//! The resolver of listeners and their routes: sources that may connect, and routes of server names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipnet::IpNet;

use super::claims::Claims;
use super::findings::{Findings, note_taken};
use super::limits::connection_limits;
use super::upstreams;
use crate::config::checked::{
    AlpnPolicy, ConnectionLimits, EndDisallowed, HelloLimits, ISTIO_ALPNS, ListenerConfig, Origin,
    RelayTimeouts, RouteConfig, RouteMatch, RouteTimeouts, SniPattern, SourceGroups, SourceLimits,
    SourcePolicy, TargetConfigs,
};
use crate::config::file::addresses::SourceRef;
use crate::config::file::common::ProxyProtocolFile;
use crate::config::file::words::unreserved;
use crate::config::file::{ListenerFile, RouteFile};
use crate::config::form::containers::OrOff;
use crate::config::form::decode::At;
use crate::config::form::problems::{Complaint, KeyPlace, Problems, nearest, quoted};
use crate::names::{RouteName, UpstreamName};
use crate::shared_map::SharedMap;

/// The items that listeners may refer to.
pub(super) struct Known<'a> {
    pub(super) groups: &'a SourceGroups,
    /// True if `groups` has every group of the file; false if one was refused.
    pub(super) all_groups: bool,
    pub(super) upstreams: &'a BTreeMap<UpstreamName, KeyPlace>,
    /// True if routes may come from somewhere else than the file.
    pub(super) discovery: bool,
}

pub(super) fn resolve(
    files: Vec<ListenerFile>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> Vec<ListenerConfig> {
    let mut names = HashMap::new();
    for ListenerFile { name, .. } in &files {
        note_taken(
            &mut names,
            "listener",
            &name.value,
            &name.place,
            &mut findings.problems,
        );
    }
    files
        .into_iter()
        .map(|file| listener(file, known, findings))
        .collect()
}

pub(super) fn listener(
    file: ListenerFile,
    known: &Known<'_>,
    findings: &mut Findings,
) -> ListenerConfig {
    let source_policy = source_policy(&file, known, findings);
    let trusted_proxies = trusted_proxies(&file, known, findings);
    if file.routes.items.is_empty() && !known.discovery {
        let complaint = Complaint::new("this listener has no routes: it refuses every connection");
        findings.warnings.note(&file.name.place, complaint);
    }
    ListenerConfig {
        source_policy,
        trusted_proxies,
        name: file.name.value,
        bind: file.bind.value.0,
        client_hello: HelloLimits {
            timeout: file.client_hello.timeout.0,
            max_size: file.client_hello.max_size,
        },
        starttls: file.starttls.on(),
        timeouts: RelayTimeouts {
            idle: file.timeouts.idle.0,
            half_closed: file.timeouts.half_closed.0,
            max_age: file.timeouts.max_age.on().map(|time| time.0),
        },
        end_disallowed: file.end_disallowed.on().map(|file| EndDisallowed {
            grace: file.grace.0,
            endpoints: file.endpoints,
        }),
        refuse: file.refuse,
        tcp: upstreams::tcp(&file.tcp),
        limits: connection_limits(&file.limits),
        limits_per_source: SourceLimits {
            each: connection_limits(&file.limits_per_source),
            ipv6_prefix: file.ipv6_source_prefix,
        },
        routes: routes(&file.routes.items, known, findings)
            .into_iter()
            .collect(),
        unrouted: SharedMap::default(),
    }
}

fn source_policy(file: &ListenerFile, known: &Known<'_>, findings: &mut Findings) -> SourcePolicy {
    let deny = networks(&file.deny_sources.items, known, &mut findings.problems);
    let allow = file.allow_sources.as_ref().map(|allow| {
        for source in &allow.items {
            warn_denied(source, &deny, &mut findings.warnings);
        }
        networks(&allow.items, known, &mut findings.problems)
    });
    SourcePolicy { allow, deny }
}

fn trusted_proxies(file: &ListenerFile, known: &Known<'_>, findings: &mut Findings) -> Vec<IpNet> {
    let OrOff::On(ProxyProtocolFile { trusted }) = &file.proxy_protocol else {
        return Vec::new();
    };
    for At { value, place, .. } in &trusted.items {
        if let SourceRef::Cidr(net) = value
            && net.prefix_len() == 0
        {
            let complaint = Complaint::new(format!("{net} trusts everyone to say who they are"));
            let remedy = "name the load balancer's addresses only";
            findings.warnings.note(place, complaint.remedy(remedy));
        }
    }
    networks(&trusted.items, known, &mut findings.problems)
}

fn networks(refs: &[At<SourceRef>], known: &Known<'_>, problems: &mut Problems) -> Vec<IpNet> {
    let mut networks = Vec::with_capacity(refs.len());
    for At { value, place, .. } in refs {
        let name = match value {
            SourceRef::Cidr(net) => {
                networks.push(*net);
                continue;
            }
            SourceRef::Group(name) => name,
        };
        let groups = || known.groups.0.iter();
        if let Some(group) = groups().find(|group| group.name == *name) {
            networks.extend(&group.cidrs);
        } else if known.all_groups {
            problems.note_with(place, || {
                let names = groups().map(|group| &*group.name);
                Complaint::new(format!(
                    "{name:?} is neither a CIDR nor a group of `sources`"
                ))
                .nearest(name, names, "the groups are")
            });
        }
    }
    networks
}

fn warn_denied(source: &At<SourceRef>, deny: &[IpNet], warnings: &mut Problems) {
    let SourceRef::Cidr(allowed) = source.value else {
        return;
    };
    if let Some(denied) = deny.iter().find(|denied| denied.contains(&allowed)) {
        let complaint = format!("{allowed} is allowed in vain: `deny_sources` holds {denied}");
        warnings.note(&source.place, Complaint::new(complaint));
    }
}

fn routes(
    files: &[At<RouteFile>],
    known: &Known<'_>,
    findings: &mut Findings,
) -> Vec<Arc<RouteConfig>> {
    let Findings { problems, warnings } = findings;
    let mut claims = Claims::default();
    let mut names: HashMap<RouteName, &KeyPlace> = HashMap::with_capacity(files.len());
    let mut routes = Vec::with_capacity(files.len());
    for file in files {
        note_unknown_upstream(&file.value, known, problems);
        let Some(matches) = route_match(file, problems) else {
            continue;
        };
        let Some(name) = route_name(file, &matches, problems) else {
            continue;
        };
        let alpn = &file.value.alpn.value;
        let claimed = claims.claim(&matches, alpn, match_place(file), problems);
        warn_alpn(&matches, &file.value.alpn, warnings);
        match names.get(&name) {
            // Routes named after the same match claim the same names, which was noted already.
            Some(first) if claimed => {
                let complaint =
                    Complaint::new(format!("{name:?} is the name of another route, {first}"))
                        .remedy("give each its own `name`");
                problems.note(
                    file.value
                        .name
                        .as_ref()
                        .map_or(&file.place, |name| &name.place),
                    complaint,
                );
            }
            Some(_) => {}
            None => {
                names.insert(name.clone(), &file.place);
            }
        }
        routes.push(Arc::new(RouteConfig {
            name,
            matches,
            alpn: alpn.clone(),
            targets: TargetConfigs::only(file.value.upstream.value.clone()),
            limits: ConnectionLimits {
                connections: file.value.limits.connections.on(),
                connections_per_second: file.value.limits.connections_per_second.on(),
                hellos: None,
            },
            timeouts: RouteTimeouts {
                idle: file.value.timeouts.idle.map(|time| time.0),
                connect: file.value.timeouts.connect.map(|time| time.0),
            },
            origin: Origin::File,
            dry_run: None,
        }));
    }
    routes
}

/// Warns of a route that lets in more clients than its author may think, or none.
fn warn_alpn(matches: &RouteMatch, alpn: &At<AlpnPolicy>, warnings: &mut Problems) {
    let mut note = |complaint: &str, remedy: &str| {
        let complaint = Complaint::new(complaint).remedy(remedy);
        warnings.note(&alpn.place, complaint);
    };
    match (&alpn.value, matches) {
        (AlpnPolicy::Any, RouteMatch::Service { .. } | RouteMatch::Subset { .. }) => note(
            "clients without Istio's mutual TLS reach this service too, as in CVE-2021-31921",
            "write `alpn: istio`, unless its pods have no sidecar and demand TLS themselves",
        ),
        (AlpnPolicy::Any, RouteMatch::Sni(SniPattern::Any)) => note(
            "every client reaches this upstream, by any name and without Istio's mutual TLS",
            "name the server names, or write `alpn: istio`",
        ),
        (AlpnPolicy::OneOf(protocols), _) => {
            let known = || ISTIO_ALPNS.into_iter();
            for protocol in protocols.iter() {
                if known().any(|known| known == &**protocol) {
                    continue;
                }
                if let Some(near) = nearest(protocol, known()) {
                    let complaint = format!("no client of Istio offers {}", quoted(protocol));
                    note(&complaint, &format!("did you mean {near}?"));
                }
            }
        }
        (AlpnPolicy::Any, _) => {}
    }
}

fn note_unknown_upstream(file: &RouteFile, known: &Known<'_>, problems: &mut Problems) {
    let At { value, place, .. } = &file.upstream;
    if known.upstreams.contains_key(value) {
        return;
    }
    problems.note_with(place, || {
        let complaint = Complaint::new(format!("no upstream is named {value:?}"));
        if known.upstreams.is_empty() {
            return complaint.remedy("add it to `upstreams` at the top level");
        }
        let names = known.upstreams.keys().map(|name| &**name);
        complaint.nearest(value, names, "the upstreams are")
    });
}

/// The place of `no_sni: true`, if the route has it.
fn no_sni(route: &RouteFile) -> Option<&KeyPlace> {
    let no_sni = route.no_sni.as_ref().filter(|no_sni| no_sni.value);
    no_sni.map(|no_sni| &no_sni.place)
}

/// The place of the route's match in the file.
fn match_place(file: &At<RouteFile>) -> &KeyPlace {
    let service = file.value.service.as_ref().map(|service| &service.place);
    let sni = file.value.sni.as_ref().map(|sni| &sni.place);
    let no_sni = no_sni(&file.value);
    service.or(sni).or(no_sni).unwrap_or(&file.place)
}

fn route_match(file: &At<RouteFile>, problems: &mut Problems) -> Option<RouteMatch> {
    let At {
        value: route,
        place,
        ..
    } = file;
    if let Some(no_sni) = no_sni(route)
        && (route.service.is_some() || route.sni.is_some())
    {
        let complaint = Complaint::new("this route matches server names too")
            .remedy("make it a route of its own");
        problems.note(no_sni, complaint);
        return None;
    }
    match (&route.service, &route.sni) {
        (Some(service), None) => Some(RouteMatch::Service {
            host: service.value.host.clone(),
            port: service.value.port,
            subsets: subsets(route, problems),
            plain_host: route.plain_host.value,
        }),
        (None, Some(sni)) => {
            note_service_only(route, problems);
            Some(RouteMatch::Sni(sni.value.0.clone()))
        }
        (Some(_), Some(sni)) => {
            let complaint = Complaint::new("this route has a `service` too")
                .remedy("keep one of the two: `service` matches plain names as well");
            problems.note(&sni.place, complaint);
            None
        }
        (None, None) if no_sni(route).is_some() => {
            note_service_only(route, problems);
            Some(RouteMatch::NoSni)
        }
        (None, None) => {
            let complaint = Complaint::new("this route matches nothing")
                .remedy("give it `service: HOST:PORT`, `sni: NAME` or `no_sni: true`");
            problems.note(place, complaint);
            None
        }
    }
}

fn subsets(route: &RouteFile, problems: &mut Problems) -> Vec<Arc<str>> {
    let mut subsets: Vec<Arc<str>> = Vec::with_capacity(route.subsets.items.len());
    for At { value, place, .. } in &route.subsets.items {
        if subsets.contains(&value.0) {
            let complaint = Complaint::new(format!("{:?} is listed twice", &*value.0));
            problems.note(place, complaint);
        } else {
            subsets.push(value.0.clone());
        }
    }
    subsets
}

fn note_service_only(route: &RouteFile, problems: &mut Problems) {
    let complaint = || Complaint::new("this goes with `service` only").remedy("remove it");
    if let Some(subset) = route.subsets.items.first() {
        problems.note(&subset.place, complaint());
    }
    if route.plain_host.given {
        problems.note(&route.plain_host.place, complaint());
    }
}

/// The name from the file, or one made from the route's match.
fn route_name(
    file: &At<RouteFile>,
    matches: &RouteMatch,
    problems: &mut Problems,
) -> Option<RouteName> {
    if let Some(name) = &file.value.name {
        return Some(name.value.clone());
    }
    let name = match matches {
        RouteMatch::Service { host, port, .. } => format!("{host}:{port}"),
        RouteMatch::Subset { host, port, subset } => format!("{host}:{port}/{subset}"),
        RouteMatch::Pods { host, port, .. } => format!("*.{host}:{port}"),
        RouteMatch::Sni(pattern) => pattern.to_string(),
        RouteMatch::NoSni => SniPattern::Absent.to_string(),
        RouteMatch::AnyOf(patterns) => {
            let names: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            names.join(",")
        }
    };
    // A host may have the name `other`; its route then needs another name.
    unreserved(RouteName::from(name))
        .map_err(|complaint| problems.note(match_place(file), complaint.remedy("give it a `name`")))
        .ok()
}
