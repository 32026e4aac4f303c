use super::vectors::{HelloBuilder, MAX_SIZE, message, record, records, vector_u8};
use super::*;
use crate::server_name::ServerName;

const TLS: [u8; 2] = [3, 1];

fn parse_whole(wire: &[u8]) -> Result<(String, usize), HelloError> {
    match HelloParser::new(MAX_SIZE).parse(wire)? {
        Progress::Incomplete => panic!("incomplete: {}", wire.escape_ascii()),
        Progress::Complete(hello) => Ok((hello.server_name.unwrap().to_string(), hello.wire_len)),
    }
}

fn refusal(wire: &[u8]) -> HelloError {
    parse_whole(wire).expect_err("refused")
}

fn named() -> HelloBuilder {
    HelloBuilder::tls13().server_name("svcb.apps")
}

#[test]
fn a_hello_in_one_record_is_not_copied() {
    let wire = [named().wire(), vec![0xee; 40]].concat();
    let hello_len = named().wire().len();
    let mut parser = HelloParser::new(MAX_SIZE);
    for end in 0..hello_len {
        let progress = parser.parse(&wire[..end]).unwrap();
        assert!(matches!(progress, Progress::Incomplete), "at {end}");
    }
    let Progress::Complete(hello) = parser.parse(&wire).unwrap() else {
        panic!("incomplete");
    };
    assert_eq!(hello.server_name.unwrap().as_str(), "svcb.apps");
    assert_eq!(hello.wire_len, hello_len);
    assert_eq!(parser.buffered(), 0);
}

#[test]
fn memory_grows_with_the_bytes_that_come_and_ends_with_the_message() {
    let hello = named().padding(40_000);
    let message_len = hello.message().len();
    let wire = hello.wire_in_records_of(100);
    let mut parser = HelloParser::new(MAX_SIZE);
    for end in (0..wire.len()).step_by(50) {
        assert!(matches!(
            parser.parse(&wire[..end]),
            Ok(Progress::Incomplete)
        ));
        assert!(parser.buffered() <= message_len.min(2 * end), "at {end}");
    }
    assert!(matches!(parser.parse(&wire), Ok(Progress::Complete(_))));
    assert_eq!(parser.buffered(), message_len);
}

#[test]
fn a_claim_allocates_nothing() {
    let mut parser = HelloParser::new(MAX_SIZE);
    let claim = record(22, TLS, &[1, 0x00, 0xff, 0xfc]);
    assert!(matches!(parser.parse(&claim), Ok(Progress::Incomplete)));
    assert!(parser.buffered() <= 2 * claim.len());

    let claimed = 0xff_ffff + MESSAGE_HEADER;
    let error = refusal(&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]);
    let max_size = MAX_SIZE;
    assert_eq!(error, HelloError::TooLarge { claimed, max_size });
}

#[test]
fn the_bound_counts_the_message_with_its_header() {
    let wire = named().wire_in_records_of(10);
    let message_len = named().message().len();
    let mut fits = HelloParser::new(message_len);
    assert!(matches!(fits.parse(&wire), Ok(Progress::Complete(_))));
    let mut too_large = HelloParser::new(message_len - 1);
    assert_eq!(
        too_large.parse(&wire).unwrap_err(),
        HelloError::TooLarge {
            claimed: message_len,
            max_size: message_len - 1
        }
    );
}

#[test]
fn what_headers_prove_is_refused_before_the_message_is_complete() {
    use MalformedReason::*;
    let hello = named().message();
    let half = hello.len() / 2;
    let first = record(22, TLS, &hello[..half]);
    let then = |bytes: &[u8]| [&first, bytes].concat();
    for (wire, reason) in [
        (vec![22, 3, 1, 0, 0], EmptyRecord),
        (vec![22, 3, 1, 0x40, 1], RecordLength(0x4001)),
        (vec![22, 3, 1, 0, 9, 2], HandshakeType(2)),
        (vec![22, 3, 1, 0, 9, 1, 0, 0, 4], BytesAfterHello(1)),
        (then(&[21]), RecordType(21)),
        (then(&[22, 2]), RecordVersion(2)),
        (then(&[22, 3, 3, 0, 0]), EmptyRecord),
        (
            then(&[22, 3, 3, 0x3f, 0xff]),
            BytesAfterHello(half + 0x3fff - hello.len()),
        ),
    ] {
        assert_eq!(refusal(&wire), HelloError::Malformed(reason));
        let mut parser = HelloParser::new(MAX_SIZE);
        let but_one = &wire[..wire.len() - 1];
        assert!(
            matches!(parser.parse(but_one), Ok(Progress::Incomplete)),
            "{reason}"
        );
    }
}

