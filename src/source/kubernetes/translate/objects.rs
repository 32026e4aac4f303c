//! The translation of one Service, or of one host of a ServiceEntry: its routes, upstreams and endpoints, or
//! the reason why it has no route.

use super::context::{Context, host, upstream};
use super::hosts::{self, HostOwner};
use super::mesh::Mesh;
use super::service::Service;
use super::translation::{Backend, Draft, Endpoints, Translation};
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// Translates the Service at `key`; `backends` are the ports that TLSRoutes want of it.
pub(super) fn translate(
    context: &mut Context<'_>,
    key: &ObjectKey,
    backends: &[Backend],
) -> Translation {
    let (cluster, others) = (context.cluster, context.others);
    if let Some(record) = cluster.services.get(key) {
        let mut service = Service::new(context, key, record);
        service.export();
        for backend in backends {
            service.add_backend(backend);
        }
        return service.draft.finish();
    }
    let mut draft = Draft::default();
    match cluster.why_unreadable(Kind::Service, key) {
        Some(problem) => {
            let domain = context.policy.cluster_domain.as_str();
            if let Ok(host) = host(key, "", domain) {
                let text = format!("the Service cannot be read: {problem}");
                draft.unrouted = Some((host, text.into()));
            }
        }
        None => {
            if let Some(record) = others.service(cluster, key) {
                let mut service = Service::new(context, key, record);
                service.export();
                draft = service.draft;
            }
        }
    }
    add_missing(context, key, backends, &mut draft);
    draft.finish()
}

/// Translates the host `key.name` as far as the ServiceEntries of the namespace have it.
pub(super) fn translate_host(context: &mut Context<'_>, key: &ObjectKey) -> Translation {
    let (cluster, policy) = (context.cluster, context.policy);
    let owner = hosts::owner(
        cluster,
        context.others,
        policy,
        &Mesh::of(cluster, policy),
        key,
    );
    let host = match owner {
        HostOwner::Nobody => return Translation::default(),
        HostOwner::Refused(entry, why) => {
            let mut draft = Draft::default();
            let text = format!("ServiceEntry {entry}: host {}: {why}", key.name);
            draft.skipped.add(context.strings.shared(&text), 1);
            return draft.finish();
        }
        HostOwner::Entry(host) => host,
    };
    let mut entry = Service::of_entry(context, key, &host.record, host.entry);
    entry.export();
    if host.hidden_service {
        // The Service says why the host has no route.
        entry.draft.unrouted = None;
    }
    entry.draft.finish()
}

/// Adds the upstreams that TLSRoutes want of a Service that the own cluster does not have, or that cannot be
/// read.
fn add_missing(
    context: &mut Context<'_>,
    key: &ObjectKey,
    backends: &[Backend],
    draft: &mut Draft,
) {
    let ObjectKey { namespace, name } = key;
    let problem = context.cluster.why_unreadable(Kind::Service, key);
    for backend in backends {
        let upstream = upstream(context, &backend.port);
        let no_service = || match problem {
            Some(problem) => format!("Service {namespace}/{name} cannot be read: {problem}"),
            None => format!("there is no Service {namespace}/{name}"),
        };
        let reason = backend.refused.clone();
        let empty = reason.or_else(|| Some(context.strings.shared(&no_service())));
        draft.add(upstream, Endpoints::new(Vec::new(), empty));
    }
}
