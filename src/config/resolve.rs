//! The resolver from the file's content to the config in force: the checks that need more than one
//! value.

mod binds;
mod claims;
mod findings;
mod kubernetes;
mod limits;
mod listeners;
mod machine;
mod sources;
mod upstreams;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use self::binds::Binds;
use self::sources::sources;
use super::bounds::Count;
use super::checked::{
    AccessLogConfig, Config, DrainConfig, EndQuiet, IstioMetrics, KeptHellosConfig, Limits,
    LogConfig, OtlpConfig, ResolverConfig,
};
use super::file::ConfigFile;
use super::file::kubernetes::KubernetesFile;
use super::file::kubernetes::words::ExportWord;
use super::file::{
    AccessLogFile, DrainFile, IstioMetricsFile, LimitsFile, LogFile, OtlpFile, ResolverFile,
};
use super::form::containers::{AutoOr, OrOff};
use super::form::decode::Text as _;
use super::form::problems::{Complaint, KeyPlace, Problems};
use crate::names::Zone;

pub(super) use self::findings::Findings;
pub use self::machine::Machine;

/// Resolves the file. The result is valid only if no problem was noted, now or while decoding.
pub(super) fn resolve(file: ConfigFile, machine: &Machine, findings: &mut Findings) -> Config {
    let sources = sources(&file.sources, findings);
    let binds = Binds::collect(&file, machine, &mut findings.problems);
    note_no_listener(&file, &mut findings.problems);
    let zone = zone(file.zone, machine, &mut findings.problems);
    let discovery = matches!(&file.kubernetes, OrOff::On(file) if discovers(file));
    let own_zone = zone.is_some() || (discovery && machine.node.is_some());
    let upstreams = upstreams::resolve(file.upstreams, &binds, own_zone, findings);
    let known = listeners::Known {
        groups: &sources,
        all_groups: file.sources.complete,
        upstreams: &upstreams.names,
        discovery,
    };
    let listeners = listeners::resolve(file.listeners.value.items, &known, findings);
    let metrics = file.metrics.on();
    let metric_endpoints = metrics.as_ref().map(|server| server.endpoints.get());
    let metric_endpoints = metric_endpoints.unwrap_or_default() as usize;
    let from_zero = metrics
        .as_ref()
        .map(|server| server.routes_from_zero.get() as usize);
    let (metrics, metric_istio) = match metrics {
        None => (None, None),
        Some(server) => (Some(server.bind.value.0), istio_metrics(server.istio)),
    };
    let [admin, status, metrics] = [
        file.admin.on().map(|server| server.bind.value.0),
        file.status.on().map(|server| server.bind.value.0),
        metrics,
    ];
    let servers = [admin, status, metrics];
    let reserved_ports = servers.iter().flatten().map(SocketAddr::port).collect();
    let resolver = resolver(&file.resolver);
    let kubernetes = file.kubernetes.on().map(|file| {
        kubernetes::resolve(
            file,
            &listeners,
            machine,
            &reserved_ports,
            &known,
            resolver.clone(),
            findings,
        )
    });
    upstreams::warn_unused(&upstreams.names, &listeners, &mut findings.warnings);
    Config {
        workers: workers(file.workers, machine),
        zone,
        sources: Arc::new(sources),
        listeners: listeners.into_iter().map(Arc::new).collect(),
        upstreams: upstreams.resolved.into(),
        kubernetes: kubernetes.map(Arc::new),
        resolver,
        limits: limits(&file.limits),
        drain: drain(&file.drain),
        takeover: file.takeover.on().map(|file| PathBuf::from(&*file.path.0)),
        access_log: access_log(file.access_log, &mut findings.problems),
        log: log(file.log),
        hellos: file.hellos.on().map(|file| KeptHellosConfig {
            keep: file.keep.get() as usize,
            memory: file.memory.get(),
        }),
        admin,
        status,
        metrics,
        metric_endpoints,
        metric_routes_from_zero: from_zero,
        metric_istio,
    }
}

fn workers(file: AutoOr<Count<1, 1024>>, machine: &Machine) -> NonZeroUsize {
    match file {
        AutoOr::Auto => machine.cpus,
        AutoOr::Exactly(count) => NonZeroUsize::new(count.get() as usize).unwrap_or(machine.cpus),
    }
}

