//! Vectors that are routed, the odd ones among them because RFC 8446 and RFC 6066 allow them.

use super::builder::{HelloBuilder, extension, record};
use super::{Class, HOST, Vector};

const HANDSHAKE: u8 = 22;
const CHANGE_CIPHER_SPEC: u8 = 20;
const APPLICATION_DATA: u8 = 23;
const TLS12: [u8; 2] = [3, 3];

/// Hellos as clients send them.
pub(super) fn ordinary() -> Vec<Vector> {
    let routed = |name, bytes| Vector::routed(name, Class::Ordinary, bytes, HOST);
    let tls12 = HelloBuilder::new().server_name(HOST);
    vec![
        routed("tls10", tls12.clone().version(0x0301).wire()),
        routed("tls11", tls12.clone().version(0x0302).wire()),
        routed("tls12", tls12.alpn(&[b"h2", b"http/1.1"]).wire()),
        routed(
            "tls13_of_a_sidecar",
            HelloBuilder::tls13(HOST)
                .alpn(&[b"istio-peer-exchange", b"istio"])
                .wire(),
        ),
        routed("tls13_post_quantum", post_quantum().wire()),
        routed(
            "tls13_padded",
            HelloBuilder::tls13(HOST).padding(400).wire(),
        ),
        routed("tls13_grease", grease().wire()),
        routed("ech_outer", ech_outer().wire()),
        routed("tls13_resumption", resumption().wire()),
        routed("tls13_early_data", early_data()),
    ]
}

/// A hybrid X25519MLKEM768 share makes the hello longer than one TCP segment.
fn post_quantum() -> HelloBuilder {
    const X25519_MLKEM768: u16 = 0x11ec;
    const X25519: u16 = 0x001d;
    HelloBuilder::new()
        .server_name(HOST)
        .supported_versions(&[0x0304])
        .key_shares(&[(X25519_MLKEM768, 1216), (X25519, 32)])
}

/// RFC 8701: values that no server knows, in every list, and extensions of such types.
fn grease() -> HelloBuilder {
    HelloBuilder::new()
        .extension(0x1a1a, &[])
        .server_name(HOST)
        .alpn(&[b"\x0a\x0a", b"h2"])
        .supported_versions(&[0x2a2a, 0x0304])
        .key_shares(&[(0x3a3a, 1), (0x001d, 32)])
        .extension(0xfafa, &[0])
}

/// RFC 9849 section 5: type outer, a cipher suite, a config id, then two vectors.
fn ech_outer() -> HelloBuilder {
    let mut content = vec![0, 0, 1, 0, 1, 0x42];
    content.extend([&[0, 32], &[0xec; 32][..], &[0, 240], &[0xc4; 240][..]].concat());
    HelloBuilder::tls13(HOST).extension(extension::ENCRYPTED_CLIENT_HELLO, &content)
}

fn resumption() -> HelloBuilder {
    HelloBuilder::tls13(HOST)
        .extension(extension::PSK_KEY_EXCHANGE_MODES, &[1, 1])
        .extension(extension::EARLY_DATA, &[])
        .psk_identities(1, 200)
}

/// 0-RTT: what follows the hello is not looked at, neither for its form nor for its length.
fn early_data() -> Vec<u8> {
    let mut wire = resumption().wire();
    wire.extend(record(CHANGE_CIPHER_SPEC, TLS12, &[1]));
    wire.extend(record(APPLICATION_DATA, TLS12, &[0x0a; 300]));
    wire
}

/// Valid hellos that cost a careless parser its memory, its time or the name.
pub(super) fn extreme() -> Vec<Vector> {
    let routed = |name, bytes| Vector::routed(name, Class::Extreme, bytes, HOST);
    let name_last = HelloBuilder::new().padding(60_000).server_name(HOST);
    let plain = HelloBuilder::tls13(HOST);
    let tiny = HelloBuilder::new().session_id(0).server_name("b");
    vec![
        routed("name_last_of_60_kib", name_last.wire()),
        routed("name_last_of_60_kib_in_records_of_1", name_last.records(1)),
        routed("max_size_exactly", exactly_max_size().wire()),
        routed(
            "empty_extensions_15000",
            HelloBuilder::new()
                .empty_extensions(15_000)
                .server_name(HOST)
                .wire(),
        ),
        routed(
            "psk_identities_4_of_4_kib",
            HelloBuilder::tls13(HOST).psk_identities(4, 4096).wire(),
        ),
        routed(
            "cipher_suites_20000",
            HelloBuilder::tls13(HOST).cipher_count(20_000).wire(),
        ),
        routed(
            "compression_methods_255",
            HelloBuilder::tls13(HOST)
                .compression_methods(&[0; 255])
                .wire(),
        ),
        routed("records_of_1", plain.records(1)),
        routed("records_of_3", plain.records(3)),
        routed("records_of_64", plain.records(64)),
        routed(
            "message_header_alone_in_a_record",
            first_record_of(&plain, 4),
        ),
        routed("name_cut_by_records", first_record_of(&plain, 100)),
        Vector::routed("shortest_routable", Class::Extreme, tiny.wire(), "b"),
    ]
}

