//! The match of a route: server names, or their absence, and ALPN offers.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::server_name::{NameError, ServerName};

/// The hellos that a route matches, by their server name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteMatch {
    /// A service in both of Istio's spellings.
    Service {
        /// The service's host name.
        host: ServerName,
        /// The port of the Service, never a targetPort.
        port: u16,
        /// Subsets whose `outbound_` names match too.
        subsets: Vec<Arc<str>>,
        /// True if plain `host` matches too. Of several ports of a host, only one may have it.
        plain_host: bool,
    },
    /// One subset of a service's port, with other pods than the port.
    Subset {
        /// The service's host name.
        host: ServerName,
        /// The port of the Service, never a targetPort.
        port: u16,
        /// The DestinationRule's subset.
        subset: Arc<str>,
    },
    /// The names that a headless Service gives its pods at a port, in both of Istio's spellings. The first label of the
    /// host is the pod's.
    Pods {
        /// The host name without the pod's label.
        host: ServerName,
        /// The port of the Service, never a targetPort.
        port: u16,
        /// True if the plain names of the pods match too.
        plain_host: bool,
    },
    /// A literal name or a wildcard.
    Sni(SniPattern),
    /// Several patterns.
    AnyOf(Vec<SniPattern>),
    /// Hellos without a server name.
    NoSni,
}

impl RouteMatch {
    /// Every pattern of this match.
    ///
    /// # Errors
    /// An `outbound_` name that would be longer than a server name may be.
    pub fn patterns(&self) -> Result<Vec<SniPattern>, NameError> {
        let (host, port, subsets, plain_host) = match self {
            Self::Sni(pattern) => return Ok(vec![pattern.clone()]),
            Self::AnyOf(patterns) => return Ok(patterns.clone()),
            Self::NoSni => return Ok(vec![SniPattern::Absent]),
            Self::Subset { host, port, subset } => {
                let name = host.istio_outbound(*port, subset)?;
                return Ok(vec![SniPattern::Exact(name)]);
            }
            Self::Pods {
                host,
                port,
                plain_host,
            } => {
                let plain = plain_host.then(|| host.clone());
                let names = plain.into_iter().chain([host.istio_outbound(*port, "")?]);
                return Ok(names.map(SniPattern::OneBelow).collect());
            }
            Self::Service {
                host,
                port,
                subsets,
                plain_host,
            } => (host, port, subsets, plain_host),
        };
        let plain = plain_host.then(|| Ok(host.clone()));
        let subsets = subsets.iter().map(|subset| &**subset);
        let outbound = std::iter::once("")
            .chain(subsets)
            .map(|subset| host.istio_outbound(*port, subset));
        plain
            .into_iter()
            .chain(outbound)
            .map(|name| name.map(SniPattern::Exact))
            .collect()
    }
}

/// A server name, a set of them, or the absence of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SniPattern {
    /// This name.
    Exact(ServerName),
    /// One label before the host of this name: `*.x`, or `outbound_.80_._.*.x`.
    OneBelow(ServerName),
    /// Any number of labels, at least one, before this name: `*.x`.
    Below(ServerName),
    /// Any valid name: `*`.
    Any,
    /// No name at all: a hello without the server_name extension.
    Absent,
}

/// The ALPN protocols that Istio's sidecars offer and no other client does
/// (`docs/src/internals/istio.md#alpn-of-the-mesh`). They are the boundary that keeps a plain TLS
/// client from reaching a PERMISSIVE pod like a client in the mesh.
pub const ISTIO_ALPNS: [&str; 5] = [
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];

/// The ALPN offers that a person names. `istio` stands for all that a sidecar offers.
pub fn offers_in_words<T: AsRef<str>>(named: &[T]) -> Vec<String> {
    let expand = |one: &T| match one.as_ref() {
        "istio" => ISTIO_ALPNS.map(String::from).to_vec(),
        other => vec![other.to_owned()],
    };
    named.iter().flat_map(expand).collect()
}

impl fmt::Display for AlpnPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any ALPN, or none"),
            Self::OneOf(_) if *self == Self::istio() => f.write_str("an Istio ALPN"),
            Self::OneOf(protocols) => write!(f, "ALPN {}", protocols.join(", ")),
        }
    }
}

impl fmt::Display for SniPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::OneBelow(name) => {
                let name = name.as_name();
                let (before, host) = name.before_and_host();
                write!(f, "{before}*.{host}")
            }
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("*"),
            Self::Absent => f.write_str("no_sni"),
        }
    }
}

impl Serialize for SniPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The ALPN offers that a route accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlpnPolicy {
    /// Any offer, or none.
    Any,
    /// Clients must offer at least one of these. Thousands of discovered routes share the list.
    OneOf(Arc<[Arc<str>]>),
}

/// The offers that belong to two policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedOffers {
    /// The policies are the same.
    All,
    /// Both list this protocol.
    Protocol(Arc<str>),
}

impl AlpnPolicy {
    /// [`ISTIO_ALPNS`] as a policy.
    pub fn istio() -> Self {
        Self::OneOf(ISTIO_ALPNS.map(Arc::from).into())
    }

    /// Whether only Istio's sidecars pass.
    pub fn demands_istio(&self) -> bool {
        match self {
            Self::Any => false,
            Self::OneOf(protocols) => protocols.iter().all(|p| ISTIO_ALPNS.contains(&&**p)),
        }
    }

    /// The offers that both accept and that none of the two has by a better right: a list has its
    /// protocols, and [`AlpnPolicy::Any`] all others.
    pub fn shared_with(&self, other: &Self) -> Option<SharedOffers> {
        match (self, other) {
            (Self::Any, Self::Any) => Some(SharedOffers::All),
            (Self::OneOf(one), Self::OneOf(other)) if one == other => Some(SharedOffers::All),
            (Self::OneOf(one), Self::OneOf(other)) => {
                let shared = one.iter().find(|protocol| other.contains(protocol));
                shared.cloned().map(SharedOffers::Protocol)
            }
            (Self::Any, Self::OneOf(_)) | (Self::OneOf(_), Self::Any) => None,
        }
    }

    /// Whether a client that offers `protocols` may pass.
    pub fn admits<'a>(&self, mut protocols: impl Iterator<Item = &'a [u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(wanted) => {
                // A client may offer 30,000 protocols, a route may name 32: comparing lengths first
                // excludes nearly all.
                let mut lengths = [false; 256];
                for want in &**wanted {
                    if let Some(length) = lengths.get_mut(want.len()) {
                        *length = true;
                    }
                }
                protocols.any(|offer| {
                    lengths.get(offer.len()) == Some(&true)
                        && wanted.iter().any(|want| want.as_bytes() == offer)
                })
            }
        }
    }
}

/// The spelling of the file: `istio`, `any` or the list.
impl Serialize for AlpnPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            policy if *policy == Self::istio() => serializer.serialize_str("istio"),
            Self::OneOf(protocols) => serializer.collect_seq(protocols.iter()),
        }
    }
}