/// Whether the section can make routes.
fn discovers(file: &KubernetesFile) -> bool {
    let exports = file.export.value.mode.value != ExportWord::None;
    exports || matches!(file.gateway_api, OrOff::On(_))
}

fn note_no_listener(file: &ConfigFile, problems: &mut Problems) {
    let gateways =
        matches!(&file.kubernetes, OrOff::On(file) if matches!(file.gateway_api, OrOff::On(_)));
    let listeners = &file.listeners;
    if listeners.value.items.is_empty() && listeners.value.complete && !gateways {
        let complaint = Complaint::new("the list is empty")
            .remedy("give it 1 to 64 items, or turn `kubernetes.gateway_api` on");
        problems.note(&listeners.place, complaint);
    }
    if listeners.value.items.is_empty()
        && listeners.value.complete
        && let OrOff::On(KubernetesFile {
            gateway_api: OrOff::On(file),
            ..
        }) = &file.kubernetes
        && file.ports.is_none()
    {
        let complaint = Complaint::new("there is no listener, nor a port that a Gateway may have")
            .remedy("add a listener, or name ports in `kubernetes.gateway_api.ports`");
        problems.note(&listeners.place, complaint);
    }
}

fn istio_metrics(file: OrOff<IstioMetricsFile>) -> Option<IstioMetrics> {
    file.on().map(|file| IstioMetrics {
        services: file.services.get() as usize,
        workload: file.workload,
        namespace: file.namespace,
    })
}

fn resolver(file: &ResolverFile) -> ResolverConfig {
    ResolverConfig {
        servers: file.servers.items.iter().map(|server| server.0).collect(),
        timeout: file.timeout.0,
    }
}

fn limits(file: &LimitsFile) -> Limits {
    Limits {
        connections: file.connections.exactly().map(|count| count.get() as usize),
        memory_percent: file.memory_percent.on().map(Count::get),
        worker_lag: file.worker_lag.on().map(|lag| lag.0),
        end_quiet: EndQuiet {
            memory_percent: file.end_quiet.memory_percent.on().map(Count::get),
            worker_lag: file.end_quiet.worker_lag.on().map(|lag| lag.0),
        },
        hello_memory: file.hello_memory.get(),
        carry_memory: file.carry_memory.get(),
    }
}

fn drain(file: &DrainFile) -> DrainConfig {
    DrainConfig {
        readiness_delay: file.readiness_delay.0,
        window: file.window.0,
    }
}

fn access_log(file: AccessLogFile, problems: &mut Problems) -> AccessLogConfig {
    AccessLogConfig {
        format: file.format.on(),
        open: file.open,
        interval: file.interval.on().map(|time| time.0),
        sample_ok: file.sample_ok,
        refused_per_second: file.refused_per_second.get(),
        queue: file.queue.get() as usize,
        fingerprint: file.fingerprint.on(),
        otlp: file.otlp.on().map(|file| otlp(file, problems)),
    }
}

fn otlp(file: OtlpFile, problems: &mut Problems) -> OtlpConfig {
    if cfg!(not(feature = "otlp")) {
        let complaint = Complaint::new("this build of strait has no export by OTLP")
            .remedy("leave `access_log.otlp` out, or build strait with the cargo feature `otlp`");
        problems.note(&file.endpoint.place, complaint);
    }
    OtlpConfig {
        endpoint: file.endpoint.value,
        timeout: file.timeout.0,
        queue: file.queue.get() as usize,
    }
}

fn log(file: LogFile) -> LogConfig {
    LogConfig {
        level: file.level,
        format: file.format,
    }
}

fn zone(file: Option<Zone>, machine: &Machine, problems: &mut Problems) -> Option<Zone> {
    match (file, &machine.zone) {
        (Some(zone), _) => Some(zone),
        (None, None) => None,
        (None, Some(zone)) => match Zone::parse(zone) {
            Ok(zone) => Some(zone),
            Err(complaint) => {
                let place = KeyPlace::default().key(Machine::ZONE_VARIABLE);
                problems.note(&place, complaint);
                None
            }
        },
    }
}
