//! Checks of SPIRE's bundle endpoint, as the other side's SPIRE reaches it.

use super::answers::{BehindGateway, SideView, expiry, server, span};
use crate::doctor::bundle::ServedBundle;
use crate::doctor::certificate::{IssuerFound, ShownCertificate, trust_domain};
use crate::doctor::checks::{CheckGroup, Fault};
use crate::doctor::file::{BundleFacts, BundleProfile};
use crate::doctor::seen::{BundleAnswer, ShownServer};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The difference of two clocks from which on it is a finding, in seconds.
const MAX_SKEW: i64 = 30;

pub(super) fn judge(
    side: &SideView<'_>,
    peer: &SideView<'_>,
    facts: &BundleFacts,
    group: &mut CheckGroup<'_>,
) {
    let by_text = url_fault(side, facts);
    let title = "bundleEndpointURL is one that SPIRE can use here";
    group.judged(
        "bundle-url",
        title,
        by_text.or_else(|| path_fault(side, facts)),
    );
    let Some(name) = facts.url.server_name() else {
        return;
    };
    let target = BehindGateway {
        name: name.as_str(),
        control: &side.seen.control,
        route: format!("{{ sni: {name}, alpn: any, upstream: spire }}"),
        what: "SPIRE's bundle endpoint",
        connect: "is SPIRE up? Does the route's upstream have its address and the bundle endpoint's port, 8443?",
        plain: "the route's upstream must be the bundle endpoint's port, 8443, without a proxy before it",
        silent: "look at spire-server: it is frozen, or something else listens at the upstream's port",
    };
    let title = "its route leads to a TLS server";
    let shown = match server(&side.seen.bundle, &target) {
        Ok(shown) => {
            group.pass("bundle-route", title);
            shown
        }
        Err(Some(fault)) => return group.fail("bundle-route", title, fault),
        Err(None) => return group.untold("bundle-route", title, "the gateway is not reached"),
    };
    let title = "it is who the other side expects";
    group.judged("bundle-identity", title, identity_fault(side, facts, shown));
    let title = "its certificate is valid now";
    let renew = "look at the log of spire-server, or at the certificate's issuer";
    let what = ("the bundle endpoint's certificate", "");
    let expiry = expiry(side, &shown.chain.leaf, what, renew);
    group.judged("bundle-certificate", title, expiry);
    let title = "it serves a bundle";
    group.judged("bundle-document", title, document_fault(side, shown));
    let Some(bundle) = side.seen.document.bundle() else {
        return;
    };
    own_root(facts, shown, bundle, group);
    roots(side, bundle, group);
    clocks(side, peer, group);
}

/// A mistake that the URL's text shows.
fn url_fault(side: &SideView<'_>, facts: &BundleFacts) -> Option<Fault> {
    let url = &facts.url;
    if url.scheme != "https" {
        let finding = format!(
            "bundleEndpointURL begins with {}://, not https://",
            url.scheme.escape_default()
        );
        return Some(Fault::new("scheme", finding, "write https://"));
    }
    if url.server_name().is_none() {
        return Some(Fault::new(
            "address",
            "bundleEndpointURL has an address, for which SPIRE's client sends no server name: the gateway refuses it as no_sni",
            "write a name that leads to the gateway",
        ));
    }
    let port = side.file.gateway.port();
    if url.port != port {
        return Some(Fault::new(
            "port",
            format!(
                "bundleEndpointURL has port {}, and the gateway listens on {port}",
                url.port
            ),
            format!(
                "write https://{}:{port}: no other port is open between the clusters",
                url.host
            ),
        ));
    }
    None
}

/// A path that the endpoint does not know.
fn path_fault(side: &SideView<'_>, facts: &BundleFacts) -> Option<Fault> {
    let path = &facts.url.path;
    match side.seen.document {
        BundleAnswer::Status(404, _) if path != "/" => Some(Fault::new(
            "path",
            format!("bundleEndpointURL has the path {path}, which SPIRE answers with 404"),
            "write the URL without a path: SPIRE serves / only",
        )),
        _ => None,
    }
}

