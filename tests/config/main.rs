//! Tests of the config file: what is refused and how, and the files that ship.

#[path = "../support/config_feed.rs"]
mod config_feed;

mod any_bytes;
mod cases;
mod errors;
mod example;
mod written;
