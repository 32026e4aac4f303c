//! The test of the bench itself: every kind of work goes through strait, and the report shows it.

use std::fs;
use std::io::{self, Write};

use clap::Parser;

use crate::kind::Kind;
use crate::options::Options;
use crate::results::Slice;

/// Runs everything for a moment, with strait alone, and checks that results exist. Their values do not
/// matter, since this runs on busy machines.
pub fn test() -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("strait-bench-{}", std::process::id()));
    let out = folder.display().to_string();
    let done = crate::run(&Options::parse_from([
        "peers", "--quick", "--peers", "strait", "--out", &out,
    ]));
    let checked = done.and_then(|()| check(&folder));
    match checked {
        // The logs of the gateways help to find the reason.
        Err(error) => Err(io::Error::other(format!("{error}; see {out}"))),
        Ok(()) => {
            fs::remove_dir_all(&folder)?;
            // Printed like a test program, for tools that add up tests.
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
        // Each kind of work must have one of these.
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
