//! Properties of every hello, and of every other sequence of bytes.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rustls::client::Resumption;
use rustls::pki_types::ServerName as RustlsName;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
};
use strait::client_hello::vectors::{HelloBuilder, MAX_SIZE, X25519, message, records};
use strait::client_hello::{Alert, HelloError, HelloParser};
use strait::outcome::Outcome;

use crate::hello_feed::{Verdict, in_pieces, rustls_reading, whole};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_split_over_segments_makes_no_difference(sent in sent(), cuts in cuts()) {
        let wire = sent.wire();
        let expected = sent.verdict();
        prop_assert_eq!(whole(&wire, MAX_SIZE), expected.clone());
        prop_assert_eq!(in_pieces(&wire, MAX_SIZE, ends(&wire, &cuts)), expected.clone());
        prop_assert_eq!(in_pieces(&wire, MAX_SIZE, 1..wire.len()), expected);
    }

    #[test]
    fn a_strict_prefix_of_a_valid_hello_is_incomplete(sent in sent(), end in any::<Index>()) {
        let hello = sent.hello();
        let prefix = &hello[..end.index(hello.len())];
        prop_assert_eq!(whole(prefix, MAX_SIZE), Verdict::Incomplete);
    }

    #[test]
    fn bytes_after_the_hello_make_no_difference(sent in sent(), rest in vec(any::<u8>(), 0..40)) {
        let wire = [sent.hello(), rest].concat();
        prop_assert_eq!(whole(&wire, MAX_SIZE), sent.verdict());
    }

    #[test]
    fn a_byte_after_the_hello_in_its_last_record_is_malformed(sent in sent()) {
        let surplus = [sent.builder.message(), vec![0]].concat();
        let wire = records([3, 1], &surplus, 1 << 14);
        let Verdict::Refused(outcome, _) = whole(&wire, MAX_SIZE) else {
            panic!("not refused");
        };
        prop_assert_eq!(outcome, Outcome::HelloMalformed);
    }

    #[test]
    fn the_bound_is_exact(sent in sent()) {
        let message_len = sent.builder.message().len();
        let wire = sent.wire();
        prop_assert_eq!(whole(&wire, message_len), sent.verdict());
        let Verdict::Refused(outcome, _) = whole(&wire, message_len - 1) else {
            panic!("not refused");
        };
        prop_assert_eq!(outcome, Outcome::HelloTooLarge);
    }

    #[test]
    fn rustls_reads_the_same_from_generated_hellos(sent in sent()) {
        let Verdict::Routed { name, alpn, .. } = sent.verdict() else {
            panic!("not routed");
        };
        prop_assert_eq!(rustls_reading(&sent.wire()), Some((Some(name), alpn)));
    }

    #[test]
    fn rustls_clients_are_understood(client in client(), cuts in cuts()) {
        let wire = client.hello();
        let verdict = in_pieces(&wire, MAX_SIZE, ends(&wire, &cuts));
        let Verdict::Routed { name, wire_len, alpn, .. } = verdict else {
            panic!("{verdict:?}");
        };
        prop_assert_eq!(name, client.name.to_ascii_lowercase());
        prop_assert_eq!(wire_len, wire.len());
        prop_assert_eq!(&alpn, &client.alpn);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_give_one_verdict_at_any_split(
        start in select(STARTS),
        bytes in vec(any::<u8>(), 0..300),
        cuts in cuts(),
    ) {
        let wire = [start, &bytes].concat();
        let expected = whole(&wire, MAX_SIZE);
        prop_assert_eq!(in_pieces(&wire, MAX_SIZE, ends(&wire, &cuts)), expected);
    }

    #[test]
    fn an_arbitrary_message_body_gives_one_verdict_at_any_split(
        body in vec(prop_oneof![Just(0), 0..40u8, any::<u8>()], 0..200),
        record_len in 1..250usize,
        cuts in cuts(),
    ) {
        let wire = records([3, 1], &message(1, &body), record_len);
        let expected = whole(&wire, MAX_SIZE);
        prop_assert_ne!(&expected, &Verdict::Incomplete);
        prop_assert_eq!(in_pieces(&wire, MAX_SIZE, ends(&wire, &cuts)), expected);
    }

    #[test]
    fn a_mutated_hello_gives_one_verdict_at_any_split(
        sent in sent(),
        mutations in vec(mutation(), 1..4),
        cuts in cuts(),
    ) {
        let wire = mutations.iter().fold(sent.wire(), |wire, mutation| mutation.apply(wire));
        let expected = whole(&wire, MAX_SIZE);
        prop_assert_eq!(in_pieces(&wire, MAX_SIZE, ends(&wire, &cuts)), expected);
    }

    /// No smuggling: where both take a hello at all, both must read the same name and the same
    /// protocols out of it.
    #[test]
    fn rustls_never_reads_another_name_from_a_mutated_hello(
        sent in sent(),
        mutations in vec(mutation(), 1..4),
    ) {
        let message = sent.builder.message();
        let message = mutations.iter().fold(message, |bytes, mutation| mutation.apply(bytes));
        let wire = records([3, 1], &message, sent.record_len);
        let Verdict::Routed { name, alpn, .. } = whole(&wire, MAX_SIZE) else {
            return Ok(());
        };
        if let Some(reading) = rustls_reading(&wire) {
            prop_assert_eq!(reading, (Some(name), alpn));
        }
    }
}

