//! The resolver of upstreams: the sources of their endpoints, and a check that something uses them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::binds::Binds;
use super::findings::Findings;
use crate::config::bounds::{Bytes, Count};
use crate::config::checked::{
    CheckHello, CheckPolicy, ConnectPolicy, DnsConfig, DnsQuery, EjectionPolicy, EndpointSpec,
    ListenerConfig, TcpOptions, UpstreamConfig, UpstreamLimits, UpstreamSource, UpstreamTimeouts,
};
use crate::config::file::common::{
    CheckFile, CheckHelloFile, ConnectFile, EjectionFile, TcpFile, UpstreamLimitsFile,
};
use crate::config::file::{DnsFile, EndpointFile, UpstreamFile};
use crate::config::form::containers::{List, Named};
use crate::config::form::decode::At;
use crate::config::form::problems::{Complaint, KeyPlace, Problems};
use crate::names::UpstreamName;

pub(super) struct ResolvedUpstreams {
    /// Every name in the file, also those of refused upstreams.
    pub(super) names: BTreeMap<UpstreamName, KeyPlace>,
    pub(super) resolved: BTreeMap<UpstreamName, Arc<UpstreamConfig>>,
}

pub(super) fn resolve(
    file: Named<UpstreamName, UpstreamFile>,
    binds: &Binds<'_>,
    own_zone: bool,
    findings: &mut Findings,
) -> ResolvedUpstreams {
    let mut upstreams = ResolvedUpstreams {
        names: BTreeMap::new(),
        resolved: BTreeMap::new(),
    };
    for (name, upstream) in file.0 {
        upstreams
            .names
            .insert(name.value.clone(), name.place.clone());
        let Some(upstream) = upstream else {
            continue;
        };
        if !own_zone {
            warn_zones(upstream.endpoints.as_ref(), &mut findings.warnings);
        }
        warn_foreign(
            &upstream.connect,
            binds.interfaces(),
            &mut findings.warnings,
        );
        if let Some(upstream) = one(&name, upstream, binds, &mut findings.problems) {
            upstreams.resolved.insert(name.value, Arc::new(upstream));
        }
    }
    upstreams
}

