//! Durations, sizes and counts. Each type has its bounds.

use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::decode::{Scalar, unexpected};
use super::problems::{Complaint, quoted};
use super::tree::Value;
use crate::config::bounds::{Bytes, Count, SampleShare, Seconds, duration_text};

/// A duration of `MIN..=MAX` milliseconds, written as a number and a unit: `5s`, `1h 30m`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Millis<const MIN: u64, const MAX: u64>(pub(crate) Duration);

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;
pub(crate) const GIB: usize = 1 << 30;

fn out_of_bounds(
    what: impl fmt::Display,
    min: impl fmt::Display,
    max: impl fmt::Display,
) -> Complaint {
    Complaint::new(format!("{what} is out of bounds")).remedy(format!("give it {min} to {max}"))
}

fn duration(value: &Value) -> Result<Duration, Complaint> {
    match value {
        Value::Text(text) => humantime::parse_duration(text).map_err(|error| {
            Complaint::new(format!("{} is not a duration: {error}", quoted(text)))
                .remedy("write a number and a unit: 250ms, 5s, 1h 30m")
        }),
        Value::Int(number) => Err(Complaint::new(format!("the duration {number} has no unit"))
            .remedy(format!(
                "write {number}s for seconds, {number}ms for milliseconds"
            ))),
        _ => Err(unexpected("a duration such as 5s", value)),
    }
}

fn duration_within(value: &Value, min: Duration, max: Duration) -> Result<Duration, Complaint> {
    let duration = duration(value)?;
    if (min..=max).contains(&duration) {
        return Ok(duration);
    }
    // As it was written: 90d is not found again as 2months 29days.
    let written = match value {
        Value::Text(text) => quoted(text),
        _ => duration_text(duration).to_string(),
    };
    Err(out_of_bounds(
        written,
        duration_text(min),
        duration_text(max),
    ))
}

fn duration_schema() -> Json {
    json!({ "type": "string", "pattern": r"^\s*([0-9.]+\s*[a-zA-Zµ]+\s*)+$" })
}

impl<const MIN: u64, const MAX: u64> Millis<MIN, MAX> {
    const BOUNDS: (Duration, Duration) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
}

impl<const MIN: u64, const MAX: u64> Scalar for Millis<MIN, MAX> {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let (min, max) = Self::BOUNDS;
        duration_within(value, min, max).map(Self)
    }

    fn words() -> String {
        let (min, max) = Self::BOUNDS;
        format!("duration, {} to {}", duration_text(min), duration_text(max))
    }

    fn schema() -> Json {
        duration_schema()
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Seconds<MIN, MAX> {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let (min, max) = (Duration::from_secs(MIN), Duration::from_secs(MAX));
        let duration = duration_within(value, min, max)?;
        let whole = (duration.subsec_nanos() == 0).then_some(duration.as_secs());
        whole.and_then(Self::new).ok_or_else(|| {
            let complaint = format!("{} is not whole seconds", duration_text(duration));
            Complaint::new(complaint).remedy("the kernel counts this in seconds")
        })
    }

    fn words() -> String {
        let (min, max) = (Duration::from_secs(MIN), Duration::from_secs(MAX));
        format!(
            "duration in whole seconds, {} to {}",
            duration_text(min),
            duration_text(max)
        )
    }

    fn schema() -> Json {
        duration_schema()
    }
}

/// The units of [`Bytes`], largest first.
const UNITS: [(&str, usize); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

fn size(text: &str) -> Result<usize, Complaint> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = UNITS.iter().find(|(name, _)| *name == unit);
    match (number.parse::<usize>(), factor) {
        (Ok(number), Some((_, factor))) => number
            .checked_mul(*factor)
            .ok_or_else(|| Complaint::new(format!("{} is too large a size", quoted(text)))),
        _ => {
            let complaint = Complaint::new(format!("{} is not a size", quoted(text)));
            let meant = UNITS.iter().find(|(name, _)| same_unit(name, unit));
            Err(match meant {
                Some((name, _)) if !number.is_empty() => {
                    complaint.remedy(format!("did you mean {number}{name}?"))
                }
                _ => complaint.remedy("write a whole number and B, KiB, MiB or GiB: 64KiB"),
            })
        }
    }
}

/// Whether `given` is a common spelling of `unit`: `KB`, `kb` or `K` for `KiB`.
fn same_unit(unit: &str, given: &str) -> bool {
    let first = |text: &str| text.chars().next().map(|c| c.to_ascii_lowercase());
    !given.is_empty() && given.len() <= 3 && first(unit) == first(given)
}

fn size_text(bytes: usize) -> String {
    let unit = UNITS
        .iter()
        .find(|(_, factor)| bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) if bytes > 0 => format!("{}{name}", bytes / factor),
        _ => format!("{bytes}B"),
    }
}

impl<const MIN: usize, const MAX: usize> Scalar for Bytes<MIN, MAX> {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let bytes = match value {
            Value::Text(text) => size(text)?,
            Value::Int(number) => {
                return Err(Complaint::new(format!("the size {number} has no unit"))
                    .remedy(format!("write {number}B for bytes, or KiB, MiB, GiB")));
            }
            _ => return Err(unexpected("a size such as 64KiB", value)),
        };
        Self::new(bytes)
            .ok_or_else(|| out_of_bounds(size_text(bytes), size_text(MIN), size_text(MAX)))
    }

    fn words() -> String {
        format!("size, {} to {}", size_text(MIN), size_text(MAX))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^[0-9]+\s*(B|KiB|MiB|GiB)$" })
    }
}

