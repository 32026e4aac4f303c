//! What the file says of Kubernetes; see [`super`].

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::addresses::SourceRef;
use super::hosts::HostName;
use super::words::{Name, word};
use super::{
    ClientHelloFile, ConnectFile, ConnectionLimitsFile, EjectionFile, ProxyProtocolFile, TcpFile,
    TimeoutsFile,
};
use crate::config::checked::{AlpnPolicy, BelowFileRoutes, OptIn, PortRange, PortSelector};
use crate::config::form::containers::{AllOr, List, Named, OrOff};
use crate::config::form::decode::{At, Scalar, Text, one_of, unexpected};
use crate::config::form::problems::{Complaint, quoted};
use crate::config::form::section::section;
use crate::config::form::tree::Value;
use crate::config::form::units::Count;

section! {
    /// A Kubernetes API that is watched: what it says becomes routes and endpoints.
    KubernetesFile {
        /// A kubeconfig file that says how the API is reached; without the key, as a pod does: by its
        /// service account.
        kubeconfig: Option<FilePath> = null,
        /// The context of the kubeconfig; without the key, its current one. Only with `kubeconfig`.
        context: Option<At<ContextName>> = null,
        /// The domain of the cluster's services.
        cluster_domain: HostName = "cluster.local",
        /// The name that istiod has for this cluster (`global.multiCluster.clusterName` of its chart):
        /// subsets mean it by the label `topology.istio.io/cluster`. Without the key, a subset that asks
        /// for that label has no pod, and the reason names this key.
        cluster: Option<MeshName> = null,
        /// The network of this gateway: pods of another network are left out. Without the key, the label
        /// `topology.istio.io/network` of Istio's namespace says it; without both, no pod is left out for
        /// its network. A pod's network is what its own label says, else that of Istio's namespace, else
        /// this one.
        network: Option<MeshName> = null,
        /// Where Istio's control plane is in this cluster.
        istio: IstioFile = {},
        /// Which services of this cluster other clusters may reach without a route in the file.
        export: At<ExportFile> = {},
        /// Gateways and TLSRoutes of the Gateway API. With `off` they are not looked at.
        gateway_api: OrOff<GatewayApiFile> = "off",
        /// How pods are connected to.
        connect: ConnectFile = {},
        /// When a pod that fails is left alone.
        ejection: At<EjectionFile> = {},
        /// Options of the sockets towards pods.
        tcp: TcpFile = {},
    }
}

section! {
    /// Istio's control plane in this cluster.
    IstioFile {
        /// The namespace of istiod and of Istio's gateways. A Service whose `exportTo` names it is seen.
        namespace: ObjectName = "istio-system",
        /// The ConfigMap of that namespace with the settings of the mesh, `istio-REVISION` for a control
        /// plane that has a revision. Its `rootNamespace`, `defaultServiceExportTo`,
        /// `defaultDestinationRuleExportTo` and `discoverySelectors` count here as they do for Istio's
        /// gateways; as long as it cannot be read, nothing is exported to clients with an Istio ALPN. With
        /// `off` it is not read, and Istio's defaults hold.
        config_map: OrOff<ObjectName> = "istio",
    }
}

section! {
    /// What is exported: what all of the selectors take, and the owner has agreed to where `opt_in` asks
    /// for it.
    ExportFile {
        /// `none` exports nothing, `selected` what the selectors below take, `all` every service of the
        /// cluster, as Istio's `*.local` does.
        mode: At<ExportWord> = "none",
        /// Names of the listeners that route what is exported; without the key, every one of the file.
        listeners: Option<List<At<Name>, 1, 64>> = null,
        /// Namespaces; `[]` takes any.
        namespaces: List<At<ObjectName>, 0, 1024> = [],
        /// Labels that the namespace must have.
        namespace_labels: At<Named<LabelKey, LabelValue>> = {},
        /// Names of services; `[]` takes any.
        names: List<At<ObjectName>, 0, 1024> = [],
        /// Labels that the Service must have.
        labels: At<Named<LabelKey, LabelValue>> = {},
        /// Ports of the Service, by number or name, never its targetPorts; `[]` takes any.
        ports: List<At<PortSelector>, 0, 1024> = [],
        /// What the owner of a Service must have done before it is exported: `annotation` is
        /// `strait.dev/export: "true"` on the Service, `service_export` a ServiceExport of its name.
        opt_in: At<OptIn> = "none",
        /// Which clients may pass, as `alpn` of a route. Pods outside Istio's mesh are left out as long
        /// as it is `istio`.
        alpn: AlpnPolicy = "istio",
        /// Route what `mode: all` would, but log and count what this policy would refuse.
        dry_run: bool = false,
    }
}

