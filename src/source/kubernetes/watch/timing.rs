//! The time limits for the API.

use std::time::Duration;

use tokio::time::timeout;

use super::error::AskError;

/// The limits for each wait on the API. With them an API server that falls silent is noticed within a
/// minute.
#[derive(Debug, Clone, Copy)]
pub struct ApiTiming {
    /// For the beginning of an answer: of a watch, or of the question in which versions a kind is
    /// served.
    pub answer: Duration,
    /// For a whole page of a list. The API server itself gives up a request after a minute.
    pub page: Duration,
    /// The time after which the API should end a watch, up to 1.4 times as much at random; then a new
    /// watch is opened. In whole seconds, at least 1.
    pub watch: Duration,
    /// The additional time without an event after which a watch counts as silent.
    pub margin: Duration,
    /// The interval at which an absent kind is looked for, and a forbidden one asked for. It is up to
    /// twice as long, at random.
    pub absent: Duration,
}

impl ApiTiming {
    /// The limits that the gateway uses.
    pub const DEFAULT: Self = Self {
        answer: Duration::from_secs(15),
        page: Duration::from_secs(45),
        watch: Duration::from_secs(30),
        margin: Duration::from_secs(10),
        absent: Duration::from_secs(10),
    };

    /// The number of seconds to ask for in the next watch.
    pub(super) fn watch_seconds(&self) -> u32 {
        let chosen = self.watch.mul_f64(1.0 + 0.4 * fastrand::f64());
        u32::try_from(chosen.as_secs()).unwrap_or(u32::MAX).max(1)
    }
}

/// The answer, or an error if it takes longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    let answer = timeout(limit, answer).await;
    answer.unwrap_or(Err(AskError::NoAnswer(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_noticed_within_a_minute() {
        let minute = Duration::from_secs(60);
        let ApiTiming {
            answer,
            page,
            watch,
            margin,
            absent,
        } = ApiTiming::DEFAULT;
        assert!(answer < minute && page < minute && 2 * absent < minute);
        for _ in 0..1000 {
            let seconds = ApiTiming::DEFAULT.watch_seconds();
            let asked = Duration::from_secs(seconds.into());
            assert!(asked >= watch && asked + margin < minute, "{asked:?}");
        }
        let short = ApiTiming {
            watch: Duration::from_millis(1),
            ..ApiTiming::DEFAULT
        };
        assert_eq!(short.watch_seconds(), 1);
    }
}
