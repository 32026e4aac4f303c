//! The resolver of the Kubernetes section: the listeners that export, and the templates of its
//! listeners and upstreams.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::findings::Findings;
use super::listeners;
use super::machine::Machine;
use super::upstreams::{check, connect, ejection, limits, tcp, warn_foreign};
use crate::config::checked::{
    ExportMode, ExportPolicy, FileNames, FileRoute, GatewayAddresses, GatewayApiConfig,
    GatewayNamespaces, IstioConfig, Kubeconfig, KubernetesConfig, ListenerConfig,
    MAX_OTHER_CLUSTERS, OptIn, OtherClusterConfig, PortRange, ResolverConfig, SavedStateConfig,
    ServiceSelector, UpstreamConfig, UpstreamSource, UpstreamTimeouts,
};
use crate::config::file::ListenerFile;
use crate::config::file::addresses::Bind;
use crate::config::file::kubernetes::words::{
    ExportWord, GatewayAddress, LabelKey, LabelValue, MeshName, ObjectName, ServiceName,
};
use crate::config::file::kubernetes::{
    ExportFile, GatewayApiFile, KubernetesFile, OtherClusterFile,
};
use crate::config::form::containers::{AllOr, List, Named, OrOff};
use crate::config::form::decode::{At, Text as _};
use crate::config::form::problems::{Complaint, KeyPlace, Problems};
use crate::names::ListenerName;

/// The name of listeners and upstreams that are only templates.
const PLACEHOLDER: &str = "kubernetes";

pub(super) fn resolve(
    file: KubernetesFile,
    all_listeners: &[ListenerConfig],
    machine: &Machine,
    reserved_ports: &BTreeSet<u16>,
    known: &listeners::Known<'_>,
    resolver: ResolverConfig,
    findings: &mut Findings,
) -> KubernetesConfig {
    warn_foreign(&file.connect, &machine.interfaces, &mut findings.warnings);
    let problems = &mut findings.problems;
    if let (Some(context), None) = (&file.context, &file.kubeconfig) {
        let complaint = Complaint::new("there is no `kubeconfig` that could have this context");
        problems.note(
            &context.place,
            complaint.remedy("name the file, or remove this"),
        );
    }
    let kubeconfig = file.kubeconfig.map(|path| Kubeconfig {
        path: Path::new(&*path.0).to_owned(),
        context: file.context.map(|context| context.value.0.to_string()),
    });
    let upstream = UpstreamConfig {
        name: PLACEHOLDER.into(),
        source: UpstreamSource::Static(Vec::new()),
        connect: connect(&file.connect, problems),
        proxy_protocol: None,
        balance: file.balance,
        check: file.check.on().map(check),
        slow_start: file.slow_start.on().map(|time| time.0),
        ejection: ejection(&file.ejection, problems),
        limits: limits(&file.limits),
        limits_per_endpoint: limits(&file.limits_per_endpoint),
        tcp: tcp(&file.tcp),
        timeouts: UpstreamTimeouts::OFF,
    };
    let gateways = matches!(file.gateway_api, OrOff::On(_));
    let own = [
        ("cluster", file.cluster.as_ref()),
        ("network", file.network.as_ref()),
    ];
    let clusters = other_clusters(file.clusters, own, problems);
    KubernetesConfig {
        clusters,
        kubeconfig,
        cluster_domain: file.cluster_domain.0,
        cluster: file.cluster.map(|name| name.0),
        network: file.network.map(|name| name.0),
        istio: IstioConfig {
            namespace: file.istio.namespace.0,
            config_map: file.istio.config_map.on().map(|name| name.0),
        },
        node: node(machine, problems),
        export: export(file.export, gateways, all_listeners, findings),
        gateway_api: file
            .gateway_api
            .on()
            .map(|file| gateway_api(file, all_listeners, reserved_ports, known, findings)),
        saved_state: file.saved_state.on().map(|file| SavedStateConfig {
            path: Path::new(&*file.path.0).to_owned(),
            max_age: file.max_age.0,
            max_size: file.max_size.get(),
        }),
        resolver,
        upstream: Arc::new(upstream),
    }
}

/// The other clusters. `own` has the keys about this cluster that they need.
fn other_clusters(
    file: At<List<OtherClusterFile, 0, MAX_OTHER_CLUSTERS>>,
    own: [(&str, Option<&MeshName>); 2],
    problems: &mut Problems,
) -> Vec<OtherClusterConfig> {
    let At { value, place, .. } = file;
    for (key, _) in own
        .iter()
        .filter(|(_, name)| name.is_none() && !value.items.is_empty())
    {
        let complaint = Complaint::new(format!("there is no `kubernetes.{key}`"));
        let remedy = format!("set it to istiod's name for the {key} of this gateway");
        problems.note(&place, complaint.remedy(remedy));
    }
    let mut names = BTreeSet::new();
    let [(_, cluster), _] = own;
    names.extend(cluster.map(|name| name.0.clone()));
    let other = |file: OtherClusterFile| {
        let At { value, place, .. } = file.name;
        if !names.insert(value.0.clone()) {
            problems.note(&place, Complaint::new("another cluster has this name"));
        }
        OtherClusterConfig {
            name: value.0,
            network: file.network.0,
            kubeconfig: Path::new(&*file.kubeconfig.0).to_owned(),
        }
    };
    value.items.into_iter().map(other).collect()
}