/// A hello whose message, header included, is as long as is accepted.
fn exactly_max_size() -> HelloBuilder {
    let unpadded = HelloBuilder::tls13(HOST);
    let room = super::MAX_SIZE.saturating_sub(unpadded.clone().padding(0).message().len());
    unpadded.padding(room)
}

/// A first record of `length` bytes, then one with the rest.
fn first_record_of(hello: &HelloBuilder, length: usize) -> Vec<u8> {
    let message = hello.message();
    let (first, rest) = message.split_at_checked(length).unwrap_or((&message, &[]));
    [
        record(HANDSHAKE, [3, 1], first),
        record(HANDSHAKE, TLS12, rest),
    ]
    .concat()
}

/// Names that are valid, and how they are normalised.
pub(super) fn names() -> Vec<Vector> {
    let routed = |name, asked: &str, route: &str| {
        let bytes = HelloBuilder::tls13(asked).wire();
        Vector::routed(name, Class::Name, bytes, route)
    };
    let istio = "outbound_.8080_.v1_.svcb.apps.svc.cluster.local";
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    let longest_dot = format!("{longest}.");
    vec![
        routed("upper_case", "SVCB.Apps.SVC.cluster.LOCAL", HOST),
        routed("trailing_dot", "svcb.apps.svc.cluster.local.", HOST),
        routed("upper_case_and_dot", "SVCB.APPS.SVC.CLUSTER.LOCAL.", HOST),
        routed("istio_outbound", istio, istio),
        routed(
            "istio_outbound_upper_case",
            "OUTBOUND_.8080_.V1_.svcb.apps.svc.cluster.local",
            istio,
        ),
        routed(
            "istio_no_subset",
            "outbound_.80_._.a.b",
            "outbound_.80_._.a.b",
        ),
        routed("one_label", "localhost", "localhost"),
        routed("label_of_63", &label, &label),
        routed("name_of_253", &longest, &longest),
        routed("name_of_253_and_dot", &longest_dot, &longest),
        routed("digits_first", "1.2.3.4x", "1.2.3.4x"),
        routed("a_label", "xn--bcher-kva.example", "xn--bcher-kva.example"),
    ]
}

/// What looks wrong and is allowed: strait is not the endpoint.
pub(super) fn records_and_messages() -> Vec<Vector> {
    let routed = |name, class, bytes| Vector::routed(name, class, bytes, HOST);
    let message = HelloBuilder::tls13(HOST).message();
    let with_version = |version| record(HANDSHAKE, version, &message);
    let hello = HelloBuilder::new().server_name(HOST);
    let alpn = |content| {
        HelloBuilder::tls13(HOST)
            .extension(extension::ALPN, content)
            .wire()
    };
    let followed_by = |next: &[u8]| [&with_version([3, 1]), next].concat();
    vec![
        routed("record_minor_0", Class::Record, with_version([3, 0])),
        routed("record_minor_4", Class::Record, with_version([3, 4])),
        routed("record_minor_255", Class::Record, with_version([3, 255])),
        routed("then_garbage", Class::Record, followed_by(&[0xff; 40])),
        routed(
            "then_an_empty_record",
            Class::Record,
            followed_by(&record(HANDSHAKE, TLS12, &[])),
        ),
        routed(
            "then_another_hello",
            Class::Record,
            followed_by(&HelloBuilder::tls13("other.example").wire()),
        ),
        routed(
            "then_half_a_record_header",
            Class::Record,
            followed_by(&[HANDSHAKE, 3]),
        ),
        routed(
            "legacy_version_any",
            Class::Message,
            hello.clone().version(0xffff).wire(),
        ),
        routed(
            "session_id_0",
            Class::Message,
            hello.clone().session_id(0).wire(),
        ),
        routed(
            "one_cipher_suite",
            Class::Message,
            hello.cipher_count(1).wire(),
        ),
        routed(
            "a_list_in_an_unread_extension_is_not_judged",
            Class::Message,
            HelloBuilder::tls13(HOST)
                .extension(extension::UNASSIGNED, &[0xff; 7])
                .wire(),
        ),
        // Not strait's to judge, but where a route demands a protocol: there they offer none.
        routed("alpn_empty", Class::Message, alpn(&[])),
        routed("alpn_of_no_protocol", Class::Message, alpn(&[0, 0])),
        routed(
            "alpn_of_an_empty_protocol",
            Class::Message,
            alpn(&[0, 4, 2, b'h', b'2', 0]),
        ),
        routed(
            "alpn_overruns",
            Class::Message,
            alpn(&[0, 3, 3, b'h', b'2']),
        ),
    ]
}
