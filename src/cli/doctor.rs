//! `strait doctor`: a look at a federation from outside.

mod report;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;

use super::{ANSWER_IS_NO, failed, runtime};
use crate::config::Loaded;
use crate::doctor::{Federation, gather, judge};
use crate::{clock, terminal};
use report::DoctorReport;

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArguments {
    /// The federation file; `-` is standard input
    #[arg(value_name = "FEDERATION")]
    file: PathBuf,
    /// The format of the checks
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    output: DoctorFormat,
}

/// The format of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DoctorFormat {
    /// Lines for a person
    Text,
    /// One JSON object
    Json,
}

pub(super) fn doctor(arguments: &DoctorArguments) -> ExitCode {
    let read = Loaded::read(&arguments.file);
    let parsed = read.and_then(|bytes| Federation::parse(&bytes, &Loaded::origin(&arguments.file)));
    let federation = match parsed {
        Ok(federation) => federation,
        Err(error) => return failed(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let began = Instant::now();
    let seen = runtime.block_on(gather(&federation));
    // Lookups that still run on other threads would hold the process up.
    runtime.shutdown_background();
    #[expect(clippy::cast_possible_truncation, reason = "before the year 10,000")]
    let now = clock::seconds() as i64;
    let report = DoctorReport {
        checks: judge(&federation, &seen, now),
        took: began.elapsed(),
    };
    match write(&report, arguments.output) {
        Err(error) => failed(&error),
        Ok(()) if report.has_failed() => ExitCode::from(ANSWER_IS_NO),
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn write(report: &DoctorReport, format: DoctorFormat) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        DoctorFormat::Text => write!(out, "{}", report.text(terminal::has_colours(&io::stdout()))),
        DoctorFormat::Json => writeln!(out, "{}", report.json()?),
    }?;
    out.flush()
}
