//! The file of `strait test`: connections, and the decision that each is expected to get.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;

use super::file::alpn::Protocol;
use super::form::containers::List;
use super::form::decode::{At, Decode, Given, Scalar as _, Text, unexpected};
use super::form::problems::{Complaint, ConfigError, KeyPlace, Problems, quoted};
use super::form::section::section;
use super::form::shape::Shape;
use super::form::tree::{self, Value};
use super::load::{refuse, text};
use crate::names::{ListenerName, RouteName, UpstreamName};
use crate::outcome::Outcome;

/// The largest number of cases in a file.
const MAX_CASES: usize = 100_000;

/// The outcomes that are decided before a connection is routed.
const DECIDED: [Outcome; 5] = [
    Outcome::SourceDenied,
    Outcome::BadServerName,
    Outcome::NoSni,
    Outcome::NoRoute,
    Outcome::AlpnRefused,
];

/// A connection with the decision that it is expected to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCase {
    /// Its line in the file, from 1.
    pub line: u64,
    /// The listener; `None` if every listener must decide so.
    pub listener: Option<ListenerName>,
    /// The server name as the client sends it; `None` for a hello without one.
    pub sni: Option<String>,
    /// The ALPN protocols; `istio` stands for those of a sidecar.
    pub alpn: Vec<Arc<str>>,
    /// The client's address in canonical form, if the source policy is to be asked.
    pub from: Option<IpAddr>,
    /// The expected decision.
    pub expected: Expected,
}

/// The decision that a case expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// The connection takes this route.
    Route(RouteName),
    /// The connection goes to this upstream, by any route.
    Upstream(UpstreamName),
    /// The connection is refused with this outcome.
    Refusal(Outcome),
}

section! {
    /// A connection and the decision that it is expected to get. Give one of `sni` and `no_sni`, and one
    /// of `route`, `upstream` and `outcome`.
    CaseFile {
        /// The name of the listener. Without the key every listener of the config must decide so.
        listener: Option<ListenerName> = null,
        /// The server name that the client sends.
        sni: Option<SentName> = null,
        /// `true` for a hello without a server name.
        no_sni: bool = false,
        /// The ALPN protocols that the client offers: one, or a list. `istio` stands for those of a sidecar.
        alpn: CaseOffers = [],
        /// The client's address. Without the key the source policy is not asked.
        from: Option<ClientAddress> = null,
        /// The name of the route that the connection must take.
        route: Option<At<RouteName>> = null,
        /// The name of the upstream that the connection must go to.
        upstream: Option<At<UpstreamName>> = null,
        /// The outcome that the connection must be refused with.
        outcome: Option<At<CaseRefusal>> = null,
    }
}

/// A server name as a client sends it, which may be an invalid one.
#[derive(Debug)]
pub(super) struct SentName(String);

impl Text for SentName {
    const WORDS: &'static str = "server name";

    fn parse(text: &str) -> Result<Self, Complaint> {
        Ok(Self(text.to_owned()))
    }
}

/// The address of a client.
#[derive(Debug)]
pub(super) struct ClientAddress(IpAddr);

impl Text for ClientAddress {
    const WORDS: &'static str = "IP address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let address = text.parse::<IpAddr>().map_err(|_| {
            let complaint = Complaint::new(format!("{} is not an IP address", quoted(text)));
            complaint.remedy("write one address, such as 10.1.2.3, without a port")
        })?;
        Ok(Self(address.to_canonical()))
    }
}

/// The outcome of a refusal that is decided before a connection is routed.
#[derive(Debug, Clone, Copy)]
pub(super) struct CaseRefusal(Outcome);

impl Text for CaseRefusal {
    const WORDS: &'static str = "outcome of a refusal";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let known = DECIDED.into_iter().find(|outcome| outcome.label() == text);
        known.map(Self).ok_or_else(|| {
            let labels = DECIDED.iter().map(|outcome| outcome.label());
            let complaint = Complaint::new(format!("{} is not such an outcome", quoted(text)));
            complaint.nearest(text, labels, "the outcomes here are")
        })
    }
}

/// The protocols that a client offers.
#[derive(Debug)]
pub(super) struct CaseOffers(Vec<Arc<str>>);

impl CaseOffers {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let protocols = match value {
            Value::Text(_) => vec![Protocol::from_value(value)?.0],
            Value::List(nodes) => {
                let protocol = |node: &tree::Node| Protocol::from_value(&node.value);
                let protocols = nodes.iter().map(|node| protocol(node).map(|one| one.0));
                protocols.collect::<Result<_, _>>()?
            }
            _ => return Err(unexpected("a protocol or a list of protocols", value)),
        };
        Ok(Self(protocols))
    }
}

impl Decode for CaseOffers {
    fn decode(given: &Given<'_>, problems: &mut Problems) -> Option<Self> {
        let offers = Self::from_value(given.value);
        let noted = offers.map_err(|complaint| problems.note(&given.place, complaint));
        noted.ok()
    }

    fn shape() -> Shape {
        Shape {
            words: "a protocol, or list of protocols".to_owned(),
            schema: json!({ "type": ["string", "array"] }),
            section: None,
        }
    }
}

/// Reads the cases of a file that messages call `origin`.
///
/// # Errors
/// The file is not a list of cases.
pub fn parse_cases(bytes: &[u8], origin: &str) -> Result<Vec<RouteCase>, ConfigError> {
    let refused = |problem| refuse(origin, vec![problem]);
    let yaml = text(bytes).map_err(refused)?;
    let root = tree::parse(yaml).map_err(refused)?;
    let mut problems = Problems::default();
    let given = Given::new(&root, &KeyPlace::start());
    let files = List::<At<CaseFile>, 1, MAX_CASES>::decode(&given, &mut problems);
    let files = files.map_or_else(Vec::new, |list| list.items);
    let cases = files.into_iter().map(|file| case(file, &mut problems));
    let cases: Vec<_> = cases.flatten().collect();
    match problems.is_empty() {
        true => Ok(cases),
        false => Err(refuse(origin, problems.into_sorted())),
    }
}

fn case(At { value, place, .. }: At<CaseFile>, problems: &mut Problems) -> Option<RouteCase> {
    let mut note = |message: &str, remedy: &str| {
        problems.note(&place, Complaint::new(message).remedy(remedy));
    };
    if value.sni.is_some() == value.no_sni {
        note(
            "this case does not say one server name",
            "give it `sni: NAME` or `no_sni: true`",
        );
        return None;
    }
    let expected = match (value.route, value.upstream, value.outcome) {
        (Some(route), None, None) => Expected::Route(route.value),
        (None, Some(upstream), None) => Expected::Upstream(upstream.value),
        (None, None, Some(outcome)) => Expected::Refusal(outcome.value.0),
        _ => {
            note(
                "this case does not expect one decision",
                "give it `route: NAME`, `upstream: NAME` or `outcome: WORD`",
            );
            return None;
        }
    };
    Some(RouteCase {
        line: place.line.into(),
        listener: value.listener,
        sni: value.sni.map(|name| name.0),
        alpn: value.alpn.0,
        from: value.from.map(|address| address.0),
        expected,
    })
}