fn node(machine: &Machine, problems: &mut Problems) -> Option<Arc<str>> {
    let node = ObjectName::parse(machine.node.as_ref()?);
    let place = KeyPlace::default().key(Machine::NODE_VARIABLE);
    node.map_err(|complaint| problems.note(&place, complaint))
        .map(|name| name.0)
        .ok()
}

fn export(
    file: At<ExportFile>,
    gateways: bool,
    all_listeners: &[ListenerConfig],
    findings: &mut Findings,
) -> ExportPolicy {
    let At {
        value: file, place, ..
    } = file;
    let listeners = match &file.listeners {
        Some(names) => named_listeners(names, all_listeners, &mut findings.problems),
        None => all_listeners.iter().map(|one| one.name.clone()).collect(),
    };
    let (opt_in, alpn, dry_run) = (file.opt_in.value, file.alpn.clone(), file.dry_run);
    let mode = file.mode.value;
    // Without Gateways too, the missing listener is a problem of its own.
    if mode != ExportWord::None && all_listeners.is_empty() && gateways {
        let complaint = Complaint::new("no listener routes what is exported");
        findings
            .problems
            .note(&place, complaint.remedy("add one to `listeners`"));
    }
    let place = file.mode.place.clone();
    let given = given(&file);
    let refused = !(file.namespaces.complete && file.names.complete && file.ports.complete);
    let selector = selector(file, &mut findings.problems);
    if let (ExportWord::None | ExportWord::All, Some(given)) = (mode, &given) {
        let complaint = Complaint::new("this goes with `mode: selected` only");
        findings
            .problems
            .note(given, complaint.remedy("set the mode, or remove this"));
    }
    let anything = given.is_none() && opt_in == OptIn::None && !refused;
    if mode == ExportWord::Selected && anything {
        let complaint = Complaint::new("nothing is selected by any of the keys beside it")
            .remedy("name namespaces, labels, names or ports; to export everything, write `all`");
        findings.problems.note(&place, complaint);
    }
    ExportPolicy {
        mode: match mode {
            ExportWord::None => ExportMode::None,
            ExportWord::Selected => ExportMode::Selected(selector),
            ExportWord::All => ExportMode::All,
        },
        listeners,
        opt_in,
        alpn,
        dry_run,
    }
}

/// The place of the first selector in the file.
fn given(file: &ExportFile) -> Option<KeyPlace> {
    fn first<T, const MIN: usize, const MAX: usize>(
        list: &List<At<T>, MIN, MAX>,
    ) -> Option<KeyPlace> {
        list.items.first().map(|item| item.place.clone())
    }
    let labels = |labels: &At<_>| labels.given.then(|| labels.place.clone());
    first(&file.namespaces)
        .or_else(|| labels(&file.namespace_labels))
        .or_else(|| first(&file.names))
        .or_else(|| labels(&file.labels))
        .or_else(|| first(&file.ports))
        .or_else(|| {
            let opt_in = &file.opt_in;
            let asked = opt_in.value != OptIn::None && file.mode.value == ExportWord::None;
            asked.then(|| opt_in.place.clone())
        })
}

fn selector(file: ExportFile, problems: &mut Problems) -> ServiceSelector {
    ServiceSelector {
        namespaces: unique(file.namespaces.items, problems, |name| name.0),
        namespace_labels: labels(file.namespace_labels.value),
        names: unique(file.names.items, problems, |name| name.0),
        labels: labels(file.labels.value),
        ports: unique(file.ports.items, problems, |port| port),
    }
}

fn unique<T, U: PartialEq>(items: Vec<At<T>>, problems: &mut Problems, take: fn(T) -> U) -> Vec<U> {
    let mut taken: Vec<U> = Vec::with_capacity(items.len());
    for At { value, place, .. } in items {
        let value = take(value);
        if taken.contains(&value) {
            problems.note(&place, Complaint::new("this is listed twice"));
        } else {
            taken.push(value);
        }
    }
    taken
}

fn labels(file: Named<LabelKey, LabelValue>) -> BTreeMap<Arc<str>, Arc<str>> {
    let pair = |(key, value): (At<LabelKey>, Option<LabelValue>)| Some((key.value.0, value?.0));
    file.0.into_iter().filter_map(pair).collect()
}