fn identity_fault(side: &SideView<'_>, facts: &BundleFacts, shown: &ShownServer) -> Option<Fault> {
    let leaf = &shown.chain.leaf;
    let id = leaf.spiffe_id();
    let own = &*side.file.trust_domain;
    let host = &*facts.url.host;
    match (facts.profile, id) {
        (_, Some(id)) if trust_domain(id) != own => Some(Fault::new(
            "other_trust_domain",
            format!(
                "the bundle endpoint is {}, of another trust domain than {own}",
                id.escape_debug()
            ),
            format!(
                "its gateway's route for {host} leads to the wrong cluster's SPIRE: mend the route's upstream"
            ),
        )),
        (BundleProfile::HttpsSpiffe, None) => Some(Fault::new(
            "profile",
            "the endpoint shows a certificate without a SPIFFE ID, as https_web has it",
            "write bundleEndpointProfile: { type: https_web } on the other side",
        )),
        (BundleProfile::HttpsWeb, Some(id)) => Some(Fault::new(
            "profile",
            format!(
                "the endpoint shows an SVID, {}, as https_spiffe has it",
                id.escape_debug()
            ),
            "write bundleEndpointProfile: { type: https_spiffe, endpointSPIFFEID: .. } on the other side",
        )),
        (BundleProfile::HttpsSpiffe, Some(id)) => match &facts.spiffe_id {
            Some(expected) if **expected != *id => Some(Fault::new(
                "endpoint_id",
                format!(
                    "the bundle endpoint is {}, endpointSPIFFEID says {expected}",
                    id.escape_debug()
                ),
                format!(
                    "write endpointSPIFFEID: {} on the other side",
                    id.escape_debug()
                ),
            )),
            _ => None,
        },
        (BundleProfile::HttpsWeb, None) if !covers(leaf, host) => Some(Fault::new(
            "dns_name",
            format!("its certificate is not for {host}"),
            format!("give the endpoint a certificate for {host}"),
        )),
        (BundleProfile::HttpsWeb, None) => None,
    }
}

/// Whether a certificate is for this host (RFC 6125 section 6.4).
fn covers(leaf: &ShownCertificate, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let parent = host.split_once('.').map(|(_, parent)| parent);
    leaf.dns_names.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        name == host || (name.strip_prefix("*.").is_some() && name.strip_prefix("*.") == parent)
    })
}

fn document_fault(side: &SideView<'_>, shown: &ShownServer) -> Option<Fault> {
    let endpoint = "the route's upstream must be the bundle endpoint's port, 8443";
    let api = || {
        Fault::new(
            "api",
            "it speaks no HTTP/1.1: SPIRE's API (8081) answers so, its bundle endpoint (8443) does not",
            endpoint,
        )
    };
    Some(match &side.seen.document {
        BundleAnswer::Served(Ok(_), _) => return None,
        BundleAnswer::Status(404, _) => Fault::new(
            "path",
            "it answers with status 404",
            "write the URL without a path",
        ),
        BundleAnswer::NoHttp => api(),
        BundleAnswer::Status(415, _) => api(),
        BundleAnswer::NotAsked if shown.alpn.as_deref() == Some("h2") => api(),
        BundleAnswer::NotAsked => Fault::new(
            "unreached",
            "a second connection to it was not made",
            "run the command again",
        ),
        BundleAnswer::Silent => Fault::new(
            "silent",
            "it is silent after the TLS handshake: SPIRE's client waits without a limit, and polls no more",
            "restart what hangs; give the route timeouts: { idle: 2m }, so that the gateway ends the wait",
        ),
        BundleAnswer::TooLarge => Fault::new(
            "too_large",
            "its answer is larger than 1 MiB or ends early",
            endpoint,
        ),
        BundleAnswer::Status(status, _) => Fault::new(
            "status",
            format!("it answers with status {status}"),
            endpoint,
        ),
        BundleAnswer::Served(Err(reason), _) => Fault::new(
            "no_bundle",
            format!("what it serves is no bundle: {reason}"),
            endpoint,
        ),
    })
}

