//! The value of `alpn` of a route.

use std::sync::Arc;

use serde_json::json;

use super::words::word;
use crate::config::checked::AlpnPolicy;
use crate::config::form::decode::{Decode, Given, Scalar as _, Text, unexpected};
use crate::config::form::problems::{Complaint, Problems, nearest, quoted};
use crate::config::form::shape::Shape;
use crate::config::form::tree::Value;

/// An ALPN protocol: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone)]
pub(crate) struct Protocol(pub(crate) Arc<str>);

impl Text for Protocol {
    const WORDS: &'static str = "1 to 255 visible ASCII characters";

    fn parse(text: &str) -> Result<Self, Complaint> {
        word(text, 255, |c| c.is_ascii_graphic(), Self::WORDS).map(Self)
    }
}

/// The largest number of protocols that a route may name.
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
            return Err(match nearest(text, ["istio", "any"].into_iter()) {
                Some(near) => complaint.remedy(format!("did you mean {near}?")),
                None => complaint.remedy(format!(
                    "write istio, any, or a list of protocols: [{}]",
                    quoted(text)
                )),
            });
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
    Ok(AlpnPolicy::OneOf(protocols.into()))
}
