//! The tables, in Markdown.

use super::catalogue::numbers;
use super::stats::{Runs, Spread};
use super::{NO_GATEWAY, OWN};
use crate::results::Slice;

/// The medians of one setting, and the ratios to strait.
pub fn section(setting: &str, runs: &Runs) -> String {
    let gateways = runs.gateways();
    let columns: Vec<&str> = gateways.iter().copied().chain([NO_GATEWAY]).collect();
    let medians = numbers().filter_map(|number| {
        let cell = |peer: &&str| {
            runs.spread(number, peer)
                .map_or(String::new(), |one| round(one.median))
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        let any = cells.iter().any(|cell| !cell.is_empty());
        any.then(|| [vec![format!("{}, {}", number.label, number.unit)], cells].concat())
    });
    let head = |first: &str, columns: &[&str]| {
        let columns = columns.iter().map(|one| (*one).to_owned());
        [first.to_owned()]
            .into_iter()
            .chain(columns)
            .collect::<Vec<_>>()
    };
    let mut text = format!("### {setting}\n\nMedians:\n\n");
    text += &markdown(&head("", &columns), medians);
    let others: Vec<&str> = gateways
        .iter()
        .copied()
        .filter(|peer| *peer != OWN)
        .collect();
    let ratios = numbers().filter_map(|number| {
        // A difference in percent has no ratio.
        if number.unit == "%" {
            return None;
        }
        let cell = |peer: &&str| runs.ratio(number, peer).map_or(String::new(), interval);
        let cells: Vec<String> = others.iter().map(cell).collect();
        let any = cells.iter().any(|cell| !cell.is_empty());
        let name = vec![number.label.to_owned(), number.better.label().to_owned()];
        any.then(|| [name, cells].concat())
    });
    let names = [vec!["strait divided by"], vec!["better"], others.clone()].concat();
    text += "\nstrait divided by the peer in the same round: median (least to greatest).\n\n";
    text += &markdown(&head("", &names[1..]), ratios);
    text + "\n"
}

/// The circumstances of the measurements.
pub fn circumstances(slices: &[Slice]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut add = |line: String| {
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    for slice in slices {
        let machine = &slice.machine;
        add(format!(
            "- {}, {} CPUs, Linux {}",
            machine.processor, machine.cpus, machine.kernel
        ));
        if !machine.congestion.is_empty() {
            add(format!(
                "- TCP congestion control of every party: {}",
                machine.congestion
            ));
        }
        let rounds = slice.samples.iter().map(|sample| sample.round + 1).max();
        add(format!(
            "- {} rounds of {} s a run",
            rounds.unwrap_or(0),
            slice.seconds
        ));
        for version in &slice.versions {
            if !version.version.is_empty() {
                add(format!("- {}: {}", version.peer, version.version));
            }
        }
    }
    lines.sort_unstable();
    format!("### Taken on\n\n{}\n", lines.join("\n"))
}

/// A table of Markdown.
pub fn markdown(head: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let rows: String = rows.map(|row| line(&row)).collect();
    line(head) + &rule + &rows
}

/// The number with three significant digits.
pub fn round(number: f64) -> String {
    let digits = match number.abs() {
        100.0.. => 0,
        10.0..100.0 => 1,
        _ => 2,
    };
    format!("{number:.digits$}")
}

/// A ratio with its interval.
pub fn interval(ratio: Spread) -> String {
    format!(
        "{} ({} to {})",
        round(ratio.median),
        round(ratio.min),
        round(ratio.max)
    )
}
