//! The evidence behind a verdict, in words that say what to look at.

use std::borrow::Cow;
use std::fmt;

use super::names::alert_name;
use super::side::{FirstBytes, Side};

/// The evidence behind a verdict. Its text says what to look at, and on which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The first bytes of the upstream are no TLS.
    NotTls(FirstBytes),
    /// The upstream answered nothing to the hello before the downstream went.
    Silent,
    /// A side sent an alert in the clear during the handshake.
    Alert(Side, u8),
    /// The downstream ended the handshake with an encrypted alert.
    RefusedUpstream,
    /// The upstream answered the downstream's certificate with an encrypted alert.
    RefusedDownstream {
        /// The downstream's Certificate message was empty.
        none_sent: bool,
    },
    /// The side closed in the middle of the handshake, without an alert.
    LeftHandshake(Side),
    /// The side reset in the middle of the handshake.
    ResetHandshake(Side),
    /// The upstream closed an established session before it answered anything.
    NoAnswer,
}

impl Evidence {
    /// The text. Nothing is allocated unless it has something of the connection's in it, since many connections may
    /// fail for one reason.
    pub fn text(self) -> Cow<'static, str> {
        match self {
            Self::NotTls(_) | Self::Alert(..) => Cow::Owned(self.to_string()),
            fixed => Cow::Borrowed(fixed.fixed_text()),
        }
    }

    /// The text, if it is always the same; empty if not.
    const fn fixed_text(self) -> &'static str {
        match self {
            Self::NotTls(_) | Self::Alert(..) => "",
            Self::Silent => {
                "the endpoint accepted the connection and sent no byte before the downstream left: is its \
                 process stuck, or the port another protocol's?"
            }
            Self::RefusedUpstream => {
                "the downstream refused the upstream's certificate in the TLS handshake: it lacks the bundle \
                 of the upstream's trust domain, expects another SPIFFE ID, or the upstream's SVID has expired"
            }
            Self::RefusedDownstream { none_sent: true } => {
                "the upstream refused the downstream, which sent no certificate: the downstream has no SVID, \
                 or its TLS settings lack mutual TLS"
            }
            Self::RefusedDownstream { none_sent: false } => {
                "the upstream refused the downstream's certificate in the TLS handshake: it lacks the bundle \
                 of the downstream's trust domain, caCertificates do not name that domain, or the downstream's \
                 SVID has expired"
            }
            Self::LeftHandshake(Side::Downstream) => {
                "the downstream closed in the middle of the TLS handshake, without an alert: see its own log"
            }
            Self::LeftHandshake(Side::Upstream) => {
                "the upstream closed in the middle of the TLS handshake, without an alert: see its own log"
            }
            Self::ResetHandshake(Side::Downstream) => {
                "the downstream reset in the middle of the TLS handshake: see its own log"
            }
            Self::ResetHandshake(Side::Upstream) => {
                "the upstream reset in the middle of the TLS handshake: see its own log"
            }
            Self::NoAnswer => {
                "the upstream closed the TLS session without an answer to what the downstream sent: a policy of \
                 the pod (RBAC) refused the caller, or its application closed"
            }
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls(first) => {
                let first = first.as_slice().escape_ascii();
                write!(
                    f,
                    "the endpoint answered the ClientHello with \"{first}\", which is no TLS: its sidecar is \
                     missing, or the route's port is the application's"
                )
            }
            Self::Alert(by, code) => {
                let name = alert_name(*code).unwrap_or("unknown");
                write!(
                    f,
                    "the {by} sent the alert {name} ({code}) in the TLS handshake"
                )?;
                match alert_advice(*by, *code) {
                    Some(advice) => write!(f, ": {advice}"),
                    None => Ok(()),
                }
            }
            fixed => f.write_str(fixed.fixed_text()),
        }
    }
}

/// The advice for an alert that `by` sent.
fn alert_advice(by: Side, code: u8) -> Option<&'static str> {
    Some(match (by, code) {
        (Side::Upstream, 40 | 47 | 71) => {
            "the two share no cipher, group or signature algorithm; compare their TLS settings"
        }
        (_, 70) => "the two share no TLS version; compare their TLS settings",
        (Side::Downstream, 42..=46) => {
            "it does not accept the upstream's certificate: expired, of another SPIFFE ID, or no bundle"
        }
        (Side::Upstream, 42..=46) => {
            "it does not accept the downstream's certificate: expired, of another SPIFFE ID, or no bundle"
        }
        (Side::Downstream, 48) => "it lacks the bundle of the upstream's trust domain",
        (Side::Upstream, 48) => "it lacks the bundle of the downstream's trust domain",
        (Side::Upstream, 116) => "the downstream sent no certificate",
        (Side::Upstream, 112) => "it serves no such name",
        (_, 120) => "the two share no ALPN protocol",
        _ => return None,
    })
}

impl Evidence {
    /// Whether it says that a side did not accept the other's certificate.
    pub fn blames_a_certificate(&self) -> bool {
        match self {
            Self::RefusedUpstream | Self::RefusedDownstream { .. } => true,
            Self::Alert(_, code) => matches!(code, 42..=46 | 48 | 116),
            _ => false,
        }
    }
}
