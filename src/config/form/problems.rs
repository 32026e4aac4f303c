//! The problems of a config file: the fault, the place and the remedy of each.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::rc::Rc;

use serde::Serialize;

/// The number of problems kept. Further ones are counted.
const MAX_PROBLEMS: usize = 100;
/// The number of names compared in the search for the nearest one, so that a huge file with many wrong
/// names is also refused quickly.
const MAX_COMPARED: usize = 10_000;
/// The number of characters of a value that a message repeats.
const MAX_QUOTED: usize = 80;

/// One fault of a config file, or one warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line, from 1. 0 for a problem without a line, such as a file that cannot be read.
    pub line: u64,
    /// The column in characters, from 1; 0 when `line` is 0.
    pub column: u64,
    /// The path of the key, such as `listeners[0].routes[2].alpn`; empty for the whole file.
    pub key: String,
    /// The fault.
    pub message: String,
    /// The text to write instead, if that is known.
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem of the file as a whole.
    pub(crate) fn of_file(complaint: Complaint) -> Self {
        Self::new(&KeyPlace::default(), complaint)
    }

    /// A problem that shows when a valid config is brought into force.
    pub(crate) fn of_change(message: String) -> Self {
        Self::of_file(Complaint::new(message))
    }

    pub(crate) fn new(place: &KeyPlace, complaint: Complaint) -> Self {
        Self {
            line: place.line.into(),
            column: place.column.into(),
            key: place.key.to_string(),
            message: complaint.message,
            remedy: complaint.remedy,
        }
    }

    /// The line for a person: `strait.yaml:12:7: KEY: the fault; the remedy`.
    pub fn display<'a>(&'a self, origin: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            f.write_str(origin)?;
            if self.line > 0 {
                write!(f, ":{}:{}", self.line, self.column)?;
            }
            if !self.key.is_empty() {
                write!(f, ": {}", self.key)?;
            }
            write!(f, ": {}", self.message)?;
            match &self.remedy {
                Some(remedy) => write!(f, "; {remedy}"),
                None => Ok(()),
            }
        })
    }
}

/// A config file that was refused: every problem found in it, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file's name as the operator gave it.
    pub origin: String,
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    /// One line for each problem, without a newline after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            problem.display(&self.origin).fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The fault of a value, from code that does not know the place of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    message: String,
    remedy: Option<String>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: None,
        }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Sets the remedy, if there is none yet.
    pub(crate) fn or_remedy(mut self, remedy: &str) -> Self {
        self.remedy.get_or_insert_with(|| remedy.to_owned());
        self
    }

    /// Takes the remedy of another complaint about the same value.
    pub(crate) fn remedied_as(mut self, other: Self) -> Self {
        self.remedy = other.remedy;
        self
    }

    /// Adds the valid word nearest to `wrong`, or all of them if none is near and they are few.
    pub(crate) fn nearest<'a>(
        self,
        wrong: &str,
        valid: impl Iterator<Item = &'a str> + Clone,
        all_are: &str,
    ) -> Self {
        if let Some(near) = nearest(wrong, valid.clone()) {
            return self.remedy(format!("did you mean {}?", quoted(near)));
        }
        let few: Vec<&str> = valid.take(21).collect();
        match few.len() {
            0 | 21.. => self,
            _ => self.remedy(format!("{all_are}: {}", few.join(", "))),
        }
    }
}

/// The word of `valid` that `wrong` was probably meant to be. Case and separators are ignored, so
/// `maxSize` and `max-size` both mean `max_size`.
pub(crate) fn nearest<'a>(wrong: &str, valid: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| -> String {
        word.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    let wrong = plain(wrong);
    let most = (wrong.len() / 3).max(1);
    valid
        .take(MAX_COMPARED)
        .filter(|word| word.len().abs_diff(wrong.len()) <= most + 4)
        .map(|word| (strsim::osa_distance(&plain(word), &wrong), word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// `text` in quotes, escaped for terminals and logs, and cut if it is long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// The place of a value in the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyPlace {
    pub(crate) line: u32,
    pub(crate) column: u32,
    key: KeyPath,
}

impl KeyPlace {
    pub(crate) fn start() -> Self {
        Self {
            line: 1,
            column: 1,
            key: KeyPath::default(),
        }
    }

    /// The place of `key` below this one when the file does not have the key: this place's line.
    pub(crate) fn key(&self, key: impl Into<Cow<'static, str>>) -> Self {
        self.below(Segment::Key(key.into()))
    }

    /// The place of the list item at `index`.
    pub(crate) fn item(&self, index: usize) -> Self {
        self.below(Segment::Item(index))
    }

    /// The same key at the line and column where the file has it.
    pub(crate) fn at(mut self, line: u32, column: u32) -> Self {
        (self.line, self.column) = (line, column);
        self
    }

    fn below(&self, segment: Segment) -> Self {
        let step = KeyStep {
            parent: self.key.clone(),
            segment,
        };
        Self {
            key: KeyPath(Some(Rc::new(step))),
            ..*self
        }
    }
}

/// The text for messages that point to a second place: `listeners[0].bind (line 3)`.
impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {})", self.key, self.line)
    }
}

