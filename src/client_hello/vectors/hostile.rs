//! Vectors that must be refused.

use super::VectorClass::{CutShort, Large, Message, Name, NotTls, Record, ServerNameList};
use super::builder::{HelloBuilder, message, record, records as cut, vector_u8, vector_u16};
use super::valid::{istio, of_message_len};
use super::{MAX_SIZE, ROUTE, Vector};
use crate::outcome::Outcome;

const TLS: [u8; 2] = [3, 1];

pub(super) fn too_large() -> Vec<Vector> {
    [
        (
            "a message of 64 KiB and 1 byte",
            of_message_len(MAX_SIZE + 1).wire(),
        ),
        (
            "a claim of 16 MB",
            record(22, TLS, &[1, 0xff, 0xff, 0xff, 3, 3]),
        ),
        (
            "a claim of 16 MB in records of 1 byte",
            cut(TLS, &[1, 0xff, 0xff, 0xff], 1),
        ),
    ]
    .map(|(name, bytes)| Vector::refused(name, Large, bytes, Outcome::HelloTooLarge))
    .to_vec()
}

pub(super) fn names() -> Vec<Vector> {
    let label = "a".repeat(63);
    let names: [(_, &[u8]); _] = [
        ("CR and LF in the name", b"svcb\r\nX-Injected: 1"),
        ("a terminal escape in the name", b"svcb\x1b[31m.apps"),
        ("quotes in the name", b"svcb\" route=\"other"),
        ("a NUL in the name", b"svcb.apps\0.example"),
        ("a path for a name", b"../../etc/passwd"),
        ("a URL for a name", b"http://svcb.apps/"),
        ("a name with a port", b"svcb.apps:443"),
        ("a wildcard for a name", b"*.apps.svc.cluster.local"),
        ("a space in the name", b"svcb apps"),
        ("a name in UTF-8", "b\u{fc}cher.example".as_bytes()),
        ("a name that is not text", &[0xff, 0xfe, b'.', b'a']),
        ("an IPv4 address", b"169.254.169.254"),
        ("an IPv4 address with a trailing dot", b"127.0.0.1."),
        ("an IPv4 address in one number", b"2130706433"),
        ("an IPv6 address", b"fe80::1"),
        ("an IPv6 address in brackets", b"[::1]"),
        ("a last label of digits", b"svcb.apps.1"),
        ("nothing but a dot", b"."),
        ("a leading dot", b".svcb.apps"),
        ("two trailing dots", b"svcb.apps.."),
        ("an empty label", b"svcb..apps"),
        ("a label that starts with a hyphen", b"-svcb.apps"),
        ("a label that ends with a hyphen", b"svcb-.apps"),
        ("a label of 64 bytes", &[b'a'; 64]),
        (
            "a name of 254 bytes",
            &format!("{label}.{label}.{label}.{}", "b".repeat(62)).into_bytes(),
        ),
        ("a name of 16,000 bytes", &b"a.".repeat(8000)),
    ];
    names
        .map(|(name, raw)| {
            let hello = HelloBuilder::tls13().server_name(raw).wire();
            Vector::refused(name, Name, hello, Outcome::BadServerName)
        })
        .to_vec()
}

#[expect(clippy::too_many_lines, reason = "a list, one entry a rule")]
pub(super) fn server_name_lists() -> Vec<Vector> {
    let entry = [vec![0], vector_u16(ROUTE.as_bytes())].concat();
    let list = vector_u16(&entry);
    let tls13 = HelloBuilder::tls13;
    let malformed = [
        (
            "two server_name extensions",
            tls13().server_name(ROUTE).server_name("other.example"),
        ),
        (
            "two server_name extensions with one name",
            tls13().server_name(ROUTE).server_name(ROUTE),
        ),
        (
            "two host names",
            tls13().server_names(&[(0, ROUTE.as_bytes()), (0, b"other.example")]),
        ),
        (
            "a host name after another type",
            tls13().server_names(&[(1, b"x"), (0, ROUTE.as_bytes())]),
        ),
        (
            "another type after the host name",
            tls13().server_names(&[(0, ROUTE.as_bytes()), (1, b"x")]),
        ),
        (
            "another type alone",
            tls13().server_names(&[(1, ROUTE.as_bytes())]),
        ),
        ("a host name of length 0", tls13().server_name("")),
        ("an empty server name list", tls13().server_names(&[])),
        (
            "an empty server_name extension",
            tls13().raw_server_name([]),
        ),
        (
            "a server_name extension of 1 byte",
            tls13().raw_server_name([0]),
        ),
        (
            "a byte after the server name list",
            tls13().raw_server_name([&list, &[0][..]].concat()),
        ),
        ("a server name list that claims too much", {
            tls13().raw_server_name([&[0xff, 0xff], &entry[..]].concat())
        }),
        ("a server name list that claims nothing", {
            tls13().raw_server_name([&[0, 0], &entry[..]].concat())
        }),
        ("a byte after the host name", {
            tls13().raw_server_name(vector_u16(&[&entry, &[0][..]].concat()))
        }),
        ("a host name that claims too much", {
            tls13().raw_server_name(vector_u16(&[&[0, 0xff, 0xff], ROUTE.as_bytes()].concat()))
        }),
        (
            "an entry without a name",
            tls13().raw_server_name(vector_u16(&[0])),
        ),
    ]
    .map(|(name, hello)| {
        Vector::refused(name, ServerNameList, hello.wire(), Outcome::HelloMalformed)
    });
    let no_sni = [
        (
            "no extensions",
            HelloBuilder::bare(0x0303).raw_extensions([]),
        ),
        ("an empty extensions block", HelloBuilder::bare(0x0303)),
        (
            "no server_name among the extensions",
            tls13().alpn(&["istio"]),
        ),
    ]
    .map(|(name, hello)| Vector::refused(name, ServerNameList, hello.wire(), Outcome::NoSni));
    [malformed.to_vec(), no_sni.to_vec()].concat()
}

