//! The section `kubernetes` of the file; see [`super`].

pub(crate) mod words;

use self::words::{
    ContextName, ControllerName, ExportWord, FilePath, GatewayAddress, LabelKey, LabelValue,
    ListenAddress, MeshName, ObjectName, ServiceName,
};
use super::addresses::SourceRef;
use super::common::{
    CheckFile, ClientHelloFile, ConnectFile, ConnectionLimitsFile, EjectionFile, EndDisallowedFile,
    ProxyProtocolFile, TcpFile, TimeoutsFile, UpstreamLimitsFile,
};
use super::hosts::HostName;
use crate::config::bounds::{Bytes, Ipv6Prefix};
use crate::config::checked::{
    AlpnPolicy, Balance, BelowFileRoutes, ISTIO_ROOT_NAMESPACE, MAX_OTHER_CLUSTERS, OptIn,
    PortRange, PortSelector, Refuse, StartTls,
};
use crate::config::form::containers::{AllOr, List, Named, OrOff};
use crate::config::form::decode::At;
use crate::config::form::section::section;
use crate::config::form::units::{DAY, GIB, HOUR, KIB, MINUTE, Millis, SECOND};
use crate::names::ListenerName;

section! {
    /// The Kubernetes API that strait watches. Routes and endpoints follow from its objects.
    KubernetesFile {
        /// The kubeconfig file for access to the API. Without the key, strait uses the service account
        /// of its pod.
        kubeconfig: Option<FilePath> = null,
        /// The context of the kubeconfig. Without the key, its current one. Only with `kubeconfig`.
        context: Option<At<ContextName>> = null,
        /// The domain of the cluster's services.
        cluster_domain: HostName = "cluster.local",
        /// istiod's name for this cluster (`global.multiCluster.clusterName` of its chart). Subsets use
        /// it as the label `topology.istio.io/cluster`. Without the key, a subset that selects by that
        /// label has no pod, and the reason names this key.
        cluster: Option<MeshName> = null,
        /// The network of this gateway: pods of another network get no connection. Without the key, the
        /// label `topology.istio.io/network` of Istio's namespace names it; without both, no pod is
        /// left out for its network. A pod's network is that of its own label, otherwise that of
        /// Istio's namespace, otherwise this one.
        network: Option<MeshName> = null,
        /// Other clusters of the mesh, whose pods in the network of this gateway are endpoints too: those
        /// of a Service that both clusters have, and of Services that only the other one has. The policies
        /// of this cluster hold for all of them. Needs `cluster` and `network`.
        clusters: At<List<OtherClusterFile, 0, MAX_OTHER_CLUSTERS>> = [],
        /// Istio's control plane in this cluster.
        istio: IstioFile = {},
        /// The policy for Services of this cluster that other clusters may reach without a route in the
        /// file.
        export: At<ExportFile> = {},
        /// The policy for Gateways and TLSRoutes of the Gateway API. `off` ignores them.
        gateway_api: OrOff<GatewayApiFile> = "off",
        /// The file with the state of the cluster, for a container that starts again in its pod while the
        /// API does not answer. `off` neither writes nor reads one.
        saved_state: OrOff<SavedStateFile> = "off",
        /// The policy for connecting to pods.
        connect: ConnectFile = {},
        /// The choice of a pod, as in `balance` of an upstream.
        balance: Balance = "least_connections",
        /// The time in which the share of a pod grows, as in `slow_start` of an upstream.
        slow_start: OrOff<Millis<SECOND, HOUR>> = "off",
        /// Active checks of the pods of every upstream, as in `check` of an upstream. `off` makes none. A
        /// check costs each pod a connection from each replica of the gateway.
        check: OrOff<CheckFile> = "off",
        /// The policy for ejecting a pod that fails.
        ejection: At<EjectionFile> = {},
        /// Limits on the connections to all pods of an upstream together: those behind one port of a
        /// Service, of a subset of it, or those that a headless Service names.
        limits: UpstreamLimitsFile = {},
        /// Limits on the connections to each pod of an upstream. A pod at its limit is passed over. A
        /// pod behind several ports counts for each by itself.
        limits_per_endpoint: UpstreamLimitsFile = {},
        /// Options of the sockets towards pods.
        tcp: TcpFile = {},
    }
}

