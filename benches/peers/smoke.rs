//! The test of the bench itself: every kind of work goes through strait, and the report tells of it.

use std::fs;
use std::io::{self, Write};

use clap::Parser;

use crate::measure::Kind;
use crate::options::Options;
use crate::results::Slice;

/// Runs everything for a moment, with strait alone, and looks whether the results are there. How good
/// they are says nothing: this runs on busy machines.
pub fn test() -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("strait-bench-{}", std::process::id()));
    let out = folder.display().to_string();
    let done = crate::run(&Options::parse_from([
        "peers", "--quick", "--peers", "strait", "--out", &out,
    ]));
    let checked = done.and_then(|()| check(&folder));
    match checked {
        // What the gateways logged helps whoever looks for the reason.
        Err(error) => Err(io::Error::other(format!("{error}; see {out}"))),
        Ok(()) => {
            fs::remove_dir_all(&folder)?;
            // As a test program says it: whoever adds up tests reads this line.
            writeln!(
                io::stdout(),
                "test result: ok. 1 passed; 0 failed; 0 ignored"
            )
        }
    }
}

fn check(folder: &std::path::Path) -> io::Result<()> {
    let slices = Slice::load_all(folder)?;
    for kind in Kind::USUAL {
        let slice = slices.iter().find(|slice| slice.work == kind.to_string());
        let values = slice.and_then(|slice| Some(&slice.samples.first()?.values));
        let moved = |name: &str| {
            values
                .and_then(|values| values.get(name))
                .is_some_and(|value| *value > 0.0)
        };
        // One of these is what the work is about.
        if !["gbps", "rate", "p50_us", "rest_mib"]
            .iter()
            .any(|name| moved(name))
        {
            return Err(io::Error::other(format!(
                "{kind} measured nothing: {values:?}"
            )));
        }
    }
    for name in ["report.md", "chart.svg"] {
        if !fs::read_to_string(folder.join(name))?.contains("strait") {
            return Err(io::Error::other(format!("{name} does not speak of strait")));
        }
    }
    Ok(())
}
