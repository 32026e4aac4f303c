//! The cases of config errors, `errors/*.txt`: each config gives exactly the lines that stand below it.
//!
//! `errors/README.md` says how to add a case. `STRAIT_BLESS=1 cargo test --test config` writes the lines.

use std::fs;
use std::path::{Path, PathBuf};

use crate::errors::load;

#[test]
fn every_config_gives_the_lines_below_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/errors");
    let bless = std::env::var_os("STRAIT_BLESS").is_some();
    let faults = check_folder(&folder, bless);
    assert!(
        faults.is_empty(),
        "{}\nSTRAIT_BLESS=1 cargo test --test config writes what the loader says; read the difference",
        faults.join("\n")
    );
}

/// The faults of all files of cases; `bless` writes the loader's lines instead of comparing them.
fn check_folder(folder: &Path, bless: bool) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    files.sort();
    if files.is_empty() {
        return vec![format!("{}: no file of cases", folder.display())];
    }
    let mut faults = Vec::new();
    for name in files {
        let path = folder.join(&name);
        if path.extension().is_none_or(|extension| extension != "txt") {
            faults.push(format!("{name}: not a file of cases, which end in .txt"));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        match Checked::new(&text) {
            Err(fault) => faults.push(format!("{name}:{fault}")),
            Ok(checked) if bless => fs::write(&path, checked.blessed).unwrap(),
            Ok(checked) => {
                faults.extend(checked.faults.iter().map(|fault| format!("{name}:{fault}")));
            }
        }
    }
    faults
}

/// A file of cases beside the loader's lines.
struct Checked {
    /// The cases whose lines differ.
    faults: Vec<String>,
    /// The file with the loader's lines.
    blessed: String,
}

impl Checked {
    /// Fails on a text that is not a list of cases.
    fn new(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').ok_or("no newline at the end")?;
        let (mut faults, mut blessed) = (Vec::new(), Vec::new());
        let (mut base, mut cases, mut line) = (vec!["CASE"], 0, 1);
        for text in text.split("\n\n") {
            let paragraph = Paragraph::new(text).map_err(|fault| format!("{line}: {fault}"))?;
            let mut lines = paragraph.kept.join("\n");
            if !paragraph.base.is_empty() {
                base = paragraph.base;
            } else if paragraph.is_case() {
                cases += 1;
                let given = answer(&filled(&base, &paragraph.config));
                if given != paragraph.expected {
                    faults.push(format!(
                        "{line}: {}\n  expected:\n    {}\n  given:\n    {}",
                        paragraph.config.join("\n"),
                        paragraph.expected.join("\n    "),
                        given.join("\n    ")
                    ));
                }
                for given in given {
                    if !lines.is_empty() {
                        lines.push('\n');
                    }
                    lines.push_str("=> ");
                    lines.push_str(&given);
                }
            }
            blessed.push(lines);
            line += text.lines().count() + 1;
        }
        if cases == 0 {
            return Err("1: no case".into());
        }
        let blessed = blessed.join("\n\n") + "\n";
        Ok(Self { faults, blessed })
    }
}

/// The lines between two blank lines: notes, and a base or a case.
#[derive(Default)]
struct Paragraph<'a> {
    /// The lines that no blessing changes.
    kept: Vec<&'a str>,
    base: Vec<&'a str>,
    config: Vec<&'a str>,
    expected: Vec<&'a str>,
}

