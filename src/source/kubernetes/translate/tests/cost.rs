//! What a large cluster costs, printed for the README:
//! `cargo nextest run --release --lib --run-ignored only kubernetes::translate::tests::cost --no-capture`.

use std::time::{Duration, Instant};

use super::fixtures::*;
use crate::source::kubernetes::records::SliceEndpoint;

const SERVICES: usize = 10_000;
const PODS_A_SERVICE: usize = 10;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}
