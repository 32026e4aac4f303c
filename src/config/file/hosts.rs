//! Host names of the file: names that routes match, and names to resolve.

use std::net::SocketAddr;

use crate::config::checked::SniPattern;
use crate::config::form::decode::Text;
use crate::config::form::problems::{Complaint, quoted};
use crate::server_name::{IstioName, Name, ServerName};

fn server_name(text: &str) -> Result<ServerName, Complaint> {
    ServerName::parse(text.as_bytes())
        .map_err(|error| Complaint::new(format!("{} is not a host name: {error}", quoted(text))))
}

/// Splits at the last `:`. The port is 1..=65535.
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

/// A host name without a port.
#[derive(Debug, Clone)]
pub(crate) struct HostName(pub(crate) ServerName);

impl Text for HostName {
    const WORDS: &'static str = "host name";

    fn parse(text: &str) -> Result<Self, Complaint> {
        server_name(text).map(Self)
    }
}

/// `HOST:PORT` of a service in Istio's sense.
#[derive(Debug, Clone)]
pub(crate) struct ServiceRef {
    pub(crate) host: ServerName,
    pub(crate) port: u16,
}

impl Text for ServiceRef {
    const WORDS: &'static str = "HOST:PORT; PORT is the Service's port, not its targetPort";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.starts_with('*') {
            return Err(Complaint::new(format!("{} is not a service", quoted(text)))
                .remedy("a wildcard is a route by `sni`"));
        }
        let name = text.rsplit_once(':').map_or(text, |(host, _)| host);
        // Istio's parser refuses such a host, so no client can ask for it.
        if name.contains("_.") {
            let complaint = format!("{} is not the name of a service", quoted(text));
            return Err(Complaint::new(complaint).remedy(service_of(name)));
        }
        let (host, port) = host_port(text, "the Service's port, not its targetPort")?;
        Ok(Self { host, port })
    }
}

/// The way to write the service of a name that a sidecar sends.
fn service_of(name: &str) -> String {
    let literally = "to match an `outbound_` name literally, use `sni`";
    let name = Name::parse(name.as_bytes());
    match name.as_ref().ok().and_then(Name::istio) {
        None => literally.to_owned(),
        Some(IstioName {
            host,
            port,
            subset: "",
            ..
        }) => {
            format!("write {host}:{port}; {literally}")
        }
        Some(IstioName {
            host, port, subset, ..
        }) => {
            format!("write {host}:{port} and `subsets: [{subset}]`; {literally}")
        }
    }
}

/// A literal name, `*.NAME` or `*`.
#[derive(Debug, Clone)]
pub(crate) struct Sni(pub(crate) SniPattern);

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
pub(crate) struct HostPort {
    pub(crate) host: ServerName,
    pub(crate) port: u16,
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
pub(crate) struct SrvName(pub(crate) ServerName);

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
