//! The command line.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::kind::Kind;
use crate::load::Shape;
use crate::net::USUAL_CONGESTION;
use crate::peer::{Gateway, KNOWN};

/// The setting of most targets.
pub const PLAIN: &str = "loopback, one worker";
/// The setting of the targets about small segments.
pub const VETH: &str = "veth with MTU 1500, one worker";

/// Compares strait with the gateways that this machine has.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --bench peers --")]
pub struct Options {
    /// Only this work, separated by commas. Default: all but `scale`, `beside-*` and `burst-*`
    #[arg(long, value_delimiter = ',', value_name = "WORK")]
    only: Vec<Kind>,
    /// Only the matrix: messages of 64 bytes to 256 KiB, each beside small ones (`beside-*`)
    #[arg(long)]
    matrix: bool,
    /// Only the bursts: 1,000, 4,000 and 9,000 sessions that come and go (`burst-*`)
    #[arg(long)]
    bursts: bool,
    /// Only the work that the newest targets are about: connections, ping-pongs, messages beside others, bursts, and
    /// a config of 100,000 routes
    #[arg(long)]
    goals: bool,
    /// Count the system calls and the instructions of a connection, and nothing else; needs strace and valgrind
    #[arg(long)]
    pub count: bool,
    /// Connections with messages of the one size and of the other in `beside-*`
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub clients: usize,
    /// Only these peers, separated by commas; strait is always there. Default: all that this machine
    /// has
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    peers: Vec<String>,
    /// The program of strait. Default: the one that cargo builds with this bench, in which tokio has the features of the
    /// tests and takes a lock for each look at the clock
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// Another build of strait to compare, as NAME=PROGRAM; may be given more than once
    #[arg(long, value_name = "NAME=PROGRAM")]
    strait: Vec<String>,
    /// The Envoy program, if it is not in PATH
    #[arg(long, value_name = "PROGRAM")]
    envoy: Option<PathBuf>,
    /// Number of rounds
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Duration of each measurement
    #[arg(long, default_value_t = 1.5, value_name = "SECONDS")]
    seconds: f64,
    /// One round of a fifth of a second: shows that everything works, not how well
    #[arg(long)]
    pub quick: bool,
    /// Threads of a gateway that carry traffic. With more than one, gateway and load share all CPUs
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub workers: usize,
    /// Use a veth pair with an MTU of 1500, in namespaces, instead of loopback; needs root
    #[arg(long)]
    pub veth: bool,
    /// The TCP congestion control of every party, for which the bench runs in a network namespace of its
    /// own
    #[arg(long, default_value = USUAL_CONGESTION, value_name = "NAME")]
    pub congestion: String,
    /// Send bulk in pieces of one TLS record
    #[arg(long)]
    records: bool,
    /// Folder for the results
    #[arg(long, default_value = "target/bench-peers", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Measure nothing; write the report of the results in the folder
    #[arg(long)]
    pub report: bool,
    /// Ignored: cargo passes it to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// The reason why this program was started.
#[derive(Debug)]
pub enum Invocation {
    /// By `cargo bench`, or by hand.
    Bench,
    /// By the test command, which runs every bench once.
    Test,
    /// By a test runner that asks for the list of tests, with the answer.
    ListTests(&'static str),
}

impl Invocation {
    /// Reads the arguments. Test runners first ask for a list, with `--list --format terse`, separately
    /// for ignored tests, and then run each test by its name; `cargo test` just starts the program.
    pub fn of(arguments: impl Iterator<Item = String>) -> Self {
        let arguments: Vec<String> = arguments.collect();
        let has = |one: &str| arguments.iter().any(|argument| argument == one);
        match (has("--list"), has("--ignored")) {
            (true, true) => Self::ListTests(""),
            (true, false) => Self::ListTests("strait_alone: test\n"),
            _ if arguments.is_empty() || has("strait_alone") => Self::Test,
            _ => Self::Bench,
        }
    }
}

impl Options {
    /// The work to do.
    pub fn kinds(&self) -> Vec<Kind> {
        let sets = [
            (self.goals, Kind::GOALS),
            (self.goals || self.matrix, Kind::MATRIX),
            (self.goals || self.bursts, Kind::BURSTS),
        ];
        let chosen = sets.iter().filter(|(wanted, _)| *wanted);
        let mut kinds = self.only.clone();
        kinds.extend(chosen.flat_map(|(_, set)| *set));
        match kinds.is_empty() {
            true => Kind::USUAL.to_vec(),
            false => kinds,
        }
    }

    /// The gateways to compare, strait first.
    pub fn gateways(&self) -> io::Result<Vec<(String, Gateway)>> {
        let find = |name: &str| match &self.program {
            Some(program) if name == "strait" => Some(Gateway::Strait(program.clone())),
            _ => Gateway::find(name, self.envoy.as_deref()),
        };
        let mut all = Vec::new();
        for name in ["strait"].into_iter().chain(KNOWN.iter().copied()) {
            let wanted = name == "strait"
                || self.peers.is_empty()
                || self.peers.iter().any(|one| one == name);
            match find(name) {
                _ if !wanted => {}
                Some(gateway) => all.push((name.to_owned(), gateway)),
                None if self.peers.is_empty() => {}
                None => return Err(io::Error::other(format!("{name} is not installed"))),
            }
        }
        if let Some(unknown) = self
            .peers
            .iter()
            .find(|name| *name != "strait" && !KNOWN.contains(&name.as_str()))
        {
            return Err(io::Error::other(format!(
                "no peer is called {unknown}; there are {}",
                KNOWN.join(", ")
            )));
        }
        for other in &self.strait {
            let (name, program) = other
                .split_once('=')
                .ok_or_else(|| io::Error::other("--strait takes NAME=PROGRAM"))?;
            all.push((name.to_owned(), Gateway::Strait(program.into())));
        }
        Ok(all)
    }

    /// Whether the measurement needs a network namespace of its own. The quick one does without.
    pub fn wants_namespace(&self) -> bool {
        !self.report && (self.veth || !self.quick)
    }

    /// The number of rounds.
    pub fn rounds(&self) -> usize {
        match self.quick {
            true => 1,
            false => self.rounds,
        }
    }

    /// The duration of one measurement.
    pub fn measured(&self) -> Duration {
        match self.quick {
            true => Duration::from_millis(200),
            false => Duration::from_secs_f64(self.seconds),
        }
    }

    /// The duration of the warm-up.
    pub fn warm_up(&self) -> Duration {
        self.measured().min(Duration::from_millis(300))
    }

    /// The pieces in which bulk comes.
    pub fn shape(&self) -> Shape {
        match self.records {
            true => Shape::Records,
            false => Shape::Stream,
        }
    }

    /// The number of idle connections whose memory is measured.
    pub fn idle(&self) -> usize {
        match self.quick {
            true => 200,
            false => 4000,
        }
    }

    /// The circumstances of the work.
    pub fn setting(&self) -> String {
        let network = match self.veth {
            true => "veth with MTU 1500",
            false => "loopback",
        };
        let mut setting = match self.workers {
            1 => format!("{network}, one worker"),
            many => format!("{network}, {many} workers"),
        };
        if self.records {
            setting += ", TLS records";
        }
        if self.congestion != USUAL_CONGESTION {
            setting += ", ";
            setting += &self.congestion;
        }
        setting
    }
}
