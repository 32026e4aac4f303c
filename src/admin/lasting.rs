//! The time for which a change by an operator lasts: `for=10m`, after which it ends by itself.

use std::time::Duration;

/// The longest time.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The time that the parameter `for` gives. `None`: the change lasts until another one.
///
/// # Errors
/// It is no duration, or too long.
pub(super) fn lasting(parameter: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = parameter else {
        return Ok(None);
    };
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= LONGEST => Ok(Some(time)),
        _ => Err("`for` is a duration up to 30d, such as 90s or 10m".to_owned()),
    }
}

/// Runs `end` after `time`.
pub(super) fn after(time: Duration, end: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        end();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_no_duration_is_refused() {
        assert_eq!(lasting(None), Ok(None));
        assert_eq!(lasting(Some("10m")), Ok(Some(Duration::from_secs(600))));
        for wrong in ["", "0s", "10", "-1m", "31d", "for ever"] {
            assert!(lasting(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