fn one(
    name: &At<UpstreamName>,
    file: UpstreamFile,
    binds: &Binds<'_>,
    problems: &mut Problems,
) -> Option<UpstreamConfig> {
    let ejection = ejection(&file.ejection, problems);
    let source = match (file.endpoints, file.dns) {
        (Some(endpoints), None) => {
            UpstreamSource::Static(static_endpoints(endpoints, binds, problems))
        }
        (None, Some(dns)) => UpstreamSource::Dns(dns_config(dns, problems)?),
        (Some(_), Some(dns)) => {
            let complaint = Complaint::new("this upstream has `endpoints` too");
            problems.note(&dns.place, complaint.remedy("keep one of the two"));
            return None;
        }
        (None, None) => {
            let complaint = Complaint::new("this upstream has neither `endpoints` nor `dns`")
                .remedy(r#"write `endpoints: ["IP:PORT"]` or `dns: "HOST:PORT"`"#);
            problems.note(&name.place, complaint);
            return None;
        }
    };
    Some(UpstreamConfig {
        name: name.value.clone(),
        source,
        connect: connect(&file.connect, problems),
        proxy_protocol: file.proxy_protocol.on(),
        balance: file.balance,
        check: file.check.on().map(check),
        slow_start: file.slow_start.on().map(|time| time.0),
        ejection,
        limits: limits(&file.limits),
        limits_per_endpoint: limits(&file.limits_per_endpoint),
        tcp: tcp(&file.tcp),
        timeouts: UpstreamTimeouts::OFF,
    })
}

fn static_endpoints(
    file: List<At<EndpointFile>, 1, { usize::MAX }>,
    binds: &Binds<'_>,
    problems: &mut Problems,
) -> Vec<EndpointSpec> {
    let mut lines: HashMap<SocketAddr, u32> = HashMap::with_capacity(file.items.len());
    let mut endpoints = Vec::with_capacity(file.items.len());
    for At { value: file, .. } in file.items {
        let address = file.address.value.0;
        let place = &file.address.place;
        if let Some(bind) = binds.reached_by(address) {
            let complaint =
                Complaint::new(format!("{address} is this gateway itself, {bind}: a loop"));
            problems.note(place, complaint.remedy("give it the address of a server"));
        }
        if let Some(line) = lines.insert(address, place.line) {
            let complaint =
                Complaint::new(format!("{address} is listed twice, first on line {line}"));
            problems.note(
                place,
                complaint.remedy("to give it more traffic, use `weight`"),
            );
        }
        endpoints.push(EndpointSpec {
            address,
            other: None,
            zone: file.zone,
            node: file.node,
            hostname: None,
            weight: file.weight,
            terminating: false,
            origin: None,
        });
    }
    endpoints
}

fn dns_config(file: At<DnsFile>, problems: &mut Problems) -> Option<DnsConfig> {
    let At {
        value: file, place, ..
    } = file;
    if file.min_ttl.value.0 > file.max_ttl.value.0 {
        let given = [&file.max_ttl, &file.min_ttl]
            .into_iter()
            .find(|ttl| ttl.given);
        let complaint = Complaint::new("`min_ttl` is greater than `max_ttl`");
        problems.note(given.map_or(&place, |ttl| &ttl.place), complaint);
    }
    let query = match (file.name, file.srv) {
        (Some(name), None) => DnsQuery::Address {
            name: name.value.host,
            port: name.value.port,
        },
        (None, Some(srv)) => DnsQuery::Service { name: srv.value.0 },
        (Some(_), Some(srv)) => {
            let complaint = Complaint::new("there is a `name` too");
            problems.note(&srv.place, complaint.remedy("keep one of the two"));
            return None;
        }
        (None, None) => {
            let complaint = Complaint::new("neither `name` nor `srv` is given");
            problems.note(&place, complaint.remedy(r#"write `name: "HOST:PORT"`"#));
            return None;
        }
    };
    Some(DnsConfig {
        query,
        min_ttl: file.min_ttl.value.0,
        max_ttl: file.max_ttl.value.0,
        max_endpoints: file.max_endpoints.get() as usize,
        gone_after: file.gone_after.on().map(|time| time.0),
        allow: file.allow.items,
    })
}

pub(super) fn connect(file: &ConnectFile, problems: &mut Problems) -> ConnectPolicy {
    let mut source_addresses = Vec::with_capacity(file.source_addresses.items.len());
    for At { value, place, .. } in &file.source_addresses.items {
        if source_addresses.contains(&value.0) {
            problems.note(place, Complaint::new("this is listed twice"));
        } else {
            source_addresses.push(value.0);
        }
    }
    ConnectPolicy {
        source_addresses,
        timeout: file.timeout.0,
        attempts: file.attempts,
        hedge: file.hedge.on().map(|time| time.0),
    }
}

pub(super) fn ejection(file: &At<EjectionFile>, problems: &mut Problems) -> EjectionPolicy {
    let At {
        value: file, place, ..
    } = file;
    if file.base.0 > file.max.0 {
        let complaint = Complaint::new("`base` is greater than `max`");
        problems.note(place, complaint);
    }
    EjectionPolicy {
        consecutive_failures: file.consecutive_failures.get(),
        first_byte: file.first_byte.0,
        refused_sources: file.refused_sources.get(),
        max_percent: file.max_percent.get(),
        panic_percent: file.panic_percent.get(),
        base: file.base.0,
        max: file.max.0,
    }
}

pub(super) fn check(file: CheckFile) -> CheckPolicy {
    let hello = |file: CheckHelloFile| CheckHello {
        sni: file.sni.map(|name| name.0),
        alpn: file.alpn.items.into_iter().map(|it| it.0).collect(),
    };
    CheckPolicy {
        hello: file.hello.on().map(hello),
        interval: file.interval.0,
        timeout: file.timeout.0,
        rise: file.rise.get(),
        fall: file.fall.get(),
        jitter_percent: file.jitter_percent.get(),
    }
}

pub(super) fn limits(file: &UpstreamLimitsFile) -> UpstreamLimits {
    UpstreamLimits {
        connections: file.connections.on(),
        connecting: file.connecting.on(),
    }
}

pub(super) fn tcp(file: &TcpFile) -> TcpOptions {
    TcpOptions {
        keepalive_time: file.keepalive_time,
        keepalive_interval: file.keepalive_interval,
        keepalive_probes: file.keepalive_probes.get(),
        user_timeout: file.user_timeout.0,
        send_buffer: file.send_buffer.exactly().map(Bytes::get),
        receive_buffer: file.receive_buffer.exactly().map(Bytes::get),
        unsent: file.unsent.on().map(Bytes::get),
        mss: file.mss.exactly().map(Count::get),
    }
}

/// Warns of addresses to connect from that this machine does not have. Those of `interfaces` are known unless
/// it is empty.
pub(super) fn warn_foreign(file: &ConnectFile, interfaces: &[IpAddr], warnings: &mut Problems) {
    for At { value, place, .. } in &file.source_addresses.items {
        let ip = value.0;
        if !interfaces.is_empty() && !ip.is_loopback() && !interfaces.contains(&ip) {
            let complaint = Complaint::new(format!("this machine does not have the address {ip}"))
                .remedy("give it to an interface, or remove it: connections try another one");
            warnings.note(place, complaint);
        }
    }
}

fn warn_zones(
    endpoints: Option<&List<At<EndpointFile>, 1, { usize::MAX }>>,
    warnings: &mut Problems,
) {
    let mut endpoints = endpoints.into_iter().flat_map(|list| &list.items);
    if let Some(endpoint) = endpoints.find(|endpoint| endpoint.value.zone.is_some()) {
        let complaint = Complaint::new("zones of endpoints mean nothing: the gateway's is unknown")
            .remedy("set `zone`, or STRAIT_ZONE in the environment");
        warnings.note(&endpoint.place, complaint);
    }
}

pub(super) fn warn_unused(
    names: &BTreeMap<UpstreamName, KeyPlace>,
    listeners: &[ListenerConfig],
    warnings: &mut Problems,
) {
    let routes = listeners.iter().flat_map(|listener| listener.routes.own());
    let targets = routes.flat_map(|route| route.targets.iter());
    let used: HashSet<&str> = targets.map(|target| &*target.upstream).collect();
    for (name, place) in names {
        if !used.contains(&**name) {
            warnings.note(place, Complaint::new("no route leads to this upstream"));
        }
    }
}
