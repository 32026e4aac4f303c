//! The config file that a command gets: one optional argument, the same for every command.

use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Loaded, Machine};

/// The file of a command that names none: the place of the image's config.
pub(super) const DEFAULT: &str = "/etc/strait/strait.yaml";

/// The argument that names the config file.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgument {
    /// The config file; `-` is standard input [default: /etc/strait/strait.yaml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// Another way to write FILE
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        let given = self.config.as_deref().or(self.file.as_deref());
        given.unwrap_or(Path::new(DEFAULT))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&self) -> Result<ConfigText, ConfigError> {
        ConfigText::read(self.path())
    }
}

/// The bytes of a config file, before anything is known about them.
pub(super) struct ConfigText {
    /// The name of the file in messages.
    pub(super) origin: String,
    pub(super) bytes: Vec<u8>,
}

impl ConfigText {
    /// Reads a file, a pipe or, for `-`, standard input.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = Loaded::read(path)?;
        let origin = Loaded::origin(path);
        Ok(Self { origin, bytes })
    }

    /// The config in these bytes, for this machine.
    ///
    /// # Errors
    /// It has problems.
    pub(super) fn load(&self) -> Result<Loaded, ConfigError> {
        Loaded::parse(&self.bytes, &self.origin, &Machine::current())
    }
}
