//! The parser takes memory as bytes arrive, not as they are claimed, and in proportion to them:
//! counted by an allocator, not by a clock.

use strait::client_hello::vectors::{HelloBuilder, MAX_SIZE, record};
use strait::client_hello::{HelloError, HelloParser, Progress};

use crate::alone;
use crate::counting::allocated;

/// Allocations, and their bytes, while a parser is shown `wire` in pieces of `step` bytes.
fn counted(wire: &[u8], step: usize) -> (Result<bool, HelloError>, usize, usize) {
    let (allocations, bytes) = allocated();
    let mut parser = HelloParser::new(MAX_SIZE);
    let mut end = 0;
    let result = loop {
        end = wire.len().min(end + step);
        match parser.parse(&wire[..end]) {
            Ok(Progress::Incomplete) if end < wire.len() => {}
            result => break result.map(|progress| matches!(progress, Progress::Complete(_))),
        }
    };
    let (allocations_after, bytes_after) = allocated();
    (result, allocations_after - allocations, bytes_after - bytes)
}

#[test]
fn a_claim_allocates_nothing() {
    let _alone = alone();
    for claim in [&[1, 0xff, 0xff, 0xff][..], &[1, 0x01, 0x00, 0x00]] {
        let (result, allocations, _) = counted(&record(22, [3, 1], claim), 1);
        assert!(matches!(result, Err(HelloError::TooLarge { .. })));
        assert_eq!(allocations, 0);
    }
    // The largest that may be claimed, in the first record of several.
    let claim = record(22, [3, 1], &[1, 0x00, 0xff, 0xfc]);
    let (result, _, bytes) = counted(&claim, 1);
    assert_eq!(result, Ok(false));
    assert!(bytes <= 16, "{bytes}");
}

#[test]
fn a_usual_hello_costs_a_few_small_allocations() {
    let _alone = alone();
    let hello = HelloBuilder::tls13()
        .server_name("svcb.apps")
        .alpn(&["istio"]);
    let wire = hello.wire();
    for step in [1, wire.len()] {
        let (result, allocations, bytes) = counted(&wire, step);
        assert_eq!(result, Ok(true));
        assert!(
            allocations <= 6 && bytes <= 256,
            "{allocations}: {bytes} bytes"
        );
    }
}

#[test]
fn memory_is_in_proportion_to_the_bytes_whatever_their_split() {
    let _alone = alone();
    let message_len = 64_000;
    let empty = HelloBuilder::tls13().server_name("svcb.apps").padding(0);
    let padding = message_len - empty.message().len();
    let hello = HelloBuilder::tls13()
        .server_name("svcb.apps")
        .padding(padding);
    for record_len in [1, 5, 1000, 16_384] {
        let wire = hello.wire_in_records_of(record_len);
        for step in [1, 1000, wire.len()] {
            let (result, allocations, bytes) = counted(&wire, step);
            assert_eq!(result, Ok(true));
            // Growing by doubling allocates twice the end's size in all, and once more when the last
            // step is a short one.
            assert!(bytes <= 3 * message_len + 4096, "{bytes} bytes");
            assert!(allocations <= 40, "{allocations} allocations");
        }
    }
}

#[test]
fn fifteen_thousand_extensions_cost_one_bit_each() {
    let _alone = alone();
    let kinds = 256..15_256;
    let hello = kinds.fold(HelloBuilder::bare(0x0303), |hello, kind| {
        hello.extension(kind, [])
    });
    let wire = hello.server_name("svcb.apps").wire_in_records_of(16_384);
    let (result, allocations, bytes) = counted(&wire, wire.len());
    assert_eq!(result, Ok(true));
    // The message, which spans records, and a bit for every type.
    assert!(bytes <= 2 * wire.len() + 8192 + 1024, "{bytes} bytes");
    assert!(allocations <= 20, "{allocations} allocations");
}
