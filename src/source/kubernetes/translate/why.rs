//! Why an upstream has no endpoints.

use std::collections::BTreeMap;
use std::fmt;

use super::mtls::Outside;

/// Why a pod gets no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missing {
    NotReady,
    Terminating,
    /// A slice names it, and the API has not told of it yet.
    Unknown,
    /// Pods cannot be watched, so nothing says that it is in the mesh.
    Unreadable,
    /// Its slice has no port of the Service port's name.
    NoPort,
    OtherSubset,
    Outside(Outside),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "not ready",
            Self::Terminating => "terminating",
            Self::Unknown => "not known yet",
            Self::Unreadable => "of which nothing is known (pods cannot be watched)",
            Self::NoPort => "without this port",
            Self::OtherSubset => "not of the subset",
            Self::Outside(Outside::NoSidecar) => {
                "outside the mesh (no label security.istio.io/tlsMode: istio)"
            }
            Self::Outside(Outside::PeerAuthentication) => {
                "without mutual TLS (a PeerAuthentication says DISABLE)"
            }
            Self::Outside(Outside::DestinationRule) => {
                "without Istio's mutual TLS (a DestinationRule's tls.mode)"
            }
        })
    }
}

/// How many pods get no connection for which reason.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<Missing, usize>);

impl Tally {
    pub(super) fn count(&mut self, missing: Missing) {
        *self.0.entry(missing).or_default() += 1;
    }
}

/// To follow "no endpoint: ".
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no pod is behind the Service");
        }
        for (position, (missing, count)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            let pods = if *count == 1 { "pod" } else { "pods" };
            write!(f, "{comma}{count} {pods} {missing}")?;
        }
        Ok(())
    }
}
