//! The generator of the reference from the declarations in `config::file`: JSON Schema for editors, and
//! the page in `docs/src/`.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::file::ConfigFile;
use super::form::section::Section as _;
use super::form::shape::{Field, SectionInfo};
use super::form::tree::Value;

/// The name by which other schemas refer to this one.
const ID: &str = "https://strait.dev/schema/strait.schema.json";

/// JSON Schema (draft 2020-12) of the config file. It accepts every valid file. Checks that need the
/// loader, such as the existence of a route's upstream, are left to `strait check`.
pub fn schema() -> Json {
    let mut sections = Map::new();
    define(ConfigFile::INFO, &mut sections);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Config file of strait",
        "$ref": format!("#/$defs/{}", ConfigFile::INFO.name),
        "$defs": sections,
    })
}

fn define(info: &'static SectionInfo, sections: &mut Map<String, Json>) {
    if sections.contains_key(info.name) {
        return;
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in info.fields {
        let mut property = (field.shape)().schema;
        property["description"] = prose(field.doc).into();
        match (field.default)() {
            Some(default) => property["default"] = plain_json(&default),
            None => required.push(field.key),
        }
        properties.insert(field.key.to_owned(), property);
    }
    let mut section = json!({
        "type": "object",
        "description": prose(info.about),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if !info.one_of.is_empty() {
        section["oneOf"] = info.one_of.iter().map(|key| given(key)).collect();
    }
    let short = info
        .fields
        .iter()
        .find(|field| Some(field.key) == info.short);
    let schema = match short {
        Some(field) => json!({ "anyOf": [(field.shape)().schema, section] }),
        None => section,
    };
    sections.insert(info.name.to_owned(), schema);
    for field in info.fields {
        if let Some((_, inner)) = (field.shape)().section {
            define(inner, sections);
        }
    }
}

/// The schema of sections that give a key. `null` and `false` are as good as no value.
fn given(key: &str) -> Json {
    json!({ "required": [key], "properties": { key: { "not": { "enum": [null, false] } } } })
}

/// A default as JSON. Defaults contain neither items nor entries.
fn plain_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => json!(truth),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::List(_) => json!([]),
        Value::Map(_) => json!({}),
    }
}

/// The reference in Markdown: every key with its values, default and meaning.
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    describe("", ConfigFile::INFO, &mut HashMap::new(), &mut text);
    text
}

const INTRODUCTION: &str = "\
# Config reference

Generated from `src/config/file.rs` and `src/config/file/kubernetes.rs`. A test compares the two, and
`STRAIT_BLESS=1 cargo test --test repository docs` rewrites this page.

- Durations are a number and a unit: `250ms`, `5s`, `1h 30m`. Sizes are a whole number and `B`, `KiB`, `MiB` or `GiB`.
- Unknown keys are errors; `strait check FILE` names the line, the key and the nearest valid key.
- Put wildcards (`\"*.x\"`) and addresses that start with `[` in quotes: YAML gives both another meaning.
- Names are lower-cased and lose a trailing dot. YAML anchors, aliases and merge keys work.
- A reload (SIGHUP, or a change of the file) puts new values into force. Open connections keep the values that they started with, except where a key says otherwise. Keys whose
  change needs a restart say so; until then the old value stays, and the log names the key.
- `[]` in a heading stands for each item of a list, `NAME` for a name of your choice.
";

fn describe(
    path: &str,
    info: &'static SectionInfo,
    described: &mut HashMap<&'static str, String>,
    text: &mut String,
) {
    let heading = match path {
        "" => "Top level".to_owned(),
        _ => format!("`{path}`"),
    };
    *text += &format!("\n## {heading}\n\n");
    if let Some(same) = described.get(info.name) {
        *text += &format!("As `{same}`.\n");
        return;
    }
    described.insert(info.name, path.to_owned());
    *text += &format!("{}\n\n", prose(info.about));
    *text += "| key | value | default | meaning |\n|---|---|---|---|\n";
    for field in info.fields {
        *text += &row(field);
    }
    for field in info.fields {
        if let Some((continued, inner)) = (field.shape)().section {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}{continued}", field.key);
            describe(&path, inner, described, text);
        }
    }
}

fn row(field: &Field) -> String {
    let default = match (field.default)() {
        None => "**required**".to_owned(),
        Some(Value::Null) => "none".to_owned(),
        Some(Value::Map(_)) if named(field) => "`{}`".to_owned(),
        Some(Value::Map(_)) => "as below".to_owned(),
        Some(default) => {
            let plain = plain_json(&default);
            format!(
                "`{}`",
                plain
                    .as_str()
                    .map_or_else(|| plain.to_string(), str::to_owned)
            )
        }
    };
    let words = (field.shape)().words;
    format!(
        "| `{}` | {words} | {default} | {} |\n",
        field.key,
        prose(field.doc)
    )
}

/// Whether the keys below are names of the operator's choice.
fn named(field: &Field) -> bool {
    (field.shape)()
        .section
        .is_some_and(|(path, _)| path == ".NAME")
}

/// The lines of a doc comment as one line.
fn prose(doc: &[&str]) -> String {
    let mut prose = String::new();
    for line in doc {
        let space = if prose.is_empty() { "" } else { " " };
        prose.push_str(space);
        prose.push_str(line.trim());
    }
    prose
}
