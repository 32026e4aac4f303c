//! The parser's rules one by one, each with the reason that it gives.

use super::vectors::{HOST, HelloBuilder, MAX_SIZE, handshake, record, records, vectors};
use super::*;
use crate::outcome::Outcome;
use crate::server_name::NameError;

fn error_of(wire: &[u8]) -> HelloError {
    match HelloParser::new(MAX_SIZE).parse(wire) {
        Err(error) => error,
        Ok(progress) => panic!("expected an error, got {progress:?}"),
    }
}

fn reason_of(wire: &[u8]) -> MalformedReason {
    match error_of(wire) {
        HelloError::Malformed(reason) => reason,
        other => panic!("expected a malformed hello, got {other}"),
    }
}

fn complete<'a>(parser: &'a mut HelloParser, wire: &'a [u8]) -> ClientHello<'a> {
    match parser.parse(wire) {
        Ok(Progress::Complete(hello)) => hello,
        other => panic!("expected a hello, got {other:?}"),
    }
}

#[track_caller]
fn assert_incomplete(parser: &mut HelloParser, wire: &[u8]) {
    assert!(matches!(parser.parse(wire), Ok(Progress::Incomplete)));
}

/// A hello in two records, with `between` after the first.
fn interrupted(between: &[u8]) -> Vec<u8> {
    let message = HelloBuilder::tls13(HOST).message();
    let (first, rest) = message.split_at(50);
    [records(first, 50), between.to_vec(), records(rest, 16_384)].concat()
}

#[test]
fn a_hello_in_one_record_is_parsed_where_it_lies() {
    let wire = HelloBuilder::tls13(HOST).wire();
    let mut parser = HelloParser::new(MAX_SIZE);
    for end in 0..wire.len() {
        assert_incomplete(&mut parser, &wire[..end]);
    }
    let hello = complete(&mut parser, &wire);
    assert_eq!(hello.server_name.as_str(), HOST);
    assert_eq!(hello.wire_len, wire.len());
    assert_eq!(parser.buffered(), 0);
}

#[test]
fn bytes_after_the_last_record_are_not_looked_at() {
    for size in [16, 16_384] {
        let mut wire = HelloBuilder::tls13(HOST).records(size);
        let hello_len = wire.len();
        wire.extend([0xff; 50]);
        let mut parser = HelloParser::new(MAX_SIZE);
        assert_eq!(complete(&mut parser, &wire).wire_len, hello_len);
    }
}

#[test]
fn a_call_after_the_end_gives_the_same_again() {
    let wire = HelloBuilder::tls13(HOST).records(7);
    let mut parser = HelloParser::new(MAX_SIZE);
    for _ in 0..3 {
        assert_eq!(complete(&mut parser, &wire).server_name.as_str(), HOST);
    }
    for vector in vectors() {
        let mut parser = HelloParser::new(MAX_SIZE);
        let first = parser.parse(&vector.bytes).map(|_| ()).err();
        let again = parser.parse(&vector.bytes).map(|_| ()).err();
        assert_eq!(first, again, "{}", vector.name);
    }
}

#[test]
fn alpn_and_versions_are_those_of_the_hello() {
    let both = HelloBuilder::tls13(HOST).alpn(&[b"istio", b"h2"]).wire();
    let mut parser = HelloParser::new(MAX_SIZE);
    let hello = complete(&mut parser, &both);
    assert!(hello.alpn().eq([&b"istio"[..], b"h2"]));
    assert!(hello.versions().eq([0x0304, 0x0303]));

    let neither = HelloBuilder::new().server_name(HOST).version(0x0302).wire();
    let mut parser = HelloParser::new(MAX_SIZE);
    let hello = complete(&mut parser, &neither);
    assert_eq!(hello.alpn().count(), 0);
    assert!(hello.versions().eq([0x0302]));
}

#[test]
fn versions_of_a_broken_list_end_where_it_breaks() {
    for (content, versions) in [
        (&[][..], &[][..]),
        (&[9, 3, 4], &[]),
        (&[3, 3, 4, 3], &[0x0304]),
        (&[2, 3, 4, 7, 7], &[0x0304]),
    ] {
        let hello = HelloBuilder::new().server_name(HOST).extension(43, content);
        let wire = hello.wire();
        let mut parser = HelloParser::new(MAX_SIZE);
        let hello = complete(&mut parser, &wire);
        assert!(hello.versions().eq(versions.iter().copied()), "{content:?}");
    }
}