pub(super) fn records() -> Vec<Vector> {
    let hello = istio().message();
    let (start, end) = hello.split_at(hello.len() / 2);
    let between = |middle: Vec<u8>| [record(22, TLS, start), middle, record(22, TLS, end)].concat();
    let empty = || record(22, TLS, &[]);
    let other = HelloBuilder::tls13().server_name("other.example").message();
    [
        ("an empty record first", [empty(), istio().wire()].concat()),
        ("an empty record between", between(empty())),
        ("100 empty records between", between(empty().repeat(100))),
        ("an alert between", between(record(21, TLS, &[1, 0]))),
        (
            "a change_cipher_spec between",
            between(record(20, TLS, &[1])),
        ),
        (
            "application data between",
            between(record(23, TLS, &[0; 40])),
        ),
        (
            "a record of an unknown type between",
            between(record(99, TLS, &[0])),
        ),
        ("no TLS version in the second record", {
            [record(22, TLS, start), record(22, [2, 0], end)].concat()
        }),
        (
            "a record of 2^14 + 1 bytes",
            record(22, TLS, &of_message_len((1 << 14) + 1).message()),
        ),
        (
            "a record that claims 65,535 bytes",
            [&[22, 3, 1, 0xff, 0xff], &hello[..]].concat(),
        ),
        (
            "a byte after the hello in its record",
            record(22, TLS, &[&hello, &[0][..]].concat()),
        ),
        (
            "two hellos in one record",
            record(22, TLS, &[&hello[..], &other].concat()),
        ),
        ("bytes after the hello in its second record", {
            [
                record(22, TLS, start),
                record(22, TLS, &[end, &other].concat()),
            ]
            .concat()
        }),
        ("a server_hello", record(22, TLS, &message(2, &[3; 70]))),
        ("a hello_request before the hello", {
            record(22, TLS, &[message(0, &[]), hello.clone()].concat())
        }),
        (
            "a handshake type of 255 and no more",
            record(22, TLS, &[255]),
        ),
    ]
    .map(|(name, bytes)| Vector::refused(name, Record, bytes, Outcome::HelloMalformed))
    .to_vec()
}

