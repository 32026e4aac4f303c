//! The export policy: the ports of services that other clusters may reach, and the reasons for the
//! others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::mesh::{Hidden, Mesh};
use crate::config::{
    ExportMode, ExportPolicy, KubernetesConfig, OptIn, PortSelector, ServiceSelector,
};
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::{
    Labels, ObjectKey, ServiceKind, ServicePortRecord, ServiceRecord,
};

/// The annotation, without the prefix `strait.dev/`, by which the owner of a Service exports it or
/// keeps it from being exported.
const EXPORT_ANNOTATION: &str = "export";

/// The reason why a Service, or a port of it, has no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExportRefusal<'a> {
    /// It has no endpoints to route to.
    ExternalName,
    NoPort,
    /// The Service hides itself from Istio's own gateways.
    Hidden,
    /// The mesh's settings hide it from Istio's own gateways; the namespace is part of the reason.
    HiddenByMesh(Hidden<'a>, &'a str),
    /// Its owner opted out.
    OptedOut,
    /// The policy's mode exports nothing.
    NothingIsExported,
    Namespace(&'a str),
    NamespaceUnknown(&'a str),
    NamespaceLabel {
        namespace: &'a str,
        key: &'a str,
        value: &'a str,
    },
    Name,
    Label {
        key: &'a str,
        value: &'a str,
    },
    NotAnnotated,
    NoServiceExport,
    ServiceExportInvalid(&'a str),
    Port(u16),
    Ports,
}

impl ExportRefusal<'_> {
    /// The reason in words; `it` is "Service" or "ServiceEntry".
    pub(super) fn text(&self, it: &str) -> String {
        match self {
            Self::ExternalName => "an ExternalName Service has no pods".to_owned(),
            Self::NoPort => format!("the {it} has no TCP port"),
            Self::Hidden => match it {
                "Service" => "the Service's annotation networking.istio.io/exportTo keeps it from gateways",
                _ => "its exportTo keeps it from gateways",
            }
            .to_owned(),
            Self::HiddenByMesh(Hidden::Unknown(reason), _) => format!(
                "Istio's ConfigMap, whose settings may hide the {it}, cannot be read: {reason} \
                 (kubernetes.istio names it)"
            ),
            Self::HiddenByMesh(Hidden::ByDefault, _) => match it {
                "Service" => {
                    "the mesh's defaultServiceExportTo keeps it from gateways, and the Service has no \
                     annotation networking.istio.io/exportTo"
                }
                _ => "the mesh's defaultServiceExportTo keeps it from gateways, and it has no exportTo",
            }
            .to_owned(),
            Self::HiddenByMesh(Hidden::NotDiscovered, namespace) => {
                format!("the mesh's discoverySelectors do not select namespace {namespace}")
            }
            Self::HiddenByMesh(Hidden::NamespaceUnknown, namespace) => format!(
                "the labels of namespace {namespace}, by which the mesh's discoverySelectors select it, \
                 are not known"
            ),
            Self::OptedOut => format!("the {it}'s annotation strait.dev/export says \"false\""),
            Self::NothingIsExported => {
                format!("no {it} is exported: kubernetes.export.mode is `none`")
            }
            Self::Namespace(namespace) => {
                format!("namespace {namespace} is not selected for export")
            }
            Self::NamespaceUnknown(namespace) => format!(
                "the labels of namespace {namespace}, by which it is selected for export, are not known"
            ),
            Self::NamespaceLabel {
                namespace,
                key,
                value,
            } => format!(
                "namespace {namespace} lacks the label {key}={value} and so is not selected for export"
            ),
            Self::Name => match it {
                "Service" => "the Service's name is not selected for export",
                _ => "the host is not among the names that are selected for export",
            }
            .to_owned(),
            Self::Label { key, value } => {
                format!("the {it} lacks the label {key}={value} and so is not selected for export")
            }
            Self::NotAnnotated => format!("the {it} has no annotation strait.dev/export: \"true\""),
            Self::NoServiceExport => format!("the {it} has no ServiceExport"),
            Self::ServiceExportInvalid(why) => {
                format!("the condition Valid of the {it}'s ServiceExport is false: {why}")
            }
            Self::Port(port) => format!("port {port} is not selected for export"),
            Self::Ports => format!("no port of the {it} is selected for export"),
        }
    }
}

/// The reason why no policy can export a service, if none can.
pub(super) fn unroutable<'a>(
    policy: &KubernetesConfig,
    cluster: &'a Cluster,
    mesh: &Mesh<'a>,
    key: &'a ObjectKey,
    service: &ServiceRecord,
) -> Option<ExportRefusal<'a>> {
    if service.kind == ServiceKind::ExternalName {
        Some(ExportRefusal::ExternalName)
    } else if !service.export_to.is_empty() && !mesh.is_shown(&service.export_to, &key.namespace) {
        Some(ExportRefusal::Hidden)
    } else if let Some(hidden) = mesh.hides(cluster, policy, &key.namespace, &service.export_to) {
        Some(ExportRefusal::HiddenByMesh(hidden, &key.namespace))
    } else if service.annotations.get(EXPORT_ANNOTATION) == Some("false") {
        Some(ExportRefusal::OptedOut)
    } else if service.ports.is_empty() {
        Some(ExportRefusal::NoPort)
    } else {
        None
    }
}