#[test]
fn records_are_of_type_22_major_3_and_of_1_to_16384_bytes() {
    let hello = HelloBuilder::tls13(HOST);
    assert_eq!(
        error_of(&record(22, [2, 1], &hello.message())),
        HelloError::NotTls(NotTls::MajorVersion(2))
    );
    assert_eq!(
        error_of(&[0x17]),
        HelloError::NotTls(NotTls::FirstByte(0x17))
    );
    for (between, reason) in [
        (record(21, [3, 3], &[1, 0]), MalformedReason::RecordType(21)),
        (record(20, [3, 3], &[1]), MalformedReason::RecordType(20)),
        (record(23, [3, 3], b"data"), MalformedReason::RecordType(23)),
        (record(22, [4, 3], &[0]), MalformedReason::RecordVersion(4)),
        (record(22, [3, 3], &[]), MalformedReason::EmptyRecord),
        (
            vec![22, 3, 3, 0x40, 1],
            MalformedReason::RecordLength(16_385),
        ),
    ] {
        assert_eq!(reason_of(&interrupted(&between)), reason);
    }
    assert_eq!(reason_of(&[22, 3, 1, 0, 0]), MalformedReason::EmptyRecord);
    assert_incomplete(&mut HelloParser::new(MAX_SIZE), &[22, 3, 1, 0x40, 0]);
    assert_eq!(
        reason_of(&[22, 3, 1, 0x40, 1]),
        MalformedReason::RecordLength(16_385)
    );
}

#[test]
fn a_record_is_refused_with_the_first_byte_that_proves_it() {
    assert_eq!(
        reason_of(&interrupted(&[21])[..56]),
        MalformedReason::RecordType(21)
    );
    assert_eq!(
        error_of(&[22, 4]),
        HelloError::NotTls(NotTls::MajorVersion(4))
    );
    assert_eq!(
        reason_of(&[22, 3, 1, 0, 9, 2]),
        MalformedReason::HandshakeType(2)
    );
}

#[test]
fn nothing_may_follow_the_hello_in_its_last_record() {
    let message = [HelloBuilder::tls13(HOST).message(), vec![0; 3]].concat();
    assert_eq!(
        reason_of(&records(&message, 16_384)),
        MalformedReason::BytesAfterHello(3)
    );
    let surplus = MalformedReason::BytesAfterHello(3);
    assert_eq!(reason_of(&records(&message, 100)), surplus);
    // The header of the record suffices, and that of the message in the only record.
    let last_header = message.len() / 100 * 105 + 5;
    assert_eq!(reason_of(&records(&message, 100)[..last_header]), surplus);
    assert_eq!(reason_of(&records(&message, 16_384)[..9]), surplus);
}

#[test]
fn a_claim_over_the_maximum_is_refused_with_its_fourth_byte_and_allocates_nothing() {
    for size in [1, 2, 3, 4] {
        let wire = records(&[1, 0xff, 0xff, 0xff], size);
        let mut parser = HelloParser::new(MAX_SIZE);
        assert_incomplete(&mut parser, &wire[..wire.len() - 1]);
        assert_eq!(
            parser.parse(&wire).unwrap_err(),
            HelloError::TooLarge {
                claimed: 0x0100_0003,
                max_size: MAX_SIZE
            }
        );
        assert!(parser.buffered() <= 4);
    }
}

#[test]
fn the_maximum_counts_the_message_with_its_header_and_no_record_header() {
    let hello = HelloBuilder::tls13(HOST);
    let len = hello.message().len();
    let wire = hello.records(1);
    complete(&mut HelloParser::new(len), &wire);
    assert!(matches!(
        HelloParser::new(len - 1).parse(&wire),
        Err(HelloError::TooLarge { .. })
    ));
    assert!(HelloParser::new(0).parse(&wire).is_err());
}

#[test]
fn an_accepted_claim_takes_memory_only_as_bytes_arrive() {
    let start = [&[22, 3, 1, 0, 100, 1, 0, 0xff, 0xfc][..], &[0; 96]].concat();
    let mut parser = HelloParser::new(MAX_SIZE);
    assert_incomplete(&mut parser, &start);
    assert!(parser.buffered() <= 200, "{}", parser.buffered());
}

