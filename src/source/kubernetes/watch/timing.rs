//! How long the API may take.

use std::time::Duration;

use tokio::time::timeout;

use super::error::AskError;

/// How long kinds that routing can do without hold up the first publication.
pub const FIRST_LISTS: Duration = Duration::from_secs(10);

/// How long each wait on the API may take. An API server that falls silent is noticed within a minute.
#[derive(Debug, Clone, Copy)]
pub struct ApiTiming {
    /// The beginning of an answer: of a watch, or in which versions a kind is served.
    pub answer: Duration,
    /// A page of a list, to its end. The API server itself gives up a request after a minute.
    pub page: Duration,
    /// After so long, or up to 1.4 times that by chance, the API is to end a watch, and it is asked for
    /// a new one; in whole seconds, at least 1.
    pub watch: Duration,
    /// A watch on which nothing comes for so much longer has fallen silent.
    pub margin: Duration,
}

impl ApiTiming {
    /// What the gateway uses.
    pub const DEFAULT: Self = Self {
        answer: Duration::from_secs(15),
        page: Duration::from_secs(45),
        watch: Duration::from_secs(30),
        margin: Duration::from_secs(10),
    };

    /// How many seconds the next watch is asked for.
    pub(super) fn watch_seconds(&self) -> u32 {
        let chosen = self.watch.mul_f64(1.0 + 0.4 * fastrand::f64());
        u32::try_from(chosen.as_secs()).unwrap_or(u32::MAX).max(1)
    }
}

/// The answer, unless it takes too long.
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
        } = ApiTiming::DEFAULT;
        assert!(answer < minute && page < minute);
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
