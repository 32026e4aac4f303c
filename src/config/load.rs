//! The loading of a config file: bytes, tree, file form, config in force.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::checked::Config;
use super::file::ConfigFile;
use super::form::decode::{Decode, Given};
#[cfg(feature = "doctor")]
use super::form::problems::Problems;
use super::form::problems::{Complaint, ConfigError, KeyPlace, Problem, quoted};
use super::form::tree::{self, Node, Value};
use super::removed;
use super::renamed;
use super::resolve::{self, Findings, Machine};
use crate::file;

/// The largest config file, in bytes.
pub const MAX_FILE: usize = 16 << 20;
/// The time limit for a pipe to end when a config is read from one.
pub(crate) const PIPE: Duration = Duration::from_secs(30);

/// A config with warnings for its author.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The config.
    pub config: Arc<Config>,
    /// The warnings in the file's order, shown by [`Problem::display`] like errors.
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// Reads, parses and checks the file at `path`, for this machine.
    ///
    /// # Errors
    /// Those of [`Loaded::read`], and a file that is larger than [`MAX_FILE`] or not a valid config.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = Self::read(path)?;
        Self::parse(&bytes, &Self::origin(path), &Machine::current())
    }

    /// Reads at most [`MAX_FILE`] + 1 bytes of the file at `path`. It may be a pipe, such as the shell
    /// makes of `<(command)`, which ends within 30 seconds, and `-` is standard input.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
        let bytes = match is_standard_input(path) {
            true => file::receive_standard_input(MAX_FILE + 1, PIPE),
            false => file::read_or_receive(path, MAX_FILE + 1, PIPE),
        };
        bytes.map_err(|error| unreadable(path, &error))
    }

    /// The name that messages give the file at `path`.
    pub fn origin(path: &Path) -> String {
        match is_standard_input(path) {
            true => "stdin".to_owned(),
            false => path.display().to_string(),
        }
    }

    /// Parses and checks the result of reading at most [`MAX_FILE`] + 1 bytes of the file at `path`.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn of_read(path: &Path, bytes: Result<&[u8], &io::Error>) -> Result<Self, ConfigError> {
        let bytes = bytes.map_err(|error| unreadable(path, error))?;
        Self::parse(bytes, &Self::origin(path), &Machine::current())
    }

    /// Parses and checks the bytes of a file that messages call `origin`.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn parse(bytes: &[u8], origin: &str, machine: &Machine) -> Result<Self, ConfigError> {
        let yaml = text(bytes).map_err(|problem| refuse(origin, vec![problem]))?;
        let mut root = tree::parse(yaml).map_err(|problem| refuse(origin, vec![problem]))?;
        if matches!(root.value, Value::Null) {
            let complaint = Complaint::new("the file is empty")
                .remedy("start from config/strait.yaml; `listeners` is the one required key");
            return Err(refuse(origin, vec![Problem::of_file(complaint)]));
        }
        if let Some(kind) = kubernetes_kind(&root.value) {
            return Err(refuse(origin, vec![Problem::of_file(of_an_object(&kind))]));
        }
        let mut findings = Findings::default();
        renamed::rename(&mut root, renamed::RENAMED, &mut findings.warnings);
        removed::ignore(&mut root, &mut findings.warnings);
        let given = Given::new(&root, &KeyPlace::start());
        let file = ConfigFile::decode(&given, &mut findings.problems);
        let config = file.map(|file| resolve::resolve(file, machine, &mut findings));
        let Findings { problems, warnings } = findings;
        match config {
            Some(config) if problems.is_empty() => Ok(Self {
                config: Arc::new(config),
                warnings: warnings.into_sorted(),
            }),
            _ => Err(refuse(origin, problems.into_sorted())),
        }
    }
}

impl Config {
    /// [`Loaded::load`] without the warnings.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn load(path: &Path) -> Result<Arc<Self>, ConfigError> {
        Loaded::load(path).map(|loaded| loaded.config)
    }

    /// [`Loaded::parse`] for this machine and without the warnings.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn parse(yaml: &str, origin: &str) -> Result<Self, ConfigError> {
        let loaded = Loaded::parse(yaml.as_bytes(), origin, &Machine::current())?;
        Ok(Arc::unwrap_or_clone(loaded.config))
    }
}

/// Decodes another file than the config by the same engine, with the same kind of problems.
///
/// # Errors
/// The bytes are no YAML, or not of this form.
#[cfg(feature = "doctor")]
pub(crate) fn decode_file<T: Decode>(bytes: &[u8], origin: &str) -> Result<T, ConfigError> {
    let refused = |problem| refuse(origin, vec![problem]);
    let root = tree::parse(text(bytes).map_err(refused)?).map_err(refused)?;
    let mut problems = Problems::default();
    match T::decode(&Given::new(&root, &KeyPlace::start()), &mut problems) {
        Some(decoded) if problems.is_empty() => Ok(decoded),
        _ => Err(refuse(origin, problems.into_sorted())),
    }
}

/// Whether `path` stands for standard input.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let complaint = Complaint::new(format!("cannot read this file: {error}"));
    let complaint = match error.kind() {
        io::ErrorKind::NotFound => {
            complaint.remedy("check the path; a command without FILE reads /etc/strait/strait.yaml")
        }
        _ => complaint,
    };
    refuse(&Loaded::origin(path), vec![Problem::of_file(complaint)])
}

pub(super) fn refuse(origin: &str, problems: Vec<Problem>) -> ConfigError {
    ConfigError {
        origin: origin.to_owned(),
        problems,
    }
}

/// The kind of the Kubernetes object that this is, if it is one.
fn kubernetes_kind(value: &Value) -> Option<String> {
    let Value::Map(entries) = value else {
        return None;
    };
    let text_of = |key: &str| {
        let is_key = |node: &Node| matches!(&node.value, Value::Text(text) if text == key);
        let (_, given) = entries.iter().find(|(node, _)| is_key(node))?;
        match &given.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    };
    text_of("apiVersion").and(text_of("kind")).cloned()
}

fn of_an_object(kind: &str) -> Complaint {
    let complaint = Complaint::new(format!(
        "this is a Kubernetes object ({}), not a config of strait",
        quoted(kind)
    ));
    complaint.remedy(match kind {
        "ConfigMap" => {
            r"check the text that it holds: kubectl get configmap NAME -o jsonpath='{.data.strait\.yaml}' | strait check -"
        }
        _ => "the config is the text below `data` of a ConfigMap",
    })
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > MAX_FILE {
        let complaint = Complaint::new("the file is larger than 16 MiB");
        return Err(Problem::of_file(
            complaint.remedy("is it a strait config at all?"),
        ));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = valid.matches('\n').count() + 1;
        let column = valid
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        let place = KeyPlace::start().at(
            u32::try_from(line).unwrap_or(u32::MAX),
            u32::try_from(column).unwrap_or(u32::MAX),
        );
        let encoding = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
            _ => "not UTF-8",
        };
        let complaint = Complaint::new(format!("the file is {encoding} text"));
        Problem::new(&place, complaint.remedy("save it as UTF-8"))
    })
}