section! {
    /// Gateways and TLSRoutes of the Gateway API: a Gateway's listener with `protocol: TLS` and mode
    /// Passthrough is a listener of ours. A listener of the file that has its port takes its routes;
    /// another one is opened with what is said here.
    GatewayApiFile {
        /// The GatewayClass whose Gateways are served.
        class: ObjectName = "strait",
        /// The `controllerName` that the GatewayClass must have.
        controller: ControllerName = "strait.dev/gateway-controller",
        /// Namespaces that may have Gateways; without this key and `namespace_labels`, the one that strait
        /// runs in (with a kubeconfig, the one of its context). What a Gateway of a namespace has, no Gateway
        /// of a namespace after it in the list takes from it, neither the same name nor one below it. With
        /// `all`, the namespace that strait runs in comes before all others, and of those the older Gateway
        /// keeps a name, the more specific listener what lies below a wider one.
        namespaces: Option<AllOr<List<At<ObjectName>, 1, 1024>>> = null,
        /// Labels that the namespace must have; without `namespaces`, any namespace that has them.
        namespace_labels: At<Named<LabelKey, LabelValue>> = {},
        /// Ports that Gateways may have, each a number or a range such as `8000-8010`; without the key,
        /// those of the file's listeners. All Gateways together may have 64, those of the first namespace
        /// first, and those of each further namespace 16.
        ports: Option<List<At<PortRange>, 1, 64>> = null,
        /// What becomes of a name that a Gateway or a TLSRoute asks for and that lies below a name of the
        /// file's routes on the same port (`a.x` and `*.x` lie below `*`, `a.x` below `*.x`): with `refuse`
        /// it stays with the file's route, with `allow` it goes to the TLSRoute. The very same name stays
        /// with the file in both cases. Exported Services are not concerned: they keep their names.
        below_file_routes: BelowFileRoutes = "refuse",
        /// The address that listeners are opened on. `::` is dual stack, and falls back to `0.0.0.0`
        /// where IPv6 is off.
        address: ListenAddress = "::",
        /// What Gateways show as their addresses: IP addresses and host names by which clients reach this
        /// gateway.
        addresses: List<GatewayAddress, 0, 16> = [],
        /// The Service in front of this gateway, as NAMESPACE/NAME: Gateways show its load balancer's
        /// addresses, or its `externalIPs`. Only without `addresses`.
        service: Option<At<ServiceName>> = null,
        /// As of a listener of the file.
        allow_sources: Option<List<At<SourceRef>, 1, 1024>> = null,
        /// As of a listener of the file.
        deny_sources: List<At<SourceRef>, 0, 1024> = [],
        /// As of a listener of the file.
        proxy_protocol: OrOff<ProxyProtocolFile> = "off",
        /// As of a listener of the file.
        client_hello: ClientHelloFile = {},
        /// As of a listener of the file.
        timeouts: TimeoutsFile = {},
        /// As of a listener of the file.
        tcp: TcpFile = {},
        /// As of a listener of the file; of each one.
        limits: ConnectionLimitsFile = {},
        /// As of a listener of the file; of each one.
        limits_per_source: ConnectionLimitsFile = {},
        /// As of a listener of the file.
        ipv6_source_prefix: Count<32, 128> = 64,
    }
}

