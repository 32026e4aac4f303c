//! The texts of the file: names, addresses and patterns, each parsed once into what it means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value as Json, json};

use super::decode::{Decode, Given, Scalar, Shape, Text, one_of, unexpected};
use super::problems::{Complaint, Problems, quoted};
use super::tree::Value;
use super::{AddressKind, AlpnPolicy, LogFormat, SniPattern};
use crate::server_name::ServerName;

/// Words that mean something as a metric label already.
const RESERVED: [&str; 2] = ["none", "other"];

/// The name of a listener or an upstream: a metric label.
#[derive(Debug, Clone)]
pub(super) struct Name(pub(super) Arc<str>);

/// The name of a route: as [`Name`], and what `HOST:PORT` or a wildcard pattern needs.
#[derive(Debug, Clone)]
pub(super) struct RouteName(pub(super) Arc<str>);

/// The name of a source group.
#[derive(Debug, Clone)]
pub(super) struct SourceName(pub(super) Arc<str>);

/// The name of a zone, as the label `topology.kubernetes.io/zone` holds it.
#[derive(Debug, Clone)]
pub(super) struct Zone(pub(super) Arc<str>);

/// A subset of a DestinationRule, in lower case as server names are.
#[derive(Debug, Clone)]
pub(super) struct Subset(pub(super) Arc<str>);

fn word(
    text: &str,
    max: usize,
    allowed: fn(char) -> bool,
    words: &str,
) -> Result<Arc<str>, Complaint> {
    let complaint = match text.chars().find(|c| !allowed(*c)) {
        Some(wrong) => format!("the name {} holds {wrong:?}", quoted(text)),
        None if text.is_empty() => "the name is empty".to_owned(),
        None if text.len() > max => format!("the name {} is too long", quoted(text)),
        None => return Ok(text.into()),
    };
    Err(Complaint::new(complaint).remedy(format!("give it {words}")))
}

/// Refuses the words that metrics use for "no route" and "no group".
pub(super) fn unreserved(name: Arc<str>) -> Result<Arc<str>, Complaint> {
    if RESERVED.contains(&&*name) {
        let complaint = format!("the name {name:?} is reserved: metrics use it as a label");
        return Err(Complaint::new(complaint).remedy("choose another name"));
    }
    Ok(name)
}

impl Text for Name {
    const WORDS: &'static str = "1 to 63 of A-Z a-z 0-9 . _ -";
    const PATTERN: &'static str = "^[A-Za-z0-9._-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        word(text, 63, allowed, Self::WORDS)
            .and_then(unreserved)
            .map(Self)
    }
}

impl Text for RouteName {
    const WORDS: &'static str = "1 to 259 of A-Z a-z 0-9 . _ - : *";
    const PATTERN: &'static str = "^[A-Za-z0-9._:*-]{1,259}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '*');
        word(text, 259, allowed, Self::WORDS)
            .and_then(unreserved)
            .map(Self)
    }
}

impl Text for SourceName {
    const WORDS: &'static str = "1 to 63 of a-z 0-9 _ -";
    const PATTERN: &'static str = "^[a-z0-9_-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        word(text, 63, allowed, Self::WORDS)
            .and_then(unreserved)
            .map(Self)
    }
}

impl Text for Zone {
    const WORDS: &'static str = "1 to 63 of A-Z a-z 0-9 . _ -";
    const PATTERN: &'static str = "^[A-Za-z0-9._-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        word(text, 63, allowed, Self::WORDS).map(Self)
    }
}

impl Text for Subset {
    const WORDS: &'static str = "1 to 63 of a-z 0-9 -, as istio demands of subsets";
    const PATTERN: &'static str = "^[A-Za-z0-9-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        word(text, 63, allowed, Self::WORDS).map(|word| Self(word.to_ascii_lowercase().into()))
    }
}

/// Any `ip:port`; port 0 lets the kernel choose one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bind(pub(super) SocketAddr);

/// An `ip:port` that can be connected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint(pub(super) SocketAddr);

