//! The values of a table's cells: how they are shown, how they are compared, and how JSON has them.

use std::cmp::Ordering;

use serde::Serialize;

use crate::cli::client::table::duration;

/// A value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum TopCell {
    /// It is not known.
    Unknown,
    Text(String),
    Count(u64),
    Bytes(u64),
    BytesPerSecond(u64),
    /// A time in milliseconds, as a person says it.
    Time(u64),
    /// A short time in milliseconds, as a number.
    Milliseconds(f64),
    /// A number for each second.
    PerSecond(f64),
    /// A part of the whole, from 0 to 1.
    Share(f64),
}

impl TopCell {
    pub(super) fn text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Unknown, |text| Self::Text(text.into()))
    }

    /// `what` of a value; the cell is unknown without one.
    pub(super) fn of<T>(value: Option<T>, what: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Unknown, what)
    }

    /// The text that stands in the table.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Unknown => "-".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Count(count) => grouped(&count.to_string()),
            Self::Bytes(0) | Self::BytesPerSecond(0) => "0".to_owned(),
            Self::Bytes(bytes) => size(*bytes),
            Self::BytesPerSecond(bytes) => size(*bytes) + "/s",
            Self::Time(milliseconds) => duration(*milliseconds),
            Self::Milliseconds(time) => short(*time, 2),
            Self::PerSecond(number) => short(*number, 1),
            Self::Share(share) if *share <= 0.0 => "0".to_owned(),
            Self::Share(share) if *share < 0.0005 => "<0.1 %".to_owned(),
            Self::Share(share) => short(share * 100.0, 1) + " %",
        }
    }

    /// The order of two cells: the greater number first, then the earlier text, then what is not known.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            _ => other.weight().total_cmp(&self.weight()),
        }
    }

    fn weight(&self) -> f64 {
        match self {
            Self::Unknown => f64::NEG_INFINITY,
            Self::Text(_) => -1.0,
            Self::Count(number)
            | Self::Bytes(number)
            | Self::BytesPerSecond(number)
            | Self::Time(number) => float(*number),
            Self::Milliseconds(number) | Self::PerSecond(number) | Self::Share(number) => *number,
        }
    }
}

/// A number for arithmetic that needs no last digit.
pub(super) fn float(number: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "what it is used for needs three digits"
    )]
    let float = number as f64;
    float
}

/// A number with `digits` behind the point if it is small, and none from 10 on.
fn short(number: f64, digits: usize) -> String {
    match number {
        0.0 => "0".to_owned(),
        // Rounding must not make two digits of one.
        number if number < 9.995 => format!("{number:.digits$}"),
        number => grouped(&format!("{number:.0}")),
    }
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in at most eight characters.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut number, mut unit) = (float(bytes), 0);
    while number >= 1023.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match unit == 0 || number >= 99.95 {
        true => format!("{number:.0} {name}"),
        false => format!("{number:.1} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short() {
        for (cell, text) in [
            (TopCell::Unknown, "-"),
            (TopCell::Count(1_234_567), "1,234,567"),
            (TopCell::Count(999), "999"),
            (TopCell::Bytes(0), "0"),
            (TopCell::Bytes(1023), "1023 B"),
            (TopCell::Bytes(1024), "1.0 KiB"),
            (TopCell::Bytes(812 << 30), "812 GiB"),
            (TopCell::Bytes(1_048_575), "1.0 MiB"),
            (TopCell::Bytes(u64::MAX), "16384 PiB"),
            (TopCell::BytesPerSecond(22_439_526), "21.4 MiB/s"),
            (TopCell::Time(3_661_000), "1h01m"),
            (TopCell::Milliseconds(2.1), "2.10"),
            (TopCell::Milliseconds(1022.4), "1,022"),
            (TopCell::PerSecond(0.0), "0"),
            (TopCell::PerSecond(9.994), "10.0"),
            (TopCell::PerSecond(365.2), "365"),
            (TopCell::Share(0.015), "1.5 %"),
            (TopCell::Share(1.0), "100 %"),
            (TopCell::Share(0.0), "0"),
            (TopCell::Share(0.000_01), "<0.1 %"),
        ] {
            assert_eq!(cell.shown(), text, "{cell:?}");
        }
    }

    #[test]
    fn the_greater_number_the_earlier_text_and_the_known_come_first() {
        for (first, second) in [
            (TopCell::Count(10), TopCell::Count(9)),
            (TopCell::PerSecond(0.0), TopCell::Unknown),
            (TopCell::Text("a".into()), TopCell::Text("b".into())),
            (TopCell::Text("a".into()), TopCell::Unknown),
        ] {
            assert_eq!(first.order(&second), Ordering::Less, "{first:?}");
            assert_eq!(second.order(&first), Ordering::Greater, "{first:?}");
        }
    }
}
