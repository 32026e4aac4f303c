//! Checks of a service, as the other side's sidecars reach it.

use super::answers::{
    BehindGateway, NO_APPLICATION_PROTOCOL, SideView, UNRECOGNIZED_NAME, expiry, server,
};
use crate::doctor::certificate::{IssuerFound, trust_domain};
use crate::doctor::checks::{CheckGroup, Fault};
use crate::doctor::file::FederatedService;
use crate::doctor::seen::{ServiceSeen, ShownServer, TlsAnswer};

pub(super) fn judge(
    side: &SideView<'_>,
    service: &FederatedService,
    seen: &ServiceSeen,
    group: &mut CheckGroup<'_>,
) {
    let target = BehindGateway {
        name: service.server_name.as_str(),
        control: &side.seen.mesh_control,
        route: format!("{{ {}, alpn: istio, upstream: .. }}", route_match(service)),
        what: "a pod of the service",
        connect: "is a pod ready? A sidecar without an SVID does not listen: look at its registration entry (ClusterSPIFFEID). One with PeerAuthentication DISABLE closes",
        plain: "the pod has no sidecar, or the route's upstream has the application's port",
        silent: "look at the pod: it is frozen, or something else listens at the upstream's port",
    };
    let title = "its route leads to a pod's sidecar";
    let shown = match server(&seen.mesh, &target) {
        Ok(shown) => {
            group.pass("service-route", title);
            shown
        }
        Err(Some(fault)) => return group.fail("service-route", title, fault),
        Err(None) => return group.untold("service-route", title, "the gateway is not reached"),
    };
    let title = "it is who its callers expect";
    let identity = identity_fault(side, service, shown);
    group.found("service-identity", title, identity);
    let title = "its SVID is valid now";
    let effect = "; calls to it fail, and so do its own";
    let renew = "look at spire-agent of its node: it renews an SVID when half of its time is over";
    let expiry = expiry(
        side,
        &shown.chain.leaf,
        ("the service's SVID", effect),
        renew,
    );
    group.judged("service-expiry", title, expiry);
    authority(side, shown, group);
    let title = "it asks its callers for a certificate";
    group.judged("service-mtls", title, shown.trusts.is_none().then(|| {
        Fault::new(
            "no_request",
            "the service asks for no client certificate: anybody who reaches the gateway may call it",
            "its port has TLS that is not Istio's mutual TLS: a Sidecar's ingress listener with tls.mode SIMPLE, or the application's own with PeerAuthentication DISABLE; make it STRICT, without such TLS",
        )
    }));
    mesh_only(service, seen, group);
}

/// The keys of a route for the service, with its subset if it has one.
fn route_match(service: &FederatedService) -> String {
    let FederatedService { host, port, .. } = service;
    match &service.subset {
        Some(subset) => format!("service: {host}:{port}, subsets: [{subset}]"),
        None => format!("service: {host}:{port}"),
    }
}

/// # Errors
/// The reason why it cannot be told.
fn identity_fault(
    side: &SideView<'_>,
    service: &FederatedService,
    shown: &ShownServer,
) -> Result<Option<Fault>, &'static str> {
    let own = &*side.file.trust_domain;
    let Some(id) = shown.chain.leaf.spiffe_id() else {
        return Ok(Some(Fault::new(
            "no_svid",
            "the service shows a certificate without a SPIFFE ID",
            "does the route lead to a sidecar that gets its certificate from SPIRE?",
        )));
    };
    let id_shown = id.escape_debug();
    let expected = service.spiffe_id.as_deref();
    let domain = trust_domain(id);
    // First: its remedy must not be to accept a pod of another cluster.
    if domain != own && expected.is_none_or(|expected| trust_domain(expected) != domain) {
        return Ok(Some(Fault::new(
            "other_trust_domain",
            format!("the service is {id_shown}, of another trust domain than {own}"),
            "does its gateway's route lead to a pod of this cluster?",
        )));
    }
    match expected {
        Some(expected) if *expected == *id => Ok(None),
        Some(expected) => Ok(Some(Fault::new(
            "account",
            format!("the service is {id_shown}, subjectAltNames say {expected}"),
            "write its SPIFFE ID into subjectAltNames of the callers' DestinationRule, or give its pods the other service account",
        ))),
        None => Err("the file does not say its spiffe_id"),
    }
}

/// Whether its SVID is of the bundle that its own side serves.
fn authority(side: &SideView<'_>, shown: &ShownServer, group: &mut CheckGroup<'_>) {
    const CHECK: &str = "service-authority";
    let title = "its SVID is signed by the bundle of its trust domain";
    let Some(bundle) = side.seen.document.bundle() else {
        return group.untold(CHECK, title, "no bundle is seen");
    };
    match shown.chain.issuer_among(&bundle.roots) {
        IssuerFound::Root(_) => group.pass(CHECK, title),
        IssuerFound::NotTold => group.untold(CHECK, title, "its chain cannot be verified here"),
        IssuerFound::Unknown => group.fail(CHECK, title, Fault::new(
            "other_authority",
            "the service's SVID is of an authority that its own bundle does not have",
            "an authority was revoked before its SVIDs were replaced, or another SPIRE signs here: look at spire-agent of its node",
        )),
    }
}

/// Whether clients without Istio's ALPN are kept out.
fn mesh_only(service: &FederatedService, seen: &ServiceSeen, group: &mut CheckGroup<'_>) {
    const CHECK: &str = "service-alpn";
    let title = "its gateway keeps clients without Istio's ALPN out";
    match &seen.open {
        TlsAnswer::Alert(UNRECOGNIZED_NAME | NO_APPLICATION_PROTOCOL) => group.pass(CHECK, title),
        TlsAnswer::Shown(_) | TlsAnswer::NotTls(_) => group.fail(CHECK, title, Fault::new(
            "open",
            format!("DANGER: its gateway lets clients without Istio's ALPN to {}", service.server_name),
            "write alpn: istio in the route: other clients must not reach sidecars, which may let them pass",
        )),
        TlsAnswer::Closed | TlsAnswer::Reset => {
            group.untold(CHECK, title, "such a client gets a close, by the gateway or by the pod");
        }
        TlsAnswer::NotAsked | TlsAnswer::Unreached(_) => {
            group.untold(CHECK, title, "the connection was not made");
        }
        TlsAnswer::Silent | TlsAnswer::Alert(_) | TlsAnswer::Broken(_) => {
            group.untold(CHECK, title, "the answer to such a client says nothing of it");
        }
    }
}