fn socket_address(text: &str, example: &str) -> Result<SocketAddr, Complaint> {
    text.parse::<SocketAddr>().map_err(|_| {
        let complaint = Complaint::new(format!("{} is not ip:port", quoted(text)));
        match (text.parse::<IpAddr>(), text.strip_prefix(':')) {
            (Ok(IpAddr::V4(ip)), _) => complaint.remedy(format!("add the port: {ip}:PORT")),
            (Ok(IpAddr::V6(ip)), _) => complaint.remedy(format!("add the port: \"[{ip}]:PORT\"")),
            (_, Some(port)) => complaint.remedy(format!("for every address: \"[::]:{port}\"")),
            _ => complaint.remedy(format!("write an address such as {example:?}")),
        }
    })
}

/// `::ffff:1.2.3.4` as `1.2.3.4`, so that one address has one spelling.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

impl Text for Bind {
    const WORDS: &'static str = "ip:port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let address = canonical(socket_address(text, "[::]:15443")?);
        if address.ip().is_multicast() {
            return Err(Complaint::new(format!("{address} is a multicast address")));
        }
        Ok(Self(address))
    }
}

impl Text for Endpoint {
    const WORDS: &'static str = "ip:port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let address = socket_address(text, "10.1.0.7:8443").map_err(|complaint| {
            if HostPort::parse(text).is_ok() {
                Complaint::new(format!("{} is a host name, not ip:port", quoted(text))).remedy(
                    format!("in an upstream, write `dns: {text:?}` for `endpoints`"),
                )
            } else {
                complaint
            }
        })?;
        let address = canonical(address);
        let ip = address.ip();
        let wrong = match () {
            () if address.port() == 0 => "has port 0, to which nothing can connect",
            () if ip.is_unspecified() => "has the address that stands for every address",
            () if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) => {
                "is a multicast or broadcast address"
            }
            () => return Ok(Self(address)),
        };
        Err(Complaint::new(format!("{address} {wrong}"))
            .remedy("give it the ip:port of one server"))
    }
}

/// A network; the address part holds no bit outside its prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cidr(pub(super) IpNet);

impl Text for Cidr {
    const WORDS: &'static str = "CIDR";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            let net = IpNet::from(ip.to_canonical());
            return Err(
                Complaint::new(format!("{text:?} is an address, not a CIDR"))
                    .remedy(format!("for this address alone write {net}")),
            );
        }
        let net: IpNet = text.parse().map_err(|_| {
            Complaint::new(format!("{} is not a CIDR", quoted(text)))
                .remedy("write a network such as 10.0.0.0/8 or fd00::/8")
        })?;
        if let Some(v4) = mapped_v4(net) {
            return Err(
                Complaint::new(format!("{net} is an IPv4 network in an IPv6 spelling"))
                    .remedy(format!("write {v4}")),
            );
        }
        if net.trunc() != net {
            return Err(
                Complaint::new(format!("{net} has bits set beyond its prefix"))
                    .remedy(format!("write the network {}", net.trunc())),
            );
        }
        Ok(Self(net))
    }
}

/// Source addresses are compared in their canonical form, so a network of v4-mapped addresses would
/// silently match nothing.
fn mapped_v4(net: IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(net) = net else {
        return None;
    };
    let v4 = net.addr().to_ipv4_mapped()?;
    let prefix = net.prefix_len().checked_sub(96)?;
    Ipv4Net::new(v4, prefix).ok().map(|net| net.trunc())
}

/// What `allow_sources` and `deny_sources` hold: a network, or the name of a source group.
#[derive(Debug, Clone)]
pub(super) enum SourceRef {
    Cidr(IpNet),
    Group(Arc<str>),
}

impl Text for SourceRef {
    const WORDS: &'static str = "CIDR, or name of a source group";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.contains(['/', ':']) || text.parse::<IpAddr>().is_ok() {
            return Cidr::parse(text).map(|cidr| Self::Cidr(cidr.0));
        }
        SourceName::parse(text).map(|name| Self::Group(name.0))
    }
}

fn server_name(text: &str) -> Result<ServerName, Complaint> {
    ServerName::parse(text.as_bytes())
        .map_err(|error| Complaint::new(format!("{} is not a host name: {error}", quoted(text))))
}

/// Cuts at the last `:`; the port is 1..=65535.
fn host_port(text: &str, whose_port: &str) -> Result<(ServerName, u16), Complaint> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| {
        Complaint::new(format!("{} has no port", quoted(text)))
            .remedy(format!("write HOST:PORT; PORT is {whose_port}"))
    })?;
    let port = match port.parse::<u16>() {
        Ok(port) if port > 0 => port,
        _ => {
            let complaint = format!("{} is not a port", quoted(port));
            return Err(Complaint::new(complaint).remedy("give it 1 to 65535"));
        }
    };
    Ok((server_name(host)?, port))
}

