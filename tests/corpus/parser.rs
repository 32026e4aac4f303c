//! Every vector of the hello corpus and every one of the project's own gives its result: whole, byte
//! by byte, split at every offset and, where a whole hello is there, re-cut into other records.
//! `wire.rs` has them on real sockets.

use libtest_mimic::Trial;
use strait::client_hello::vectors::{MAX_SIZE, fragments, records};

use crate::hello_feed::{Verdict, in_pieces, whole};
use crate::samples::{self, Expect, Sample};

pub fn trials() -> Vec<Trial> {
    samples::trials("vectors_give_their_result", |samples| {
        samples.iter().for_each(holds);
    })
}

/// At every split over segments, and over records where the hello is whole.
fn holds(sample: &Sample) {
    holds_in_segments(sample);
    let Some(hello_len) = sample.hello_len else {
        return;
    };
    let (hello, rest) = sample.wire.split_at(hello_len);
    let message = fragments(hello);
    let step = 1 + message.len() / 4096;
    let small = (1..=64).step_by(step);
    let larger = [
        65, 100, 127, 255, 256, 512, 1000, 1369, 4096, 16_383, 16_384,
    ];
    for record_len in small.chain(larger) {
        let recut = records([3, 1], &message, record_len);
        let hello_len = recut.len();
        let wire = [&recut, rest].concat();
        let verdict = whole(&wire, MAX_SIZE);
        check(
            sample,
            &verdict,
            Some(hello_len),
            &format!("in records of {record_len}"),
        );
        if matches!(record_len, 1 | 5 | 64) {
            let verdict = in_pieces(&wire, MAX_SIZE, 1..wire.len());
            let how = format!("byte by byte in records of {record_len}");
            check(sample, &verdict, Some(hello_len), &how);
        }
    }
}

fn holds_in_segments(sample: &Sample) {
    let wire = &sample.wire;
    let verdict = whole(wire, MAX_SIZE);
    check(sample, &verdict, sample.hello_len, "whole");

    let verdict = in_pieces(wire, MAX_SIZE, 1..wire.len());
    check(sample, &verdict, sample.hello_len, "byte by byte");

    // At every offset, but for the project's own hellos of some 64 KiB: at 50 of theirs.
    let step = if wire.len() < 32 * 1024 {
        1
    } else {
        wire.len() / 50
    };
    let tested = |offset: &usize| *offset < 20 || offset.is_multiple_of(step);
    for offset in (1..wire.len()).filter(tested) {
        let verdict = in_pieces(wire, MAX_SIZE, [offset]);
        check(
            sample,
            &verdict,
            sample.hello_len,
            &format!("split at {offset}"),
        );
    }
}

fn check(sample: &Sample, verdict: &Verdict, hello_len: Option<usize>, how: &str) {
    let got = match verdict {
        Verdict::Incomplete => Expect::Incomplete,
        Verdict::Routed { name, .. } => Expect::Route(name.clone()),
        Verdict::Refused(outcome, _) => Expect::Refusal(*outcome),
    };
    assert_eq!(got, sample.expect, "{} {how}: {verdict:?}", sample.name);
    if let Verdict::Routed { wire_len, .. } = verdict {
        assert_eq!(Some(*wire_len), hello_len, "{} {how}", sample.name);
    }
}
