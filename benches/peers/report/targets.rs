//! The project's targets, and whether the results meet them.

use super::OWN;
use super::catalogue::{Better, MATRIX, Number, number};
use super::stats::{Runs, Spread};
use super::table::{interval, markdown};
use crate::options::{PLAIN, VETH};
use crate::results::Slice;

/// The largest difference that still counts as "as good as".
const TOLERANCE: f64 = 0.03;

/// The demand on a number.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// At least as good as the best peer.
    BestPeer,
    /// This many times the best peer's number.
    TimesBest(f64),
    /// At least as good as that peer.
    Peer(&'static str),
    /// This many times that peer's number.
    Times(f64, &'static str),
    /// At most this much, in the number's unit.
    AtMost(f64),
}

/// The targets: setting, work, value.
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
    (VETH, "bulk-down-16", "gbps", Wanted::Peer("haproxy-splice")),
    (
        VETH,
        "bulk-down-16",
        "cpu_ms_per_gb",
        Wanted::Peer("haproxy-splice"),
    ),
    (VETH, "bulk-up-16", "gbps", Wanted::Peer("haproxy-splice")),
    (
        VETH,
        "bulk-up-16",
        "cpu_ms_per_gb",
        Wanted::Peer("haproxy-splice"),
    ),
    (PLAIN, "mixed", "p99_us", Wanted::BestPeer),
    (PLAIN, "mixed", "p99_us", Wanted::AtMost(1000.0)),
    (PLAIN, "mixed", "loss_percent", Wanted::AtMost(15.0)),
    (PLAIN, "bulk-down-1", "gbps", Wanted::BestPeer),
    (PLAIN, "bulk-up-1", "gbps", Wanted::BestPeer),
    (PLAIN, "connect", "rate", Wanted::TimesBest(1.05)),
    (PLAIN, "connect", "cpu_us", Wanted::Times(0.95, "haproxy")),
    (PLAIN, "connect", "rate", Wanted::Times(1.5, "envoy")),
    (PLAIN, "ping-64", "p50_us", Wanted::BestPeer),
    (PLAIN, "ping-64", "p99_us", Wanted::BestPeer),
    (PLAIN, "memory", "idle_kib", Wanted::AtMost(1.25)),
    (PLAIN, "memory", "rest_mib", Wanted::AtMost(15.0)),
    (PLAIN, "burst-1000", "idle_kib", Wanted::AtMost(1.25)),
    (PLAIN, "burst-4000", "idle_kib", Wanted::AtMost(1.25)),
    (PLAIN, "burst-9000", "idle_kib", Wanted::AtMost(1.25)),
    (PLAIN, "burst-9000", "left_mib", Wanted::AtMost(2.0)),
    (PLAIN, "scale", "swap_ms", Wanted::AtMost(1000.0)),
    (
        PLAIN,
        "scale",
        "p99_growth",
        Wanted::AtMost(1.0 + TOLERANCE),
    ),
    (PLAIN, "scale", "scrape_ms", Wanted::AtMost(200.0)),
];

/// A line for each target that these results cover.
pub fn section(slices: &[Slice]) -> String {
    let others = MATRIX.as_flattened().iter();
    let others = others.filter(|one| one.value != "small_p99_us");
    let targets = TARGETS
        .iter()
        .filter_map(|(setting, work, value, wanted)| {
            Some((*setting, number(work, value)?, *wanted))
        })
        .chain(others.map(|one| (PLAIN, one, Wanted::BestPeer)));
    let targets: Vec<_> = targets.collect();
    let judged = targets.iter().filter_map(|(setting, number, wanted)| {
        let of_setting = slices.iter().filter(|slice| slice.setting == *setting);
        let runs = Runs::new(&of_setting.collect::<Vec<_>>());
        let (asked, seen, met) = judge(*wanted, number, &runs)?;
        let label = format!("{}, {setting}", number.label);
        Some(vec![label, asked, seen, met.to_owned()])
    });
    let judged: Vec<_> = judged.collect();
    let missing = targets.len() - judged.len();
    let head = ["", "wanted", "seen", "met"].map(str::to_owned);
    let table = markdown(&head, judged.into_iter());
    let note = match missing {
        0 => String::new(),
        _ => format!("\n{missing} targets were not measured.\n"),
    };
    format!(
        "### Targets\n\n{table}{note}\nThe time of a route lookup: `cargo bench --bench micro -- route`.\n\n"
    )
}

/// The demand, the result and the verdict; `None` when it was not measured.
fn judge(wanted: Wanted, number: &Number, runs: &Runs) -> Option<(String, String, &'static str)> {
    let against = |peer: &str, times: f64, tolerance: f64| {
        let ratio = runs.ratio(number, peer)?;
        let asked = match times {
            1.0 => format!("as good as {peer}"),
            _ => format!("{times} times {peer}"),
        };
        let met = verdict(number, ratio, times, tolerance);
        Some((asked, interval(ratio), met))
    };
    match wanted {
        Wanted::Peer(peer) => against(peer, 1.0, TOLERANCE),
        Wanted::Times(times, peer) => against(peer, times, 0.0),
        Wanted::BestPeer => against(best(number, runs)?, 1.0, TOLERANCE),
        Wanted::TimesBest(times) => against(best(number, runs)?, times, 0.0),
        Wanted::AtMost(limit) => {
            let spread = runs.spread(number, OWN)?;
            let asked = format!("at most {limit} {}", number.unit);
            let met = yes_or_no(spread.median <= limit);
            Some((asked, interval(spread), met))
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
