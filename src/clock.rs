//! The wall clock, and times as they are written. The clock may show any time: it is set by hand, by a wrong time
//! server, or not at all.
//!
//! Code that writes dates panics or fails before 1970 and from the year 10,000 on. So this file limits
//! times to that range before they are written.

use std::time::{Duration, SystemTime};

/// The last second of the year 9999, in seconds since 1970.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The present time, or the nearest one that can be written.
pub fn now() -> SystemTime {
    writable(SystemTime::now())
}

/// The nearest time to `at` that can be written.
pub fn writable(at: SystemTime) -> SystemTime {
    let last = SystemTime::UNIX_EPOCH
        .checked_add(LAST)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    at.clamp(SystemTime::UNIX_EPOCH, last)
}

/// Whether the present time can be written.
pub fn is_writable() -> bool {
    let now = SystemTime::now();
    writable(now) == now
}

/// The present time in seconds since 1970, 0 before.
pub fn seconds() -> f64 {
    since_epoch(now())
}

/// A time in seconds since 1970, 0 before.
pub fn since_epoch(at: SystemTime) -> f64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// A time in whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The time that this thread has been on a CPU, whatever else keeps the machine busy. The kernel counts it from tick to
/// tick.
#[cfg(test)]
pub(crate) fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_cannot_be_written_become_the_nearest_that_can() {
        let second = Duration::from_secs(1);
        for (at, written) in [
            (SystemTime::UNIX_EPOCH - second, "1970-01-01T00:00:00Z"),
            (SystemTime::UNIX_EPOCH, "1970-01-01T00:00:00Z"),
            (SystemTime::UNIX_EPOCH + LAST, "9999-12-31T23:59:59Z"),
            (
                SystemTime::UNIX_EPOCH + LAST + second,
                "9999-12-31T23:59:59Z",
            ),
        ] {
            let at = humantime::format_rfc3339_seconds(writable(at));
            assert_eq!(at.to_string(), written);
        }
        assert!(is_writable());
        assert!(seconds() > 1.0e9);
    }
}
