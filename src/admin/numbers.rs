//! Numbers in words, for the status page and its text.

use super::overview::history::float;

/// A count with a comma before each three digits.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A rounded number as a count. Numbers here are not negative.
fn whole(number: f64) -> String {
    let text = format!("{number:.0}");
    text.parse().map_or(text, count)
}

/// An amount a second, with about three digits.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 0.095 => format!("{rate:.2}"),
        rate if rate < 99.95 => format!("{rate:.1}"),
        rate => whole(rate),
    }
}

/// Bytes, in a unit that leaves few digits.
pub(super) fn bytes(bytes: f64) -> String {
    let mut left = bytes;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if left < 1000.0 {
            let is_small = left < 9.95 && unit != "B" && left > 0.0;
            return match is_small {
                true => format!("{left:.1} {unit}"),
                false => format!("{left:.0} {unit}"),
            };
        }
        left /= 1024.0;
    }
    format!("{} PiB", whole(left))
}

/// A count of bytes.
pub(super) fn size(size: u64) -> String {
    bytes(float(size))
}

/// A share from 0 to 1 in percent.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent <= 0.0 => "0 %".to_owned(),
        percent if percent < 0.1 => "<0.1 %".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1} %"),
        // Not all is not 100.
        percent if percent < 100.0 => format!("{:.0} %", percent.min(99.0)),
        percent => format!("{percent:.0} %"),
    }
}

/// Milliseconds, with about three digits.
pub(super) fn millis(millis: f64) -> String {
    match millis {
        millis if millis < 9.995 => format!("{millis:.2}"),
        millis if millis < 99.95 => format!("{millis:.1}"),
        millis => whole(millis),
    }
}

/// A time of so many milliseconds, in two units.
pub(super) fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A time in RFC 3339 as people read it today: without the date if it is that of `now`.
pub(super) fn clock(at: &str, now: &str) -> String {
    let (date, time) = (at.get(..10), at.get(11..19));
    match (date, time) {
        (Some(date), Some(time)) if now.starts_with(date) => time.to_owned(),
        (Some(date), Some(time)) => format!("{date} {time}"),
        _ => at.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), shown);
        }
        for (number, shown) in [
            (0.0, "0"),
            (0.02, "0.02"),
            (0.1, "0.1"),
            (2.84, "2.8"),
            (46.04, "46.0"),
            (365.4, "365"),
            (12345.6, "12,346"),
        ] {
            assert_eq!(rate(number), shown);
        }
        for (number, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (19_293_798, "18 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16,384 PiB"),
        ] {
            assert_eq!(size(number), shown);
        }
        for (share, shown) in [
            (0.0, "0 %"),
            (0.0004, "<0.1 %"),
            (0.049, "4.9 %"),
            (0.5, "50 %"),
            (0.9999, "99 %"),
            (1.0, "100 %"),
            (1.2, "120 %"),
        ] {
            assert_eq!(percent(share), shown);
        }
        for (number, shown) in [(0.444, "0.44"), (12.34, "12.3"), (1234.5, "1,234")] {
            assert_eq!(millis(number), shown);
        }
    }

    #[test]
    fn times_are_short() {
        for (millis, shown) in [
            (999, "0 s"),
            (8_120, "8 s"),
            (75_000, "1 min 15 s"),
            (3_600_000, "1 h 0 min"),
            (188_000_000, "2 d 4 h"),
        ] {
            assert_eq!(span(millis), shown);
        }
        let now = "2026-11-28T03:24:10.000Z";
        assert_eq!(clock("2026-11-28T02:00:01.5Z", now), "02:00:01");
        assert_eq!(clock("2026-11-27T02:00:01Z", now), "2026-11-27 02:00:01");
        assert_eq!(clock("x", now), "x");
    }
}
