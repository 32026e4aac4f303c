//! Checks of the objects of a side's cluster, by its API.

use super::answers::SideView;
use crate::doctor::checks::{CheckGroup, Fault};
use crate::doctor::file::{BundleFacts, FederatedService};
use crate::doctor::objects::{CallerTls, ClusterObjects, FederatedDomain, RuleObject};

/// The name by which Istio's sidecars ask for all bundles.
const ALL_BUNDLES: &str = "ROOTCA";

/// The result of a check: a fault or none, or the reason why it cannot be told.
type ObjectVerdict = Result<Option<Fault>, String>;

/// Judges the cluster of `side`.
pub(super) fn judge(
    side: &SideView<'_>,
    peer: &SideView<'_>,
    objects: &ClusterObjects,
    group: &mut CheckGroup<'_>,
) {
    let title = format!("a ClusterFederatedTrustDomain names {}", peer.label);
    group.found("cluster-domain", title, domain(peer, objects));
    if let (Some(facts), Ok(Some(object))) = (&peer.file.bundle, object_of(peer, objects)) {
        let title = "its ClusterFederatedTrustDomain says the same as the file";
        group.warned("cluster-domain", title, difference(facts, object));
    }
    let title = format!("entries of workloads federate with {}", peer.label);
    group.found("cluster-entries", title, entries(peer, objects));
    let title = "spire-agent gives sidecars all bundles under the name that they ask for";
    group.found("cluster-sds", title, sds(objects));
    let title = format!("the mesh config takes callers of {}", peer.label);
    group.found("cluster-mesh", title, mesh(side, peer, objects));
    for service in &peer.file.services {
        let title = format!("its sidecars know {service}");
        group.found("cluster-callers", title, callers(service, objects));
    }
}

/// The one of the reasons why a sidecar lacks the other side's bundle that the objects tell.
pub(super) fn missing_bundle(peer: &SideView<'_>, objects: &ClusterObjects) -> Option<Fault> {
    let told = [domain(peer, objects), entries(peer, objects), sds(objects)];
    let is_told = told.iter().all(Result::is_ok);
    let fault = told.into_iter().flatten().flatten().next();
    let last = || {
        Fault::new(
            "first_bundle",
            format!(
                "its objects are as they should be, so SPIRE does not have {}'s bundle: the first was never carried, or no poll succeeds",
                peer.label
            ),
            format!(
                "look: spire-server bundle list -id spiffe://{}; if there is none, carry the first by hand (trustDomainBundle)",
                peer.file.trust_domain
            ),
        )
    };
    fault.or_else(|| is_told.then(last))
}

fn domain(peer: &SideView<'_>, objects: &ClusterObjects) -> ObjectVerdict {
    let wanted = &*peer.file.trust_domain;
    let is_there = object_of(peer, objects)?.is_some();
    Ok((!is_there).then(|| {
        Fault::new(
            "no_domain",
            format!("no ClusterFederatedTrustDomain has trustDomain: {wanted}, so SPIRE does not fetch its bundle"),
            "make one, as config/federation has it",
        )
    }))
}

/// The ClusterFederatedTrustDomain of the other side.
///
/// # Errors
/// The reason why it cannot be told.
fn object_of<'a>(
    peer: &SideView<'_>,
    objects: &'a ClusterObjects,
) -> Result<Option<&'a FederatedDomain>, String> {
    let mut all = objects.domains.as_ref().map_err(String::clone)?.iter();
    Ok(all.find(|one| one.trust_domain == *peer.file.trust_domain))
}

/// The difference between the object and the file, which the other checks went by.
fn difference(facts: &BundleFacts, object: &FederatedDomain) -> Option<Fault> {
    let id = facts.spiffe_id.as_deref().unwrap_or_default();
    let plain = |url: &str| url.trim_end_matches('/').to_owned();
    let pairs = [
        (
            "bundleEndpointURL",
            plain(&object.url),
            plain(&facts.url.text),
        ),
        (
            "bundleEndpointProfile.type",
            object.profile.kind.clone(),
            facts.profile.word().to_owned(),
        ),
        (
            "endpointSPIFFEID",
            object.profile.spiffe_id.clone(),
            id.to_owned(),
        ),
    ];
    let (key, theirs, ours) = pairs.into_iter().find(|(_, theirs, ours)| theirs != ours)?;
    Some(Fault::new(
        "differs",
        format!(
            "{} of {} is \"{}\", and the file says \"{ours}\"",
            key,
            object.name.escape_debug(),
            theirs.escape_debug()
        ),
        "write into the file what the object says, and look again: the checks of the bundle endpoint went by the file",
    ))
}