section! {
    /// The file with the state of the cluster: what the API last said. strait writes it while the API
    /// answers, at most every 30 s. At its start strait reads it if the API does not answer within 5 s,
    /// and serves by it until the API has listed each kind of object. A file that is damaged, too old,
    /// of another version of strait or written under another section `kubernetes` is ignored.
    SavedStateFile {
        /// The path of the file. Only strait may be able to write to its folder, and the folder must last
        /// as long as the pod: an `emptyDir`.
        path: FilePath,
        /// The largest age of the file at the start, from the time when the API last confirmed its
        /// content. The age that strait may serve by a state without a restart has no limit.
        max_age: Millis<MINUTE, { 7 * DAY }> = "1h",
        /// The largest size of the file. A larger state is not written. The folder needs twice this size,
        /// since a new file is complete before it replaces the old one.
        max_size: Bytes<{ 64 * KIB }, GIB> = "64MiB",
    }
}

section! {
    /// Another cluster of the mesh.
    OtherClusterFile {
        /// istiod's name for the cluster. Subsets use it as the label `topology.istio.io/cluster`.
        name: At<MeshName>,
        /// The network of its pods that have no label `topology.istio.io/network`. Pods of another network
        /// than this gateway's get no connection.
        network: MeshName,
        /// The kubeconfig file for access to its API, as `istioctl create-remote-secret` writes it: with a
        /// token and certificates in it, and neither paths of other files nor a command to run. A file
        /// that changes is read again.
        kubeconfig: FilePath,
    }
}

section! {
    /// Istio's control plane in this cluster.
    IstioFile {
        /// The namespace of istiod and of Istio's gateways. A Service whose `exportTo` names it is
        /// visible to strait.
        namespace: ObjectName = ISTIO_ROOT_NAMESPACE,
        /// The ConfigMap in that namespace with the mesh's settings: `istio-REVISION` for a control
        /// plane with a revision. strait applies its `rootNamespace`, `defaultServiceExportTo`,
        /// `defaultDestinationRuleExportTo` and `discoverySelectors` as Istio's gateways do. Until it
        /// can be read, nothing is exported to clients with an Istio ALPN. With `off` strait does not
        /// read it, and Istio's defaults hold.
        config_map: OrOff<ObjectName> = "istio",
    }
}

section! {
    /// The export policy. A Service, or a ServiceEntry with `location: MESH_INTERNAL`, is exported if all of
    /// the selectors match and, where `opt_in` asks for it, its owner has agreed.
    ExportFile {
        /// `none` exports nothing, `selected` the Services that match the selectors below, `all` every
        /// Service of the cluster, as Istio's `*.local` does.
        mode: At<ExportWord> = "none",
        /// The names of the listeners that route exports. Without the key, every listener of the file
        /// does.
        listeners: Option<List<At<ListenerName>, 1, 64>> = null,
        /// The namespaces of exported Services. `[]` for any.
        namespaces: List<At<ObjectName>, 0, 1024> = [],
        /// Labels that the namespace of an exported Service must have.
        namespace_labels: At<Named<LabelKey, LabelValue>> = {},
        /// The names of exported Services, and the hosts of exported ServiceEntries. `[]` for any.
        names: List<At<ObjectName>, 0, 1024> = [],
        /// Labels that an exported Service or ServiceEntry must have.
        labels: At<Named<LabelKey, LabelValue>> = {},
        /// The exported ports of a Service, by number or name, never its targetPorts. `[]` for any.
        ports: List<At<PortSelector>, 0, 1024> = [],
        /// The owner's consent that a Service needs: `annotation` is `strait.dev/export: "true"` on the
        /// Service, `service_export` is a ServiceExport with its name.
        opt_in: At<OptIn> = "none",
        /// The clients that may pass, as in `alpn` of a route. With `istio`, pods outside Istio's mesh
        /// get no connection.
        alpn: AlpnPolicy = "istio",
        /// `true` routes everything as `mode: all` does, and logs and counts the connections that this
        /// policy would refuse.
        dry_run: bool = false,
    }
}

