//! The chart of the README.

use std::fmt::Write as _;

use super::catalogue::{Number, number};
use super::stats::Runs;
use super::table::round;

/// The panels of the chart.
const PANELS: &[(&str, &str, &str)] = &[
    ("bulk-down-1", "gbps", "Bulk, 1 stream: Gb/s"),
    ("bulk-down-16", "gbps", "Bulk, 16 streams: Gb/s"),
    ("connect", "rate", "New connections a second"),
    (
        "ping-64",
        "p99_us",
        "64-byte ping-pong, 64 connections: p99, us",
    ),
    (
        "mixed",
        "p99_us",
        "Ping-pong beside 16 bulk streams: p99, us",
    ),
    ("memory", "idle_kib", "Memory per idle connection: KiB"),
];

const WIDTH: usize = 860;
const COLUMNS: usize = 2;
const GAP: usize = 24;
const PANEL: usize = (WIDTH - (COLUMNS + 1) * GAP) / COLUMNS;
const TITLE: usize = 26;
const BAR: usize = 16;
const PITCH: usize = 22;
/// Space for the gateways' names left of the bars, and for the numbers right of them.
const NAMES: usize = 105;
const NUMBERS: usize = 62;

/// The colours for both themes of the page that shows it.
const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 12px; }
.note { fill: #59636e; font-size: 11px; }
.bar { fill: #a9b4c0; }
.own { fill: #0969da; }
.spread { stroke: #59636e; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.note { fill: #9198a1; }
.bar { fill: #57606a; }
.own { fill: #4493f8; }
.spread { stroke: #c9d1d9; }
}
";

/// An SVG picture.
pub fn draw(runs: &Runs) -> String {
    let gateways = runs.gateways();
    let panels: Vec<(&Number, &str)> = PANELS
        .iter()
        .filter_map(|(work, value, title)| Some((number(work, value)?, *title)))
        .filter(|(number, _)| {
            gateways
                .iter()
                .any(|peer| runs.spread(number, peer).is_some())
        })
        .collect();
    let height_of_panel = TITLE + gateways.len() * PITCH + GAP;
    let rows = panels.len().div_ceil(COLUMNS);
    let height = rows * height_of_panel + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"strait beside its peers\">\n<style>{STYLE}</style>\n"
    );
    for (index, (number, title)) in panels.iter().enumerate() {
        let x = GAP + (index % COLUMNS) * (PANEL + GAP);
        let y = GAP + (index / COLUMNS) * height_of_panel;
        svg += &panel(runs, &gateways, number, title, (x, y));
    }
    svg + "</svg>\n"
}

fn panel(
    runs: &Runs,
    gateways: &[&str],
    number: &Number,
    title: &str,
    (x, y): (usize, usize),
) -> String {
    let better = number.better.label();
    let mut svg = format!(
        "<text class=\"title\" x=\"{x}\" y=\"{}\">{title} <tspan class=\"note\">({better} is better)</tspan></text>\n",
        y + BAR - 4
    );
    let spreads = gateways
        .iter()
        .map(|peer| (*peer, runs.spread(number, peer)));
    let spreads: Vec<_> = spreads.collect();
    let most = spreads
        .iter()
        .filter_map(|(_, spread)| Some(spread.as_ref()?.max));
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let left = (x + NAMES) as f64;
    let scale = |value: f64| value / most * (PANEL - NAMES - NUMBERS) as f64;
    for (index, (peer, spread)) in spreads.iter().enumerate() {
        let top = y + TITLE + index * PITCH;
        let baseline = top + BAR - 4;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{peer}</text>",
            x + NAMES - 8
        );
        let Some(spread) = spread else { continue };
        let own = if *peer == super::OWN { " own" } else { "" };
        let middle = top + BAR / 2;
        let _ = writeln!(
            svg,
            "<rect class=\"bar{own}\" x=\"{left:.0}\" y=\"{top}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\n\
             <line class=\"spread\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\n\
             <text x=\"{:.1}\" y=\"{baseline}\">{}</text>",
            scale(spread.median).max(1.0),
            left + scale(spread.min),
            left + scale(spread.max),
            left + scale(spread.max).max(1.0) + 6.0,
            round(spread.median),
        );
    }
    svg
}
