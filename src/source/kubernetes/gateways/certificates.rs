//! References of listeners to certificates. strait ends no TLS and may read no Secret, so none of them
//! resolves to anything, and the listener says so.

use super::listeners::{GatewayRefusal, OwnListener};
use super::references::{self, Reference};
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::ObjectKey;

/// The reason why the certificates of a listener are not resolved; `None` if it refers to none. Where
/// TLS is passed through, the Gateway API gives certificates no meaning.
pub(super) fn unresolved(
    cluster: &Cluster,
    gateway: &ObjectKey,
    listener: &OwnListener<'_>,
) -> Option<GatewayRefusal> {
    let tls = &listener.spec.tls;
    if tls.mode.as_deref() == Some("Passthrough") {
        return None;
    }
    let first = tls.certificate_refs.first()?;
    let forbidden = tls.certificate_refs.iter().find_map(|certificate| {
        let namespace = certificate.namespace.as_ref().unwrap_or(&gateway.namespace);
        let kind = certificate.kind.as_deref().unwrap_or("Secret");
        let reference = Reference {
            from: ("Gateway", &gateway.namespace),
            to: (certificate.group.as_deref().unwrap_or(""), kind),
            namespace,
            name: &certificate.name,
        };
        let message = || {
            let name = &certificate.name;
            format!(
                "tls.certificateRefs: no ReferenceGrant in namespace {namespace} lets Gateways of namespace \
                 {} refer to {kind} {name}; strait would not read it either, since it ends no TLS",
                gateway.namespace
            )
        };
        let allowed = references::is_allowed(cluster, &reference);
        (!allowed).then(|| GatewayRefusal::new("RefNotPermitted", message()))
    });
    let unread = || {
        let message = format!(
            "tls.certificateRefs: {} is not read; strait ends no TLS and holds no keys",
            first.name
        );
        GatewayRefusal::new("InvalidCertificateRef", message)
    };
    Some(forbidden.unwrap_or_else(unread))
}
