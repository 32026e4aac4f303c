//! The kinds of work.

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::load::{Direction, SMALL};

/// The files of a process besides its connections, with room.
const OTHER_FILES: u64 = 200;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As many bytes as possible in one direction, over this many connections.
    Bulk(Direction, usize),
    /// Short connections.
    Connect,
    /// Small messages back and forth over this many connections.
    Ping(usize),
    /// Small messages over one connection beside bulk.
    Mixed,
    /// Messages of this many bytes beside small ones, each over half of the connections.
    Beside(usize),
    /// Sessions that stay silent.
    Memory,
    /// This many of them, which come nearly at once and leave at once.
    Burst(usize),
    /// A config of 100,000 routes and 10,000 upstreams, and its change under load; strait only.
    Scale,
}

impl Kind {
    /// The default work, in the order of the report.
    pub const USUAL: &'static [Self] = &[
        Self::Bulk(Direction::Down, 1),
        Self::Bulk(Direction::Down, 16),
        Self::Bulk(Direction::Down, 64),
        Self::Bulk(Direction::Up, 1),
        Self::Bulk(Direction::Up, 16),
        Self::Bulk(Direction::Up, 64),
        Self::Connect,
        Self::Ping(1),
        Self::Ping(64),
        Self::Mixed,
        Self::Memory,
    ];

    /// The work of the newest targets, beside the matrix and the bursts.
    pub const GOALS: &'static [Self] = &[Self::Connect, Self::Ping(64), Self::Mixed, Self::Scale];

    /// Whether the work needs gateways that have not served before.
    pub const fn wants_fresh(self) -> bool {
        matches!(self, Self::Memory | Self::Burst(_) | Self::Scale)
    }

    /// Bursts of each size that most file limits allow.
    pub const BURSTS: &'static [Self] = &[Self::Burst(1000), Self::Burst(4000), Self::Burst(9000)];

    /// Messages of each size beside small ones.
    pub const MATRIX: &'static [Self] = &[
        Self::Beside(SMALL),
        Self::Beside(1024),
        Self::Beside(4 * 1024),
        Self::Beside(12 * 1024),
        Self::Beside(16 * 1024),
        Self::Beside(32 * 1024),
        Self::Beside(64 * 1024),
        Self::Beside(256 * 1024),
    ];

    /// The number of its connections, if they are open all at once.
    pub const fn at_once(self) -> usize {
        match self {
            Self::Burst(sessions) => sessions,
            _ => 0,
        }
    }

    /// Checks that a process may open as many files as the work needs: both ends of each connection are one
    /// process, and a gateway has two sockets for each.
    pub fn check_files(self, limit: Option<u64>) -> io::Result<()> {
        let needed = 2 * self.at_once() as u64 + OTHER_FILES;
        match limit {
            Some(limit) if self.at_once() > 0 && limit < needed => Err(io::Error::other(format!(
                "{self} opens {needed} files in the load and in each gateway, and a process may open {limit} here (ulimit -Hn): \
                 it was not measured; raise the limit, or leave it out"
            ))),
            _ => Ok(()),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let usual = Self::USUAL.iter().chain(Self::MATRIX).chain(Self::BURSTS);
        usual.copied().chain([Self::Burst(50_000), Self::Scale])
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bulk(Direction::Down, streams) => write!(f, "bulk-down-{streams}"),
            Self::Bulk(Direction::Up, streams) => write!(f, "bulk-up-{streams}"),
            Self::Connect => f.write_str("connect"),
            Self::Ping(connections) => write!(f, "ping-{connections}"),
            Self::Mixed => f.write_str("mixed"),
            Self::Beside(bytes) => write!(f, "beside-{bytes}"),
            Self::Memory => f.write_str("memory"),
            Self::Burst(sessions) => write!(f, "burst-{sessions}"),
            Self::Scale => f.write_str("scale"),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::all()
            .find(|kind| kind.to_string() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::all().map(|kind| kind.to_string()).collect();
                format!("no such work; there are {}", names.join(", "))
            })
    }
}
