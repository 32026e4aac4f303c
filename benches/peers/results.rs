//! Results as files, one a kind of work, so that a long comparison can be taken in slices.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::measure::Values;

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// The gateway.
    pub peer: String,
    /// Counted from 0; runs of one round are close in time.
    pub round: usize,
    /// What it gave.
    pub values: Values,
}

/// A gateway and what it says of its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// As on the command line.
    pub peer: String,
    /// Its own words.
    pub version: String,
}

/// All runs of one kind of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slice {
    /// The kind of work, as on the command line.
    pub work: String,
    /// Its circumstances; slices of one setting are compared with each other.
    pub setting: String,
    /// Where.
    pub machine: Machine,
    /// Threads of a gateway that carry traffic.
    pub workers: usize,
    /// How long one run was measured.
    pub seconds: f64,
    /// The gateways.
    pub versions: Vec<Version>,
    /// The runs.
    pub samples: Vec<Sample>,
}

impl Slice {
    /// Writes it beside the others, over one of the same work and setting.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(self)?;
        let name = format!("{} {}", self.work, self.setting).replace([' ', ','], "-");
        fs::write(folder.join(format!("{name}.json")), text + "\n")
    }

    /// All that were saved, by setting and work.
    pub fn load_all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut slices = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let text = fs::read_to_string(&path)?;
                let slice: Self = serde_json::from_str(&text)
                    .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
                slices.push(slice);
            }
        }
        slices.sort_unstable_by(|a, b| (&a.setting, &a.work).cmp(&(&b.setting, &b.work)));
        Ok(slices)
    }
}