section! {
    /// The policy for Gateways and TLSRoutes of the Gateway API. A Gateway's listener with `protocol:
    /// TLS` and mode Passthrough becomes a listener of strait. If a listener of the file has its port,
    /// that listener takes its routes; otherwise strait opens a listener with the settings below.
    GatewayApiFile {
        /// The name of the GatewayClass whose Gateways strait serves. Any other GatewayClass with the same
        /// `controllerName` gets the condition Accepted=False with the reason Unsupported, unless
        /// another install of strait serves it.
        class: ObjectName = "strait",
        /// The `controllerName` that the GatewayClass must have.
        controller: ControllerName = "strait.dev/gateway-controller",
        /// The namespaces that may have Gateways. Without this key and `namespace_labels`, only the
        /// namespace that strait runs in (with a kubeconfig, that of its context). A namespace wins
        /// over those after it in the list: their Gateways get neither the same name nor one below it.
        /// With `all`, the namespace that strait runs in wins over all others; among those the older
        /// Gateway keeps a name, and the more specific listener has the names below a wider one.
        namespaces: Option<AllOr<List<At<ObjectName>, 1, 1024>>> = null,
        /// Labels that the namespace must have. Without `namespaces`, any namespace with these labels
        /// may have Gateways.
        namespace_labels: At<Named<LabelKey, LabelValue>> = {},
        /// The ports that Gateways may have, each a number or a range such as `8000-8010`. Without the
        /// key, those of the file's listeners. All Gateways together may have 64 ports: the first
        /// namespace up to all of them, each further namespace 16.
        ports: Option<List<At<PortRange>, 1, 64>> = null,
        /// The treatment of a name that a Gateway or a TLSRoute asks for and that lies below a name of
        /// the file's routes on the same port (`a.x` and `*.x` lie below `*`, `a.x` below `*.x`). With
        /// `refuse` the file's route keeps it, with `allow` the TLSRoute gets it. Exactly the same name
        /// stays with the file in both cases. Exported Services keep their names in both cases.
        below_file_routes: BelowFileRoutes = "refuse",
        /// The address on which listeners are opened. `::` accepts IPv4 too, and becomes `0.0.0.0`
        /// where IPv6 is off.
        address: ListenAddress = "::",
        /// The addresses that Gateways show in their status: IP addresses and host names by which
        /// clients reach this gateway.
        addresses: List<GatewayAddress, 0, 16> = [],
        /// The Service in front of this gateway, as NAMESPACE/NAME. Gateways show the addresses of its
        /// load balancer, or its `externalIPs`. Only without `addresses`.
        service: Option<At<ServiceName>> = null,
        /// Same as `listeners[].allow_sources`, for each listener that a Gateway opens.
        allow_sources: Option<List<At<SourceRef>, 1, 1024>> = null,
        /// Same as `listeners[].deny_sources`, for each listener that a Gateway opens.
        deny_sources: List<At<SourceRef>, 0, 1024> = [],
        /// Same as `listeners[].proxy_protocol`, for each listener that a Gateway opens.
        proxy_protocol: OrOff<ProxyProtocolFile> = "off",
        /// Same as `listeners[].client_hello`, for each listener that a Gateway opens.
        client_hello: ClientHelloFile = {},
        /// Same as `listeners[].starttls`, for each listener that a Gateway opens.
        starttls: OrOff<StartTls> = "off",
        /// Same as `listeners[].timeouts`, for each listener that a Gateway opens.
        timeouts: TimeoutsFile = {},
        /// Same as `listeners[].end_disallowed`, for each listener that a Gateway opens.
        end_disallowed: OrOff<EndDisallowedFile> = "off",
        /// Same as `listeners[].refuse`, for each listener that a Gateway opens, with another default:
        /// the Gateway API's conformance tests take a close for a refusal, and an alert for none. A
        /// Gateway whose port is that of a listener of the file has that listener's answer.
        refuse: Refuse = "close",
        /// Same as `listeners[].tcp`, for each listener that a Gateway opens.
        tcp: TcpFile = {},
        /// Same as `listeners[].limits`, for each listener that a Gateway opens.
        limits: ConnectionLimitsFile = {},
        /// Same as `listeners[].limits_per_source`, for each listener that a Gateway opens.
        limits_per_source: ConnectionLimitsFile = {},
        /// Same as `listeners[].ipv6_source_prefix`, for each listener that a Gateway opens.
        ipv6_source_prefix: Ipv6Prefix = 64,
    }
}
