//! The texts of the federation file: names, addresses and identities.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::form::decode::Text;
use crate::config::form::problems::{Complaint, quoted};
use crate::server_name::ServerName;

/// The longest SPIFFE ID (SPIFFE standard "SPIFFE-ID", section 2.3).
const MAX_ID: usize = 2048;
const SCHEME: &str = "spiffe://";

/// The address of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayPlace {
    /// An address.
    Address(SocketAddr),
    /// A name that DNS knows, and a port.
    Name(ServerName, u16),
}

impl GatewayPlace {
    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Name(_, port) => *port,
        }
    }
}

impl fmt::Display for GatewayPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// The URL of a bundle endpoint. Only its parts are separated: a mistake in it is a finding and no problem of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleUrl {
    /// The URL as it is written.
    pub text: String,
    /// `https`.
    pub scheme: String,
    /// The host without brackets.
    pub host: String,
    /// The port; 443 if none is written.
    pub port: u16,
    /// The path, at least `/`.
    pub path: String,
}

impl BundleUrl {
    /// The server name in the hello; `None` for an address, for which SPIRE's client sends none.
    pub fn server_name(&self) -> Option<ServerName> {
        match self.host.parse::<IpAddr>() {
            Ok(_) => None,
            Err(_) => ServerName::parse(self.host.as_bytes()).ok(),
        }
    }
}

fn not(text: &str, what: &str) -> Complaint {
    Complaint::new(format!("{} is not {what}", quoted(text)))
}

#[derive(Debug)]
pub(super) struct TrustDomainName(pub(super) Arc<str>);

fn is_trust_domain(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    (1..=255).contains(&text.len()) && text.bytes().all(lower)
}

impl Text for TrustDomainName {
    const WORDS: &'static str = "trust domain, such as alpha.com";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match (is_trust_domain(text), text.strip_prefix(SCHEME)) {
            (true, _) => Ok(Self(text.into())),
            (_, Some(name)) => Err(not(text, "a trust domain").remedy(format!("write {name}"))),
            _ => Err(not(text, "a trust domain").remedy("it has a-z, 0-9, '-', '.' and '_'")),
        }
    }
}

#[derive(Debug)]
pub(super) struct GatewayText(pub(super) GatewayPlace);

impl Text for GatewayText {
    const WORDS: &'static str = "HOST:PORT or ip:port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(not(text, "an address to connect to").remedy("give it a port")),
                _ => Ok(Self(GatewayPlace::Address(address))),
            };
        }
        let parts = text.rsplit_once(':');
        let Some((host, port)) = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)))
        else {
            return Err(not(text, "HOST:PORT").remedy(format!("is it {text}:15443?")));
        };
        let name = ServerName::parse(host.as_bytes()).map_err(|error| {
            Complaint::new(format!("{} is not a host name: {error}", quoted(host)))
        })?;
        Ok(Self(GatewayPlace::Name(name, port)))
    }
}

#[derive(Debug)]
pub(super) struct UrlText(pub(super) BundleUrl);

impl Text for UrlText {
    const WORDS: &'static str = "URL, such as https://spire.bundles.beta.com:15443";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let wrong = || not(text, "a URL").remedy("write it as bundleEndpointURL has it");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (authority, if scheme == "http" { 80 } else { 443 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let known = host.parse::<IpAddr>().is_ok() || ServerName::parse(host.as_bytes()).is_ok();
        let plain = path.len() <= MAX_ID && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !known || !plain {
            return Err(wrong());
        }
        Ok(Self(BundleUrl {
            text: text.to_owned(),
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            port,
            path,
        }))
    }
}

#[derive(Debug)]
pub(super) struct IdText(pub(super) Arc<str>);

impl Text for IdText {
    const WORDS: &'static str = "SPIFFE ID, such as spiffe://beta.com/ns/apps/sa/svcb";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            let complaint = not(text, "a SPIFFE ID");
            return Err(match text.split_once('/') {
                Some((name, _)) if is_trust_domain(name) => {
                    complaint.remedy(format!("write {SCHEME}{text}"))
                }
                _ => complaint.remedy("it begins with spiffe://"),
            });
        };
        let name = rest.split('/').next().unwrap_or_default();
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        match is_trust_domain(name) && plain && text.len() <= MAX_ID {
            true => Ok(Self(text.into())),
            false => Err(not(text, "a SPIFFE ID").remedy("write spiffe://TRUST_DOMAIN/PATH")),
        }
    }
}

#[derive(Debug)]
pub(super) struct ServiceHost(pub(super) ServerName);

impl Text for ServiceHost {
    const WORDS: &'static str = "host name";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let name = ServerName::parse(text.as_bytes()).map_err(|error| {
            Complaint::new(format!("{} is not a host name: {error}", quoted(text)))
        })?;
        let complaint = not(text, "the host of a service");
        match name.istio_outbound(1, "") {
            Err(error) => Err(complaint.remedy(format!("write the ServiceEntry's host: {error}"))),
            Ok(_) if text.contains("_.") => {
                Err(complaint.remedy("write the ServiceEntry's host, without outbound_ and port"))
            }
            Ok(_) => Ok(Self(name)),
        }
    }
}

#[derive(Debug)]
pub(super) struct SubsetText(pub(super) Arc<str>);

impl Text for SubsetText {
    const WORDS: &'static str = "name of a subset";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match !text.is_empty() && text.len() <= 63 && text.bytes().all(plain) {
            true => Ok(Self(text.into())),
            false => Err(not(text, "the name of a subset").remedy("it has a-z, 0-9 and '-'")),
        }
    }
}

#[derive(Debug)]
pub(super) struct PathText(pub(super) Arc<str>);

impl Text for PathText {
    const WORDS: &'static str = "path, such as /healthz";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        match text.starts_with('/') && plain && text.len() <= MAX_ID {
            true => Ok(Self(text.into())),
            false => Err(not(text, "a path").remedy("it begins with '/' and has no spaces")),
        }
    }
}

#[derive(Debug)]
pub(super) struct MapText(pub(super) Arc<str>);

impl Text for MapText {
    const WORDS: &'static str = "NAMESPACE/NAME";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let plain = |part: &str| {
            let allowed =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
            (1..=253).contains(&part.len()) && part.bytes().all(allowed)
        };
        match text.split_once('/') {
            Some((namespace, name)) if plain(namespace) && plain(name) => Ok(Self(text.into())),
            _ => Err(not(text, "a ConfigMap").remedy("write NAMESPACE/NAME")),
        }
    }
}
