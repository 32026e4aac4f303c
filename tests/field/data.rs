//! The files of data beside this one: lines of words.

use std::fs;
use std::path::Path;

/// The text that every server answers with.
pub const BODY: &str = "0123456789abcdef0123456789abcdef01234567\trefs/heads/main\n";

/// The lines of a file beside this one that say something, with their continuations.
pub fn lines_of(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/field")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match lines.last_mut() {
            Some(last) if line.starts_with(' ') => *last = format!("{last} {}", line.trim()),
            _ if line.is_empty() => {}
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Three words and the rest of a line, which may be empty.
pub fn fields(text: &str) -> [&str; 4] {
    let mut rest = text;
    let mut word = || {
        let (word, after) = rest
            .trim_start()
            .split_once(' ')
            .unwrap_or((rest.trim(), ""));
        rest = after;
        word
    };
    let words = [word(), word(), word()];
    [words[0], words[1], words[2], rest.trim()]
}
