//! The comparison of strait with its peers: the same work on the same machine in the same minutes.
//!
//! ```text
//! cargo bench --bench peers -- --quick
//! cargo bench --bench peers -- --only mixed,connect --peers haproxy-splice
//! cargo bench --bench peers -- --report
//! ```
//!
//! One worker on one CPU, the load and the backend on another; every round runs each gateway once, so
//! that a disturbance of the machine affects all of them. Results are ratios of runs of the same round.

mod count;
mod kind;
mod load;
mod machine;
mod measure;
mod net;
mod options;
mod peer;
mod report;
mod results;
mod scale;
mod smoke;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use kind::Kind;
use machine::{Cpus, Machine};
use measure::{Bench, Values};
use net::Net;
use options::{Invocation, Options};
use peer::{Gateway, Place, Running};
use results::{Sample, Slice, Version};

/// The local ports towards one address that Linux has by default, and some to spare.
const USUAL_PORTS: usize = 20_000;

fn main() -> ExitCode {
    let done = match Invocation::of(std::env::args().skip(1)) {
        Invocation::Bench => run(&Options::parse()),
        Invocation::Test => smoke::test(),
        Invocation::ListTests(names) => write!(io::stdout(), "{names}"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    if options.wants_namespace() && Net::isolate(&options.congestion)? {
        return Ok(());
    }
    if options.count {
        return compare(options);
    }
    if !options.report {
        compare(options)?;
    }
    report::write(&Slice::load_all(&options.out)?, &options.out)
}

/// Runs every kind of work through every gateway, in rounds.
fn compare(options: &Options) -> io::Result<()> {
    let files = strait::socket::raise_file_limit();
    for kind in options.kinds() {
        kind.check_files(files)?;
    }
    let net = match (options.wants_namespace(), options.veth) {
        (true, true) => Net::veth(&options.congestion)?,
        (true, false) => Net::loopback(&options.congestion)?,
        (false, _) => Net::Loopback,
    };
    if !options.quick
        && options
            .kinds()
            .iter()
            .any(|kind| kind.at_once() > USUAL_PORTS)
    {
        Net::widen_ports()?;
    }
    // This comes before the thread is bound to one CPU, since it counts the CPUs.
    let machine = Machine::this();
    let cpus = Cpus::choose(options.workers, options.quick)?;
    cpus.enter_load()?;
    let bench = Bench::new(options, net.load())?;
    let folder = std::env::temp_dir().join(format!("strait-bench-run-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let place = Place {
        cpus: &cpus,
        net: &net,
        folder: &folder,
    };
    let comparison = Comparison {
        options,
        bench: &bench,
        place: &place,
        gateways: options.gateways()?,
    };
    if options.count {
        count::run(options, &bench, &place, &comparison.gateways)?;
        return fs::remove_dir_all(&folder);
    }
    let versions: Vec<Version> = comparison.versions();
    let running = comparison.start_all()?;
    for kind in options.kinds() {
        let slice = Slice {
            work: kind.to_string(),
            setting: options.setting(),
            machine: machine.clone(),
            workers: options.workers,
            seconds: options.measured().as_secs_f64(),
            versions: versions.clone(),
            samples: comparison.rounds(kind, &running)?,
        };
        slice.save(&options.out)?;
    }
    // After an error the files stay, since they may show its reason.
    drop(running);
    fs::remove_dir_all(&folder)
}

struct Comparison<'a> {
    options: &'a Options,
    bench: &'a Bench,
    place: &'a Place<'a>,
    gateways: Vec<(String, Gateway)>,
}

impl Comparison<'_> {
    fn versions(&self) -> Vec<Version> {
        let version = |(peer, gateway): &(String, Gateway)| Version {
            peer: peer.clone(),
            version: gateway.version(),
        };
        self.gateways.iter().map(version).collect()
    }

    fn start(&self, (name, gateway): &(String, Gateway)) -> io::Result<Running> {
        let backends = self.bench.backends()?;
        Running::start(name, gateway, self.place, backends, self.options.workers)
    }

    /// Starts each gateway once, unless all work wants fresh ones.
    fn start_all(&self) -> io::Result<Vec<Running>> {
        match self.options.kinds().iter().all(|kind| kind.wants_fresh()) {
            true => Ok(Vec::new()),
            false => self.gateways.iter().map(|one| self.start(one)).collect(),
        }
    }

    fn rounds(&self, kind: Kind, running: &[Running]) -> io::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for round in 0..self.options.rounds() {
            for (index, named) in self.gateways.iter().enumerate() {
                let (peer, gateway) = named;
                let values = match (kind, gateway) {
                    (Kind::Scale, Gateway::Strait(program)) => {
                        scale::run(program, self.bench, self.place, self.options.workers)
                    }
                    (Kind::Scale, _) => continue,
                    _ if kind.wants_fresh() => {
                        let fresh = self.start(named)?;
                        self.bench.run(kind, &fresh)
                    }
                    _ => self.bench.run(kind, &running[index]),
                };
                let values = values.or_else(|error| match gateway {
                    Gateway::Strait(_) | Gateway::Direct => {
                        Err(io::Error::other(format!("{kind}, {peer}: {error}")))
                    }
                    // It has no figure in this round: HAProxy with splice lacks descriptors for 9,000 sessions where
                    // a process may have 20,000.
                    Gateway::Haproxy { .. } | Gateway::Nginx(_) | Gateway::Envoy(_) => {
                        let _ = writeln!(io::stderr(), "{kind}, {peer}: {error}");
                        Ok(Values::new())
                    }
                })?;
                let _ = writeln!(io::stderr(), "{kind} {peer} round {round}: {values:.2?}");
                samples.push(Sample {
                    peer: peer.clone(),
                    round,
                    values,
                });
            }
        }
        Ok(samples)
    }
}
