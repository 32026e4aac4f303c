//! The shared parts of the tests on real sockets: a gateway, servers behind it, and clients in front of
//! it.
//!
//! Everything is on loopback with ports that the kernel chooses, and everything blocks with a
//! deadline: a test that waits for something that does not come fails with what it waited for.

pub mod client;
pub mod config_text;
pub mod faults;
pub mod gateway;
pub mod mtls;
pub mod namespace;
pub mod process;
pub mod server;

use std::time::{Duration, Instant};

/// For anything that must happen at all: far more than it takes, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The service that all configs route.
pub const SERVICE: &str = "svcb.apps.svc.cluster.local";
/// The same as Istio's clients spell it.
pub const OUTBOUND: &str = "outbound_.80_._.svcb.apps.svc.cluster.local";

/// Waits until `done` says so, looking every few milliseconds.
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    wait_within(DEADLINE, what, done);
}

/// The same with another deadline than [`DEADLINE`].
pub fn wait_within(deadline: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that differ everywhere, so that a lost, doubled or moved one shows. The same for the same
/// `seed`.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// Compares without printing megabytes.
#[track_caller]
pub fn assert_same_bytes(got: &[u8], sent: &[u8]) {
    if got != sent {
        let common = got.iter().zip(sent).take_while(|(a, b)| a == b).count();
        let (got, sent) = (got.len(), sent.len());
        panic!("got {got} bytes of {sent}, equal up to byte {common}");
    }
}

/// CPU time that this process has used, all threads together, to a hundredth of a second.
pub fn cpu_time() -> Duration {
    cpu_time_of(std::process::id())
}

/// CPU time that a process has used, as [`cpu_time`].
pub fn cpu_time_of(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // proc(5): utime and stime are fields 14 and 15; field 2, in brackets, may hold spaces.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|i| fields[*i].parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}