/// The message's memory grows by factors, not by records: the copying is linear in the message.
#[test]
fn reassembly_of_64_kib_in_one_byte_records_reallocates_a_few_times() {
    let wire = HelloBuilder::new()
        .padding(65_000)
        .server_name(HOST)
        .records(1);
    let mut parser = HelloParser::new(MAX_SIZE);
    let (mut growths, mut before) = (0, 0);
    for end in (1..wire.len()).step_by(6) {
        assert_incomplete(&mut parser, &wire[..end]);
        growths += u32::from(parser.buffered() != before);
        before = parser.buffered();
        assert!(before <= end.min(MAX_SIZE), "{before} bytes held of {end}");
    }
    complete(&mut parser, &wire);
    assert!(growths <= 20, "{growths} reallocations");
}

#[test]
fn each_field_of_the_message_has_its_reason() {
    let hello = HelloBuilder::tls13(HOST);
    let cut = |len| records(&handshake(1, &hello.body()[..len]), 16_384);
    for len in [0, 1, 33, 34, 40, 67, 68] {
        assert_eq!(reason_of(&cut(len)), MalformedReason::Truncated, "{len}");
    }
    for (wire, reason) in [
        (cut(2 + 32 + 33 + 2 + 3), MalformedReason::CipherSuites),
        (cut(2 + 32 + 33 + 6), MalformedReason::Truncated),
        (
            cut(2 + 32 + 33 + 6 + 1),
            MalformedReason::CompressionMethods,
        ),
        (cut(2 + 32 + 33 + 6 + 2 + 1), MalformedReason::Extensions),
        (cut(hello.body().len() - 1), MalformedReason::Extensions),
        (
            hello.clone().session_id(33).wire(),
            MalformedReason::SessionId(33),
        ),
        (
            hello.clone().cipher_bytes(3).wire(),
            MalformedReason::CipherSuites,
        ),
        (
            hello.clone().cipher_count(0).wire(),
            MalformedReason::CipherSuites,
        ),
        (
            hello.clone().compression_methods(&[]).wire(),
            MalformedReason::CompressionMethods,
        ),
        (
            hello.clone().trailer(&[1, 2]).wire(),
            MalformedReason::BytesAfterExtensions(2),
        ),
        (records(&handshake(1, &[]), 4), MalformedReason::Truncated),
    ] {
        assert_eq!(reason_of(&wire), reason);
    }
    for valid in [0, 1, 32] {
        let wire = hello.clone().session_id(valid).wire();
        complete(&mut HelloParser::new(MAX_SIZE), &wire);
    }
}

#[test]
fn each_rule_of_the_extensions_has_its_reason() {
    let hello = || HelloBuilder::tls13(HOST);
    let sni = |content: &[u8]| HelloBuilder::new().extension(0, content);
    for (hello, reason) in [
        (hello().raw_extensions(&[1]), MalformedReason::Extension),
        (
            hello().raw_extensions(&[1, 1, 0]),
            MalformedReason::Extension,
        ),
        (
            hello().raw_extensions(&[1, 1, 0, 2, 0]),
            MalformedReason::Extension,
        ),
        (
            hello().server_name(HOST),
            MalformedReason::DuplicateExtension(0),
        ),
        (
            hello().empty_extensions(15_000).extension(0x2b00, &[1]),
            MalformedReason::DuplicateExtension(0x2b00),
        ),
        (sni(&[]), MalformedReason::ServerNameLength),
        (sni(&[0, 9, 0]), MalformedReason::ServerNameLength),
        (
            sni(&[0, 4, 0, 0, 1, b'a', 0]),
            MalformedReason::ServerNameLength,
        ),
        (
            sni(&[0, 4, 0, 0, 2, b'a']),
            MalformedReason::ServerNameLength,
        ),
        (sni(&[0, 0]), MalformedReason::EmptyServerNameList),
        (sni(&[0, 4, 1, 0, 1, b'a']), MalformedReason::NameType(1)),
        (
            sni(&[0, 5, 0, 0, 1, b'a', 0]),
            MalformedReason::SeveralServerNames,
        ),
        (sni(&[0, 3, 0, 0, 0]), MalformedReason::EmptyHostName),
        (hello().extension(16, &[]), MalformedReason::Alpn),
        (hello().alpn(&[]), MalformedReason::Alpn),
        (hello().alpn(&[b"h2", b""]), MalformedReason::Alpn),
        (
            hello().extension(16, &[0, 2, 2, b'h']),
            MalformedReason::Alpn,
        ),
        (
            hello().extension(16, &[0, 2, 1, b'h', 0]),
            MalformedReason::Alpn,
        ),
    ] {
        assert_eq!(reason_of(&hello.wire()), reason);
    }
}

