//! The kinds that a policy watches, and those of them that routing needs: the *needed* ones.
//!
//! Until a needed kind is listed the gateway is not ready: an object that is not known is not the same
//! as one that does not exist. Only the config decides which kinds are needed. A needed kind that is not listed is
//! *missing*; `own_kinds` has those. The other kinds keep nothing from being ready: the first publication waits for
//! them for a moment only (`awaited`). `docs/src/kubernetes.md` has the same as a table, "needed when".

use crate::config::{ExportMode, KubernetesConfig, OptIn};
use crate::source::kubernetes::cluster::Kind;

/// The kinds that are watched in other clusters: their workloads. All policies are those of the own cluster.
pub(super) const OF_OTHERS: [Kind; 5] = [
    Kind::Service,
    Kind::Slice,
    Kind::Pod,
    Kind::Node,
    Kind::WorkloadEntry,
];

/// The kinds that a policy watches.
pub(super) fn watched(config: &KubernetesConfig) -> Vec<Kind> {
    let is_watched = |kind: &Kind| match kind {
        Kind::Service | Kind::Slice | Kind::Pod | Kind::Namespace | Kind::Node => true,
        Kind::PeerAuthentication | Kind::DestinationRule => true,
        Kind::ServiceEntry | Kind::WorkloadEntry => true,
        Kind::MeshConfig => config.istio.config_map.is_some(),
        Kind::ServiceExport => config.export.opt_in == OptIn::ServiceExport,
        Kind::GatewayClass | Kind::Gateway | Kind::TlsRoute | Kind::ReferenceGrant => {
            config.gateway_api.is_some()
        }
    };
    Kind::ALL.iter().copied().filter(is_watched).collect()
}

/// Whether routing needs to know every object of a kind that is watched.
pub(super) fn is_needed(kind: Kind, config: &KubernetesConfig) -> bool {
    let export = &config.export;
    let exports = export.mode != ExportMode::None || export.dry_run;
    let gateways = config.gateway_api.is_some();
    // A backend of a TLSRoute may be in the mesh.
    let mesh = gateways || (exports && export.alpn.demands_istio());
    match kind {
        Kind::Service | Kind::Slice => true,
        // Labels say which pods are in the mesh.
        Kind::Pod | Kind::PeerAuthentication | Kind::MeshConfig => mesh,
        // Its subsets have names of their own, which a client without Istio may ask for too.
        Kind::DestinationRule => mesh || exports,
        // The labels of a namespace may decide which routes attach to a Gateway and which Services are
        // exported; the label of Istio's namespace says which pods are in another network.
        Kind::Namespace => {
            let by_label = |mode: &ExportMode| match mode {
                ExportMode::Selected(selector) => !selector.namespace_labels.is_empty(),
                ExportMode::None | ExportMode::All => false,
            };
            let network_unset = exports && config.network.is_none();
            gateways || network_unset || by_label(&export.mode)
        }
        // They add hosts, and endpoints to Services.
        Kind::ServiceEntry | Kind::WorkloadEntry => exports,
        // A zone only makes some endpoints preferable.
        Kind::Node => false,
        Kind::ServiceExport => exports && export.opt_in == OptIn::ServiceExport,
        Kind::GatewayClass | Kind::Gateway | Kind::TlsRoute | Kind::ReferenceGrant => gateways,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{AlpnPolicy, ServiceSelector, samples};

    fn needs(edit: impl FnOnce(&mut KubernetesConfig)) -> BTreeSet<Kind> {
        let mut config = samples::kubernetes();
        config.export.mode = ExportMode::All;
        config.export.alpn = AlpnPolicy::Any;
        config.export.opt_in = OptIn::None;
        config.gateway_api = None;
        config.network = Some("n".into());
        edit(&mut config);
        let kinds = watched(&config).into_iter();
        kinds.filter(|kind| is_needed(*kind, &config)).collect()
    }

    #[test]
    fn what_is_needed_follows_from_who_may_be_reached() {
        use Kind::{
            DestinationRule, MeshConfig, Namespace, PeerAuthentication, Pod, Service, ServiceEntry,
            ServiceExport, Slice, WorkloadEntry,
        };
        let plain = [Service, Slice, DestinationRule, ServiceEntry, WorkloadEntry].into();
        assert_eq!(needs(|_| {}), plain);
        let nothing = needs(|config| config.export.mode = ExportMode::None);
        assert_eq!(nothing, [Service, Slice].into());
        let mesh = needs(|config| config.export.alpn = AlpnPolicy::istio());
        assert_eq!(
            mesh,
            [
                Service,
                Slice,
                DestinationRule,
                ServiceEntry,
                WorkloadEntry,
                Pod,
                PeerAuthentication,
                MeshConfig
            ]
            .into()
        );
        let without = needs(|config| {
            config.export.alpn = AlpnPolicy::istio();
            config.istio.config_map = None;
        });
        assert!(!without.contains(&MeshConfig));
        let dry_run = needs(|config| {
            (config.export.mode, config.export.dry_run) = (ExportMode::None, true);
            config.export.alpn = AlpnPolicy::istio();
        });
        assert_eq!(dry_run, mesh);
        let selected = |labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()));
            ExportMode::Selected(ServiceSelector {
                namespace_labels: labels.collect(),
                ..ServiceSelector::default()
            })
        };
        assert_eq!(needs(|config| config.export.mode = selected(&[])), plain);
        let by_label = needs(|config| config.export.mode = selected(&[("a", "b")]));
        assert!(by_label.contains(&Namespace));
        let network_unset = needs(|config| config.network = None);
        assert!(network_unset.contains(&Namespace));
        let exported = needs(|config| config.export.opt_in = OptIn::ServiceExport);
        assert!(exported.contains(&ServiceExport));
    }

    #[test]
    fn gateways_need_every_kind_but_nodes() {
        let needed = needs(|config| {
            config.export.mode = ExportMode::None;
            config.export.opt_in = OptIn::ServiceExport;
            config.gateway_api = Some(samples::gateway_api());
        });
        let left_out: Vec<&Kind> = Kind::ALL
            .iter()
            .filter(|kind| !needed.contains(kind))
            .collect();
        assert_eq!(
            left_out,
            [
                &Kind::Node,
                &Kind::ServiceExport,
                &Kind::ServiceEntry,
                &Kind::WorkloadEntry
            ]
        );
    }
}