#[expect(clippy::too_many_lines, reason = "a list, one entry a rule")]
pub(super) fn messages() -> Vec<Vector> {
    let named = || HelloBuilder::tls13().server_name(ROUTE);
    let name = {
        let entry = [vec![0], vector_u16(ROUTE.as_bytes())].concat();
        [vec![0, 0], vector_u16(&vector_u16(&entry))].concat()
    };
    let with_extensions = |block: &[u8]| named().raw_extensions(vector_u16(block));
    let with_alpn = |content: &[u8]| named().extension(16, content);
    let hellos = [
        ("a session id of 33 bytes", named().session_id(33)),
        ("no cipher suite", named().cipher_suites(&[])),
        (
            "cipher suites of an odd length",
            named().raw_cipher_suites([0, 3, 0x13, 1, 0]),
        ),
        (
            "cipher suites that claim too much",
            named().raw_cipher_suites([0xff, 0xfe, 0x13, 1]),
        ),
        (
            "no compression method",
            named().raw_compression_methods([0]),
        ),
        ("compression methods that claim too much", {
            named().raw_compression_methods([255, 0]).raw_extensions([])
        }),
        ("no compression methods field", {
            named().raw_compression_methods([]).raw_extensions([])
        }),
        ("extensions that claim too much", {
            named().raw_extensions([&[0xff, 0xff], &name[..]].concat())
        }),
        ("half a length of extensions", named().raw_extensions([0])),
        ("bytes after the extensions", {
            named().raw_extensions([vector_u16(&name), vec![0]].concat())
        }),
        (
            "extensions that claim nothing",
            named().raw_extensions([&[0, 0], &name[..]].concat()),
        ),
        (
            "an extension that claims too much",
            with_extensions(&[&name, &[0, 23, 0, 1][..]].concat()),
        ),
        (
            "half an extension header",
            with_extensions(&[&name, &[0, 23, 0][..]].concat()),
        ),
        (
            "an unknown extension twice",
            named().extension(0xabcd, []).extension(0xabcd, []),
        ),
        ("a known extension twice", named().padding(3).padding(3)),
        ("an extension twice, 14,000 others between", {
            let kinds = 256..256 + 14_000;
            let hello = kinds.fold(named(), |hello, kind| hello.extension(kind, []));
            hello.extension(13_000, [])
        }),
        ("an ALPN extension without a list", with_alpn(&[])),
        ("an empty ALPN list", with_alpn(&[0, 0])),
        (
            "an empty ALPN protocol",
            with_alpn(&vector_u16(&[0, 2, b'h', b'2'])),
        ),
        (
            "an ALPN protocol that claims too much",
            with_alpn(&vector_u16(&[5, b'i', b's'])),
        ),
        ("a byte after the ALPN list", {
            with_alpn(&[vector_u16(&vector_u8(b"istio")), vec![0]].concat())
        }),
        (
            "an ALPN list that claims too much",
            with_alpn(&[0, 9, 5, b'i', b's', b't', b'i', b'o']),
        ),
    ]
    .map(|(name, hello)| (name, hello.wire()));
    let bodies = [
        ("a message without a body", message(1, &[])),
        ("a message that ends in its random", message(1, &[3; 20])),
        ("a message of 16,000 zeroes", message(1, &[0; 16_000])),
    ]
    .map(|(name, message)| (name, record(22, TLS, &message)));

    let malformed = hellos.into_iter().chain(bodies);
    malformed
        .map(|(name, bytes)| Vector::refused(name, Message, bytes, Outcome::HelloMalformed))
        .collect()
}

pub(super) fn not_tls() -> Vec<Vector> {
    let sslv2 = [&[0x80, 46, 1, 3, 1, 0, 21, 0, 0, 0, 16], &[5; 37][..]].concat();
    let proxy_v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"[..], &istio().wire()].concat();
    let proxy_v1 = [
        &b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n"[..],
        &istio().wire(),
    ]
    .concat();
    [
        (
            "an HTTP/1.1 request",
            b"GET / HTTP/1.1\r\nHost: svcb.apps\r\n\r\n".to_vec(),
        ),
        (
            "an HTTP/1.1 request with a body",
            b"POST /x HTTP/1.1\r\nContent-Length: 1\r\n\r\nx".to_vec(),
        ),
        (
            "an HTTP/2 preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ),
        ("an SSLv2 hello", sslv2),
        ("an SSH banner", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("a PROXY header, version 1", proxy_v1),
        ("a PROXY header, version 2", proxy_v2),
        ("a Postgres SSLRequest", vec![0, 0, 0, 8, 4, 210, 22, 47]),
        ("application data first", record(23, TLS, &[0; 40])),
        ("an alert first", record(21, TLS, &[2, 40])),
        (
            "a record of TLCP, major version 1",
            istio().record_version(1, 1).wire(),
        ),
        (
            "a record of DTLS, major version 254",
            istio().record_version(254, 253).wire(),
        ),
        ("one byte, not 22", vec![b'G']),
        ("zeroes", vec![0; 100]),
    ]
    .map(|(name, bytes)| Vector::refused(name, NotTls, bytes, Outcome::NotTls))
    .to_vec()
}

pub(super) fn cut_short() -> Vec<Vector> {
    let first = |bytes: Vec<u8>, count: usize| bytes.get(..count).unwrap_or(&bytes).to_vec();
    let len = istio().wire().len();
    [
        ("the first byte of a hello", vec![22]),
        ("a record header", first(istio().wire(), 5)),
        ("half a hello", first(istio().wire(), len / 2)),
        (
            "all of a hello but its last byte",
            first(istio().wire(), len - 1),
        ),
        (
            "the first record of a hello in two",
            first(istio().wire_in_records_of(200), 205),
        ),
        ("a claim of 64 KiB, and nothing of it", {
            let message = of_message_len(MAX_SIZE).message();
            record(22, TLS, message.get(..4).unwrap_or(&message))
        }),
    ]
    .map(|(name, bytes)| Vector::refused(name, CutShort, bytes, Outcome::ClientGoneBeforeHello))
    .to_vec()
}