impl<const MIN: u32, const MAX: u32> Scalar for Count<MIN, MAX> {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        let number = match value {
            Value::Int(number) => *number,
            Value::Text(text) if text.parse::<u32>().is_ok() => {
                return Err(unexpected("a number", value).remedy("write it without quotes"));
            }
            // Helm writes large whole numbers as 1e+06. The cast saturates, which is then out of
            // bounds.
            #[expect(clippy::cast_possible_truncation, reason = "whole, and saturating")]
            Value::Float(number) if number.fract() == 0.0 => *number as i64,
            _ => return Err(unexpected("a whole number", value)),
        };
        let number = u32::try_from(number).ok().and_then(Self::new);
        number.ok_or_else(|| out_of_bounds(value, MIN, MAX))
    }

    fn words() -> String {
        format!("number, {MIN} to {MAX}")
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl Scalar for SampleShare {
    fn from_value(value: &Value) -> Result<Self, Complaint> {
        #[expect(clippy::cast_precision_loss, reason = "0 and 1 are exact")]
        let number = match value {
            Value::Int(number) => *number as f64,
            Value::Float(number) => *number,
            Value::Text(text) if text.ends_with('%') => {
                return Err(unexpected("a number from 0 to 1", value)
                    .remedy("write a hundredth (1%) as 0.01"));
            }
            _ => return Err(unexpected("a number from 0 to 1", value)),
        };
        if number > 0.0 && number < 1e-6 {
            return Err(out_of_bounds(value, "0.000001", 1));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the bounds of the range"
        )]
        let millionths = (0.0..=1.0)
            .contains(&number)
            .then(|| (number * 1e6).round() as u32);
        let share = millionths.and_then(Self::millionths);
        share.ok_or_else(|| out_of_bounds(value, 0, 1))
    }

    fn words() -> String {
        "number, 0 to 1".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint<T: Scalar>(value: impl Into<Value>) -> String {
        match T::from_value(&value.into()) {
            Ok(_) => "accepted".to_owned(),
            Err(complaint) => format!("{complaint:?}"),
        }
    }

    #[test]
    fn durations_have_units_and_bounds() {
        type Timeout = Millis<100, MINUTE>;
        let parse = |text: &str| Timeout::from_value(&Value::from(text)).map(|timeout| timeout.0);
        assert_eq!(parse("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        for (wrong, remedy) in [
            ("5", "write a number and a unit"),
            ("", "write a number and a unit"),
            ("-5s", "write a number and a unit"),
            ("5 parsecs", "write a number and a unit"),
            ("99ms", "give it 100ms to 1m"),
            ("1m 1ms", "give it 100ms to 1m"),
            ("99999999999999999999s", "write a number and a unit"),
        ] {
            let complaint = complaint::<Timeout>(wrong);
            assert!(complaint.contains(remedy), "{wrong}: {complaint}");
        }
        assert!(complaint::<Timeout>(5).contains("write 5s for seconds, 5ms"));
        assert!(complaint::<Seconds<1, 10>>("1500ms").contains("not whole seconds"));
    }

    #[test]
    fn sizes_are_strict() {
        type Size = Bytes<512, { 64 * KIB }>;
        let parse = |text: &str| Size::from_value(&Value::from(text)).map(Size::get);
        assert_eq!(parse("64KiB"), Ok(65536));
        assert_eq!(parse("512B"), Ok(512));
        assert_eq!(parse("2 KiB"), Ok(2048));
        for (wrong, remedy) in [
            ("64KB", "did you mean 64KiB?"),
            ("64k", "did you mean 64KiB?"),
            ("1mb", "did you mean 1MiB?"),
            ("65536", "write a whole number and B, KiB"),
            ("1.5KiB", "write a whole number and B, KiB"),
            ("KiB", "write a whole number and B, KiB"),
            ("65KiB", "give it 512B to 64KiB"),
            ("1GiB", "give it 512B to 64KiB"),
            ("99999999999999GiB", "too large"),
        ] {
            let complaint = complaint::<Size>(wrong);
            assert!(complaint.contains(remedy), "{wrong}: {complaint}");
        }
        assert!(complaint::<Size>(65536).contains("write 65536B"));
    }

    #[test]
    fn counts_are_whole_and_bounded() {
        type Attempts = Count<1, 10>;
        assert_eq!(complaint::<Attempts>(10), "accepted");
        assert_eq!(complaint::<Attempts>(Value::Float(1e1)), "accepted");
        for (wrong, says) in [
            (Value::from(0), "give it 1 to 10"),
            (Value::from(-1), "give it 1 to 10"),
            (Value::Float(1e26), "give it 1 to 10"),
            (Value::Float(1.5), "expected a whole number"),
            (Value::from("3"), "without quotes"),
            (Value::from(true), "expected a whole number"),
        ] {
            let complaint = complaint::<Attempts>(wrong);
            assert!(complaint.contains(says), "{complaint}");
        }
    }
}