/// Client logs name our alert: rustls, of either version, before it has heard a ServerHello.
#[test]
fn rustls_clients_read_the_alert_of_a_refusal() {
    for versions in [TLS12, TLS13] {
        for (alert, description) in [
            (
                Alert::UnexpectedMessage,
                AlertDescription::UnexpectedMessage,
            ),
            (Alert::RecordOverflow, AlertDescription::RecordOverflow),
            (Alert::HandshakeFailure, AlertDescription::HandshakeFailure),
            (Alert::IllegalParameter, AlertDescription::IllegalParameter),
            (Alert::DecodeError, AlertDescription::DecodeError),
            (Alert::UnrecognizedName, AlertDescription::UnrecognisedName),
        ] {
            let mut client = Client {
                name: "svcb.apps".to_owned(),
                alpn: Vec::new(),
                versions,
                max_fragment_size: None,
            }
            .connection();
            client.read_tls(&mut alert.record().as_slice()).unwrap();
            let error = client.process_new_packets().unwrap_err();
            assert_eq!(error, rustls::Error::AlertReceived(description));
        }
    }
}

/// A refusal that is final at the first byte must not wait for a second.
#[test]
fn every_first_byte_but_one_is_refused_at_once() {
    for first in 0..=u8::MAX {
        match (first, HelloParser::new(MAX_SIZE).parse(&[first])) {
            (22, Ok(_)) | (_, Err(HelloError::NotTls(_))) => {}
            (_, other) => panic!("{first}: {other:?}"),
        }
    }
}

const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// So that arbitrary bytes get past each of the first checks.
const STARTS: &[&[u8]] = &[
    &[],
    &[22],
    &[22, 3, 1],
    &[22, 3, 1, 0, 60],
    &[22, 3, 1, 0, 60, 1],
    &[22, 3, 1, 0, 60, 1, 0, 0],
    &[22, 3, 1, 0, 2, 1, 0, 22, 3, 1, 0],
];

/// A valid hello and how it goes over the wire.
#[derive(Debug, Clone)]
struct Sent {
    builder: HelloBuilder,
    raw_name: String,
    alpn: Vec<Vec<u8>>,
    versions: Vec<u16>,
    record_len: usize,
    rest: Vec<u8>,
}

impl Sent {
    fn hello(&self) -> Vec<u8> {
        self.builder.wire_in_records_of(self.record_len)
    }

    fn wire(&self) -> Vec<u8> {
        [self.hello(), self.rest.clone()].concat()
    }

