//! Names and words of the sections about Kubernetes.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::config::checked::{BelowFileRoutes, OptIn, PortRange, PortSelector};
use crate::config::file::hosts::HostName;
use crate::config::file::words::{is_in, name, word};
use crate::config::form::decode::{Scalar, Text, unexpected, words};
use crate::config::form::problems::{Complaint, quoted};
use crate::config::form::tree::Value;

/// The choice of exported services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportWord {
    None,
    Selected,
    All,
}

/// A path of a file.
#[derive(Debug, Clone)]
pub(crate) struct FilePath(pub(crate) Box<str>);

/// The name of a context in a kubeconfig.
#[derive(Debug, Clone)]
pub(crate) struct ContextName(pub(crate) Arc<str>);

/// `metadata.name` of an object.
#[derive(Debug, Clone)]
pub(crate) struct ObjectName(pub(crate) Arc<str>);

impl From<Arc<str>> for ObjectName {
    fn from(name: Arc<str>) -> Self {
        Self(name)
    }
}

name! { ObjectName: up to 253 of "a-z0-9.-" }

/// The key of a label, with its prefix if it has one.
#[derive(Debug, Clone)]
pub(crate) struct LabelKey(pub(crate) Arc<str>);

/// Istio's name for a cluster or a network: the value of a label, not empty.
#[derive(Debug, Clone)]
pub(crate) struct MeshName(pub(crate) Arc<str>);

impl From<Arc<str>> for MeshName {
    fn from(name: Arc<str>) -> Self {
        Self(name)
    }
}

name! { MeshName: up to 63 of "A-Za-z0-9._-" }

/// The value of a label; may be empty.
#[derive(Debug, Clone)]
pub(crate) struct LabelValue(pub(crate) Arc<str>);

/// `DOMAIN/PATH` of a controller.
#[derive(Debug, Clone)]
pub(crate) struct ControllerName(pub(crate) Arc<str>);

/// An IP address or a host name.
#[derive(Debug, Clone)]
pub(crate) struct GatewayAddress(pub(crate) Arc<str>);

/// `NAMESPACE/NAME`.
#[derive(Debug, Clone)]
pub(crate) struct ServiceName {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// An IP address of this host, or the wildcard address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListenAddress(pub(crate) IpAddr);

words! {
    ExportWord {
        "none" => None,
        "selected" => Selected,
        "all" => All,
    }
}

words! {
    OptIn {
        "none" => None,
        "annotation" => Annotation,
        "service_export" => ServiceExport,
    }
}

words! {
    BelowFileRoutes {
        "refuse" => Refuse,
        "allow" => Allow,
    }
}

impl Scalar for PortRange {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let range = match value {
            Value::Int(number) => u16::try_from(*number).ok().map(Self::from),
            Value::Text(text) => text.split_once('-').and_then(|(first, last)| {
                let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
                Some(Self { first, last })
            }),
            _ => return Err(unexpected(Self::words(), value)),
        };
        match range {
            Some(range) if range.first > 0 && range.first <= range.last => Ok(range),
            _ => Err(
                Complaint::new(format!("{value} is neither a port nor a range of ports"))
                    .remedy("give it 1 to 65535, or FIRST-LAST"),
            ),
        }
    }

    fn words() -> String {
        "port, or range FIRST-LAST".to_owned()
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": r"^\s*[0-9]{1,5}\s*-\s*[0-9]{1,5}\s*$" },
        ] })
    }
}

impl Scalar for PortSelector {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let number = match value {
            Value::Int(number) => u16::try_from(*number).ok(),
            Value::Text(text) => {
                let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                return word(text, 63, allowed, "a port's name, 1 to 63 of `a-z0-9-`")
                    .map(Self::Name);
            }
            _ => return Err(unexpected(Self::words(), value)),
        };
        match number {
            Some(number) if number > 0 => Ok(Self::Number(number)),
            _ => Err(Complaint::new(format!("{value} is not a port"))
                .remedy("give it 1 to 65535, or the port's name")),
        }
    }

    fn words() -> String {
        "port number or name".to_owned()
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": "^[a-z0-9-]{1,63}$" },
        ] })
    }
}

impl Text for FilePath {
    const WORDS: &'static str = "path of a file";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text {
            "" => Err(Complaint::new("the path is empty").remedy("leave the key out")),
            _ => Ok(Self(text.into())),
        }
    }
}

impl Text for ContextName {
    const WORDS: &'static str = "name of a context";

    fn parse(text: &str) -> Result<Self, Complaint> {
        word(text, 253, |c| !c.is_control(), Self::WORDS).map(Self)
    }
}

/// Whether a label may contain the character.
fn label_character(c: char) -> bool {
    is_in("A-Za-z0-9._-", c)
}

impl Text for LabelKey {
    const WORDS: &'static str = "the key of a label";
    const PATTERN: &'static str = "^([a-z0-9.-]{1,253}/)?[A-Za-z0-9._-]{1,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (prefix, name) = text.split_once('/').unwrap_or(("none", text));
        ObjectName::parse(prefix)?;
        word(name, 63, label_character, "a label's key: [PREFIX/]NAME")?;
        Ok(Self(text.into()))
    }
}

impl Text for LabelValue {
    const WORDS: &'static str = "value of a label, up to 63 of `A-Za-z0-9._-`";
    const PATTERN: &'static str = "^[A-Za-z0-9._-]{0,63}$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text {
            "" => Ok(Self("".into())),
            _ => word(text, 63, label_character, Self::WORDS).map(Self),
        }
    }
}

impl Text for ControllerName {
    const WORDS: &'static str = "DOMAIN/PATH";
    const PATTERN: &'static str = "^[a-z0-9.-]{1,253}/[A-Za-z0-9/._~%!$&'()*+,;=:-]+$";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let Some((domain, path)) = text.split_once('/') else {
            let complaint = Complaint::new(format!("{} has no path", quoted(text)));
            return Err(complaint.remedy("write DOMAIN/PATH"));
        };
        ObjectName::parse(domain)?;
        word(path, 253, |c| c.is_ascii_graphic(), Self::WORDS)?;
        Ok(Self(text.into()))
    }
}

impl Text for GatewayAddress {
    const WORDS: &'static str = "IP address or host name";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(address.to_string().into())),
            Err(_) => HostName::parse(text).map(|name| Self(name.0.as_str().into())),
        }
    }
}

impl Text for ServiceName {
    const WORDS: &'static str = "NAMESPACE/NAME";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (namespace, name) = text.split_once('/').ok_or_else(|| {
            Complaint::new(format!("{} has no namespace", quoted(text)))
                .remedy("write NAMESPACE/NAME")
        })?;
        Ok(Self {
            namespace: ObjectName::parse(namespace)?.0,
            name: ObjectName::parse(name)?.0,
        })
    }
}

impl Text for ListenAddress {
    const WORDS: &'static str = "IP address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let address = text.parse::<IpAddr>().map_err(|_| {
            Complaint::new(format!("{} is not an IP address", quoted(text))).remedy(format!(
                "write one without a port, such as \"{}\"",
                Ipv6Addr::UNSPECIFIED
            ))
        })?;
        match address.to_canonical() {
            address if address.is_multicast() => {
                Err(Complaint::new(format!("{address} is a multicast address")))
            }
            address => Ok(Self(address)),
        }
    }
}
