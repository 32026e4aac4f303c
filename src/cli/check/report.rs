//! The findings of `strait check` in each format: for a person, for a program, for GitHub's log.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::config::Problem;
use crate::terminal::is_obeyed;

/// The format of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum CheckFormat {
    /// Lines for a person, each with the place in the file
    Text,
    /// One JSON object on standard output
    Json,
    /// GitHub's workflow commands, which mark the lines of a pull request
    Github,
}

/// Whether a finding makes the config bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Error,
    Warning,
}

/// A problem or a warning.
#[derive(Debug)]
pub(super) struct CheckFinding {
    pub(super) severity: Severity,
    pub(super) problem: Problem,
}

/// All that `strait check` found in one file.
#[derive(Debug)]
pub(super) struct CheckReport<'a> {
    /// The name of the file in messages.
    pub(super) origin: &'a str,
    /// The content of the file.
    pub(super) bytes: &'a [u8],
    pub(super) findings: Vec<CheckFinding>,
    /// The size of a config that could be loaded, in words.
    pub(super) size: Option<String>,
}

impl CheckReport<'_> {
    pub(super) fn count(&self, severity: Severity) -> usize {
        let of = |one: &&CheckFinding| one.severity == severity;
        self.findings.iter().filter(of).count()
    }

    /// The findings for a person, each with its line of the file.
    pub(super) fn text(&self, colours: bool) -> String {
        let lines = String::from_utf8_lossy(self.bytes);
        let lines: Vec<&str> = lines.lines().collect();
        let paint = |style: Style| move |text: &dyn fmt::Display| painted(colours, style, text);
        let mut text = String::new();
        for CheckFinding { severity, problem } in &self.findings {
            let style = match severity {
                Severity::Error => Style::Red,
                Severity::Warning => Style::Yellow,
            };
            if *severity == Severity::Warning {
                text += &paint(style)(&"warning: ");
            }
            let _ = writeln!(
                text,
                "{}",
                paint(Style::Bold)(&problem.display(self.origin))
            );
            if let Some(Excerpt { line, before }) = Excerpt::of(&lines, problem) {
                let number = problem.line;
                let margin = " ".repeat(number.to_string().len());
                let caret = paint(style)(&"^");
                let _ = writeln!(text, "  {number} | {line}");
                let _ = writeln!(text, "  {margin} | {}{caret}", " ".repeat(before));
            }
        }
        text
    }

    /// The findings as one JSON object.
    ///
    /// # Errors
    /// None that these types can have.
    pub(super) fn json(&self, good: bool) -> serde_json::Result<String> {
        let findings = self.findings.iter().map(JsonFinding::of).collect();
        let (file, size) = (self.origin, self.size.as_deref());
        serde_json::to_string_pretty(&JsonReport {
            file,
            good,
            size,
            findings,
        })
    }

    /// The findings as workflow commands of GitHub.
    pub(super) fn github(&self) -> String {
        let mut text = String::new();
        for CheckFinding { severity, problem } in &self.findings {
            let command = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let _ = write!(text, "::{command} file={}", property(self.origin));
            if problem.line > 0 {
                let _ = write!(text, ",line={},col={}", problem.line, problem.column);
            }
            if !problem.key.is_empty() {
                let _ = write!(text, ",title={}", property(&problem.key));
            }
            let remedy = problem.remedy.as_ref();
            let remedy = remedy.map_or_else(String::new, |remedy| format!("; {remedy}"));
            let _ = writeln!(text, "::{}{}", data(&problem.message), data(&remedy));
        }
        text
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    file: &'a str,
    good: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'a str>,
    findings: Vec<JsonFinding<'a>>,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    severity: Severity,
    /// Null for a finding about the whole file.
    line: Option<u64>,
    column: Option<u64>,
    key: &'a str,
    message: &'a str,
    remedy: Option<&'a str>,
}

impl<'a> JsonFinding<'a> {
    fn of(CheckFinding { severity, problem }: &'a CheckFinding) -> Self {
        let known = |number: u64| (problem.line > 0).then_some(number);
        Self {
            severity: *severity,
            line: known(problem.line),
            column: known(problem.column),
            key: &problem.key,
            message: &problem.message,
            remedy: problem.remedy.as_deref(),
        }
    }
}

