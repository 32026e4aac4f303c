//! The file that a config was loaded from.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use ring::digest::{SHA256, digest};

use super::file::ConfigFile;
use super::form::problems::{ConfigError, Problems};
use super::form::section::Section as _;
use super::form::{tree, write};
use super::load::{self, Loaded};
use super::renamed;

/// The digits of a hash that a line for people has.
const SHORT: usize = 12;

/// The file that a config was loaded from: its name, its bytes and their hash. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigSource {
    /// The name of the file in messages.
    pub origin: Arc<str>,
    /// The SHA-256 of the file's bytes, in hexadecimal digits.
    pub sha256: Arc<str>,
    /// The content, at most [`MAX_FILE`](super::MAX_FILE) bytes if it is a valid config.
    pub bytes: Arc<[u8]>,
}

impl ConfigSource {
    /// The file at `path` with these bytes.
    pub fn new(path: &Path, bytes: &[u8]) -> Self {
        let mut hash = String::new();
        for byte in digest(&SHA256, bytes).as_ref() {
            // Writing to a String does not fail.
            let _ = write!(hash, "{byte:02x}");
        }
        Self {
            origin: Loaded::origin(path).into(),
            sha256: hash.into(),
            bytes: bytes.into(),
        }
    }

    /// The first digits of the hash.
    pub fn short_hash(&self) -> &str {
        self.sha256.get(..SHORT).unwrap_or(&self.sha256)
    }

    /// The file's config in the file's own language: `strait check` takes it, and it means the same. Comments,
    /// anchors, old names and the order of keys are gone. With `defaults`, each key that the file leaves out
    /// follows as a comment, `# key: value`, up to some MiB of them.
    ///
    /// # Errors
    /// The bytes are not UTF-8 or not YAML.
    pub fn to_yaml(&self, defaults: bool) -> Result<String, ConfigError> {
        let refuse = |problem| load::refuse(&self.origin, vec![problem]);
        let text = load::text(&self.bytes).map_err(refuse)?;
        let mut root = tree::parse(text).map_err(refuse)?;
        renamed::rename(&mut root, renamed::RENAMED, &mut Problems::default());
        Ok(write::yaml(&root, ConfigFile::INFO, defaults))
    }
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSource")
            .field("origin", &self.origin)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_sha256sum() {
        let file = ConfigSource::new(Path::new("a.yaml"), b"abc");
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((&*file.origin, &*file.sha256), ("a.yaml", hash));
        assert_eq!(file.short_hash(), "ba7816bf8f01");
    }
}