/// The reason why the policy exports no port of a service, if so.
pub(super) fn refuse_service<'a>(
    policy: &'a ExportPolicy,
    cluster: &'a Cluster,
    key: &'a ObjectKey,
    service: &ServiceRecord,
) -> Option<ExportRefusal<'a>> {
    let by_selector = match &policy.mode {
        ExportMode::None => Some(ExportRefusal::NothingIsExported),
        ExportMode::Selected(selector) => not_selected(selector, cluster, key, service),
        ExportMode::All => None,
    };
    by_selector.or_else(|| match policy.opt_in {
        OptIn::None => None,
        OptIn::Annotation => {
            let annotated = service.annotations.get(EXPORT_ANNOTATION) == Some("true");
            (!annotated).then_some(ExportRefusal::NotAnnotated)
        }
        OptIn::ServiceExport => {
            let Some(export) = cluster.service_exports.get(key) else {
                return Some(ExportRefusal::NoServiceExport);
            };
            let invalid = export.invalid.as_deref();
            invalid.map(ExportRefusal::ServiceExportInvalid)
        }
    })
}

fn not_selected<'a>(
    selector: &'a ServiceSelector,
    cluster: &Cluster,
    key: &'a ObjectKey,
    service: &ServiceRecord,
) -> Option<ExportRefusal<'a>> {
    let namespace = &*key.namespace;
    if !takes(&selector.namespaces, &key.namespace) {
        return Some(ExportRefusal::Namespace(namespace));
    }
    if !selector.namespace_labels.is_empty() {
        let Some(record) = cluster.namespaces.get(&ObjectKey::global(&key.namespace)) else {
            return Some(ExportRefusal::NamespaceUnknown(namespace));
        };
        if let Some((key, value)) = missing(&record.labels, &selector.namespace_labels) {
            return Some(ExportRefusal::NamespaceLabel {
                namespace,
                key,
                value,
            });
        }
    }
    if !takes(&selector.names, &key.name) {
        return Some(ExportRefusal::Name);
    }
    missing(&service.labels, &selector.labels)
        .map(|(key, value)| ExportRefusal::Label { key, value })
}

/// The reason why the policy does not export one port of an exported service, if so.
pub(super) fn refuse_port(
    policy: &ExportPolicy,
    port: &ServicePortRecord,
) -> Option<ExportRefusal<'static>> {
    let ExportMode::Selected(selector) = &policy.mode else {
        return None;
    };
    let selected = |wanted: &PortSelector| match wanted {
        PortSelector::Number(number) => *number == port.port,
        PortSelector::Name(name) => *name == port.name,
    };
    let taken = selector.ports.is_empty() || selector.ports.iter().any(selected);
    (!taken).then_some(ExportRefusal::Port(port.port))
}

/// The reason of a service none of whose ports is exported.
pub(super) fn refuse_ports(service: &ServiceRecord) -> ExportRefusal<'static> {
    match &*service.ports {
        [only] => ExportRefusal::Port(only.port),
        _ => ExportRefusal::Ports,
    }
}

fn takes(wanted: &[Arc<str>], name: &Arc<str>) -> bool {
    wanted.is_empty() || wanted.contains(name)
}

/// The first of `wanted` that is not among `labels`.
fn missing<'a>(
    labels: &Labels,
    wanted: &'a BTreeMap<Arc<str>, Arc<str>>,
) -> Option<(&'a str, &'a str)> {
    let mut wanted = wanted.iter().map(|(key, value)| (&**key, &**value));
    wanted.find(|(key, value)| labels.get(key) != Some(value))
}
