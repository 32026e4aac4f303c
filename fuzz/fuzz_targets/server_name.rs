//! Names and routes: the first line is a name, the others are the patterns of a route table.
#![no_main]

#[path = "../../tests/support/name_oracle.rs"]
mod name_oracle;

use libfuzzer_sys::fuzz_target;
use strait::server_name::ServerName;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let asked = lines.next().unwrap_or(&[]);
    name_oracle::check_normaliser(asked);
    if let Ok(asked) = ServerName::parse(asked) {
        let patterns: Vec<_> = lines.filter_map(name_oracle::pattern).collect();
        name_oracle::check_table(&patterns, &asked);
    }
});
