//! Tables of text: columns as wide as their widest cell, and no cell that a terminal obeys.

use crate::terminal::is_obeyed;

/// The widest cell, in characters.
const WIDEST: usize = 80;

/// Rows below a head. The last column is not filled up.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(&head)
        .chain(rows)
        .map(|row| row.each_ref().map(|text| shown(text)))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A text, escaped where a terminal would obey it.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match is_obeyed(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    escaped
}

/// A cell: escaped where a terminal would obey it, and cut.
pub(super) fn shown(text: &str) -> String {
    let cell = escaped(text);
    match cell.char_indices().nth(WIDEST) {
        Some((end, _)) => format!("{}...", cell.get(..end).unwrap_or_default()),
        None => cell,
    }
}

/// A number of bytes for a person.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = None;
    let mut tenths = u128::from(bytes) * 10;
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = Some(name);
    }
    match unit {
        None => format!("{bytes} B"),
        Some(unit) => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// A time in milliseconds for a person: its two largest units.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_nothing_is_obeyed() {
        let rows = [
            ["a\x1b[31m".to_owned(), "b".to_owned()],
            ["\u{202e}".to_owned(), "x".repeat(100)],
        ];
        let text = table(["one", "two"], &rows);
        let expected = format!(
            "one          two\na\\u{{1b}}[31m  b\n\\u{{202e}}     {}...\n",
            "x".repeat(80)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn sizes_and_times_are_short() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (61_239_812, "58.4 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (number, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (61_000, "1m01s"),
            (3_661_000, "1h01m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(duration(number), text);
        }
    }
}
