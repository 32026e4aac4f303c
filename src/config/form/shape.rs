//! The shape of a value: what fits a key, for the JSON Schema and the reference.

use serde_json::Value as Json;

use super::tree::Value;

/// The accepted values of a key, for people and for editors.
pub(crate) struct Shape {
    /// The words in the reference: `duration, 100ms to 60s`.
    pub(crate) words: String,
    /// JSON Schema; sections are referred to as `#/$defs/NAME`.
    pub(crate) schema: Json,
    /// The section inside, and the continuation of its path: ``, `[]` or `.NAME`.
    pub(crate) section: Option<(&'static str, &'static SectionInfo)>,
}

/// The description of a section, without a file.
pub(crate) struct SectionInfo {
    pub(crate) name: &'static str,
    pub(crate) about: &'static [&'static str],
    /// The key that a bare scalar in place of the section sets.
    pub(crate) short: Option<&'static str>,
    /// Keys of which exactly one is given. None for no such rule.
    pub(crate) one_of: &'static [&'static str],
    pub(crate) fields: &'static [Field],
}

/// One key of a section.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    /// The lines of its doc comment.
    pub(crate) doc: &'static [&'static str],
    /// The default; `None` if the key is required.
    pub(crate) default: fn() -> Option<Value>,
    pub(crate) shape: fn() -> Shape,
}
