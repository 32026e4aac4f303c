//! Metric labels with a closed set of values, each an enum.

use crate::outcome::Outcome;

/// Declares an enum with the label of each variant.
macro_rules! labels {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident $label:literal,)* }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value of the metric label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}
pub(super) use labels;

labels! {
    /// The answers of a source.
    SourceResult {
        /// Endpoints.
        Success "success",
        /// No endpoint.
        Empty "empty",
        /// A failure.
        Failure "failure",
    }
}

labels! {
    /// The reasons why an address of an answer is not used.
    RefusedAddress {
        /// It is this host's own.
        Loopback "loopback",
        /// It is valid on one link only.
        LinkLocal "link_local",
        /// A cloud serves its instance metadata there.
        Metadata "metadata",
        /// It stands for every address.
        Unspecified "unspecified",
        /// It stands for a group.
        Multicast "multicast",
        /// This gateway listens there.
        OwnListener "own_listener",
        /// There are more than the upstream keeps.
        TooMany "too_many",
    }
}

labels! {
    /// The reasons for a pause of accepting: the resource that is used up.
    AcceptPause {
        /// The file descriptors of the process.
        ProcessFiles "process_files",
        /// The file descriptors of the host.
        HostFiles "host_files",
        /// The memory for sockets.
        Memory "memory",
        /// Something else: accept(2) fails each time, as a security module of the host may have it.
        Other "other",
    }
}

labels! {
    /// The logs that are written.
    LogName {
        /// One line for each connection, on stdout.
        Access "access",
        /// strait's own log, on stderr.
        Own "own",
        /// The lines of the access log, sent to a collector of OpenTelemetry.
        Otlp "otlp",
    }
}

labels! {
    /// The tasks and threads that are started again when they fail.
    TaskName {
        /// Asks DNS for the endpoints of an upstream.
        Dns "dns",
        /// Starts the Kubernetes source again.
        Kubernetes "kubernetes",
        /// Writes the statuses of Gateways and TLSRoutes.
        Statuses "statuses",
        /// Makes changes of config and discovery.
        Changes "changes",
        /// Checks the workers.
        Liveness "liveness",
        /// Notes the traffic of each minute.
        History "history",
        /// Checks the memory.
        Memory "memory",
        /// Serves the admin address.
        Admin "admin",
        /// Serves the status port.
        Status "status",
        /// Serves the metrics.
        Metrics "metrics",
        /// Checks endpoints.
        Checks "checks",
        /// Gives the listening sockets to a new process of strait.
        Takeover "takeover",
        /// Writes the access log.
        AccessLog "access_log",
        /// Writes strait's own log.
        OwnLog "own_log",
        /// Sends the access log to a collector of OpenTelemetry.
        Otlp "otlp",
    }
}

labels! {
    /// The reasons why a line of a log was not written.
    DroppedLine {
        /// The queue was full.
        QueueFull "queue_full",
        /// The write failed.
        WriteFailed "write_failed",
        /// There were too many lines of refused connections in a second.
        RateLimit "rate_limit",
    }
}

/// The result of an attempt to connect to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectResult {
    /// A connection.
    Connected,
    /// The outcome that a connection would have without another attempt.
    Failed(Outcome),
}

impl ConnectResult {
    /// All values.
    pub fn all() -> impl Iterator<Item = Self> {
        let failed = Outcome::ALL.iter().map(|outcome| Self::Failed(*outcome));
        failed.chain([Self::Connected])
    }

    /// The value of the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Failed(outcome) => outcome.label(),
        }
    }
}

labels! {
    /// The kinds of object of the Kubernetes API that are watched.
    Kind {
        /// A Service.
        Service "service",
        /// An EndpointSlice.
        Slice "endpoint_slice",
        /// A Pod.
        Pod "pod",
        /// A Namespace.
        Namespace "namespace",
        /// A Node.
        Node "node",
        /// A ServiceExport of the multi-cluster API.
        ServiceExport "service_export",
        /// A PeerAuthentication of Istio.
        PeerAuthentication "peer_authentication",
        /// A DestinationRule of Istio.
        DestinationRule "destination_rule",
        /// A ServiceEntry of Istio.
        ServiceEntry "service_entry",
        /// A WorkloadEntry of Istio.
        WorkloadEntry "workload_entry",
        /// Istio's ConfigMap with the settings of the mesh.
        MeshConfig "mesh_config",
        /// A GatewayClass.
        GatewayClass "gateway_class",
        /// A Gateway.
        Gateway "gateway",
        /// A TLSRoute.
        TlsRoute "tls_route",
        /// A ReferenceGrant.
        ReferenceGrant "reference_grant",
    }
}

labels! {
    /// The reason why objects of a kind could not be watched or read.
    WatchError {
        /// 401 or 403.
        Forbidden "forbidden",
        /// The API does not serve the kind.
        NotFound "not_found",
        /// The API has forgotten the version to continue from, so the kind is listed again.
        Gone "gone",
        /// The API asks the client to wait.
        TooManyRequests "too_many_requests",
        /// Any other failure that the API answers.
        Server "server_error",
        /// No answer, or an answer that was cut off.
        Connection "connection",
        /// No answer in time, or a watch on which nothing came.
        Timeout "timeout",
        /// An object, or an answer, that cannot be read.
        Malformed "malformed",
        /// More objects of a kind than strait keeps.
        TooMany "too_many",
    }
}

labels! {
    /// The reason why a valid listener of a Gateway is not served.
    LeftOutReason {
        /// Its namespace may not have Gateways.
        Namespace "namespace",
        /// No Gateway may have its port.
        Port "port",
        /// The file or another Gateway has its names.
        Conflict "conflict",
    }
}

labels! {
    /// The state of a DNS name that a ServiceEntry or WorkloadEntry has for an address.
    NameState {
        /// DNS is asked for it.
        Asked "asked",
        /// DNS is not asked for it, since there are too many.
        LeftOut "left_out",
    }
}
