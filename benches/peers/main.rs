//! strait beside its peers, doing the same job on the same machine in the same minutes.
//!
//! ```text
//! cargo bench --bench peers -- --quick
//! cargo bench --bench peers -- --only mixed,connect --peers haproxy-splice
//! cargo bench --bench peers -- --report
//! ```
//!
//! One worker on one CPU, the load and the backend on another; every round runs each gateway once, so
//! that what disturbs the machine disturbs all of them. Results are ratios of runs of the same round.

mod load;
mod machine;
mod measure;
mod options;
mod peer;
mod report;
mod results;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use machine::{Cpus, Machine};
use measure::{Bench, Kind};
use options::Options;
use peer::{Gateway, Running};
use results::{Sample, Slice, Version};

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    if !options.report {
        compare(options)?;
    }
    report::write(&Slice::load_all(&options.out)?, &options.out)
}

/// Runs every kind of work through every gateway, in rounds.
fn compare(options: &Options) -> io::Result<()> {
    strait::socket::raise_file_limit();
    let cpus = Cpus::choose(options.workers)?;
    cpus.enter_load()?;
    let bench = Bench::new(
        options.address(),
        options.warm_up(),
        options.measured(),
        options.shape(),
    )?;
    let gateways = options.gateways()?;
    let work = tempfile(options)?;
    let start = |(name, gateway): &(String, Gateway)| {
        Running::start(
            name,
            gateway,
            &cpus,
            bench.backends()?,
            options.workers,
            &work,
        )
    };
    let long_lived = options.kinds().iter().any(|kind| *kind != Kind::Memory);
    let running: Vec<Running> = match long_lived {
        true => gateways.iter().map(start).collect::<io::Result<_>>()?,
        false => Vec::new(),
    };
    let versions = gateways.iter().map(|(peer, gateway)| Version {
        peer: peer.clone(),
        version: gateway.version(),
    });
    let versions: Vec<Version> = versions.collect();
    for kind in options.kinds() {
        let mut slice = Slice {
            work: kind.to_string(),
            setting: options.setting(),
            machine: Machine::this(),
            workers: options.workers,
            seconds: options.measured().as_secs_f64(),
            versions: versions.clone(),
            samples: Vec::new(),
        };
        for round in 0..options.rounds() {
            for (index, gateway) in gateways.iter().enumerate() {
                let fresh;
                let one = match kind {
                    Kind::Memory => {
                        fresh = start(gateway)?;
                        &fresh
                    }
                    _ => &running[index],
                };
                let values = bench
                    .run(kind, one)
                    .map_err(|error| io::Error::other(format!("{kind}, {}: {error}", one.name)))?;
                let _ = writeln!(
                    io::stderr(),
                    "{kind} {} round {round}: {values:.2?}",
                    one.name
                );
                slice.samples.push(Sample {
                    peer: one.name.clone(),
                    round,
                    values,
                });
            }
        }
        slice.save(&options.out)?;
    }
    Ok(())
}

/// For the gateways' config files and logs.
fn tempfile(options: &Options) -> io::Result<std::path::PathBuf> {
    let folder = options.out.join("run");
    std::fs::create_dir_all(&folder)?;
    folder.canonicalize()
}
