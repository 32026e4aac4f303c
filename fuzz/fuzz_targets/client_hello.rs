//! The hello parser, fed in pieces: one verdict at any split, and a strict one.
#![no_main]

#[expect(dead_code, reason = "a part of what the tests use")]
#[path = "../../tests/support/hello_feed.rs"]
mod hello_feed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [cuts, wire @ ..] = input else { return };
    // The cuts first, two bytes each, so that a mutation of one does not move the hello.
    let Some((cuts, wire)) = wire.split_at_checked(usize::from(cuts % 16) * 2) else {
        return;
    };
    let cuts = cuts.as_chunks().0.iter().copied().map(u16::from_be_bytes);
    hello_feed::check(wire, cuts.map(usize::from));
});
