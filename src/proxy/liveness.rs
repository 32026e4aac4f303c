//! Liveness: whether the peers of a connection still acknowledge.
//!
//! A peer that acknowledges is alive, whether it reads or not: one that pauses keeps its window shut for
//! as long as it likes. Where nothing waits for a peer, the kernel's keepalive finds out that it is gone.
//! Where something does, keepalive rests, and the kernel itself gives up only after about 15 minutes
//! (tcp_retries2 in tcp(7)): so the sweep asks the kernel what was answered.

use std::time::{Duration, Instant};

use super::sockets::Sockets;
use crate::socket::{self, Answers};
use crate::verdict::Side;

/// Questions without an answer that a peer may be taken for gone after. One may be lost on the way.
const ENOUGH: u32 = 2;

/// A peer that has left questions of the kernel's unanswered, as far as was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    /// The look that saw it first.
    since: Instant,
    /// [`Answers::asked_in_vain`] when it was looked at last.
    asked: u32,
    /// The number of looks that saw it grow, the first one included.
    questions: u32,
}

impl Silence {
    /// The silence as `seen` leaves it; `None` if the peer has answered.
    fn after(before: Option<Self>, seen: &Answers, now: Instant) -> Option<Self> {
        if !seen.awaited || seen.asked_in_vain == 0 {
            return None;
        }
        let goes_on = |silence: &Self| now.saturating_duration_since(silence.since) <= seen.heard;
        let asked = seen.asked_in_vain;
        let silence = match before.filter(goes_on) {
            Some(silence) => Self {
                asked,
                questions: silence.questions + u32::from(asked > silence.asked),
                ..silence
            },
            None => Self {
                since: now,
                asked,
                questions: 1,
            },
        };
        Some(silence)
    }

    /// Whether the peer is gone: `after` is what a later look has found.
    fn is_final(self, after: Self, most: Duration, now: Instant) -> bool {
        // The last question of the look before has had its time for an answer.
        self.since == after.since
            && self.questions >= ENOUGH
            && now.saturating_duration_since(self.since) >= most
    }
}

/// The silence of both peers of a connection, as the looks so far saw it.
#[derive(Debug, Default)]
pub(super) struct SilenceWatch {
    downstream: Option<Silence>,
    upstream: Option<Silence>,
    /// The reason to take the first one that is gone for gone.
    pub detail: Option<Box<str>>,
}

/// The result of a look at a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing waits for either peer: there is no need to look again before bytes have flowed.
    Quiet,
    /// Something waits, and the peers have answered what they were asked.
    Waiting,
    /// A peer has not answered what it was asked.
    Silent,
}

impl SilenceWatch {
    /// Looks at both peers. `gone` is called with the side of each that is gone; `most` says how long it
    /// may be silent.
    pub(super) fn look(
        &mut self,
        sockets: &Sockets,
        now: Instant,
        most: impl Fn(Side) -> Duration,
        mut gone: impl FnMut(Side),
    ) -> Finding {
        let mut finding = Finding::Quiet;
        for side in [Side::Downstream, Side::Upstream] {
            // A socket that cannot be asked has an error that the relay meets.
            let Ok(seen) = socket::answers(sockets.to(side)) else {
                continue;
            };
            let kept = match side {
                Side::Downstream => &mut self.downstream,
                Side::Upstream => &mut self.upstream,
            };
            let before = *kept;
            *kept = Silence::after(before, &seen, now);
            if let Some(silence) = *kept {
                finding = Finding::Silent;
                let most = most(side);
                if before.is_some_and(|before| before.is_final(silence, most, now)) {
                    let silent = now.saturating_duration_since(silence.since);
                    let waiting = socket::unsent_bytes(sockets.to(side)).unwrap_or(0);
                    self.detail
                        .get_or_insert_with(|| explain(&seen, silent, most, waiting).into());
                    gone(side);
                }
            } else if seen.awaited && finding == Finding::Quiet {
                finding = Finding::Waiting;
            }
        }
        finding
    }
}

