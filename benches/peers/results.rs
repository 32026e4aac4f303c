//! The results as files, one for each kind of work, so that a long comparison can be done in parts.

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
    /// The round, from 0. Runs of one round are close in time.
    pub round: usize,
    /// The results.
    pub values: Values,
}

/// A gateway with the version that it reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The gateway's name on the command line.
    pub peer: String,
    /// The version text.
    pub version: String,
}

/// All runs of one kind of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slice {
    /// The kind of work, as on the command line.
    pub work: String,
    /// The circumstances. Slices of one setting are compared with each other.
    pub setting: String,
    /// The machine.
    pub machine: Machine,
    /// The number of threads of a gateway that carry traffic.
    pub workers: usize,
    /// The duration of one run in seconds.
    pub seconds: f64,
    /// The gateways.
    pub versions: Vec<Version>,
    /// The runs.
    pub samples: Vec<Sample>,
}

impl Slice {
    /// Writes the slice beside the others. It replaces one of the same work and setting.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(self)?;
        let name = format!("{} {}", self.work, self.setting)
            .replace(',', "")
            .replace(' ', "-");
        fs::write(folder.join(format!("{name}.json")), text + "\n")
    }

    /// Loads all saved slices, by setting and work.
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
