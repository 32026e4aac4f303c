//! The rules of the message, its extensions and its name, and what a refused client hears.

use super::*;
use crate::server_name::NameError;

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

/// Two readings of one list would undo a route's ALPN policy, so that a broken one has none.
#[test]
fn a_malformed_alpn_extension_offers_nothing() {
    let istio = b"\x05istio";
    for content in [
        &[][..],
        &[0, 0],
        &[&[0, 7][..], istio].concat(),
        &[&[0, 7][..], istio, &[0]].concat(),
        &[&[0, 8][..], istio, &[2, b'h']].concat(),
        &[&[0, 6][..], istio, &[0]].concat(),
    ] {
        let wire = HelloBuilder::tls13(HOST).extension(16, content).wire();
        let mut parser = HelloParser::new(MAX_SIZE);
        let hello = complete(&mut parser, &wire);
        assert_eq!(hello.alpn().count(), 0, "{content:?}");
    }
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