#[test]
fn each_wrong_field_has_its_reason() {
    use MalformedReason::*;
    let not_named = HelloBuilder::tls13;
    for (hello, reason) in [
        (named().session_id(33), SessionId(33)),
        (named().cipher_suites(&[]), CipherSuites),
        (named().raw_cipher_suites([0, 1, 0]), CipherSuites),
        (named().raw_cipher_suites([0xff, 0xfe, 0]), CipherSuites),
        (named().raw_compression_methods([0]), CompressionMethods),
        (
            named().raw_compression_methods([9]).raw_extensions([]),
            CompressionMethods,
        ),
        (
            named().raw_compression_methods([]).raw_extensions([]),
            Truncated,
        ),
        (named().raw_extensions([0]), Extensions),
        (named().raw_extensions([0, 9, 0]), Extensions),
        (
            named().raw_extensions([0, 0, 0, 0]),
            BytesAfterExtensions(2),
        ),
        (named().raw_extensions([0, 3, 0, 0, 0]), Extension),
        (named().raw_extensions([0, 4, 0, 0, 0, 1]), Extension),
        (named().server_name("svcb.apps"), DuplicateExtension(0)),
        (not_named().raw_server_name([]), ServerNameLength),
        (not_named().raw_server_name([0, 1, 0, 0]), ServerNameLength),
        (
            not_named().raw_server_name([0, 3, 0, 0, 9]),
            ServerNameLength,
        ),
        (not_named().server_names(&[]), EmptyServerNameList),
        (not_named().server_names(&[(7, b"a")]), NameType(7)),
        (
            not_named().server_names(&[(0, b"a"), (0, b"b")]),
            SeveralServerNames,
        ),
        (not_named().server_name(""), EmptyHostName),
        (named().extension(16, []), Alpn),
        (named().extension(16, [0, 0]), Alpn),
        (named().extension(16, [0, 1, 0]), Alpn),
        (named().extension(16, [0, 2, 2, b'h']), Alpn),
        (named().extension(16, [0, 2, 1, b'h', 0]), Alpn),
    ] {
        assert_eq!(refusal(&hello.wire()), HelloError::Malformed(reason));
    }
}

#[test]
fn a_malformed_message_is_malformed_even_without_a_name() {
    let hello = HelloBuilder::tls13().padding(1).padding(1);
    let reason = MalformedReason::DuplicateExtension(21);
    assert_eq!(refusal(&hello.wire()), HelloError::Malformed(reason));
}

#[test]
fn a_hello_without_a_name_is_refused_for_that_whatever_it_offers() {
    let hello = HelloBuilder::tls13().extension(16, [0, 1, 0]);
    assert_eq!(refusal(&hello.wire()), HelloError::NoSni);
}

/// The verdict of a parser that accepts hellos without a name.
fn nameless(wire: &[u8]) -> Result<Option<ServerName>, HelloError> {
    match HelloParser::new(MAX_SIZE).nameless(true).parse(wire)? {
        Progress::Incomplete => panic!("incomplete: {}", wire.escape_ascii()),
        Progress::Complete(hello) => Ok(hello.server_name.map(|name| name.to_server_name())),
    }
}

#[test]
fn only_a_hello_without_the_extension_passes_as_one_without_a_name() {
    for hello in [
        HelloBuilder::tls13(),
        HelloBuilder::tls13().alpn(&["h2"]),
        HelloBuilder::tls12().raw_extensions([0, 0]),
        // TLS 1.2 without a block of extensions.
        HelloBuilder::bare(0x0303),
    ] {
        assert_eq!(refusal(&hello.wire()), HelloError::NoSni);
        assert_eq!(nameless(&hello.wire()), Ok(None));
    }
    let name = ServerName::parse(b"svcb.apps").unwrap();
    assert_eq!(nameless(&named().wire()), Ok(Some(name)));
}