/// How exported services are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportWord {
    None,
    Selected,
    All,
}

/// A path of a file.
#[derive(Debug, Clone)]
pub(crate) struct FilePath(pub(crate) Box<str>);

/// The name of a context in a kubeconfig.
#[derive(Debug, Clone)]
pub(crate) struct ContextName(pub(crate) Arc<str>);

/// `metadata.name` of an object.
#[derive(Debug, Clone)]
pub(crate) struct ObjectName(pub(crate) Arc<str>);

/// The key of a label, with its prefix if it has one.
#[derive(Debug, Clone)]
pub(crate) struct LabelKey(pub(crate) Arc<str>);

/// The name that Istio has for a cluster or a network: the value of a label, not empty.
#[derive(Debug, Clone)]
pub(crate) struct MeshName(pub(crate) Arc<str>);

/// The value of a label; may be empty.
#[derive(Debug, Clone)]
pub(crate) struct LabelValue(pub(crate) Arc<str>);

/// `DOMAIN/PATH` of a controller.
#[derive(Debug, Clone)]
pub(crate) struct ControllerName(pub(crate) Arc<str>);

/// An IP address or a host name.
#[derive(Debug, Clone)]
pub(crate) struct GatewayAddress(pub(crate) Arc<str>);

/// `NAMESPACE/NAME`.
#[derive(Debug, Clone)]
pub(crate) struct ServiceName {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// An IP address of this host, or the one that stands for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListenAddress(pub(crate) IpAddr);

impl Scalar for ExportWord {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let words = [
            ("none", Self::None),
            ("selected", Self::Selected),
            ("all", Self::All),
        ];
        match value {
            Value::Text(text) => one_of(text, &words),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        "`none`, `selected` or `all`".to_owned()
    }

    fn schema() -> Json {
        json!({ "enum": ["none", "selected", "all"] })
    }
}

impl Scalar for OptIn {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let words = [
            ("none", Self::None),
            ("annotation", Self::Annotation),
            ("service_export", Self::ServiceExport),
        ];
        match value {
            Value::Text(text) => one_of(text, &words),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        "`none`, `annotation` or `service_export`".to_owned()
    }

    fn schema() -> Json {
        json!({ "enum": ["none", "annotation", "service_export"] })
    }
}

impl Scalar for BelowFileRoutes {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let words = [("refuse", Self::Refuse), ("allow", Self::Allow)];
        match value {
            Value::Text(text) => one_of(text, &words),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        "`refuse` or `allow`".to_owned()
    }

    fn schema() -> Json {
        json!({ "enum": ["refuse", "allow"] })
    }
}

impl Scalar for PortRange {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let range = match value {
            Value::Int(number) => u16::try_from(*number).ok().map(Self::from),
            Value::Text(text) => text.split_once('-').and_then(|(first, last)| {
                let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
                Some(Self { first, last })
            }),
            _ => return Err(unexpected(Self::words(), value)),
        };
        match range {
            Some(range) if range.first > 0 && range.first <= range.last => Ok(range),
            _ => Err(
                Complaint::new(format!("{value} is neither a port nor a range of ports"))
                    .remedy("give it 1 to 65535, or FIRST-LAST"),
            ),
        }
    }

    fn words() -> String {
        "port, or range FIRST-LAST".to_owned()
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": r"^\s*[0-9]{1,5}\s*-\s*[0-9]{1,5}\s*$" },
        ] })
    }
}

impl Scalar for PortSelector {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let number = match value {
            Value::Int(number) => u16::try_from(*number).ok(),
            Value::Text(text) => {
                let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                return word(text, 63, allowed, "a port's name, 1 to 63 of `a-z0-9-`")
                    .map(Self::Name);
            }
            _ => return Err(unexpected(Self::words(), value)),
        };
        match number {
            Some(number) if number > 0 => Ok(Self::Number(number)),
            _ => Err(Complaint::new(format!("{value} is not a port"))
                .remedy("give it 1 to 65535, or the port's name")),
        }
    }

    fn words() -> String {
        "port number or name".to_owned()
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": "^[a-z0-9-]{1,63}$" },
        ] })
    }
}

