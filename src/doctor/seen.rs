//! The observations of both sides, as data.

use std::net::SocketAddr;

use super::bundle::ServedBundle;
use super::certificate::{ShownChain, ShownName};
use super::objects::ClusterObjects;
use crate::admin::overview::{FailureRow, Trouble};

/// The result of connecting to a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GatewayReach {
    Connected,
    Refused,
    Timeout,
    /// Another error, in the kernel's words.
    Failed(String),
}

/// The answer to a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TlsAnswer {
    /// The hello was not sent.
    NotAsked,
    /// The connection was not made.
    Unreached(GatewayReach),
    /// A close without a byte.
    Closed,
    /// A reset without a byte.
    Reset,
    /// Not a byte in time.
    Silent,
    /// First bytes that are no record of TLS.
    NotTls(Vec<u8>),
    /// This alert.
    Alert(u8),
    /// TLS that did not come to the server's certificate, in words.
    Broken(String),
    /// The server's certificate.
    Shown(Box<ShownServer>),
}

impl TlsAnswer {
    pub(crate) fn shown(&self) -> Option<&ShownServer> {
        match self {
            Self::Shown(server) => Some(server),
            _ => None,
        }
    }
}

/// A server in its handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownServer {
    pub(crate) chain: ShownChain,
    /// The CAs that its CertificateRequest names; `None` if it asks for no certificate.
    pub(crate) trusts: Option<Vec<ShownName>>,
    /// The protocol that it chose.
    pub(crate) alpn: Option<String>,
}

/// The answer to a GET of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BundleAnswer {
    /// No handshake, no request.
    NotAsked,
    /// Nothing came behind the handshake in time.
    Silent,
    /// An answer that is no HTTP/1.1.
    NoHttp,
    /// More than a bundle may have.
    TooLarge,
    /// An HTTP status that is not 200.
    Status(u16, Option<ClockSeen>),
    /// The document, or the reason why it is no bundle.
    Served(Result<ServedBundle, String>, Option<ClockSeen>),
}

impl BundleAnswer {
    pub(crate) fn bundle(&self) -> Option<&ServedBundle> {
        match self {
            Self::Served(Ok(bundle), _) => Some(bundle),
            _ => None,
        }
    }

    pub(crate) fn clock(&self) -> Option<ClockSeen> {
        match self {
            Self::Status(_, clock) | Self::Served(_, clock) => *clock,
            _ => None,
        }
    }
}

/// The end of a call with the SVID of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallAnswer {
    /// There is no SVID, or the gateway is not reached.
    NotAsked,
    /// No certificate was shown.
    NoServer,
    /// The SVID was refused by this alert.
    Refused(u8),
    /// A close or a reset after the SVID was shown.
    Closed,
    /// The SVID was taken, and then nothing came in time.
    Silent,
    /// The SVID was taken. Nothing was asked.
    Taken,
    /// An HTTP answer, and whether it is that of a sidecar whose policy does not let the caller in.
    Answered { status: u16, denied: bool },
}

/// Two clocks at one moment, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockSeen {
    pub(crate) theirs: i64,
    pub(crate) ours: i64,
}

/// The view that a gateway has of itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GatewayView {
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) failures: Vec<FailureRow>,
}

/// The observations of one side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SideSeen {
    /// The gateway's addresses with what came of connecting, or the reason why its name has none.
    pub(crate) reach: Result<Vec<(SocketAddr, GatewayReach)>, String>,
    /// A hello for a name that surely has no route, as SPIRE would send it.
    pub(crate) control: TlsAnswer,
    /// The same as a sidecar would send it.
    pub(crate) mesh_control: TlsAnswer,
    /// The bundle endpoint.
    pub(crate) bundle: TlsAnswer,
    pub(crate) document: BundleAnswer,
    /// A hello of more than one packet, for the bundle endpoint or else the first service.
    pub(crate) large: TlsAnswer,
    /// In the order of the file.
    pub(crate) services: Vec<ServiceSeen>,
    /// The views of its gateways, each with its admin address, or the reason why it is not seen.
    pub(crate) views: Vec<(String, Result<GatewayView, String>)>,
    /// The objects of its cluster, or the reason why its API does not give them. `None` if it was not asked.
    pub(crate) objects: Option<Result<ClusterObjects, String>>,
}

impl SideSeen {
    /// Whether one of the gateway's addresses takes connections.
    pub(crate) fn is_reached(&self) -> bool {
        let connected = |(_, reach): &(_, GatewayReach)| *reach == GatewayReach::Connected;
        self.reach
            .as_ref()
            .is_ok_and(|all| all.iter().any(connected))
    }
}

/// The observations of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceSeen {
    /// A hello as a sidecar sends it.
    pub(crate) mesh: TlsAnswer,
    /// A hello without Istio's ALPN protocols.
    pub(crate) open: TlsAnswer,
    /// A call with the SVID of the other side's caller.
    pub(crate) call: CallAnswer,
}