/// `HOST:PORT` of a service in Istio's sense.
#[derive(Debug, Clone)]
pub(super) struct ServiceRef {
    pub(super) host: ServerName,
    pub(super) port: u16,
}

impl Text for ServiceRef {
    const WORDS: &'static str = "HOST:PORT; PORT is the Service's port, not its targetPort";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.starts_with('*') {
            return Err(Complaint::new(format!("{} is not a service", quoted(text)))
                .remedy("a wildcard is a route by `sni`"));
        }
        let (host, port) = host_port(text, "the Service's port, not its targetPort")?;
        // Istio's parser refuses such a host, so no client can ask for it.
        if host.as_str().contains("_.") {
            return Err(
                Complaint::new(format!("{} is not the name of a service", quoted(text)))
                    .remedy("to match an `outbound_` name literally, use `sni`"),
            );
        }
        Ok(Self { host, port })
    }
}

/// A literal name, `*.NAME` or `*`.
#[derive(Debug, Clone)]
pub(super) struct Sni(pub(super) SniPattern);

impl Text for Sni {
    const WORDS: &'static str = "server name, `*.NAME` or `*`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let pattern = match (text, text.strip_prefix("*.")) {
            ("*", _) => SniPattern::Any,
            (_, Some(name)) if !name.contains('*') => SniPattern::Below(server_name(name)?),
            _ if text.contains('*') => {
                return Err(
                    Complaint::new(format!("{} has a misplaced wildcard", quoted(text))).remedy(
                        "a wildcard is `*` alone or a leading `*.`, for any number of labels",
                    ),
                );
            }
            _ if text.contains(':') && host_port(text, "").is_ok() => {
                return Err(
                    Complaint::new(format!("{} holds a port", quoted(text))).remedy(
                        "a server name has none; for a Service's host and port, use `service`",
                    ),
                );
            }
            _ => SniPattern::Exact(server_name(text)?),
        };
        Ok(Self(pattern))
    }
}

/// `HOST:PORT` to resolve and connect to.
#[derive(Debug, Clone)]
pub(super) struct HostPort {
    pub(super) host: ServerName,
    pub(super) port: u16,
}

impl Text for HostPort {
    const WORDS: &'static str = "HOST:PORT";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.parse::<SocketAddr>().is_ok() {
            return Err(
                Complaint::new(format!("{text:?} is an address, not a name")).remedy(format!(
                    "in an upstream, write `endpoints: [{text:?}]` for `dns`"
                )),
            );
        }
        if text.starts_with('_') && !text.contains(':') {
            return Err(Complaint::new(format!("{} has no port", quoted(text)))
                .remedy(format!("for SRV records write `dns: {{ srv: {text:?} }}`")));
        }
        let (host, port) = host_port(text, "the port to connect to")?;
        Ok(Self { host, port })
    }
}

/// A name with SRV records.
#[derive(Debug, Clone)]
pub(super) struct SrvName(pub(super) ServerName);

impl Text for SrvName {
    const WORDS: &'static str = "name of SRV records, such as _https._tcp.NAME";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.contains(':') {
            return Err(Complaint::new(format!("{} holds a port", quoted(text)))
                .remedy("SRV records bring their ports: write the name alone"));
        }
        server_name(text).map(Self)
    }
}

/// A filter in tracing's syntax, of levels and `target=level`.
#[derive(Debug, Clone)]
pub(super) struct LogFilter(pub(super) Arc<str>);

const LEVELS: [(&str, ()); 6] = [
    ("off", ()),
    ("error", ()),
    ("warn", ()),
    ("info", ()),
    ("debug", ()),
    ("trace", ()),
];

impl Text for LogFilter {
    const WORDS: &'static str =
        "off, error, warn, info, debug or trace; also TARGET=LEVEL, by commas";

    /// Stricter than tracing, for which a mistyped level is a target of which all is logged.
    fn parse(text: &str) -> Result<Self, Complaint> {
        for directive in text.split(',') {
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (Some(target), level),
                None => (None, directive),
            };
            one_of(level, &LEVELS)?;
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_');
            if target.is_some_and(|target| target.is_empty() || !target.chars().all(allowed)) {
                return Err(
                    Complaint::new(format!("{} names no target", quoted(directive)))
                        .remedy("write TARGET=LEVEL, such as strait::proxy=debug"),
                );
            }
        }
        Ok(Self(text.into()))
    }
}

