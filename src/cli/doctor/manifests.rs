//! The manifests that `--from` names.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::file;

/// The largest file, in bytes.
const MAX_FILE: usize = 4 << 20;
/// Files of a folder that are read.
const MAX_FILES: usize = 256;

/// The objects of a file, or of all `*.yaml` of a folder.
///
/// # Errors
/// The file that cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<Value>, String> {
    let failed =
        |path: &Path, error: &dyn std::fmt::Display| format!("--from: {}: {error}", path.display());
    let files = match path.is_dir() {
        false => vec![path.to_owned()],
        true => {
            let entries = std::fs::read_dir(path).map_err(|error| failed(path, &error))?;
            let files = entries
                .take(MAX_FILES)
                .filter_map(|entry| Some(entry.ok()?.path()));
            let yaml = |file: &PathBuf| file.extension().is_some_and(|end| end == "yaml");
            let mut files: Vec<PathBuf> = files.filter(yaml).collect();
            files.sort_unstable();
            files
        }
    };
    let mut objects = Vec::new();
    for path in files {
        let (bytes, _) = file::read(&path, MAX_FILE).map_err(|error| failed(&path, &error))?;
        let text = String::from_utf8_lossy(&bytes);
        for document in format!("\n{text}").split("\n---") {
            let object: Option<Value> =
                serde_saphyr::from_str(document).map_err(|error| failed(&path, &error))?;
            let mut object = object.unwrap_or_default();
            // As kubectl get prints several.
            match object.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => objects.extend(items),
                _ => objects.push(object),
            }
        }
    }
    Ok(objects)
}
