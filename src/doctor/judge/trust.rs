//! Checks of what one side trusts of the other: the CA names of its sidecars against the bundle that the other serves.

use super::answers::{SideView, span};
use super::objects;
use crate::doctor::bundle::ServedBundle;
use crate::doctor::certificate::{IssuerFound, ShownCertificate, ShownName};
use crate::doctor::checks::{CheckGroup, Fault};
use crate::doctor::file::BundleProfile;
use crate::doctor::seen::ShownServer;

const TITLE: &str = "has every root of the other side's bundle";

/// Judges each service of `side` for its trust in `peer`.
pub(super) fn judge(side: &SideView<'_>, peer: &SideView<'_>, group: &mut CheckGroup<'_>) {
    const CHECK: &str = "trust";
    let served = peer.seen.document.bundle();
    for (service, seen) in side.file.services.iter().zip(&side.seen.services) {
        let title = format!("{service} {TITLE}");
        let Some(shown) = seen.mesh.shown() else {
            group.untold(CHECK, title, "its sidecar is not reached");
            continue;
        };
        let Some(names) = shown.trusts.as_deref().filter(|names| !names.is_empty()) else {
            group.untold(CHECK, title, "it names no CA that it trusts");
            continue;
        };
        match (served, missing_bundle(side, peer, names, served)) {
            (_, Some(fault)) => group.fail(CHECK, title, fault),
            (None, None) => {
                group.untold(CHECK, title, format!("no bundle of {} is seen", peer.label));
            }
            (Some(served), None) => stale(peer, served, names, title, group),
        }
    }
}

/// The fault of a sidecar that has no root of the other side at all.
fn missing_bundle(
    side: &SideView<'_>,
    peer: &SideView<'_>,
    names: &[ShownName],
    served: Option<&ServedBundle>,
) -> Option<Fault> {
    let named = |name: &str| names.iter().any(|one| one.common_name() == Some(name));
    let has = |root: &ShownCertificate| names.contains(&root.subject);
    let known = match served {
        Some(bundle) => bundle.roots.iter().any(has) || named(&peer.file.trust_domain),
        // Only names as SPIRE makes them tell it without the bundle.
        None => named(&peer.file.trust_domain) || !named(&side.file.trust_domain),
    };
    let objects = side
        .seen
        .objects
        .as_ref()
        .and_then(|read| read.as_ref().ok());
    let told = || objects.and_then(|objects| objects::missing_bundle(peer, objects));
    (!known).then(|| match told() {
        Some(told) => Fault::new(
            "no_bundle",
            format!("its sidecars do not have {}'s bundle: {}", peer.label, told.finding),
            told.remedy,
        ),
        None => Fault::new(
            "no_bundle",
            format!("its sidecars do not have {}'s bundle, one of: SPIRE has none, the workload's entry does not federate, the SDS name of all bundles is not Istio's", peer.label),
            format!("carry the first bundle by hand (trustDomainBundle), then federatesWith: [{}], then defaultAllBundlesName: ROOTCA", peer.file.trust_domain),
        ),
    })
}

fn stale(
    peer: &SideView<'_>,
    served: &ServedBundle,
    names: &[ShownName],
    title: String,
    group: &mut CheckGroup<'_>,
) {
    const CHECK: &str = "trust";
    let (have, lost): (Vec<_>, Vec<_>) = served
        .roots
        .iter()
        .cloned()
        .partition(|root| names.contains(&root.subject));
    if lost.is_empty() {
        return match has_twins(&served.roots) {
            true => group.untold(
                CHECK,
                title,
                "roots with different keys have one name there, and a sidecar names its CAs without their keys",
            ),
            false => group.pass(CHECK, title),
        };
    }
    let ids: Vec<String> = lost
        .iter()
        .take(4)
        .map(|root| format!("[{}]", root.key_id))
        .collect();
    let ids = ids.join(", ");
    let unknown = |shown: &ShownServer| shown.chain.issuer_among(&have) == IssuerFound::Unknown;
    let services = peer.seen.services.iter().filter_map(|one| one.mesh.shown());
    let calls = match services.into_iter().any(unknown) {
        true => format!(". Calls to {} fail now", peer.label),
        false => String::new(),
    };
    // With https_web a public CA vouches for the endpoint, so a fetch works whatever the stored bundle is.
    let by_svid = peer
        .file
        .bundle
        .as_ref()
        .is_some_and(|facts| facts.profile == BundleProfile::HttpsSpiffe);
    let dead = by_svid && peer.seen.bundle.shown().is_some_and(unknown);
    let finding = format!("its bundle of {} is stale: {ids} missing", peer.label);
    if dead {
        return group.fail(CHECK, title, Fault::new(
            "stale_for_good",
            format!("{finding}; the endpoint's own SVID is of one of these, so no poll can heal it{calls}"),
            format!("carry the bundle by hand: spire-server bundle set -id spiffe://{}", peer.file.trust_domain),
        ));
    }
    let poll = i64::try_from(served.poll_interval()).unwrap_or(i64::MAX);
    let remedy = format!(
        "the next poll should bring it, within {}; activate no prepared authority of {} before",
        span(poll),
        peer.label
    );
    let fault = Fault::new("stale", format!("{finding}{calls}"), remedy);
    match calls.is_empty() {
        true => group.warn(CHECK, title, fault),
        false => group.fail(CHECK, title, fault),
    }
}

/// Whether two roots have one name and different keys, as of an upstream authority that was renewed under its name.
fn has_twins(roots: &[ShownCertificate]) -> bool {
    let mut rest = roots;
    while let Some((root, others)) = rest.split_first() {
        let is_twin =
            |other: &ShownCertificate| other.subject == root.subject && other.key != root.key;
        if others.iter().any(is_twin) {
            return true;
        }
        rest = others;
    }
    false
}

/// Whether both sides are of one trust domain.
pub(super) fn judge_names(one: &SideView<'_>, other: &SideView<'_>, group: &mut CheckGroup<'_>) {
    const CHECK: &str = "one-authority";
    let title = "each trust domain has one authority";
    let (Some(first), Some(second)) = (one.seen.document.bundle(), other.seen.document.bundle())
    else {
        return group.untold(CHECK, title, "not both bundles are seen");
    };
    let names = |bundle: &ServedBundle| -> Vec<String> {
        let uris = bundle.roots.iter().filter_map(|root| root.spiffe_id());
        uris.map(str::to_owned).collect()
    };
    let others = names(second);
    let shared = names(first).into_iter().find(|name| others.contains(name));
    let same_key = first
        .roots
        .iter()
        .any(|root| second.roots.iter().any(|other| other.key == root.key));
    let fault = shared.filter(|_| !same_key).map(|name| {
        Fault::new(
            "two_authorities",
            format!("two authorities call themselves {}", name.escape_debug()),
            "give one of the clusters another trust domain: SPIRE and Istio cannot federate two of one name",
        )
    });
    group.judged(CHECK, title, fault);
}
