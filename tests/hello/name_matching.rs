//! Names and routes agree with the rules read plainly, one by one.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use strait::server_name::ServerName;

use crate::name_oracle::{check_normaliser, check_table, pattern};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_name_is_normalised_as_the_policy_says(raw in raw_name()) {
        check_normaliser(&raw);
    }

    #[test]
    fn a_lookup_finds_what_reading_the_patterns_one_by_one_finds(
        patterns in vec(pattern_text(), 0..12),
        asked in name_text(),
    ) {
        let patterns: Vec<_> = patterns.iter().filter_map(|text| pattern(text.as_bytes())).collect();
        check_table(&patterns, &ServerName::parse(asked.as_bytes()).unwrap());
    }
}

/// Few labels, so that names and patterns meet; one is the end of another.
fn name_text() -> impl Strategy<Value = String> {
    let label = select(&["a", "b", "ba", "a-b", "A", "outbound_", "80_", "_", "1"][..]);
    let last = select(&["x", "yx", "X", "x1"][..]);
    (vec(label, 0..5), last).prop_map(|(labels, last)| {
        let labels: Vec<&str> = labels.into_iter().chain([last]).collect();
        labels.join(".")
    })
}

fn pattern_text() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("*".to_owned()),
        6 => name_text(),
        6 => name_text().prop_map(|name| format!("*.{name}")),
    ]
}

fn raw_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        r"[A-Za-z0-9._-]{0,260}".prop_map(String::into_bytes),
        r"([A-Za-z0-9_-]{0,64}\.){0,5}[A-Za-z0-9_]{1,9}\.{0,2}".prop_map(String::into_bytes),
        r"(outbound|inbound)_\.[0-9]{0,6}_\.[a-z0-9]{0,3}_\.[a-z_.]{0,20}"
            .prop_map(String::into_bytes),
        r"[0-9]{1,3}(\.[0-9x]{1,3}){0,4}\.?".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..40),
    ]
}
