//! The schedule of one upstream's questions: the wait after each result.

use std::time::Duration;

use crate::config::DnsConfig;

/// The first wait after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait after a failure, unless `max_ttl` is shorter.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// The shortest wait between two questions, whatever the config says.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// The random share by which a wait is moved, so that gateways started together do not ask together.
const JITTER: f64 = 0.1;

/// Counts failures in a row and computes the wait until the next question.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    failures_in_a_row: u32,
}

impl Schedule {
    /// The wait after a question that was answered in full.
    pub(super) fn answered(&mut self, ttl: Duration, config: &DnsConfig) -> Duration {
        self.failures_in_a_row = 0;
        jittered(ttl)
            .min(config.max_ttl)
            .max(config.min_ttl)
            .max(SHORTEST_WAIT)
    }

    /// The wait after a question that failed.
    pub(super) fn failed(&mut self, config: &DnsConfig) -> Duration {
        let longest = LONGEST_RETRY.min(config.max_ttl);
        let doublings = self.failures_in_a_row;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let wait = FIRST_RETRY.saturating_mul(2u32.saturating_pow(doublings));
        jittered(wait.min(longest)).min(longest).max(SHORTEST_WAIT)
    }

    /// The wait after an answer without anything to use: as after a failure, but never less than
    /// `min_ttl`, since an answer was given.
    pub(super) fn answered_with_nothing(&mut self, config: &DnsConfig) -> Duration {
        self.failed(config).max(config.min_ttl)
    }

    /// The wait after an answer in part: the shorter of the TTL and the retry.
    pub(super) fn answered_in_part(&mut self, ttl: Duration, config: &DnsConfig) -> Duration {
        let retry = self.answered_with_nothing(config);
        let failures = self.failures_in_a_row;
        let wait = self.answered(ttl, config).min(retry);
        self.failures_in_a_row = failures;
        wait
    }

    /// The number of questions in a row that were not answered in full.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DnsQuery;
    use crate::server_name::ServerName;

    fn config(min_ttl: Duration, max_ttl: Duration) -> DnsConfig {
        DnsConfig {
            query: DnsQuery::Service {
                name: ServerName::parse(b"a").unwrap(),
            },
            min_ttl,
            max_ttl,
            max_endpoints: 1,
            gone_after: None,
            allow: Vec::new(),
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_ttl_is_kept_within_its_bounds_with_jitter_and_all() {
        let config = config(seconds(5), seconds(300));
        let mut schedule = Schedule::default();
        for _ in 0..1000 {
            for (ttl, from, to) in [
                (0, 5.0, 5.0),
                (5, 5.0, 5.5),
                (60, 54.0, 66.0),
                (300, 270.0, 300.0),
                (u64::from(u32::MAX), 300.0, 300.0),
            ] {
                let wait = schedule.answered(seconds(ttl), &config).as_secs_f64();
                assert!((from..=to).contains(&wait), "{ttl}: {wait}");
            }
        }
    }

    #[test]
    fn failures_wait_twice_as_long_each_time() {
        let config = config(seconds(5), seconds(300));
        let mut schedule = Schedule::default();
        for nominal in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let wait = schedule.failed(&config).as_secs_f64();
            assert!((nominal * 0.9..=nominal * 1.1).contains(&wait), "{wait}");
            assert!(wait <= 30.0);
        }
        schedule.answered(seconds(5), &config);
        assert!(schedule.failed(&config) < seconds(2), "starts anew");
        schedule.failures_in_a_row = u32::MAX;
        assert!(schedule.failed(&config) <= seconds(30));
    }

    #[test]
    fn an_empty_answer_is_not_asked_for_sooner_than_any_other() {
        let config = config(seconds(5), seconds(300));
        let mut schedule = Schedule::default();
        assert_eq!(schedule.answered_with_nothing(&config), seconds(5));
        let in_part = schedule.answered_in_part(seconds(60), &config);
        assert_eq!(in_part, seconds(5), "the second failure would wait 2 s");
        assert_eq!(schedule.failures_in_a_row(), 2);
        let in_part = schedule.answered_in_part(seconds(0), &config);
        assert_eq!(in_part, seconds(5));
    }

    #[test]
    fn no_config_makes_it_spin() {
        let config = config(Duration::ZERO, Duration::ZERO);
        let mut schedule = Schedule::default();
        assert_eq!(schedule.answered(Duration::ZERO, &config), SHORTEST_WAIT);
        assert_eq!(schedule.failed(&config), SHORTEST_WAIT);
    }
}