impl Text for FilePath {
    const WORDS: &'static str = "path of a file";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text {
            "" => Err(Complaint::new("the path is empty").remedy("leave the key out")),
            _ => Ok(Self(text.into())),
        }
    }
}

impl Text for ContextName {
    const WORDS: &'static str = "name of a context";

    fn parse(text: &str) -> Result<Self, Complaint> {
        word(text, 253, |c| !c.is_control(), Self::WORDS).map(Self)
    }
}

impl Text for ObjectName {
    const WORDS: &'static str = "a name, 1 to 253 of `a-z0-9.-`";
    const PATTERN: &'static str = "^[a-z0-9.-]{1,253}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        word(text, 253, allowed, Self::WORDS).map(Self)
    }
}

/// What labels are made of.
fn label_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl Text for LabelKey {
    const WORDS: &'static str = "the key of a label";
    const PATTERN: &'static str = "^([a-z0-9.-]{1,253}/)?[A-Za-z0-9._-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (prefix, name) = text.split_once('/').unwrap_or(("none", text));
        ObjectName::parse(prefix)?;
        word(name, 63, label_character, "a label's key: [PREFIX/]NAME")?;
        Ok(Self(text.into()))
    }
}

impl Text for LabelValue {
    const WORDS: &'static str = "value of a label, up to 63 of `A-Za-z0-9._-`";
    const PATTERN: &'static str = "^[A-Za-z0-9._-]{0,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text {
            "" => Ok(Self("".into())),
            _ => word(text, 63, label_character, Self::WORDS).map(Self),
        }
    }
}

impl Text for MeshName {
    const WORDS: &'static str = "a name, 1 to 63 of `A-Za-z0-9._-`";
    const PATTERN: &'static str = "^[A-Za-z0-9._-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        word(text, 63, label_character, Self::WORDS).map(Self)
    }
}

impl Text for ControllerName {
    const WORDS: &'static str = "DOMAIN/PATH";
    const PATTERN: &'static str = "^[a-z0-9.-]{1,253}/[A-Za-z0-9/._~%!$&'()*+,;=:-]+$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let Some((domain, path)) = text.split_once('/') else {
            let complaint = Complaint::new(format!("{} has no path", quoted(text)));
            return Err(complaint.remedy("write DOMAIN/PATH"));
        };
        ObjectName::parse(domain)?;
        word(path, 253, |c| c.is_ascii_graphic(), Self::WORDS)?;
        Ok(Self(text.into()))
    }
}

impl Text for GatewayAddress {
    const WORDS: &'static str = "IP address or host name";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(address.to_string().into())),
            Err(_) => HostName::parse(text).map(|name| Self(name.0.as_str().into())),
        }
    }
}

impl Text for ServiceName {
    const WORDS: &'static str = "NAMESPACE/NAME";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (namespace, name) = text.split_once('/').ok_or_else(|| {
            Complaint::new(format!("{} has no namespace", quoted(text)))
                .remedy("write NAMESPACE/NAME")
        })?;
        Ok(Self {
            namespace: ObjectName::parse(namespace)?.0,
            name: ObjectName::parse(name)?.0,
        })
    }
}

impl Text for ListenAddress {
    const WORDS: &'static str = "IP address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let address = text.parse::<IpAddr>().map_err(|_| {
            Complaint::new(format!("{} is not an IP address", quoted(text))).remedy(format!(
                "write one without a port, such as \"{}\"",
                Ipv6Addr::UNSPECIFIED
            ))
        })?;
        match address.to_canonical() {
            address if address.is_multicast() => {
                Err(Complaint::new(format!("{address} is a multicast address")))
            }
            address => Ok(Self(address)),
        }
    }
}