/// A style of a terminal.
#[derive(Debug, Clone, Copy)]
enum Style {
    Bold,
    Red,
    Yellow,
}

fn painted(colours: bool, style: Style, text: &dyn fmt::Display) -> String {
    let code = match style {
        _ if !colours => return text.to_string(),
        Style::Bold => "1",
        Style::Red => "1;31",
        Style::Yellow => "1;33",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// The longest part of a line that is shown, in characters.
const WIDTH: usize = 96;
/// The characters that are shown behind the place of the problem, if the line has them.
const BEHIND: usize = 24;

/// The line of a problem, or the part of it around the problem.
#[derive(Debug, PartialEq)]
struct Excerpt {
    line: String,
    /// The characters of `line` before the place of the problem.
    before: usize,
}

impl Excerpt {
    /// The line of the problem; `None` for a problem of the whole file.
    fn of(lines: &[&str], problem: &Problem) -> Option<Self> {
        let index = usize::try_from(problem.line).ok()?.checked_sub(1)?;
        let at = usize::try_from(problem.column).ok()?.checked_sub(1)?;
        let line = lines.get(index)?;
        let skipped = (at + BEHIND).saturating_sub(WIDTH);
        // One character for each, or the caret would not stand below its place.
        let shown = |c: char| if is_obeyed(c) { ' ' } else { c };
        let part = line.chars().skip(skipped).take(WIDTH);
        let part: String = part.map(shown).collect();
        Some(Self {
            line: part.trim_end().to_owned(),
            before: at - skipped,
        })
    }
}

/// The value of a property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The text of a workflow command, which ends at its line.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u64, column: u64) -> Problem {
        Problem {
            line,
            column,
            key: "a[0].b".to_owned(),
            message: "50%, or\nmore".to_owned(),
            remedy: Some("write c".to_owned()),
        }
    }

    fn report<'a>(bytes: &'a [u8], problems: &[Problem]) -> CheckReport<'a> {
        let finding = |problem: &Problem| CheckFinding {
            severity: Severity::Error,
            problem: problem.clone(),
        };
        CheckReport {
            origin: "a:b.yaml",
            bytes,
            findings: problems.iter().map(finding).collect(),
            size: None,
        }
    }

    #[test]
    fn the_caret_stands_below_the_place_and_long_lines_are_cut() {
        let excerpt = |line: &str, column| Excerpt::of(&["", line], &problem(2, column));
        let short = excerpt("a:\t{ b: 1 }\x1b[31m\u{202e}  ", 6).unwrap();
        assert_eq!((&*short.line, short.before), ("a: { b: 1 } [31m", 5));
        let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let cut = excerpt(&long, 501).unwrap();
        assert_eq!(cut.line.chars().count(), WIDTH);
        assert_eq!(cut.line.chars().nth(cut.before), Some('X'));
        let wide = excerpt(&"ä".repeat(300), 300).unwrap();
        assert_eq!(wide.before + BEHIND, WIDTH);
        assert_eq!(excerpt("", 1).unwrap().line, "");
        for (line, column) in [(0, 0), (3, 1), (u64::MAX, 1), (1, 0)] {
            assert_eq!(Excerpt::of(&["", ""], &problem(line, column)), None);
        }
    }

    #[test]
    fn a_workflow_command_is_one_line_whatever_it_says() {
        let github = report(b"", &[problem(3, 4), problem(0, 0)]).github();
        let place = "::error file=a%3Ab.yaml";
        let rest = ",title=a[0].b::50%25, or%0Amore; write c\n";
        assert_eq!(github, format!("{place},line=3,col=4{rest}{place}{rest}"));
    }

    #[test]
    fn colours_are_written_only_when_asked_for() {
        let report = report(b"a: b\n", &[problem(1, 4)]);
        assert!(!report.text(false).contains('\x1b'));
        let painted = report.text(true);
        assert!(painted.contains("\x1b[1;31m^\x1b[0m"), "{painted}");
    }
}