fn named_listeners(
    names: &List<At<ListenerName>, 1, 64>,
    all: &[ListenerConfig],
    problems: &mut Problems,
) -> Vec<ListenerName> {
    let mut first = HashMap::new();
    for At { value, place, .. } in &names.items {
        if !all.iter().any(|listener| listener.name == *value) {
            problems.note_with(place, || {
                let names = all.iter().map(|listener| &*listener.name);
                Complaint::new(format!("no listener is named {value:?}")).nearest(
                    value,
                    names,
                    "the listeners are",
                )
            });
        } else if first.insert(value.clone(), ()).is_some() {
            problems.note(place, Complaint::new("this is listed twice"));
        }
    }
    names.items.iter().map(|name| name.value.clone()).collect()
}

fn addresses(
    fixed: List<GatewayAddress, 0, 16>,
    service: Option<At<ServiceName>>,
    problems: &mut Problems,
) -> GatewayAddresses {
    let fixed: Vec<Arc<str>> = fixed.items.into_iter().map(|address| address.0).collect();
    match service {
        Some(service) if !fixed.is_empty() => {
            let complaint = Complaint::new("there are `addresses` too");
            problems.note(&service.place, complaint.remedy("keep one of the two"));
            GatewayAddresses::Unknown
        }
        Some(At { value, .. }) => GatewayAddresses::Service {
            namespace: value.namespace,
            name: value.name,
        },
        None if fixed.is_empty() => GatewayAddresses::Unknown,
        None => GatewayAddresses::Fixed(fixed),
    }
}

fn gateway_namespaces(
    file: Option<AllOr<List<At<ObjectName>, 1, 1024>>>,
    by_label: bool,
    problems: &mut Problems,
) -> GatewayNamespaces {
    match file {
        None if by_label => GatewayNamespaces::All,
        None => GatewayNamespaces::Own,
        Some(AllOr::All) => GatewayNamespaces::All,
        Some(AllOr::Only(names)) => {
            GatewayNamespaces::Listed(unique(names.items, problems, |name| name.0))
        }
    }
}

/// The ports that Gateways may have. A missing listener is a problem of its own.
fn gateway_ports(
    file: Option<List<At<PortRange>, 1, 64>>,
    all_listeners: &[ListenerConfig],
    problems: &mut Problems,
) -> Vec<PortRange> {
    let mut ports = match file {
        Some(ports) => unique(ports.items, problems, |range| range),
        None => {
            let ports = all_listeners.iter().map(|one| one.bind.port());
            ports
                .filter(|port| *port > 0)
                .map(PortRange::from)
                .collect()
        }
    };
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn file_names(all_listeners: &[ListenerConfig]) -> FileNames {
    let mut names = FileNames::default();
    let with_port = all_listeners.iter().filter(|one| one.bind.port() > 0);
    for listener in with_port {
        for route in listener.routes.own() {
            let of = FileRoute {
                listener: listener.name.clone(),
                route: route.name.clone(),
            };
            // A name that is too long was noted when the route was resolved.
            for pattern in route.matches.patterns().unwrap_or_default() {
                names.add(listener.bind.port(), pattern, &of);
            }
        }
    }
    names
}

fn gateway_api(
    file: GatewayApiFile,
    all_listeners: &[ListenerConfig],
    reserved_ports: &BTreeSet<u16>,
    known: &listeners::Known<'_>,
    findings: &mut Findings,
) -> GatewayApiConfig {
    let place = KeyPlace::default();
    let at = |value| At {
        value,
        place: place.clone(),
        given: false,
    };
    let listener = ListenerFile {
        name: At {
            value: PLACEHOLDER.into(),
            place: place.clone(),
            given: false,
        },
        bind: at(Bind(SocketAddr::new(file.address.0, 0))),
        allow_sources: file.allow_sources,
        deny_sources: file.deny_sources,
        proxy_protocol: file.proxy_protocol,
        client_hello: file.client_hello,
        starttls: file.starttls,
        timeouts: file.timeouts,
        end_disallowed: file.end_disallowed,
        refuse: file.refuse,
        tcp: file.tcp,
        limits: file.limits,
        limits_per_source: file.limits_per_source,
        ipv6_source_prefix: file.ipv6_source_prefix,
        routes: List {
            items: Vec::new(),
            complete: true,
        },
    };
    let by_label = file.namespace_labels.given;
    let problems = &mut findings.problems;
    GatewayApiConfig {
        namespaces: gateway_namespaces(file.namespaces, by_label, problems),
        namespace_labels: labels(file.namespace_labels.value),
        home: None,
        ports: gateway_ports(file.ports, all_listeners, problems),
        below_file_routes: file.below_file_routes,
        file_names: file_names(all_listeners),
        addresses: addresses(file.addresses, file.service, &mut findings.problems),
        reserved_ports: reserved_ports.clone(),
        class: file.class.0,
        controller: file.controller.0,
        listener: Arc::new(listeners::listener(listener, known, findings)),
    }
}
