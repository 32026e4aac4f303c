//! The report of the results: tables, a chart, and the targets that are met.

mod catalogue;
mod chart;
mod stats;
mod table;
mod targets;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::results::Slice;
use stats::Runs;
pub use table::markdown;

/// The gateway that all others are compared with.
const OWN: &str = "strait";
/// The runs without a gateway, which show the limit of the load. No ratio is made with them.
const NO_GATEWAY: &str = "direct";

/// Prints the report and writes it into `folder`, as `report.md` and `chart.svg`.
pub fn write(slices: &[Slice], folder: &Path) -> io::Result<()> {
    if slices.is_empty() {
        let folder = folder.display();
        return Err(io::Error::other(format!("no results in {folder}")));
    }
    let mut settings: Vec<&str> = slices.iter().map(|slice| slice.setting.as_str()).collect();
    settings.sort_unstable();
    settings.dedup();
    let mut text = String::new();
    for setting in settings {
        let of_setting = slices.iter().filter(|slice| slice.setting == setting);
        let runs = Runs::new(&of_setting.collect::<Vec<_>>());
        text += &table::section(setting, &runs);
    }
    text += &targets::section(slices);
    text += &table::circumstances(slices);
    fs::write(folder.join("report.md"), &text)?;
    let plain: Vec<&Slice> = slices
        .iter()
        .filter(|slice| slice.setting == crate::options::PLAIN)
        .collect();
    if !plain.is_empty() {
        fs::write(folder.join("chart.svg"), chart::draw(&Runs::new(&plain)))?;
    }
    write!(io::stdout(), "{text}")
}