/// A list linked towards the root. Files have many places and few problems, so a path is written out
/// only for a problem.
#[derive(Debug, Clone, Default)]
struct KeyPath(Option<Rc<KeyStep>>);

#[derive(Debug)]
struct KeyStep {
    parent: KeyPath,
    segment: Segment,
}

#[derive(Debug)]
enum Segment {
    Key(Cow<'static, str>),
    Item(usize),
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = &self.0 else {
            return Ok(());
        };
        step.parent.fmt(f)?;
        let bare = |key: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            !key.is_empty() && key.chars().all(plain)
        };
        match &step.segment {
            Segment::Item(index) => write!(f, "[{index}]"),
            Segment::Key(key) if !bare(key) => write!(f, "[{}]", quoted(key)),
            Segment::Key(key) if step.parent.0.is_none() => f.write_str(key),
            Segment::Key(key) => write!(f, ".{key}"),
        }
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    kept: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    pub(crate) fn note(&mut self, place: &KeyPlace, complaint: Complaint) {
        self.note_with(place, || complaint);
    }

    /// Notes a complaint whose text takes a search.
    pub(crate) fn note_with(&mut self, place: &KeyPlace, complaint: impl FnOnce() -> Complaint) {
        if self.kept.len() < MAX_PROBLEMS {
            self.kept.push(Problem::new(place, complaint()));
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The problems in the file's order, and a last one with the number of those left out.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.kept
            .sort_by_key(|problem| (problem.line, problem.column));
        if self.left_out > 0 {
            let more = format!("{} more problems are not shown", self.left_out);
            self.kept.push(Problem::of_file(Complaint::new(more)));
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_file() {
        let place = KeyPlace::start()
            .key("listeners")
            .item(0)
            .key("routes")
            .item(2);
        assert_eq!(
            place.key("alpn").key.to_string(),
            "listeners[0].routes[2].alpn"
        );
        let upstream = KeyPlace::start().key("upstreams").key("a.b\n");
        assert_eq!(upstream.key.to_string(), r#"upstreams["a.b\n"]"#);
    }

    #[test]
    fn nearest_is_near_or_nothing() {
        let keys = ["upstream", "max_size", "alpn", "sni"];
        for (wrong, right) in [
            ("upstrem", Some("upstream")),
            ("maxSize", Some("max_size")),
            ("max-size", Some("max_size")),
            ("aplн", None),
            ("apln", Some("alpn")),
            ("completely_else", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, keys.into_iter()), right, "{wrong}");
        }
    }

    #[test]
    fn far_words_get_the_list() {
        let complaint = Complaint::new("unknown").nearest("zzzzz", ["a", "b"].into_iter(), "known");
        assert_eq!(complaint.remedy.as_deref(), Some("known: a, b"));
    }

    #[test]
    fn problems_beyond_the_limit_are_counted() {
        let mut problems = Problems::default();
        for line in 0..150 {
            let place = KeyPlace::start().at(150 - line, 1);
            problems.note(&place, Complaint::new("wrong"));
        }
        let shown = problems.into_sorted();
        assert_eq!(shown.len(), MAX_PROBLEMS + 1);
        assert!(shown[..MAX_PROBLEMS].is_sorted_by_key(|problem| problem.line));
        assert_eq!(
            shown[MAX_PROBLEMS].message,
            "50 more problems are not shown"
        );
    }

    #[test]
    fn quoted_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[31m"), r#""a\u{1b}[31m""#);
        assert_eq!(quoted(&"ä".repeat(200)).chars().count(), MAX_QUOTED + 5);
    }
}