#[test]
fn a_hello_without_a_name_has_none() {
    for hello in [
        HelloBuilder::new().modern(),
        HelloBuilder::new(),
        HelloBuilder::new().without_extensions(),
    ] {
        assert_eq!(error_of(&hello.wire()), HelloError::NoSni);
    }
}

/// What is malformed is malformed whatever the name: a broken extension after a bad name or none.
#[test]
fn form_comes_before_the_name() {
    for hello in [
        HelloBuilder::new(),
        HelloBuilder::new().server_name("127.0.0.1"),
    ] {
        let wire = hello.extension(77, &[]).extension(77, &[]).wire();
        assert_eq!(reason_of(&wire), MalformedReason::DuplicateExtension(77));
    }
}

#[test]
fn a_bad_name_is_kept_cut_and_shown_escaped() {
    let long = HelloBuilder::new().server_name(&"a".repeat(60_000)).wire();
    let HelloError::BadServerName { raw, error } = error_of(&long) else {
        panic!("expected a bad name");
    };
    assert_eq!(
        (raw.len(), error),
        (HelloError::MAX_RAW_NAME, NameError::TooLong)
    );

    let injected = HelloBuilder::new().server_name("a\r\nb\"\0").wire();
    let text = error_of(&injected).to_string();
    assert!(text.contains(r#"a\r\nb\"\x00"#), "{text}");
    assert!(!text.contains(['\r', '\n', '\0']), "{text}");
}

#[test]
fn what_is_not_tls_is_named_and_gets_no_alert() {
    for (wire, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], NotTls::Http),
        (b"PRI * HTTP/2.0\r\n\r\n", NotTls::Http),
        (b"PROXY TCP4 ", NotTls::ProxyHeader),
        (b"\r\n\r\n\0\r\nQUIT\n!", NotTls::ProxyHeader),
        (&[0x80, 0x2e, 1, 3, 1], NotTls::Sslv2),
        (b"SSH-2.0", NotTls::FirstByte(b'S')),
        (b"G", NotTls::FirstByte(b'G')),
    ] {
        let error = error_of(wire);
        assert_eq!(error, HelloError::NotTls(expected));
        assert_eq!(error.alert(), None);
        let hinted = matches!(expected, NotTls::Http | NotTls::ProxyHeader);
        assert_eq!(error.hint().is_some(), hinted);
    }
}

#[test]
fn a_refused_client_hears_the_alert_that_the_rfcs_have_for_it() {
    let hello = HelloBuilder::tls13(HOST);
    for (wire, alert) in [
        (records(&handshake(2, &[]), 64), Alert::UnexpectedMessage),
        (vec![22, 3, 1, 0x40, 1], Alert::RecordOverflow),
        (
            hello.clone().server_name(HOST).wire(),
            Alert::IllegalParameter,
        ),
        (hello.session_id(33).wire(), Alert::DecodeError),
        (HelloBuilder::new().wire(), Alert::HandshakeFailure),
        (
            HelloBuilder::new().server_name("127.0.0.1").wire(),
            Alert::UnrecognizedName,
        ),
    ] {
        assert_eq!(error_of(&wire).alert(), Some(alert));
        assert_eq!(alert.record(), [21, 3, 3, 0, 2, 2, alert as u8]);
    }
}

#[test]
fn vectors_have_unique_names_and_a_known_outcome_and_cover_every_class() {
    let mut names = std::collections::HashSet::new();
    let mut classes = std::collections::HashSet::new();
    for vector in vectors() {
        assert!(names.insert(vector.name), "{} twice", vector.name);
        classes.insert(vector.class.label());
        let outcome = match HelloParser::new(MAX_SIZE).parse(&vector.bytes) {
            Ok(Progress::Complete(hello)) => Ok(hello.server_name.as_str().to_owned()),
            Ok(Progress::Incomplete) => Err(Outcome::HelloTimeout),
            Err(error) => Err(error.outcome()),
        };
        assert_eq!(outcome, vector.expect, "{}", vector.name);
    }
    assert_eq!(classes.len(), 6);
    assert!(names.len() > 100, "{} vectors", names.len());
}