fn entries(peer: &SideView<'_>, objects: &ClusterObjects) -> ObjectVerdict {
    let all = objects.identities.as_ref().map_err(String::clone)?;
    if all.is_empty() {
        return Err("it has no ClusterSPIFFEID: its entries are made in another way".to_owned());
    }
    let wanted = &*peer.file.trust_domain;
    let federated: Vec<_> = all
        .iter()
        .filter(|one| one.federates_with.iter().any(|name| name == wanted))
        .collect();
    if federated.is_empty() {
        return Ok(Some(Fault::new(
            "no_federates_with",
            format!(
                "no ClusterSPIFFEID has {wanted} in federatesWith, so no workload gets its bundle"
            ),
            format!("write federatesWith: [{wanted}] into that of the services' pods"),
        )));
    }
    let failing = federated.iter().find_map(|one| {
        let failures = one.stats?.entry_failures;
        (failures > 0).then_some((&one.name, failures))
    });
    if let Some((name, failures)) = failing {
        return Ok(Some(Fault::new(
            "entry_failures",
            format!(
                "{failures} entries of ClusterSPIFFEID {} cannot be made or changed",
                name.escape_debug()
            ),
            format!(
                "an entry that federates needs the bundle first: spire-server bundle list -id spiffe://{wanted}; the reason is in the log of spire-controller-manager"
            ),
        )));
    }
    let selects = |pods: u64| pods > 0;
    let counted: Vec<u64> = federated
        .iter()
        .filter_map(|one| Some(one.stats?.pods_selected))
        .collect();
    let selects_none = counted.len() == federated.len() && !counted.into_iter().any(selects);
    Ok(selects_none.then(|| {
        Fault::new(
            "no_pods",
            format!("no ClusterSPIFFEID with {wanted} in federatesWith selects a pod"),
            "look at its podSelector and namespaceSelector, and at the labels of the services' pods",
        )
    }))
}

fn sds(objects: &ClusterObjects) -> ObjectVerdict {
    let names = objects.agent.as_ref().map_err(String::clone)?;
    let all = names.all_bundles.as_deref().unwrap_or("ALL");
    Ok((all != ALL_BUNDLES).then(|| {
        Fault::new(
            "sds_names",
            format!("spire-agent gives all bundles as \"{}\", and Istio's sidecars ask for {ALL_BUNDLES}", all.escape_debug()),
            format!("set sds.defaultAllBundlesName: {ALL_BUNDLES} and defaultBundleName: \"null\" in the chart of spire-agent"),
        )
    }))
}

fn mesh(side: &SideView<'_>, peer: &SideView<'_>, objects: &ClusterObjects) -> ObjectVerdict {
    let mesh = objects.mesh.as_ref().map_err(String::clone)?;
    let wanted = &*peer.file.trust_domain;
    if mesh.trust_domain_aliases.iter().any(|name| name == wanted) {
        return Ok(Some(Fault::new(
            "aliases",
            format!(
                "DANGER: trustDomainAliases has {wanted}: its identities count as those of {}",
                side.label
            ),
            format!("take it out, and write caCertificates: [{{ trustDomains: [{wanted}] }}]"),
        )));
    }
    let mut named = mesh
        .ca_certificates
        .iter()
        .flat_map(|one| &one.trust_domains);
    Ok((!named.any(|name| name == wanted)).then(|| {
        Fault::new(
            "ca_certificates",
            format!("caCertificates of the mesh config does not name {wanted}, so sidecars refuse its callers"),
            format!("write caCertificates: [{{ trustDomains: [{wanted}] }}] into meshConfig"),
        )
    }))
}

