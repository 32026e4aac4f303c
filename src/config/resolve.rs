//! From what the file says to what the program runs on: the checks that need more than one value.

mod kubernetes;
mod listeners;
mod upstreams;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::checked::{
    AccessLogConfig, Config, ConnectionLimits, DrainConfig, Limits, LogConfig, ResolverConfig,
    SourceGroup, SourceGroups,
};
use super::file::addresses::{Bind, Cidr, collision_key};
use super::file::kubernetes::{ExportWord, KubernetesFile};
use super::file::words::Zone;
use super::file::{AccessLogFile, DrainFile, LimitsFile, LogFile, ResolverFile};
use super::file::{ConfigFile, ConnectionLimitsFile, SourceFile};
use super::form::containers::{AutoOr, List, OrOff};
use super::form::decode::{At, Text as _};
use super::form::problems::{Complaint, Place, Problems};
use super::form::units::Count;
use crate::socket::{self, canonical, leads_to};

/// What the program runs on besides its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that the process may use.
    pub cpus: NonZeroUsize,
    /// The zone that the environment names.
    pub zone: Option<String>,
    /// The Kubernetes node that the environment names.
    pub node: Option<String>,
    /// The addresses of its interfaces: an endpoint that is one of them may be the gateway itself.
    pub interfaces: Vec<IpAddr>,
}

impl Machine {
    /// The environment variable that names the zone when the file does not.
    pub const ZONE_VARIABLE: &'static str = "STRAIT_ZONE";
    /// The environment variable that names the Kubernetes node, whose zone counts when nobody names one.
    pub const NODE_VARIABLE: &'static str = "STRAIT_NODE_NAME";

    /// This process's CPUs, cgroup quota and affinity included, and its environment.
    pub fn current() -> Self {
        let named = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
        Self {
            cpus: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            zone: named(Self::ZONE_VARIABLE),
            node: named(Self::NODE_VARIABLE),
            interfaces: socket::interface_addresses(),
        }
    }
}

/// What resolving finds out besides the config.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Problems,
    pub(super) warnings: Problems,
}

/// The working form; it is good only if no problem was noted, now or while decoding.
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
    let [admin, status, metrics] = [
        file.admin.on().map(|server| server.bind.value.0),
        file.status.on().map(|server| server.bind.value.0),
        file.metrics.on().map(|server| server.bind.value.0),
    ];
    let servers = [admin, status, metrics];
    let reserved_ports = servers.iter().flatten().map(SocketAddr::port).collect();
    let kubernetes = file.kubernetes.on();
    let kubernetes = kubernetes.map(|file| {
        kubernetes::resolve(file, &listeners, machine, &reserved_ports, &known, findings)
    });
    upstreams::warn_unused(&upstreams.names, &listeners, &mut findings.warnings);
    Config {
        workers: match file.workers {
            AutoOr::Auto => machine.cpus,
            AutoOr::Exactly(count) => NonZeroUsize::new(count.0 as usize).unwrap_or(machine.cpus),
        },
        busy_poll: file.busy_poll.on().map(|time| time.0),
        zone,
        sources: Arc::new(sources),
        listeners,
        upstreams: upstreams.resolved,
        kubernetes: kubernetes.map(Arc::new),
        resolver: resolver(&file.resolver),
        limits: limits(&file.limits),
        drain: drain(&file.drain),
        access_log: access_log(file.access_log),
        log: log(file.log),
        admin,
        status,
        metrics,
    }
}

/// Whether the section makes routes.
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

fn resolver(file: &ResolverFile) -> ResolverConfig {
    ResolverConfig {
        servers: file.servers.items.iter().map(|server| server.0).collect(),
        timeout: file.timeout.0,
    }
}

fn limits(file: &LimitsFile) -> Limits {
    Limits {
        connections: match file.connections {
            AutoOr::Auto => None,
            AutoOr::Exactly(count) => Some(count.0 as usize),
        },
        memory_percent: limit(&file.memory_percent),
        hello_memory: file.hello_memory.0,
        carry_memory: file.carry_memory.0,
    }
}

fn connection_limits(file: &ConnectionLimitsFile) -> ConnectionLimits {
    ConnectionLimits {
        connections: limit(&file.connections),
        connections_per_second: limit(&file.connections_per_second),
        hellos: limit(&file.hellos),
    }
}

fn limit<const MIN: u32, const MAX: u32>(file: &OrOff<Count<MIN, MAX>>) -> Option<u32> {
    match file {
        OrOff::Off => None,
        OrOff::On(count) => Some(count.0),
    }
}

fn drain(file: &DrainFile) -> DrainConfig {
    DrainConfig {
        readiness_delay: file.readiness_delay.0,
        window: file.window.0,
    }
}

fn access_log(file: AccessLogFile) -> AccessLogConfig {
    AccessLogConfig {
        format: file.format.on(),
        refused_per_second: file.refused_per_second.0,
        queue: file.queue.0 as usize,
        fingerprint: file.fingerprint.on(),
    }
}

