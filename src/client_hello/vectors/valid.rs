//! Vectors that must be routed.

use super::VectorClass::{self, Followed, Fragmented, Large, Name, Usual};
use super::builder::{HelloBuilder, X25519, X25519_MLKEM768, X25519_MLKEM768_SHARE, record};
use super::{MAX_SIZE, ROUTE, Vector};

fn routed(name: &'static str, class: VectorClass, bytes: Vec<u8>) -> Vector {
    Vector::routed(name, class, bytes, ROUTE)
}

/// A sidecar's hello.
pub(super) fn istio() -> HelloBuilder {
    HelloBuilder::tls13()
        .server_name(ROUTE)
        .alpn(&["istio-peer-exchange", "istio"])
        .key_shares(&[(X25519, 32)])
}

/// A browser's hello: GREASE, a post-quantum share beside the usual one, and ECH.
fn browser() -> HelloBuilder {
    const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
    HelloBuilder::tls13()
        .extension(0x1a1a, [])
        .server_name(ROUTE)
        .extension(23, [])
        .extension(0xff01, [0])
        .alpn(&["h2", "http/1.1"])
        .extension(5, [1, 0, 0, 0, 0])
        .key_shares(&[
            (0x2a2a, 1),
            (X25519_MLKEM768, X25519_MLKEM768_SHARE),
            (X25519, 32),
        ])
        .extension(ENCRYPTED_CLIENT_HELLO, [0; 186])
        .extension(0x3a3a, [0])
}

pub(super) fn usual() -> Vec<Vector> {
    let bare = |version| HelloBuilder::bare(version).server_name(ROUTE);
    [
        ("TLS 1.3, an Istio sidecar", istio()),
        (
            "TLS 1.3, a browser with a post-quantum share and ECH",
            browser(),
        ),
        ("TLS 1.2", HelloBuilder::tls12().server_name(ROUTE)),
        ("TLS 1.1", bare(0x0302)),
        ("TLS 1.0", bare(0x0301)),
        ("SSL 3.0 with extensions", bare(0x0300).record_version(3, 0)),
        ("record version 3.255", istio().record_version(3, 255)),
        ("an unknown legacy version", bare(0x7f12)),
        (
            "the name first",
            HelloBuilder::bare(0x0303).server_name(ROUTE).alpn(&["h2"]),
        ),
        ("a session id of 32 bytes", bare(0x0303).session_id(32)),
        (
            "several compression methods",
            bare(0x0303).raw_compression_methods([2, 1, 0]),
        ),
        (
            "an ALPN protocol of 255 bytes",
            bare(0x0303).alpn(&[[b'a'; 255]]),
        ),
        (
            "an ALPN protocol that is not text",
            bare(0x0303).alpn(&[[0, 255, 10]]),
        ),
        (
            "a resumption with early data",
            istio().extension(42, []).pre_shared_keys(1, 192),
        ),
        ("padded to 512 bytes", bare(0x0303).padding(413)),
    ]
    .map(|(name, hello)| routed(name, Usual, hello.wire()))
    .to_vec()
}

pub(super) fn fragmented() -> Vec<Vector> {
    [
        ("records of 1 byte", istio().wire_in_records_of(1)),
        ("records of 2 bytes", istio().wire_in_records_of(2)),
        (
            "the message's header cut in two",
            istio().wire_in_records_of(3),
        ),
        (
            "the message's header in a record of its own",
            istio().wire_in_records_of(4),
        ),
        ("records of 100 bytes", browser().wire_in_records_of(100)),
        ("the last record has 1 byte", {
            let last = istio().message().len() - 1;
            istio().wire_in_records_of(last)
        }),
    ]
    .map(|(name, bytes)| routed(name, Fragmented, bytes))
    .to_vec()
}

pub(super) fn large() -> Vec<Vector> {
    [
        ("60 KiB with the name last", {
            let hello = HelloBuilder::tls13().padding(60 * 1024);
            hello.server_name(ROUTE).wire()
        }),
        ("15,000 empty extensions", {
            // Types from 256 on, which mean nothing to strait.
            let kinds = 256..256 + 15_000;
            let hello = kinds.fold(HelloBuilder::bare(0x0303), |hello, kind| {
                hello.extension(kind, [])
            });
            hello.server_name(ROUTE).wire()
        }),
        (
            "4 PSK identities of 4 KiB",
            istio().pre_shared_keys(4, 4096).wire(),
        ),
        ("a ticket of 8 KiB", istio().extension(35, [7; 8192]).wire()),
        (
            "a record of exactly 2^14 bytes",
            of_message_len(1 << 14).wire(),
        ),
        (
            "a message of exactly 64 KiB",
            of_message_len(MAX_SIZE).wire(),
        ),
        ("a message of exactly 64 KiB in records of 1 byte", {
            of_message_len(MAX_SIZE).wire_in_records_of(1)
        }),
        ("cipher suites of 40,000 bytes", {
            let suites: Vec<u16> = (0..20_000).collect();
            istio().cipher_suites(&suites).wire()
        }),
    ]
    .map(|(name, bytes)| routed(name, Large, bytes))
    .to_vec()
}

/// A valid hello of exactly `len` bytes, filled up with padding.
pub(super) fn of_message_len(len: usize) -> HelloBuilder {
    let unpadded = istio().padding(0).message().len();
    istio().padding(len.saturating_sub(unpadded))
}

pub(super) fn followed() -> Vec<Vector> {
    let early_data = istio().extension(42, []).pre_shared_keys(1, 192);
    let followed = |name, hello: Vec<u8>, rest: Vec<u8>| {
        let hello_len = hello.len();
        let vector = routed(name, Followed, [hello, rest].concat());
        Vector {
            hello_len,
            ..vector
        }
    };
    vec![
        followed("early data after the hello", early_data.wire(), {
            record(23, [3, 3], &[0xa5; 600])
        }),
        followed(
            "a change_cipher_spec record after the hello",
            istio().wire(),
            record(20, [3, 3], &[1]),
        ),
        followed("a second hello with another name", istio().wire(), {
            HelloBuilder::tls13().server_name("other.example").wire()
        }),
        followed(
            "bytes that are no record after the hello",
            istio().wire(),
            vec![0; 5],
        ),
        followed(
            "early data after a hello in records of 7 bytes",
            early_data.wire_in_records_of(7),
            record(23, [3, 3], &[0xa5; 100]),
        ),
    ]
}

pub(super) fn names() -> Vec<Vector> {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    [
        ("upper case", "SvcB.Apps.SVC.Cluster.Local", ROUTE),
        ("a trailing dot", "svcb.apps.svc.cluster.local.", ROUTE),
        (
            "Istio's outbound name",
            "outbound_.8080_.v1_.svcb.apps.svc.cluster.local",
            "outbound_.8080_.v1_.svcb.apps.svc.cluster.local",
        ),
        ("a single label", "localhost", "localhost"),
        (
            "digits in all labels but the last",
            "10.0.0.1.nip",
            "10.0.0.1.nip",
        ),
        ("punycode", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("253 bytes", &longest, &longest),
        (
            "253 bytes and a trailing dot",
            &format!("{longest}."),
            &longest,
        ),
    ]
    .map(|(name, raw, route)| {
        let hello = HelloBuilder::tls13().server_name(raw).wire();
        Vector::routed(name, Name, hello, route)
    })
    .to_vec()
}
