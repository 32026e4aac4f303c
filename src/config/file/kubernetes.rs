//! What the file says of Kubernetes; see [`super`].

pub(crate) mod words;

use self::words::{
    ContextName, ControllerName, ExportWord, FilePath, GatewayAddress, LabelKey, LabelValue,
    ListenAddress, MeshName, ObjectName, ServiceName,
};
use super::addresses::SourceRef;
use super::common::{
    ClientHelloFile, ConnectFile, ConnectionLimitsFile, EjectionFile, ProxyProtocolFile, TcpFile,
    TimeoutsFile,
};
use super::hosts::HostName;
use crate::config::bounds::Ipv6Prefix;
use crate::config::checked::{
    AlpnPolicy, BelowFileRoutes, ISTIO_ROOT_NAMESPACE, OptIn, PortRange, PortSelector,
};
use crate::config::form::containers::{AllOr, List, Named, OrOff};
use crate::config::form::decode::At;
use crate::config::form::section::section;
use crate::names::ListenerName;

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
        namespace: ObjectName = ISTIO_ROOT_NAMESPACE,
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
        listeners: Option<List<At<ListenerName>, 1, 64>> = null,
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
        ipv6_source_prefix: Ipv6Prefix = 64,
    }
}
