//! Text in columns: cut, filled, broken into lines.

use crate::admin::plain;

/// `text` in ASCII with `width` columns: cut with `~`, or filled with blanks.
pub(super) fn cell(text: &str, width: usize) -> String {
    let text = fitting(text, width);
    format!("{text:<width$}")
}

/// The same, at the right.
pub(super) fn right(text: &str, width: usize) -> String {
    let text = fitting(text, width);
    format!("{text:>width$}")
}

pub(super) fn fitting(text: &str, width: usize) -> String {
    let text = plain(text);
    match text.len() > width {
        true => format!(
            "{}~",
            text.get(..width.saturating_sub(1)).unwrap_or_default()
        ),
        false => text,
    }
}

/// `text` in lines of at most `width` columns, broken at blanks where there are some.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in plain(text).split(' ') {
        let mut word = word;
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        while word.len() > width {
            let (head, tail) = word.split_at(width);
            lines.push(head.to_owned());
            word = tail;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines.push(line);
    lines
}

/// `command` in lines of at most `width` columns, broken only between words. A line of one word may be longer.
pub(super) fn command_lines(command: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in command.split_ascii_whitespace().map(plain) {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}
