//! The config file: the one in force, and the one that was refused after it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde::{Serialize, Serializer};

use super::dump::serialize_timestamp;
use crate::clock;
use crate::config::{ConfigSource, Problem};

/// The state of the config file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConfigReport {
    /// The config in force; `None` before the first one.
    pub in_force: Option<Arc<ConfigInForce>>,
    /// The newest file, if it was refused. `None` once a later one is in force.
    pub refused: Option<Arc<RefusedConfig>>,
}

/// The config in force, as its file has it.
#[derive(Debug, Clone, Serialize)]
pub struct ConfigInForce {
    /// The number of configs that have come into force since the start; 1 for the first.
    pub generation: u64,
    /// The name of the file; `None` if the config did not come from a file.
    pub path: Option<Arc<str>>,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub sha256: Option<Arc<str>>,
    /// The time when it came into force.
    #[serde(serialize_with = "serialize_timestamp")]
    pub loaded: SystemTime,
    /// The time that it took to bring it into force, first answers of DNS included.
    #[serde(rename = "took_ms", serialize_with = "serialize_millis")]
    pub took: Duration,
    /// The differences from the config before, each in a few words.
    pub changes: Vec<String>,
    /// The keys whose values in this file come into force at a restart only.
    pub restart_pending: Vec<&'static str>,
    /// The file itself; `None` if the config did not come from a file.
    #[serde(skip)]
    pub source: Option<ConfigSource>,
}

/// A file that was refused.
#[derive(Debug, Clone, Serialize)]
pub struct RefusedConfig {
    /// The time when it was refused.
    #[serde(serialize_with = "serialize_timestamp")]
    pub at: SystemTime,
    /// The name of the file; `None` if the config did not come from a file.
    pub path: Option<Arc<str>>,
    /// The SHA-256 of the file, if it could be read.
    pub sha256: Option<Arc<str>>,
    /// The problems, at least one and at most 101.
    pub problems: Vec<Problem>,
}

fn serialize_millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(clock::millis(*time))
}

/// The state of the config file now. Clones share it. One task writes, any number may read.
#[derive(Debug, Clone, Default)]
pub struct ConfigReports(Arc<ArcSwap<ConfigReport>>);

impl ConfigReports {
    /// The state now.
    pub fn now(&self) -> Arc<ConfigReport> {
        self.0.load_full()
    }

    /// The number of configs that have come into force.
    pub fn generation(&self) -> u64 {
        let in_force = &self.0.load().in_force;
        in_force.as_ref().map_or(0, |one| one.generation)
    }

    /// Notes that a config is in force.
    pub fn in_force(&self, config: ConfigInForce) {
        self.0.store(Arc::new(ConfigReport {
            in_force: Some(Arc::new(config)),
            refused: None,
        }));
    }

    /// Notes that the newest file was refused.
    pub fn refused(&self, refused: RefusedConfig) {
        let before = self.0.load().in_force.clone();
        self.0.store(Arc::new(ConfigReport {
            in_force: before,
            refused: Some(Arc::new(refused)),
        }));
    }
}