fn callers(service: &FederatedService, objects: &ClusterObjects) -> ObjectVerdict {
    let entries = objects.entries.as_ref().map_err(String::clone)?;
    let rules = objects.rules.as_ref().map_err(String::clone)?;
    let host = service.host.as_str();
    let port = u64::from(service.port);
    let entries: Vec<_> = entries
        .iter()
        .filter(|one| {
            let hosts = one.hosts.iter().any(|pattern| matches(pattern, host));
            hosts && one.ports.iter().any(|one| one.number == port)
        })
        .collect();
    if entries.is_empty() {
        return Ok(Some(Fault::new(
            "no_service_entry",
            format!(
                "no ServiceEntry has the host {host} with port {port}, so callers do not find it"
            ),
            "make one whose endpoint is the other side's gateway, as config/federation has it",
        )));
    }
    let rules: Vec<_> = rules.iter().filter(|one| is_of(one, host)).collect();
    let tls: Vec<&CallerTls> = rules.iter().flat_map(|one| tls(one)).collect();
    let mutual: Vec<&CallerTls> = tls
        .iter()
        .filter(|tls| ["ISTIO_MUTUAL", "MUTUAL"].contains(&&*tls.mode))
        .copied()
        .collect();
    // Without a mode, a sidecar speaks mutual TLS to endpoints that are labelled so.
    let endpoints = entries.iter().flat_map(|one| &one.endpoints);
    let label = "security.istio.io/tlsMode";
    let by_label = endpoints
        .into_iter()
        .any(|one| one.labels.get(label).is_some_and(|mode| mode == "istio"));
    if mutual.is_empty() && !(tls.is_empty() && by_label) {
        return Ok(Some(one_sided(
            host,
            rules.is_empty(),
            tls.first().copied(),
        )));
    }
    let Some(expected) = service.spiffe_id.as_deref() else {
        return Ok(None);
    };
    let named = |tls: &&CallerTls| {
        let names = &tls.subject_alt_names;
        names.is_empty() || names.iter().any(|name| name == expected)
    };
    Ok((!mutual.is_empty() && !mutual.iter().any(named)).then(|| {
        Fault::new(
            "subject_alt_names",
            format!("subjectAltNames of the DestinationRule of {host} do not have {expected}, which the file says"),
            "write the service's SPIFFE ID into subjectAltNames, or into the file, whichever is wrong",
        )
    }))
}

/// The fault of sidecars that do not speak mutual TLS to a host, whose DestinationRules say `tls` if they say anything.
fn one_sided(host: &str, has_no_rule: bool, tls: Option<&CallerTls>) -> Fault {
    const PLAIN: &str = "so sidecars send it plain text, which the gateway refuses as not_tls";
    let (cause, finding) = match tls {
        _ if has_no_rule => (
            "no_destination_rule",
            format!("no DestinationRule has the host {host}, {PLAIN}"),
        ),
        Some(tls) => (
            "tls_mode",
            format!(
                "the DestinationRule of {host} has tls.mode {}",
                tls.mode.escape_debug()
            ),
        ),
        None => (
            "tls_mode",
            format!("the DestinationRule of {host} has no tls.mode, {PLAIN}"),
        ),
    };
    Fault::new(
        cause,
        finding,
        "write tls: { mode: ISTIO_MUTUAL } into the trafficPolicy of its DestinationRule",
    )
}

fn tls(rule: &RuleObject) -> impl Iterator<Item = &CallerTls> {
    let policies = rule.subsets.iter().map(|subset| &subset.traffic_policy);
    let policies = std::iter::once(&rule.traffic_policy).chain(policies);
    policies.flat_map(|policy| {
        let ports = policy.port_level_settings.iter();
        policy
            .tls
            .iter()
            .chain(ports.filter_map(|port| port.tls.as_ref()))
    })
}

/// Whether a DestinationRule is of `host`. A host without a dot is short for one of the rule's namespace.
fn is_of(rule: &RuleObject, host: &str) -> bool {
    match rule.name.split_once('/') {
        Some((namespace, _)) if !rule.host.contains(['.', '*']) => matches(
            &format!("{}.{namespace}.svc.cluster.local", rule.host),
            host,
        ),
        _ => matches(&rule.host, host),
    }
}

/// Whether a host of Istio's objects, which may begin with `*.`, is or holds `host`.
fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => host.ends_with(end),
        None => pattern.eq_ignore_ascii_case(host),
    }
}
