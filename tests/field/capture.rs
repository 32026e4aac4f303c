//! The flights of real connections, written as the tables that strait's judge is tested with.
//!
//! `STRAIT_CAPTURE=1 tests/run --test field` adds what a run shows to `tests/flights/captured/`: the types and lengths
//! of records, with what strait's line says of the connection. A table stands for all connections of its shape.

mod packets;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::{env, fs};

use strait::tools::records::LogLine;

use packets::Tap;
use tables::{Table, shapes_in};

/// The outcomes that the judge gives to a connection.
const JUDGED: [&str; 7] = [
    "ok",
    "downstream_reset",
    "upstream_reset",
    "upstream_closed_before_reply",
    "upstream_not_tls",
    "upstream_silent",
    "handshake_refused",
];

/// A capture that runs, if the environment asks for one.
pub struct Capture {
    tap: Tap,
    /// The tables of each file, by the shape of their flights.
    found: BTreeMap<String, BTreeMap<String, String>>,
    lines: Vec<(String, String, LogLine)>,
}

impl Capture {
    /// Begins to capture what passes through the gateways at `ports`.
    pub fn start(ports: impl IntoIterator<Item = u16>) -> Option<Self> {
        env::var_os("STRAIT_CAPTURE")?;
        Some(Self {
            tap: Tap::start(ports.into_iter().collect()),
            found: BTreeMap::new(),
            lines: Vec::new(),
        })
    }

    /// Notes a line of strait's. `about` says who called whom; `file` is the name of the table's file.
    pub fn note(&mut self, file: &str, about: String, line: LogLine) {
        self.lines.push((file.to_owned(), about, line));
    }

    /// Writes the tables of shapes that no file has.
    pub fn write(mut self) {
        let folder = folder();
        fs::create_dir_all(&folder).unwrap();
        let mut known = BTreeSet::new();
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            known.extend(shapes_in(&fs::read_to_string(entry.path()).unwrap()));
        }
        let mut connections = self.tap.connections();
        self.lines
            .sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        let (mut written, mut unseen) = (0, 0);
        for (file, about, line) in &self.lines {
            let by_gateway = line.ended_by.as_deref() == Some("gateway");
            if by_gateway || !JUDGED.contains(&line.outcome.as_str()) {
                continue;
            }
            let Some(connection) = connections.take(line.source.port()) else {
                unseen += 1;
                continue;
            };
            let table = Table::of(connection, about, line);
            let shape = table.shape();
            if known.insert(shape.clone()) {
                let own = self.found.entry(file.clone()).or_default();
                own.insert(shape, table.text());
                written += 1;
            }
        }
        println!(
            "{written} new tables of {} connections; packets of {unseen} were lost",
            self.lines.len()
        );
        for (file, tables) in &self.found {
            let path = folder.join(format!("{file}.flights"));
            let mut text = fs::read_to_string(&path).unwrap_or_default();
            for table in tables.values() {
                if !text.is_empty() {
                    text.push('\n');
                }
                text += table;
            }
            fs::write(path, text).unwrap();
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/flights/captured")
}
