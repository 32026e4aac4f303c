//! The project's targets, and whether the results meet them.

use super::OWN;
use super::catalogue::{Better, Number, number};
use super::stats::{Runs, Spread};
use super::table::{interval, markdown};
use crate::options::PLAIN;
use crate::results::Slice;

/// "As good as" means not worse by more than this.
const TOLERANCE: f64 = 0.03;

/// What is asked of a number.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// As good as the best peer.
    BestPeer,
    /// So many times that peer's.
    Times(f64, &'static str),
    /// At most so much, in the number's unit.
    AtMost(f64),
}

/// One target: setting, work, value.
const TARGETS: &[(&str, &str, &str, Wanted)] = &[
    (
        PLAIN,
        "bulk-down-16",
        "gbps",
        Wanted::Times(1.25, "haproxy-splice"),
    ),
    (PLAIN, "bulk-down-16", "gbps", Wanted::Times(2.0, "haproxy")),
    (PLAIN, "bulk-down-16", "gbps", Wanted::Times(1.9, "envoy")),
    (PLAIN, "bulk-down-16", "gbps", Wanted::Times(3.5, "nginx")),
    (
        PLAIN,
        "bulk-up-16",
        "gbps",
        Wanted::Times(1.25, "haproxy-splice"),
    ),
    (PLAIN, "bulk-up-16", "gbps", Wanted::Times(2.0, "haproxy")),
    (PLAIN, "bulk-up-16", "gbps", Wanted::Times(1.9, "envoy")),
    (PLAIN, "bulk-up-16", "gbps", Wanted::Times(3.5, "nginx")),
    (PLAIN, "mixed", "p99_us", Wanted::BestPeer),
    (PLAIN, "mixed", "p99_us", Wanted::AtMost(1000.0)),
    (PLAIN, "mixed", "loss_percent", Wanted::AtMost(15.0)),
    (PLAIN, "bulk-down-1", "gbps", Wanted::BestPeer),
    (PLAIN, "bulk-up-1", "gbps", Wanted::BestPeer),
    (PLAIN, "connect", "rate", Wanted::BestPeer),
    (PLAIN, "connect", "rate", Wanted::Times(1.5, "envoy")),
    (PLAIN, "ping-64", "p50_us", Wanted::BestPeer),
    (PLAIN, "ping-64", "p99_us", Wanted::BestPeer),
    (PLAIN, "memory", "idle_kib", Wanted::AtMost(1.25)),
    (PLAIN, "memory", "rest_mib", Wanted::AtMost(15.0)),
];

/// A line for each target.
pub fn section(slices: &[Slice]) -> String {
    let rows = TARGETS.iter().filter_map(|(setting, work, value, wanted)| {
        let number = number(work, value)?;
        let of_setting = slices.iter().filter(|slice| slice.setting == *setting);
        let runs = Runs::new(&of_setting.collect::<Vec<_>>());
        let label = format!("{}, {setting}", number.label);
        let (asked, seen, met) = judge(*wanted, number, &runs);
        Some(vec![label, asked, seen, met.to_owned()])
    });
    let head = ["", "wanted", "seen", "met"].map(str::to_owned);
    format!("### Targets\n\n{}\n", markdown(&head, rows))
}

/// What was asked, what was seen, and whether that is enough.
fn judge(wanted: Wanted, number: &Number, runs: &Runs) -> (String, String, &'static str) {
    let not_measured = |asked: String| (asked, String::new(), "not measured");
    let against = |peer: &str, times: f64, tolerance: f64| {
        let asked = match (times == 1.0, number.better) {
            (true, _) => format!("as good as {peer}"),
            (false, _) => format!("{times} times {peer}"),
        };
        match runs.ratio(number, peer) {
            None => not_measured(asked),
            Some(ratio) => (
                asked,
                interval(ratio),
                verdict(number, ratio, times, tolerance),
            ),
        }
    };
    match wanted {
        Wanted::Times(times, peer) => against(peer, times, 0.0),
        Wanted::BestPeer => match best(number, runs) {
            Some(peer) => against(peer, 1.0, TOLERANCE),
            None => not_measured("as good as the best peer".to_owned()),
        },
        Wanted::AtMost(limit) => {
            let asked = format!("at most {limit} {}", number.unit);
            match runs.spread(number, OWN) {
                None => not_measured(asked),
                Some(spread) => (asked, interval(spread), yes_or_no(spread.median <= limit)),
            }
        }
    }
}

fn verdict(number: &Number, ratio: Spread, times: f64, tolerance: f64) -> &'static str {
    yes_or_no(match number.better {
        Better::Higher => ratio.median >= times * (1.0 - tolerance),
        Better::Lower => ratio.median <= times * (1.0 + tolerance),
    })
}

fn yes_or_no(met: bool) -> &'static str {
    if met { "yes" } else { "NO" }
}

/// The peer with the best median.
fn best<'a>(number: &Number, runs: &'a Runs) -> Option<&'a str> {
    let median = |peer: &&str| runs.spread(number, peer).map(|spread| spread.median);
    let measured = runs
        .others()
        .into_iter()
        .filter(|peer| median(peer).is_some());
    let key = |peer: &&str| median(peer).unwrap_or(f64::NAN);
    match number.better {
        Better::Higher => measured.max_by(|a, b| key(a).total_cmp(&key(b))),
        Better::Lower => measured.min_by(|a, b| key(a).total_cmp(&key(b))),
    }
}