    fn verdict(&self) -> Verdict {
        Verdict::Routed {
            name: self.raw_name.trim_end_matches('.').to_ascii_lowercase(),
            wire_len: self.hello().len(),
            alpn: self.alpn.clone(),
            versions: self.versions.clone(),
        }
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let shape = (
        any::<bool>(),
        name(),
        any::<bool>(),
        alpn(),
        unknown_extensions(),
    );
    let way = (
        prop_oneof![1..20usize, 1..600usize, Just(1 << 14)],
        vec(any::<u8>(), 0..20),
    );
    (shape, prop_oneof![0..3usize, 0..2000usize], way).prop_map(
        |((tls13, name, dotted, alpn, unknown), padding, (record_len, rest))| {
            let raw_name = if dotted { format!("{name}.") } else { name };
            let (builder, versions) = match tls13 {
                true => (HelloBuilder::tls13(), vec![0x0304, 0x0303]),
                false => (HelloBuilder::tls12(), vec![0x0303]),
            };
            let (before, after) = unknown.split_at(unknown.len() / 2);
            let unknown = |builder: HelloBuilder, kinds: &[u16]| {
                let kinds = kinds.iter();
                kinds.fold(builder, |builder, kind| builder.extension(*kind, [7; 3]))
            };
            let builder = unknown(builder, before)
                .server_name(&raw_name)
                .padding(padding);
            let builder = match alpn.as_slice() {
                [] => builder,
                protocols => builder.alpn(protocols),
            };
            let builder = unknown(builder.key_shares(&[(X25519, 32)]), after);
            Sent {
                builder,
                raw_name,
                alpn,
                versions,
                record_len,
                rest,
            }
        },
    )
}

fn name() -> impl Strategy<Value = String> {
    let label = || "[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z0-9_])?";
    let plain = (vec(label(), 0..4), "[A-Za-z]{1,10}")
        .prop_map(|(labels, last)| [labels, vec![last]].concat().join("."));
    let istio = (any::<u16>(), "[a-z0-9]{0,3}", plain.clone())
        .prop_map(|(port, subset, host)| format!("outbound_.{port}_.{subset}_.{host}"));
    prop_oneof![plain, istio]
}

fn alpn() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 1..20), 0..5)
}

/// Types that no specification gives a meaning, each once.
fn unknown_extensions() -> impl Strategy<Value = Vec<u16>> {
    let kinds = proptest::collection::hash_set(30_000..40_000u16, 0..30);
    kinds.prop_map(|kinds| kinds.into_iter().collect())
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..6)
}

fn ends(wire: &[u8], cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    ends.sort_unstable();
    ends
}

#[derive(Debug, Clone)]
enum Mutation {
    Overwrite(Index, u8),
    Add(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index),
    Repeat(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Overwrite(at, byte)),
        (at(), select(&[1u8, 2, 255][..])).prop_map(|(at, n)| Mutation::Add(at, n)),
        (at(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        at().prop_map(Mutation::Delete),
        (at(), at()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ]
}

impl Mutation {
    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        let index = |index: &Index| index.index(bytes.len());
        match self {
            Self::Overwrite(at, byte) => {
                let at = index(at);
                bytes[at] = *byte;
            }
            Self::Add(at, n) => {
                let at = index(at);
                bytes[at] = bytes[at].wrapping_add(*n);
            }
            Self::Insert(at, inserted) => {
                let at = index(at);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Self::Delete(at) => {
                let at = index(at);
                bytes.remove(at);
            }
            Self::Repeat(from, to) => {
                let (from, to) = (index(from), index(to));
                let repeated = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(to..to, repeated);
            }
        }
        bytes
    }
}

#[derive(Debug, Clone)]
struct Client {
    name: String,
    alpn: Vec<Vec<u8>>,
    versions: &'static [&'static SupportedProtocolVersion],
    max_fragment_size: Option<usize>,
}

impl Client {
    fn connection(&self) -> ClientConnection {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = self.alpn.clone();
        config.max_fragment_size = self.max_fragment_size;
        config.resumption = Resumption::disabled();
        let name = RustlsName::try_from(self.name.clone()).unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }

    fn hello(&self) -> Vec<u8> {
        let mut connection = self.connection();
        let mut wire = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut wire).unwrap();
        }
        wire
    }
}

fn client() -> impl Strategy<Value = Client> {
    let versions = select(vec![rustls::ALL_VERSIONS, TLS12, TLS13]);
    let max_fragment_size = proptest::option::of(32..600usize);
    (name(), alpn(), versions, max_fragment_size).prop_map(
        |(name, alpn, versions, max_fragment_size)| Client {
            name,
            alpn,
            versions,
            max_fragment_size,
        },
    )
}
