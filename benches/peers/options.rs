//! The command line.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::load::Shape;
use crate::measure::Kind;
use crate::peer::{Gateway, KNOWN};

/// The setting that most targets are about.
pub const PLAIN: &str = "loopback, one worker";

/// Compares strait with the gateways that this machine has.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --bench peers --")]
pub struct Options {
    /// Only this work; more by commas. Without: all of it
    #[arg(long, value_delimiter = ',', value_name = "WORK")]
    only: Vec<Kind>,
    /// Only these peers, by commas; strait is always there. Without: all that this machine has
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    peers: Vec<String>,
    /// Another build of strait to compare, as NAME=PROGRAM; may be given more than once
    #[arg(long, value_name = "NAME=PROGRAM")]
    strait: Vec<String>,
    /// The Envoy program, when it is not in PATH
    #[arg(long, value_name = "PROGRAM")]
    envoy: Option<PathBuf>,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// How long each is measured
    #[arg(long, default_value_t = 1.5, value_name = "SECONDS")]
    seconds: f64,
    /// One round of a fifth of a second: whether everything works, not how well
    #[arg(long)]
    quick: bool,
    /// Threads of a gateway that carry traffic; more than one: all CPUs for the gateway and the load
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub workers: usize,
    /// Bulk in pieces of one TLS record
    #[arg(long)]
    records: bool,
    /// Where the results go
    #[arg(long, default_value = "target/bench-peers", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Measure nothing; write the report of what is in the folder
    #[arg(long)]
    pub report: bool,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The work to do.
    pub fn kinds(&self) -> Vec<Kind> {
        match self.only.is_empty() {
            true => Kind::ALL.to_vec(),
            false => self.only.clone(),
        }
    }

    /// The gateways to compare, strait first.
    pub fn gateways(&self) -> io::Result<Vec<(String, Gateway)>> {
        let find = |name: &str| Gateway::find(name, self.envoy.as_deref());
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

    /// How often.
    pub fn rounds(&self) -> usize {
        match self.quick {
            true => 1,
            false => self.rounds,
        }
    }

    /// How long.
    pub fn measured(&self) -> Duration {
        match self.quick {
            true => Duration::from_millis(200),
            false => Duration::from_secs_f64(self.seconds),
        }
    }

    /// Before measuring.
    pub fn warm_up(&self) -> Duration {
        self.measured().min(Duration::from_millis(300))
    }

    /// In what pieces bulk comes.
    pub fn shape(&self) -> Shape {
        match self.records {
            true => Shape::Records,
            false => Shape::Stream,
        }
    }

    /// Where the gateways and the backends listen.
    pub fn address(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    /// The circumstances of the work.
    pub fn setting(&self) -> String {
        let mut setting = PLAIN.to_owned();
        if self.workers > 1 {
            setting = format!("loopback, {} workers", self.workers);
        }
        if self.records {
            setting += ", TLS records";
        }
        setting
    }
}
