//! The manifests that `--from` names.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::file;

/// The largest file, in bytes.
const MAX_FILE: usize = 4 << 20;
/// Files of a folder that are read.
const MAX_FILES: usize = 256;
/// The remedy for a place that cannot be read.
const READABLE: &str = "name a folder of *.yaml, or a file, that this user can read";

/// The objects of a file, or of all `*.yaml` of a folder.
///
/// # Errors
/// The place that cannot be read, the reason, and a remedy.
pub(super) fn read(path: &Path) -> Result<Vec<Value>, String> {
    if !path.is_dir() {
        return objects(path);
    }
    let entries = fs::read_dir(path).map_err(|error| failed(path, &error, READABLE))?;
    let entries = entries.map(|entry| Ok(entry?.path()));
    let mut all = Vec::new();
    for file in yaml_files(path, entries)? {
        all.extend(objects(&file)?);
    }
    Ok(all)
}

fn failed(path: &Path, error: &dyn Display, remedy: &str) -> String {
    format!("--from: {}: {error}; {remedy}", path.display())
}

/// The `*.yaml` among the entries of a folder, in the order of their names.
fn yaml_files(
    folder: &Path,
    entries: impl Iterator<Item = io::Result<PathBuf>>,
) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| failed(folder, &error, READABLE))?;
        if file.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        if files.len() == MAX_FILES {
            let many = format!("it has more than {MAX_FILES} files *.yaml");
            let remedy = "name a folder with the federation's objects alone";
            return Err(failed(folder, &many, remedy));
        }
        files.push(file);
    }
    files.sort_unstable();
    Ok(files)
}

fn objects(path: &Path) -> Result<Vec<Value>, String> {
    let read = file::read(path, MAX_FILE + 1);
    let (bytes, _) = read.map_err(|error| failed(path, &error, READABLE))?;
    if bytes.len() > MAX_FILE {
        let large = format!("it is larger than {} MiB", MAX_FILE >> 20);
        return Err(failed(path, &large, "split it into files of a folder"));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let documents = serde_saphyr::from_slice_multiple_with_options::<Value>(&bytes, options);
    let remedy = "write it as YAML, as kubectl get -o yaml does";
    let documents = documents.map_err(|error| failed(path, &error, remedy))?;
    let mut objects = Vec::new();
    for mut object in documents {
        // As kubectl get prints several.
        match object.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => objects.extend(items),
            _ => objects.push(object),
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::test_folder::TestFolder;

    fn names(objects: &[Value]) -> Vec<&str> {
        let name = |object: &'_ Value| object["name"].as_str().is_some();
        assert!(objects.iter().all(name), "{objects:?}");
        let all = objects.iter().filter_map(|object| object["name"].as_str());
        all.collect()
    }

    #[test]
    fn documents_of_a_file_and_items_of_a_list_are_objects() {
        let folder = TestFolder::create();
        let text = b"# The first.\n---\nname: a\ntext: |\n  x\n  ---\n---\n# None.\n--- # The second.\nitems: [{ name: b }, { name: c }]\n...\n---\n";
        let path = folder.write("all.yaml", text);
        assert_eq!(names(&read(&path).unwrap()), ["a", "b", "c"]);
    }

    #[test]
    fn other_files_of_a_folder_do_not_count() {
        let folder = TestFolder::create();
        for number in 0..2 * MAX_FILES {
            folder.write(&format!("{number}.txt"), b"[");
        }
        folder.write("b.yaml", b"name: b");
        folder.write("a.yaml", b"name: a");
        assert_eq!(names(&read(folder.path()).unwrap()), ["a", "b"]);
    }

    #[test]
    fn what_is_not_read_is_told_with_its_place_and_a_remedy() {
        let folder = TestFolder::create();
        let large = folder.write(
            "large.yaml",
            "name: a\n".repeat(MAX_FILE / 8 + 1).as_bytes(),
        );
        let binary = folder.write("binary.yaml", b"name: \xff");
        let broken = folder.write("broken.yaml", b"name: a\n---\nname: [\n");
        let gone = folder.path().join("gone.yaml");
        for (path, says, remedy) in [
            (&large, "larger than 4 MiB", "split it"),
            (&binary, "UTF-8", "write it as YAML"),
            (&broken, "line 3", "write it as YAML"),
            (&gone, "No such file", "that this user can read"),
        ] {
            let error = read(path).unwrap_err();
            let place = format!("--from: {}: ", path.display());
            assert!(error.starts_with(&place), "{error}");
            assert!(error.contains(says) && error.contains(remedy), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        // An entry of a folder, as on a mount that fails.
        let fails = || Err(io::ErrorKind::StaleNetworkFileHandle.into());
        let entries = [Ok("/a/a.yaml".into()), fails()].into_iter();
        let error = yaml_files(Path::new("/a"), entries).unwrap_err();
        assert!(error.starts_with("--from: /a: stale"), "{error}");
        assert!(error.ends_with(READABLE), "{error}");
    }

    #[test]
    fn a_folder_of_too_many_manifests_is_refused() {
        let folder = TestFolder::create();
        for number in 0..=MAX_FILES {
            folder.write(&format!("{number}.yaml"), b"name: a");
        }
        let error = read(folder.path()).unwrap_err();
        assert!(error.contains("more than 256 files"), "{error}");
    }
}
