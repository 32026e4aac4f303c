//! The rules one by one, each with the reason that it gives: records and reassembly here, what
//! stands in the message in `message`.

mod message;

use super::vectors::{HOST, HelloBuilder, MAX_SIZE, handshake, record, records, vectors};
use super::*;
use crate::outcome::Outcome;

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