#[test]
fn no_fault_of_the_extension_passes_for_its_absence() {
    let not_named = HelloBuilder::tls13;
    for hello in [
        not_named().raw_server_name([]),
        not_named().raw_server_name([0]),
        not_named().raw_server_name([0, 1, 0, 0]),
        not_named().raw_server_name([0, 3, 0, 0, 9]),
        not_named().server_names(&[]),
        not_named().server_names(&[(7, b"a")]),
        not_named().server_names(&[(0, b"a"), (0, b"b")]),
        not_named().server_name(""),
        not_named().server_name("127.0.0.1"),
        not_named().server_name("*"),
        not_named().server_name("a").server_name("a"),
        not_named().extension(16, [0, 1, 0]),
        not_named().padding(1).padding(1),
        HelloBuilder::bare(0x0303).raw_extensions([0]),
    ] {
        let wire = hello.wire();
        let (demanding, accepting) = (refusal(&wire), nameless(&wire));
        match demanding {
            // The list of ALPN protocols matters once the hello can have a route.
            HelloError::NoSni => {
                let alpn = HelloError::Malformed(MalformedReason::Alpn);
                assert_eq!(accepting, Err(alpn));
            }
            fault => assert_eq!(accepting, Err(fault)),
        }
    }
}

#[test]
fn a_bad_name_is_kept_in_bounds_and_shown_escaped() {
    let error = refusal(&HelloBuilder::tls13().server_name("a\r\n\"\x1b[1m").wire());
    assert_eq!(
        error.to_string(),
        r#"bad server name "a\r\n\"\x1b[1m": the name has a character other than ASCII letters, digits, `-`, `_` and `.`"#
    );
    let error = refusal(&HelloBuilder::tls13().server_name([b'a'; 9000]).wire());
    let HelloError::BadServerName { raw, error } = error else {
        panic!("{error}");
    };
    assert_eq!(raw.len(), HelloError::MAX_RAW_NAME);
    assert_eq!(error, crate::server_name::NameError::TooLong);
}

#[test]
fn peers_that_do_not_speak_tls_are_known_from_their_first_bytes() {
    for (wire, kind) in [
        (&b"G"[..], NotTls::FirstByte(b'G')),
        (b"GET / HTTP/1.1", NotTls::Http),
        (b"OPTIONS * HTTP/1.1", NotTls::Http),
        (b"PRI * HTTP/2.0\r\n", NotTls::Http),
        (b"PROXY TCP4 ", NotTls::ProxyHeader),
        (b"\r\n\r\n\0\r\nQUIT\n\x21", NotTls::ProxyHeader),
        (&[0x80, 46, 1, 3, 1], NotTls::Sslv2),
        (&[0, 0, 0, 8, 4, 210, 22, 47], NotTls::Postgres),
        (&[0, 0, 0, 8, 4, 210, 22, 46], NotTls::FirstByte(0)),
        (b"SSH-2.0-OpenSSH_9.9\r\n", NotTls::Ssh),
        (&[0x80, 46, 2], NotTls::FirstByte(0x80)),
        (&[23, 3, 3, 0, 1, 0], NotTls::FirstByte(23)),
        (&[22, 2], NotTls::MajorVersion(2)),
    ] {
        let error = refusal(wire);
        assert_eq!(error, HelloError::NotTls(kind), "{}", wire.escape_ascii());
        assert_eq!(error.alert(), None);
    }
    let hint = refusal(b"GET / HTTP/1.1\r\n").hint();
    assert_eq!(
        hint,
        Some("plain HTTP: DestinationRule ISTIO_MUTUAL missing?")
    );
    assert!(refusal(b"PROXY TCP4 ").hint().is_some());
    assert_eq!(refusal(b"\0").hint(), None);
}

#[test]
fn offers_are_read_in_the_clients_order() {
    let offers = |hello: HelloBuilder| {
        let wire = hello.wire();
        let mut parser = HelloParser::new(MAX_SIZE);
        let Progress::Complete(hello) = parser.parse(&wire).unwrap() else {
            panic!("incomplete");
        };
        let alpn: Vec<Vec<u8>> = hello.alpn().map(<[u8]>::to_vec).collect();
        assert_eq!(hello.alpn().count(), alpn.len());
        (alpn, hello.versions().collect::<Vec<u16>>())
    };
    let (alpn, versions) = offers(named().alpn(&["istio-peer-exchange", "istio"]));
    assert_eq!(alpn, [&b"istio-peer-exchange"[..], b"istio"]);
    assert_eq!(versions, [0x0304, 0x0303]);

    let tls11 = HelloBuilder::bare(0x0302).server_name("a");
    assert_eq!(offers(tls11.clone()), (vec![], vec![0x0302]));
    let drafts = tls11.extension(43, vector_u8(&[0x7f, 0x17, 3]));
    assert_eq!(offers(drafts).1, [0x7f17]);
}