fn explain(seen: &Answers, silent: Duration, most: Duration, waiting: usize) -> String {
    let (what, window) = match seen.window_shut {
        true => ("no probe", ", behind a shut window"),
        false => ("nothing", ""),
    };
    format!(
        "acknowledged {what} for {} s (user_timeout {} s) while {waiting} bytes waited for it{window}",
        silent.as_secs(),
        most.as_secs_f64(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(10);

    /// Looks once for each `(seconds, asked in vain, heard that many seconds ago)`, something waiting for
    /// the peer; when it was found to be gone, if it was.
    fn gone_at(looks: &[(u64, u64, u64)]) -> Option<u64> {
        let start = Instant::now();
        let mut silence = None;
        for (second, asked_in_vain, heard) in looks.iter().copied() {
            let now = start + Duration::from_secs(second);
            let seen = Answers {
                awaited: true,
                asked_in_vain: u32::try_from(asked_in_vain).unwrap(),
                window_shut: false,
                heard: Duration::from_secs(heard),
            };
            let before: Option<Silence> = silence;
            silence = Silence::after(before, &seen, now);
            if let (Some(before), Some(after)) = (before, silence)
                && before.is_final(after, MOST, now)
            {
                return Some(second);
            }
        }
        None
    }

    #[test]
    fn a_peer_that_answers_nothing_is_gone_after_the_time() {
        let looks: Vec<_> = (1..20)
            .map(|second| (second, 1 + second / 3, 100 + second))
            .collect();
        assert_eq!(gone_at(&looks), Some(11));
    }

    #[test]
    fn a_peer_that_answers_is_alive_however_long_it_takes_nothing() {
        let looks: Vec<_> = (1..1000).map(|second| (second, 0, second % 120)).collect();
        assert_eq!(gone_at(&looks), None);
    }

    #[test]
    fn one_lost_question_is_not_enough_however_long_the_next_one_takes() {
        let one: Vec<_> = (1..120).map(|second| (second, 4, 60 + second)).collect();
        assert_eq!(gone_at(&one), None);
        // The next one gets an answer, between two looks.
        let answered: Vec<_> = (120..240).map(|second| (second, 0, second - 120)).collect();
        assert_eq!(gone_at(&[one.clone(), answered].concat()), None);
        // Or none, which is not yet known in the look that sees it asked.
        let unanswered = [(120, 5, 180), (121, 5, 181)];
        assert_eq!(gone_at(&[&one[..], &unanswered].concat()), Some(121));
    }

    #[test]
    fn hearing_of_the_peer_begins_the_time_anew() {
        let before = (1..10).map(|second| (second, second, 50 + second));
        let after = (10..40).map(|second| (second, second, second - 10));
        let looks: Vec<_> = before.chain(after).collect();
        assert_eq!(gone_at(&looks), Some(20));
    }

    #[test]
    fn a_long_silence_before_the_first_question_counts_for_nothing() {
        assert_eq!(
            gone_at(&[(1, 1, 5000), (2, 2, 5001), (3, 3, 5002), (4, 0, 0)]),
            None
        );
    }

    #[test]
    fn the_explanation_names_what_was_seen() {
        let mut seen = Answers {
            awaited: true,
            asked_in_vain: 3,
            window_shut: false,
            heard: Duration::from_secs(9),
        };
        let explain = |seen: &Answers| {
            explain(
                seen,
                Duration::from_millis(8250),
                Duration::from_millis(7500),
                12,
            )
        };
        assert_eq!(
            explain(&seen),
            "acknowledged nothing for 8 s (user_timeout 7.5 s) while 12 bytes waited for it"
        );
        seen.window_shut = true;
        assert!(
            explain(&seen).contains("no probe for 8 s"),
            "{}",
            explain(&seen)
        );
        assert!(explain(&seen).ends_with("behind a shut window"));
    }
}