impl Scalar for LogFormat {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let words = [("json", Self::Json), ("text", Self::Text)];
        match value {
            Value::Text(text) => one_of(text, &words),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        "`json` or `text`".to_owned()
    }

    fn schema() -> Json {
        json!({ "enum": ["json", "text"] })
    }
}

const ADDRESS_KINDS: [(&str, AddressKind); 6] = [
    ("loopback", AddressKind::Loopback),
    ("link_local", AddressKind::LinkLocal),
    ("metadata", AddressKind::Metadata),
    ("unspecified", AddressKind::Unspecified),
    ("multicast", AddressKind::Multicast),
    ("own_listener", AddressKind::OwnListener),
];

impl Scalar for AddressKind {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        match value {
            Value::Text(text) => one_of(text, &ADDRESS_KINDS),
            _ => Err(unexpected(Self::words(), value)),
        }
    }

    fn words() -> String {
        ADDRESS_KINDS
            .map(|(word, _)| format!("`{word}`"))
            .join(", ")
    }

    fn schema() -> Json {
        json!({ "enum": ADDRESS_KINDS.map(|(word, _)| word) })
    }
}

/// An ALPN protocol: 1 to 255 visible ASCII characters.
struct Protocol(Arc<str>);

impl Text for Protocol {
    const WORDS: &'static str = "1 to 255 visible ASCII characters";

    fn parse(text: &str) -> Result<Self, Complaint> {
        word(text, 255, |c| c.is_ascii_graphic(), Self::WORDS).map(Self)
    }
}

/// At most as many protocols as a route may name.
const MAX_PROTOCOLS: usize = 32;

impl Decode for AlpnPolicy {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        match alpn(given.value) {
            Ok(policy) => Some(policy),
            Err(complaint) => {
                problems.note(&given.place, complaint);
                None
            }
        }
    }

    fn shape() -> Shape {
        Shape {
            words: "`istio`, `any`, or list of protocols".to_owned(),
            schema: json!({ "anyOf": [
                { "enum": ["istio", "any"] },
                {
                    "type": "array",
                    "items": { "type": "string", "minLength": 1, "maxLength": 255 },
                    "minItems": 1,
                    "maxItems": MAX_PROTOCOLS,
                    "uniqueItems": true,
                },
            ]}),
            section: None,
        }
    }

    fn when_missing() -> Complaint {
        Complaint::new("must be said: it is a security boundary").remedy(
            "write istio (only clients with Istio's mutual TLS), any, or a list of protocols",
        )
    }
}

fn alpn(value: &Value) -> Result<AlpnPolicy, Complaint> {
    let nodes = match value {
        Value::Text(text) if text == "istio" => return Ok(AlpnPolicy::istio()),
        Value::Text(text) if text == "any" => return Ok(AlpnPolicy::Any),
        Value::Text(text) => {
            let complaint = Complaint::new(format!("unknown value {}", quoted(text)));
            return Err(complaint.remedy(format!(
                "write istio, any, or a list of protocols: [{text:?}]"
            )));
        }
        Value::List(nodes) => nodes,
        _ => return Err(unexpected("istio, any or a list of protocols", value)),
    };
    if nodes.is_empty() || nodes.len() > MAX_PROTOCOLS {
        let complaint = format!("the list has {} protocols", nodes.len());
        let remedy = format!("name 1 to {MAX_PROTOCOLS}, or write any");
        return Err(Complaint::new(complaint).remedy(remedy));
    }
    let mut protocols: Vec<Arc<str>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let protocol = Protocol::from_value(&node.value)?.0;
        if &*protocol == "any" {
            return Err(Complaint::new("`any` in a list is a protocol of that name")
                .remedy("write `alpn: any` to admit every client"));
        }
        if protocols.contains(&protocol) {
            return Err(Complaint::new(format!("{protocol:?} is listed twice")));
        }
        protocols.push(protocol);
    }
    Ok(AlpnPolicy::OneOf(protocols))
}

/// The one spelling under which two binds that would collide are equal: `[::]` is dual stack, so it
/// is `0.0.0.0` too.
pub(super) fn collision_key(bind: SocketAddr) -> SocketAddr {
    if bind.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), bind.port())
    } else {
        bind
    }
}