impl<'a> Paragraph<'a> {
    fn new(text: &'a str) -> Result<Self, &'static str> {
        let mut paragraph = Self::default();
        if text.is_empty() || text.starts_with('\n') || text.ends_with('\n') {
            return Err("two blank lines in a row");
        }
        for line in text.lines() {
            if let Some(expected) = line.strip_prefix("=> ") {
                paragraph.expected.push(expected);
                continue;
            }
            if !paragraph.expected.is_empty() {
                return Err("no blank line between two cases");
            }
            paragraph.kept.push(line);
            if let Some(base) = line.strip_prefix("| ") {
                paragraph.base.push(base);
            } else if !line.starts_with("## ") {
                paragraph.config.push(line);
            }
        }
        if paragraph.base.is_empty() {
            return Ok(paragraph);
        }
        if paragraph.is_case() {
            return Err("no blank line between the base and a case");
        }
        let places = paragraph.base.iter().filter(|line| line.contains("CASE"));
        if places.count() != 1 {
            return Err("CASE must stand on one line of the base");
        }
        Ok(paragraph)
    }

    fn is_case(&self) -> bool {
        !self.config.is_empty() || !self.expected.is_empty()
    }
}

/// The base with the lines of `config` for CASE, all indented as that line is.
fn filled(base: &[&str], config: &[&str]) -> String {
    let mut whole = String::new();
    for line in base {
        if line.contains("CASE") {
            let indent = &line[..line.len() - line.trim_start().len()];
            let config = config.join(&format!("\n{indent}"));
            whole.push_str(&line.replace("CASE", &config));
        } else {
            whole.push_str(line);
        }
        whole.push('\n');
    }
    whole
}

/// The loader's lines: the problems, or `accepted` and the warnings.
fn answer(config: &str) -> Vec<String> {
    match load(config.as_bytes()) {
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        Ok(loaded) => std::iter::once("accepted".to_owned())
            .chain(
                loaded
                    .warnings
                    .iter()
                    .map(|warning| format!("warning: {}", warning.display("strait.yaml"))),
            )
            .collect(),
    }
}

const GOOD: &str = "listeners: [{ name: a, bind: \"[::]:1\" }]";

#[test]
fn a_case_with_other_lines_or_none_is_a_fault() {
    let empty = "=> strait.yaml: the file is empty";
    for (text, fault) in [
        (format!("{GOOD}\n"), "1: listeners: "),
        (
            format!("## Note.\n\nworkers: 1\n\n{GOOD}\n"),
            "3: workers: 1",
        ),
        ("workers: 0\n=> accepted\n".to_owned(), "1: workers: 0"),
        (
            format!("{GOOD}\n=> accepted\n=> accepted\n"),
            "1: listeners",
        ),
        (format!("{empty}, they say\n"), "1: "),
    ] {
        let checked = Checked::new(&text).unwrap();
        assert!(checked.faults[0].starts_with(fault), "{:?}", checked.faults);
        let blessed = Checked::new(&checked.blessed).unwrap();
        assert_eq!((blessed.faults, blessed.blessed), (vec![], checked.blessed));
    }
}

#[test]
fn a_text_that_is_no_list_of_cases_is_refused_even_when_blessed() {
    for (text, fault) in [
        ("", "no newline"),
        ("\n", "1: two blank lines"),
        ("a: 1", "no newline"),
        ("## Note.\n", "1: no case"),
        ("| CASE\n", "1: no case"),
        ("a: 1\n\n\nb: 1\n", "3: two blank lines"),
        ("a: 1\n=> accepted\nb: 1\n", "1: no blank line"),
        ("| CASE\nb: 1\n", "1: no blank line"),
        ("| a: 1\n\nb: 1\n", "1: CASE must stand"),
        ("| CASE\n| CASE\n\nb: 1\n", "1: CASE must stand"),
    ] {
        let refused = Checked::new(text).err();
        let refused = refused.unwrap_or_else(|| panic!("accepted: {text:?}"));
        assert!(refused.contains(fault), "{text:?}: {refused}");
    }
}

/// An empty folder of this process.
fn new_folder(name: &str) -> PathBuf {
    let name = format!("strait-cases-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_folder_without_cases_and_a_stray_file_are_faults() {
    let folder = new_folder("stray");
    fs::write(folder.join("README.md"), "").unwrap();
    for bless in [false, true] {
        assert!(check_folder(&folder, bless)[0].ends_with("no file of cases"));
    }
    fs::write(folder.join("keys.yaml"), "a: 1\n").unwrap();
    assert!(check_folder(&folder, true)[0].starts_with("keys.yaml: not a file of cases"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn blessing_writes_the_lines_below_the_config() {
    let folder = new_folder("blessed");
    let file = folder.join("keys.txt");
    fs::write(
        &file,
        format!("## A key.\n\n| {GOOD}\n| CASE\n\nworker: 1\n"),
    )
    .unwrap();
    assert_eq!(check_folder(&folder, false).len(), 1);
    assert_eq!(check_folder(&folder, true), [""; 0]);
    assert_eq!(check_folder(&folder, false), [""; 0]);
    let blessed = fs::read_to_string(&file).unwrap();
    fs::remove_dir_all(folder).unwrap();
    assert!(
        blessed.contains("\n\nworker: 1\n=> strait.yaml:2:1: worker: unknown key; "),
        "{blessed}"
    );
}