/// Whether the endpoint's SVID is signed by the bundle that it serves.
fn own_root(
    facts: &BundleFacts,
    shown: &ShownServer,
    bundle: &ServedBundle,
    group: &mut CheckGroup<'_>,
) {
    const CHECK: &str = "bundle-authority";
    // No SVID: then the profile is the fault, and bundles have no say.
    if facts.profile == BundleProfile::HttpsWeb || shown.chain.leaf.spiffe_id().is_none() {
        return;
    }
    let title = "its SVID is signed by the bundle that it serves";
    match shown.chain.issuer_among(&bundle.roots) {
        IssuerFound::Root(_) => group.pass(CHECK, title),
        IssuerFound::NotTold => group.untold(CHECK, title, "its chain cannot be verified here"),
        IssuerFound::Unknown => group.fail(CHECK, title, Fault::new(
            "other_authority",
            "the endpoint's SVID is of an authority that its own bundle does not have: no other SPIRE can fetch it",
            "was an authority tainted or revoked before spire-server had a new SVID? Restart spire-server",
        )),
    }
}

/// Checks that the served roots are the side's own, and that the newest lasts.
fn roots(side: &SideView<'_>, bundle: &ServedBundle, group: &mut CheckGroup<'_>) {
    let own = &*side.file.trust_domain;
    let uris = bundle.roots.iter().flat_map(|root| &root.uris);
    let foreign = uris.filter(|uri| uri.starts_with("spiffe://") && trust_domain(uri) != own);
    let foreign: Vec<String> = foreign
        .map(|uri| uri.escape_debug().to_string())
        .take(3)
        .collect();
    let title = "the roots that it serves are of its trust domain";
    group.judged("bundle-roots", title, (!foreign.is_empty()).then(|| {
        Fault::new(
            "other_trust_domain",
            format!("its bundle has roots of {}", foreign.join(", ")),
            "its gateway's route leads to the wrong cluster's SPIRE, or two trust domains are mixed up",
        )
    }));

    const CHECK: &str = "root-lifetime";
    let title = "its newest root lasts, and polls are frequent enough to learn the next";
    let Some(newest) = bundle.roots.iter().max_by_key(|root| root.not_after) else {
        return;
    };
    let lifetime = newest.not_after - newest.not_before;
    let left = newest.not_after - side.now;
    // SPIRE prepares the next authority when half of the lifetime is left, at most 30 days, and uses it when a sixth is
    // left, at most 7 days.
    let (late, last) = (
        (lifetime * 2 / 5).min(28 * DAY),
        (lifetime / 6).min(7 * DAY),
    );
    let poll = i64::try_from(bundle.poll_interval()).unwrap_or(i64::MAX);
    let prepare = "look at the log of spire-server: why does it not prepare the next authority?";
    match () {
        () if left < 0 => group.fail(CHECK, title, Fault::new(
            "ended", format!("its newest root ended {} ago", span(left)), prepare)),
        () if left < last => group.fail(CHECK, title, Fault::new(
            "ending", format!("its newest root ends in {} and no other is served", span(left)), prepare)),
        () if left < late => group.warn(CHECK, title, Fault::new(
            "unprepared", format!("its newest root ends in {} and no other is prepared", span(left)), prepare)),
        () if poll > lifetime / 6 => group.warn(CHECK, title, Fault::new(
            "slow_polls",
            format!("a root lasts {}, and polls come every {}: a new one may be in use before the other side has it", span(lifetime), span(poll)),
            "lower the refresh hint of its bundle endpoint",
        )),
        () => group.pass(CHECK, title),
    }
}

fn clocks(side: &SideView<'_>, peer: &SideView<'_>, group: &mut CheckGroup<'_>) {
    const CHECK: &str = "clock";
    let title = "its clock agrees with this machine's";
    let skew = |view: &SideView<'_>| {
        let clock = view.seen.document.clock()?;
        Some(clock.theirs - clock.ours)
    };
    let Some(own) = skew(side) else {
        return group.untold(CHECK, title, "its answer has no date");
    };
    let wrong_here = skew(peer).is_some_and(|other| (other - own).abs() <= MAX_SKEW);
    let fault = (own.abs() > MAX_SKEW).then(|| {
        let (direction, span) = (if own > 0 { "ahead" } else { "behind" }, span(own));
        let remedy = match wrong_here {
            true => "both sides differ alike: set the clock of this machine",
            false => "look at time synchronisation of its nodes",
        };
        Fault::new(
            "skew",
            format!("its clock is {span} {direction} of this machine's"),
            remedy,
        )
    });
    group.judged(CHECK, title, fault);
}
