//! Any bytes of a config file are a config that can be served, or lead to a list of problems.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::config_feed::check;

const EXAMPLE: &str = include_str!("../../config/strait.yaml");

#[test]
fn the_example_is_accepted() {
    assert!(check(EXAMPLE.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_example_with_lines_moved_or_bytes_changed(
        moves in vec((any::<Index>(), any::<Index>()), 0..3),
        changes in vec((any::<Index>(), any::<u8>()), 0..3),
    ) {
        let mut lines: Vec<&str> = EXAMPLE.lines().collect();
        for (from, to) in &moves {
            let line = lines.remove(from.index(lines.len()));
            lines.insert(to.index(lines.len() + 1), line);
        }
        let mut bytes = lines.join("\n").into_bytes();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        check(&bytes);
    }

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }
}