#[test]
fn alerts_name_whose_fault_it_was() {
    let decode_error = refusal(&record(22, TLS, &message(1, &[])));
    let illegal = refusal(&named().padding(0).padding(0).wire());
    let surplus = refusal(&record(22, TLS, &[named().message(), vec![1]].concat()));
    let too_long = refusal(&[22, 3, 1, 0xff, 0xff]);
    let no_sni = refusal(&HelloBuilder::tls12().wire());
    let bad_name = refusal(&HelloBuilder::tls12().server_name("127.0.0.1").wire());
    for (error, alert, code) in [
        (decode_error, Alert::DecodeError, 50),
        (illegal, Alert::IllegalParameter, 47),
        (surplus, Alert::UnexpectedMessage, 10),
        (too_long, Alert::RecordOverflow, 22),
        (no_sni, Alert::HandshakeFailure, 40),
        (bad_name, Alert::UnrecognizedName, 112),
    ] {
        assert_eq!(error.alert(), Some(alert), "{error}");
        assert_eq!(alert.record(), [21, 3, 3, 0, 2, 2, code]);
    }
}

#[test]
fn a_wire_that_shrinks_against_the_contract_does_no_harm() {
    let wire = records(TLS, &named().message(), 20);
    let mut parser = HelloParser::new(MAX_SIZE);
    for end in [60, 3, 0, 47, 61] {
        assert!(matches!(
            parser.parse(&wire[..end]),
            Ok(Progress::Incomplete)
        ));
    }
}

/// The work is linear: a byte that was checked is read again only once, when the message is complete.
#[test]
fn what_has_been_judged_is_looked_at_once_more() {
    let hello = named().padding(3000);
    for record_len in [1, 2, 7, 300, 2000] {
        let wire = hello.wire_in_records_of(record_len);
        let mut parser = HelloParser::new(MAX_SIZE);
        let mut read_again = 0;
        for end in 1..=wire.len() {
            // All bytes but the newest are replaced by nonsense.
            let record_start = end.saturating_sub(1) / (record_len + 5) * (record_len + 5);
            let kept = match end - record_start {
                _ if end == wire.len() => 0,
                // A header is read again until it is complete.
                1..=5 => record_start,
                _ => end - 1,
            };
            read_again += end - kept;
            let mut shown = vec![0xee; end];
            shown[kept..].copy_from_slice(&wire[kept..end]);
            let progress = parser.parse(&shown).unwrap();
            let complete = matches!(progress, Progress::Complete(_));
            assert_eq!(complete, end == wire.len(), "at {end} of {record_len}");
        }
        // 15 reads for each header, two for each byte of a fragment.
        let records = wire.len().div_ceil(record_len + 5);
        assert!(read_again <= 15 * records + 2 * wire.len());
    }
}

/// The number of reads for a hello of many small items is proportional to its bytes.
#[test]
fn the_work_for_a_hello_is_linear_whatever_it_holds() {
    let reads = |hello: &HelloBuilder| {
        let wire = hello.wire();
        reader::steps();
        let mut parser = HelloParser::new(MAX_SIZE);
        let Ok(Progress::Complete(hello)) = parser.parse(&wire) else {
            panic!("not complete");
        };
        let offered = hello.alpn().count();
        let (offers, ja4) = (Offers::of(&hello), hello.ja4());
        let reads = reader::steps();
        let _ = (offered, offers, ja4);
        assert!(
            reads <= 2 * wire.len(),
            "{reads} reads for {} bytes",
            wire.len()
        );
        reads
    };
    let numbers = |count: u16| (0..count).flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let bare = || HelloBuilder::bare(0x0303).server_name("svcb.apps");
    let kinds: [(&str, &dyn Fn(u16) -> HelloBuilder); 5] = [
        ("protocols", &|count| bare().alpn(&vec![b"x"; count.into()])),
        ("extensions", &|count| {
            (256..256 + count / 2).fold(bare(), |hello, kind| hello.extension(kind, []))
        }),
        ("cipher suites", &|count| {
            bare().cipher_suites(&(0..count).collect::<Vec<u16>>())
        }),
        ("groups", &|count| {
            bare().extension(10, vectors::vector_u16(&numbers(count)))
        }),
        ("signature algorithms", &|count| {
            bare().extension(13, vectors::vector_u16(&numbers(count)))
        }),
    ];
    for (what, hello) in kinds {
        let (half, whole) = (reads(&hello(15_000)), reads(&hello(30_000)));
        assert!(
            whole <= 2 * half + 100,
            "{what}: {half} reads, then {whole}"
        );
    }
}
