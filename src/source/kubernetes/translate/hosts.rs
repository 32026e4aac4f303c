//! The hosts of ServiceEntries: the entry that has a host's routes, and the ports that the host has.
//!
//! Several entries may name one host. As for istiod's own gateways, the oldest one that the gateways see has the
//! host, and entries of its namespace that are alike but for their ports add theirs. A Service comes before all
//! entries with its host; its upstreams get the endpoints of those in its namespace.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::host;
use super::mesh::Mesh;
use super::others::OtherClusters;
use crate::config::KubernetesConfig;
use crate::source::kubernetes::cluster::{Cluster, Dirty, Kind};
use crate::source::kubernetes::records::entry::ServiceEntryRecord;
use crate::source::kubernetes::records::{
    Labels, ObjectKey, ServiceKind, ServicePortRecord, ServiceRecord,
};

/// The hosts that Istio's own gateway serves: its listener has `hosts: ["*.local"]`.
const SERVED: &str = ".local";

/// The domain of the Multi-Cluster Services API, whose names ServiceExports make.
pub(super) const CLUSTERSET: &str = "clusterset.local";

/// The routes of a host, as far as one namespace has them.
#[derive(Debug)]
pub(super) enum HostOwner<'a> {
    /// The namespace has no part in it.
    Nobody,
    /// An entry of the namespace asks for the host and does not get it.
    Refused(&'a ObjectKey, String),
    /// An entry of the namespace has the host.
    Entry(EntryHost<'a>),
}

/// A host that an entry has.
#[derive(Debug)]
pub(super) struct EntryHost<'a> {
    /// The entry.
    pub(super) entry: &'a ObjectKey,
    /// The host in the form of a Service.
    pub(super) record: ServiceRecord,
    /// True if there is a Service with the host that gateways do not see.
    pub(super) hidden_service: bool,
}

/// An entry with its key.
type KeyedEntry<'a> = (&'a ObjectKey, &'a ServiceEntryRecord);

/// The owner of a host in a namespace: `key` has the host as its name.
pub(super) fn owner<'a>(
    cluster: &'a Cluster,
    others: &OtherClusters,
    policy: &KubernetesConfig,
    mesh: &Mesh<'a>,
    key: &ObjectKey,
) -> HostOwner<'a> {
    let seen =
        |(at, entry): &KeyedEntry<'a>| mesh.sees(cluster, policy, &at.namespace, &entry.export_to);
    // Entries for few namespaces come before those for all, as in istiod.
    let is_public = |(_, entry): &KeyedEntry<'a>| match &*entry.export_to {
        [] => mesh
            .settings
            .service_export_to
            .iter()
            .any(|to| &**to == "*"),
        to => to.iter().any(|to| &**to == "*"),
    };
    let mut entries: Vec<KeyedEntry<'a>> = cluster.entries_of(&key.name).collect();
    entries.sort_by_cached_key(|one| (!seen(one), is_public(one), one.1.created, one.0.clone()));
    let own = |(at, entry): &&KeyedEntry<'a>| at.namespace == key.namespace && !entry.external;
    let (Some((at, first)), Some((asks, _))) = (entries.first(), entries.iter().find(own)) else {
        return HostOwner::Nobody;
    };
    let (named, hidden_service) = match name(cluster, others, policy, mesh, key) {
        HostClaim::OfService => return HostOwner::Nobody,
        HostClaim::Refused(why) => (Err(why), false),
        HostClaim::Free { hidden_service } => (Ok(()), hidden_service),
    };
    if let Err(why) = named {
        return HostOwner::Refused(asks, why);
    }
    if at.namespace != key.namespace {
        let why = format!("ServiceEntry {at}, which is older or meant for gateways alone, has it");
        return HostOwner::Refused(asks, why);
    }
    if first.external {
        return HostOwner::Refused(asks, format!("ServiceEntry {at} says MESH_EXTERNAL"));
    }
    let rest = entries[1..].iter().filter(|one| seen(one));
    let alike = rest.filter(|(of, entry)| of.namespace == at.namespace && is_alike(first, entry));
    let ports = alike.fold(ports(first), |mut all, (_, entry)| {
        let more = ports(entry).into_iter();
        let more: Vec<_> = more
            .filter(|port| all.iter().all(|of| of.port != port.port))
            .collect();
        all.extend(more);
        all
    });
    HostOwner::Entry(EntryHost {
        entry: at,
        record: ServiceRecord {
            resource_version: first.resource_version.clone(),
            labels: first.labels.clone(),
            annotations: first.annotations.clone(),
            kind: ServiceKind::Balanced,
            ports: ports.into(),
            export_to: first.export_to.clone(),
            addresses: Box::default(),
            ipv6_first: false,
            selector: Labels::default(),
        },
        hidden_service,
    })
}

