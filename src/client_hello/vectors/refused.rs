//! Vectors that are refused, a rule broken by each.

use super::builder::{HelloBuilder, extension, handshake, record, records};
use super::{Class, HOST, MAX_SIZE, Vector};
use crate::client_hello::{MAX_FRAGMENT, MESSAGE_TYPE_CLIENT_HELLO};
use crate::outcome::Outcome;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;
const TLS10: [u8; 2] = [3, 1];

/// Names that are no host names. None may reach a route, a resolver, a path or a log line raw.
pub(super) fn names() -> Vec<Vector> {
    let label_of_64 = [b'a'; 64];
    let name_of_254 = [&[b'a'; 63][..]; 3].join(&b'.');
    let name_of_254 = [&name_of_254, &[b'a'; 62][..]].join(&b'.');
    let raw: &[(&'static str, &[u8])] = &[
        ("crlf", b"svcb.apps\r\nX-Injected: 1"),
        ("nul", b"svcb.apps.svc.cluster.local\0.evil.example"),
        ("non_ascii", "b\u{fc}cher.example".as_bytes()),
        ("not_utf8", b"svcb\xff.apps"),
        ("space", b"svcb apps"),
        ("path", b"../../etc/passwd"),
        ("wildcard", b"*.apps.svc.cluster.local"),
        ("port", b"svcb.apps:443"),
        ("url", b"https://svcb.apps/"),
        ("ipv4", b"127.0.0.1"),
        ("ipv4_dot", b"127.0.0.1."),
        ("ipv4_short", b"127.1"),
        ("ipv4_number", b"2130706433"),
        ("ipv4_hex_then_decimal", b"0x7f.0.0.1"),
        ("ipv4_octal", b"0177.0.0.01"),
        ("ipv6", b"::1"),
        ("ipv6_brackets", b"[fe80::1]"),
        ("digits_last", b"svcb.apps.5"),
        ("dot", b"."),
        ("two_dots_last", b"svcb.apps.."),
        ("dot_first", b".svcb.apps"),
        ("empty_label", b"svcb..apps"),
        ("hyphen_first", b"-svcb.apps"),
        ("hyphen_last", b"svcb-.apps"),
        ("label_of_64", &label_of_64),
        ("name_of_254", &name_of_254),
        ("name_of_60_kib", &[b'a'; 60_000]),
    ];
    let vector = |(name, raw): &(&'static str, &[u8])| {
        let bytes = HelloBuilder::new().server_name_bytes(raw).modern().wire();
        Vector::refused(name, Class::Name, bytes, Outcome::BadServerName)
    };
    raw.iter().map(vector).collect()
}

/// Rules of records, and of the message's header.
pub(super) fn record_layer() -> Vec<Vector> {
    let refused = |name, bytes, outcome| Vector::refused(name, Class::Record, bytes, outcome);
    let malformed = |name, bytes| refused(name, bytes, Outcome::HelloMalformed);
    let hello = HelloBuilder::tls13(HOST);
    let interleaved = |kind, version, fragment: &[u8]| cut_by(&record(kind, version, fragment));
    let beyond = u32::try_from(MAX_SIZE).unwrap_or(u32::MAX);
    vec![
        malformed(
            "empty_record_first",
            [record(HANDSHAKE, TLS10, &[]), hello.wire()].concat(),
        ),
        malformed(
            "empty_record_in_the_middle",
            interleaved(HANDSHAKE, TLS10, &[]),
        ),
        malformed("alert_in_the_middle", interleaved(ALERT, TLS10, &[1, 0])),
        malformed(
            "change_cipher_spec_in_the_middle",
            interleaved(CHANGE_CIPHER_SPEC, TLS10, &[1]),
        ),
        malformed(
            "application_data_in_the_middle",
            interleaved(APPLICATION_DATA, TLS10, b"GET / HTTP/1.1"),
        ),
        malformed(
            "heartbeat_in_the_middle",
            interleaved(HEARTBEAT, TLS10, &[1]),
        ),
        malformed(
            "major_2_in_the_middle",
            interleaved(HANDSHAKE, [2, 1], &[1]),
        ),
        malformed(
            "bytes_after_the_hello_in_its_only_record",
            records(&[hello.message(), vec![0; 4]].concat(), MAX_FRAGMENT),
        ),
        malformed(
            "bytes_after_the_hello_in_its_last_record",
            records(&[hello.message(), vec![0; 4]].concat(), 40),
        ),
        malformed(
            "two_hellos_in_one_record",
            records(&hello.message().repeat(2), MAX_FRAGMENT),
        ),
        malformed("record_length_16385", vec![HANDSHAKE, 3, 1, 0x40, 0x01, 1]),
        malformed("record_length_65535", vec![HANDSHAKE, 3, 1, 0xff, 0xff, 1]),
        malformed(
            "server_hello_first",
            records(&handshake(2, &hello.body()), 512),
        ),
        malformed("hello_request_first", records(&handshake(0, &[]), 512)),
        malformed("empty_message", records(&handshake(1, &[]), 512)),
        refused("claim_of_16_mb", claim(0x00ff_ffff), Outcome::HelloTooLarge),
        refused(
            "claim_of_one_byte_more",
            claim(beyond.saturating_sub(3)),
            Outcome::HelloTooLarge,
        ),
        refused(
            "claim_in_records_of_1",
            records(&[1, 0xff, 0xff, 0xff], 1),
            Outcome::HelloTooLarge,
        ),
    ]
}

/// A whole record that holds a ClientHello's header and nothing else.
fn claim(length: u32) -> Vec<u8> {
    let [_, length @ ..] = length.to_be_bytes();
    record(
        HANDSHAKE,
        TLS10,
        &[&[MESSAGE_TYPE_CLIENT_HELLO], &length[..]].concat(),
    )
}

/// A hello in two records with `between` between them.
fn cut_by(between: &[u8]) -> Vec<u8> {
    let message = HelloBuilder::tls13(HOST).message();
    let (first, rest) = message.split_at_checked(90).unwrap_or((&message, &[]));
    [
        &record(HANDSHAKE, TLS10, first),
        between,
        &record(HANDSHAKE, TLS10, rest),
    ]
    .concat()
}

/// Rules of the message's fields.
pub(super) fn messages() -> Vec<Vector> {
    let malformed =
        |name, bytes| Vector::refused(name, Class::Message, bytes, Outcome::HelloMalformed);
    let hello = HelloBuilder::tls13(HOST);
    let body = hello.body();
    let cut = |length| {
        let kept = body.get(..length).unwrap_or(&body);
        records(&handshake(MESSAGE_TYPE_CLIENT_HELLO, kept), MAX_FRAGMENT)
    };
    vec![
        malformed("ends_in_the_random", cut(20)),
        malformed("ends_in_the_session_id", cut(2 + 32 + 1 + 5)),
        malformed("ends_in_the_cipher_suites", cut(2 + 32 + 33 + 2 + 3)),
        malformed("ends_in_the_compression_methods", cut(2 + 32 + 33 + 6 + 1)),
        malformed(
            "ends_in_the_extensions_length",
            cut(2 + 32 + 33 + 6 + 2 + 1),
        ),
        malformed("ends_in_the_extensions", cut(body.len().saturating_sub(1))),
        malformed("session_id_33", hello.clone().session_id(33).wire()),
        malformed("session_id_255", hello.clone().session_id(255).wire()),
        malformed("cipher_suites_odd", hello.clone().cipher_bytes(3).wire()),
        malformed("cipher_suites_none", hello.clone().cipher_count(0).wire()),
        malformed(
            "compression_methods_none",
            hello.clone().compression_methods(&[]).wire(),
        ),
        malformed(
            "bytes_after_the_extensions",
            hello.clone().trailer(&[0, 0, 0]).wire(),
        ),
        malformed(
            "a_second_extensions_block",
            hello.trailer(&[0, 4, 0x2b, 1, 0, 0]).wire(),
        ),
    ]
}

/// Rules of the extensions, those of the server_name among them.
pub(super) fn extensions() -> Vec<Vector> {
    let refused = |name, hello: HelloBuilder, outcome| {
        Vector::refused(name, Class::Message, hello.wire(), outcome)
    };
    let malformed = |name, hello| refused(name, hello, Outcome::HelloMalformed);
    let empty = HelloBuilder::new;
    let hello = || HelloBuilder::tls13(HOST);
    let sni = |content| empty().extension(extension::SERVER_NAME, content).modern();
    vec![
        refused("no_name", empty().modern(), Outcome::NoSni),
        refused("no_extension", empty(), Outcome::NoSni),
        refused(
            "no_extensions_block",
            empty().without_extensions(),
            Outcome::NoSni,
        ),
        malformed(
            "extension_overruns_the_block",
            hello().raw_extensions(&[0x2b, 0, 0, 9, 1]),
        ),
        malformed(
            "extension_without_length",
            hello().raw_extensions(&[0x2b, 0]),
        ),
        malformed("one_byte_for_an_extension", hello().raw_extensions(&[0x2b])),
        malformed("duplicate_name", hello().server_name("other.example")),
        malformed("duplicate_name_of_the_same", hello().server_name(HOST)),
        malformed(
            "duplicate_unknown_extension",
            hello().extension(77, &[]).extension(77, &[1]),
        ),
        malformed(
            "duplicate_of_15000",
            hello().empty_extensions(15_000).extension(0x2b07, &[]),
        ),
        malformed(
            "two_host_names",
            empty().server_name_list(&[(0, HOST.as_bytes()), (0, b"other.example")]),
        ),
        malformed(
            "host_name_then_other_type",
            empty().server_name_list(&[(0, HOST.as_bytes()), (1, b"x")]),
        ),
        malformed(
            "other_name_type",
            empty().server_name_list(&[(1, HOST.as_bytes())]),
        ),
        malformed("empty_name", empty().server_name("")),
        malformed("empty_name_list", empty().server_name_list(&[])),
        malformed("empty_name_extension", sni(&[])),
        malformed(
            "name_list_shorter_than_its_extension",
            sni(&[0, 4, 0, 0, 1, b'a', 0]),
        ),
        malformed(
            "name_list_longer_than_its_extension",
            sni(&[0, 5, 0, 0, 1, b'a']),
        ),
        malformed("name_longer_than_its_list", sni(&[0, 4, 0, 0, 2, b'a'])),
        malformed("byte_after_the_name", sni(&[0, 5, 0, 0, 1, b'a', b'b'])),
    ]
}

/// First bytes of other protocols: no alert is sent for them.
pub(super) fn not_tls() -> Vec<Vector> {
    let vector =
        |name, bytes: &[u8]| Vector::refused(name, Class::NotTls, bytes.to_vec(), Outcome::NotTls);
    let hello = HelloBuilder::tls13(HOST).message();
    // RFC 5246 appendix E.2: length with its high bit set, type 1, version, three lengths.
    let sslv2 = [&[0x80, 0x2e, 1, 3, 1, 0, 21, 0, 0, 0, 16][..], &[0; 37]].concat();
    vec![
        vector(
            "http",
            b"GET / HTTP/1.1\r\nHost: svcb.apps.svc.cluster.local\r\n\r\n",
        ),
        vector("http2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        vector("ssh", b"SSH-2.0-OpenSSH_9.9\r\n"),
        vector(
            "proxy_header_v1",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
        ),
        vector("proxy_header_v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
        vector("sslv2", &sslv2),
        vector("postgres_ssl_request", &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]),
        vector("random", &[0x9c, 0x16, 0x03, 0x01, 0x00, 0x35, 0x77, 0xe1]),
        vector("zeros", &[0; 64]),
        vector("alert_first", &record(ALERT, TLS10, &[2, 40])),
        vector(
            "application_data_first",
            &record(APPLICATION_DATA, TLS10, b"hello"),
        ),
        vector("hello_without_record", &hello),
        vector("major_2", &record(HANDSHAKE, [2, 1], &hello)),
        vector("major_4", &record(HANDSHAKE, [4, 0], &hello)),
        vector("major_0", &record(HANDSHAKE, [0, 3], &hello)),
        vector("dtls", &record(HANDSHAKE, [0xfe, 0xfd], &hello)),
    ]
}