fn log(file: LogFile) -> LogConfig {
    LogConfig {
        level: file.level.0,
        format: file.format,
    }
}

fn zone(file: Option<Zone>, machine: &Machine, problems: &mut Problems) -> Option<Arc<str>> {
    match (file, &machine.zone) {
        (Some(zone), _) => Some(zone.0),
        (None, None) => None,
        (None, Some(zone)) => match Zone::parse(zone) {
            Ok(zone) => Some(zone.0),
            Err(complaint) => {
                let place = Place::default().key(Machine::ZONE_VARIABLE);
                problems.note(&place, complaint);
                None
            }
        },
    }
}

/// Notes a name that was taken before, and remembers it otherwise.
fn note_taken<'a>(
    taken: &mut HashMap<&'a str, &'a Place>,
    what: &str,
    name: &'a str,
    place: &'a Place,
    problems: &mut Problems,
) {
    if let Some(first) = taken.get(name) {
        let complaint = Complaint::new(format!("{name:?} is the name of another {what}, {first}"))
            .remedy("give each its own name");
        problems.note(place, complaint);
    } else {
        taken.insert(name, place);
    }
}

fn sources(file: &List<SourceFile, 0, 256>, findings: &mut Findings) -> SourceGroups {
    let mut names = HashMap::new();
    for source in &file.items {
        let name = &source.name;
        note_taken(
            &mut names,
            "group",
            &name.value.0,
            &name.place,
            &mut findings.problems,
        );
    }
    warn_shadowed(&file.items, &mut findings.warnings);
    let group = |source: &SourceFile| SourceGroup {
        name: source.name.value.0.clone(),
        cidrs: source.cidrs.items.iter().map(|cidr| cidr.0).collect(),
        limits: connection_limits(&source.limits),
    };
    SourceGroups(file.items.iter().map(group).collect())
}

/// Networks up to which groups are compared with one another, in quadratic time.
const MAX_COMPARED_NETWORKS: usize = 4096;

/// Warns of groups that no address can belong to, since earlier groups hold all of their networks.
fn warn_shadowed(sources: &[SourceFile], warnings: &mut Problems) {
    let networks: usize = sources.iter().map(|source| source.cidrs.items.len()).sum();
    if networks > MAX_COMPARED_NETWORKS {
        return;
    }
    for (index, source) in sources.iter().enumerate() {
        let earlier = || {
            sources[..index]
                .iter()
                .flat_map(|earlier| &earlier.cidrs.items)
        };
        let held = |cidr: &Cidr| earlier().any(|net| net.0.contains(&cidr.0));
        if source.cidrs.items.iter().all(held) {
            let complaint = Complaint::new(
                "no address belongs to this group: earlier groups hold \
                                            all of its networks",
            )
            .remedy("put the group with the smaller networks first");
            warnings.note(&source.name.place, complaint);
        }
    }
}

/// The addresses that this process is to listen on.
pub(super) struct Binds<'a> {
    bound: Vec<(SocketAddr, Place)>,
    interfaces: &'a [IpAddr],
}

impl<'a> Binds<'a> {
    /// Notes addresses that are to be bound twice.
    fn collect(file: &ConfigFile, machine: &'a Machine, problems: &mut Problems) -> Self {
        let mut binds = Self {
            bound: Vec::new(),
            interfaces: &machine.interfaces,
        };
        for listener in &file.listeners.value.items {
            binds.add(&listener.bind, problems);
        }
        if let OrOff::On(admin) = &file.admin {
            binds.add(&admin.bind, problems);
        }
        if let OrOff::On(status) = &file.status {
            binds.add(&status.bind, problems);
        }
        if let OrOff::On(metrics) = &file.metrics {
            binds.add(&metrics.bind, problems);
        }
        binds
    }

    fn add(&mut self, bind: &At<Bind>, problems: &mut Problems) {
        let address = bind.value.0;
        // Port 0 is another port each time.
        if address.port() == 0 {
            return;
        }
        let collides =
            |other: &&(SocketAddr, Place)| collision_key(other.0) == collision_key(address);
        if let Some((other, place)) = self.bound.iter().find(collides) {
            let complaint = Complaint::new(format!("{address} is taken: {place} binds {other}"))
                .remedy("give each its own port");
            problems.note(&bind.place, complaint);
        }
        self.bound.push((address, bind.place.clone()));
    }

    /// The bind that a connection to `endpoint` from this process would reach, as this machine's
    /// addresses are now.
    pub(super) fn reached_by(&self, endpoint: SocketAddr) -> Option<&Place> {
        let endpoint = canonical(endpoint);
        let reached = |bind: SocketAddr| leads_to(canonical(bind), self.interfaces, endpoint);
        let bind = self.bound.iter().find(|(bind, _)| reached(*bind));
        bind.map(|(_, place)| place)
    }
}
