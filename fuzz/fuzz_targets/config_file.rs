//! The config file: any bytes give a config or problems with their places, the same each time, and a
//! config that was accepted can be served.
#![no_main]

#[path = "../../tests/support/config_feed.rs"]
mod config_feed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    config_feed::check(input);
});