/// Adds the Services whose hosts ServiceEntries have, and the hosts that Services have: a Service gets
/// the endpoints of entries with its host, and has the host's routes.
pub(super) fn join(cluster: &Cluster, policy: &KubernetesConfig, dirty: &mut Dirty) {
    let Dirty {
        services, hosts, ..
    } = dirty;
    let domain = policy.cluster_domain.as_str();
    let service = |key: &ObjectKey| {
        let (name, namespace) = host::service_of(&key.name, domain)?;
        (namespace == &*key.namespace).then(|| key.beside(&name.into()))
    };
    let joined: Vec<ObjectKey> = hosts.iter().filter_map(service).collect();
    if !cluster.service_entries.is_empty() {
        for ObjectKey { namespace, name } in &*services {
            let host: Arc<str> = format!("{name}.{namespace}.svc.{domain}").into();
            let entries = cluster.entries_of(&host);
            hosts.extend(entries.map(|(key, _)| key.beside(&host)));
        }
    }
    services.extend(joined);
}

/// The claim on a host by its name alone.
enum HostClaim {
    /// A Service has it.
    OfService,
    /// No entry of the namespace can have it, for this reason.
    Refused(String),
    /// An entry may have it.
    Free {
        /// True if there is a Service that gateways do not see.
        hidden_service: bool,
    },
}

fn name(
    cluster: &Cluster,
    others: &OtherClusters,
    policy: &KubernetesConfig,
    mesh: &Mesh<'_>,
    key: &ObjectKey,
) -> HostClaim {
    let host = &*key.name;
    if host.starts_with('*') {
        return HostClaim::Refused("no client asks for a wildcard".to_owned());
    }
    if !host.ends_with(SERVED) {
        return HostClaim::Refused(format!("only hosts below {SERVED} are served"));
    }
    if host::service_of(host, CLUSTERSET).is_some() {
        return HostClaim::Refused(format!("ServiceExports make the hosts below {CLUSTERSET}"));
    }
    let Some((name, namespace)) = host::service_of(host, policy.cluster_domain.as_str()) else {
        return HostClaim::Free {
            hidden_service: false,
        };
    };
    if namespace != &*key.namespace {
        return HostClaim::Refused(format!("the host belongs to namespace {namespace}"));
    }
    let service = key.beside(&name.into());
    if cluster.why_unreadable(Kind::Service, &service).is_some() {
        return HostClaim::OfService;
    }
    let own = cluster.services.get(&service);
    let Some(record) = own.or_else(|| others.service(cluster, &service)) else {
        return HostClaim::Free {
            hidden_service: false,
        };
    };
    match mesh.sees(cluster, policy, namespace, &record.export_to) {
        true => HostClaim::OfService,
        false => HostClaim::Free {
            hidden_service: true,
        },
    }
}

fn ports(entry: &ServiceEntryRecord) -> Vec<ServicePortRecord> {
    let ports = entry.ports.iter();
    let ports = ports.map(|port| ServicePortRecord {
        name: port.name.clone(),
        port: port.port,
        target: port.target.or(NonZeroU16::new(port.port)),
        target_name: None,
    });
    ports.collect()
}

/// Whether istiod takes the ports of both for one host. What an owner says to strait must be the same, too.
fn is_alike(one: &ServiceEntryRecord, other: &ServiceEntryRecord) -> bool {
    let to = |entry: &ServiceEntryRecord| -> BTreeSet<Arc<str>> {
        entry.export_to.iter().cloned().collect()
    };
    one.external == other.external
        && one.by_dns == other.by_dns
        && one.labels == other.labels
        && one.annotations == other.annotations
        && one.selector == other.selector
        && to(one) == to(other)
}
