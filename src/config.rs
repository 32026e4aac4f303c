//! The config file: from its bytes to the config that the program runs on.
//!
//! [`Config::load`] turns the file into a [`Config`] or into a list of problems, each with its line,
//! its key and a remedy.
//!
//! ```text
//! bytes -> form::tree (YAML, with lines) -> form::decode -> file (keys, types, defaults)
//!                                                            |-> reference (JSON Schema, reference)
//!                                                            `-> resolve -> checked::Config
//! ```
//!
//! | part | content |
//! |---|---|
//! | `form` | the engine: YAML, decoding, sections, units, problems. It knows no key of the file |
//! | `checked` | the result: what the program runs on |
//! | `file` | the declarations: every key with its type, default and meaning |
//! | `resolve` | the judge: checks that need more than one value, and the way from `file` to `checked` |

mod bounds;
mod cases;
mod changes;
mod checked;
mod file;
pub(crate) mod form;
mod load;
pub mod reference;
mod removed;
mod renamed;
mod resolve;
mod restart;
#[cfg(test)]
pub(crate) mod samples;
mod source_file;

pub use bounds::{
    Attempts, Bytes, ConnectionRate, Connections, Count, HelloSize, Ipv6Prefix, KeepaliveInterval,
    KeepaliveTime, SampleShare, Seconds, Weight,
};
pub use cases::{Expected, RouteCase, parse_cases};
pub(crate) use checked::contains;
pub use checked::{
    AccessLogConfig, AddressKind, AddressPart, AlpnPolicy, Balance, BelowFileRoutes, CheckHello,
    CheckPolicy, Config, ConnectPolicy, ConnectionLimits, DnsConfig, DnsQuery, DrainConfig,
    ENVOY_OPERATORS, EjectionPolicy, EndDisallowed, EndQuiet, EndpointOrigin, EndpointSpec,
    EnvoyOperator, ExportMode, ExportPolicy, Exporter, Exports, FileNames, FileRoute, Fingerprint,
    GatewayAddresses, GatewayApiConfig, GatewayNamespaces, HelloLimits, ISTIO_ALPNS,
    ISTIO_ROOT_NAMESPACE, IstioConfig, IstioMetrics, KeptHellosConfig, Kubeconfig,
    KubernetesConfig, LINE_FIELDS, Limits, LineAddress, LineField, LineFormat, LinePattern,
    LinePatternError, LineTime, LineValue, ListenerConfig, LogConfig, LogFilter, LogFilterError,
    LogFormat, MAX_OTHER_CLUSTERS, OTHER_SOURCES, ObjectRef, OptIn, Origin, OriginKind,
    OtherClusterConfig, OtlpConfig, OtlpEndpoint, PatternPart, PodChoice, PortRange, PortSelector,
    ProxyVersion, Refuse, RelayTimeouts, ResolverConfig, RouteConfig, RouteList, RouteMatch,
    RouteTimeouts, SavedStateConfig, ServicePort, ServiceSelector, SharedOffers, SniPattern,
    SourceGroup, SourceGroupId, SourceGroups, SourceLimits, SourcePolicy, StartTls, TargetConfig,
    TargetConfigs, TcpOptions, TimePart, UpstreamConfig, UpstreamLimits, UpstreamSource,
    UpstreamTimeouts, offers_in_words,
};
pub use form::problems::{ConfigError, Problem};
#[cfg(feature = "doctor")]
pub(crate) use load::decode_file;
pub use load::{Loaded, MAX_FILE};
pub(crate) use load::{PIPE, is_standard_input};
pub use resolve::Machine;
pub use source_file::ConfigSource;
