//! The troubles of all kinds together: what they have in common is one line in the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::source::kubernetes::cluster::Kind;

/// A trouble that several kinds may have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ApiTrouble {
    /// The API does not answer, or cannot now.
    Away,
    /// It refuses, or its answers cannot be read, with this text.
    Other(Arc<str>),
}

/// The troubles that the tasks of all kinds have with one API server.
#[derive(Debug)]
pub(super) struct Outages {
    /// The server's address, as messages have it.
    server: Arc<str>,
    troubles: Mutex<ApiTroubles>,
}

#[derive(Debug, Default)]
struct ApiTroubles {
    of_kinds: BTreeMap<Kind, ApiTrouble>,
    /// The time when the API went away.
    away_since: Option<Instant>,
}

impl Outages {
    pub(super) fn new(server: Arc<str>) -> Self {
        Self {
            server,
            troubles: Mutex::default(),
        }
    }

    /// The reason why a kind is not known, for a person who does not see the log.
    pub(super) fn reason(&self, problem: &str, away: bool) -> Arc<str> {
        match away {
            true => format!("{} does not answer: {problem}", self.server).into(),
            false => format!("{} answers: {problem}", self.server).into(),
        }
    }

    /// Notes a trouble of a kind. The first kind with it is logged.
    pub(super) fn began(&self, kind: Kind, problem: &str, away: bool) {
        self.end_other(kind, away);
        let server = &*self.server;
        match (self.note(kind, problem, away), away) {
            (true, true) => tracing::warn!(
                server,
                problem,
                "the Kubernetes API does not answer; strait keeps what it knows and tries again"
            ),
            (true, false) => tracing::warn!(
                kind = kind.label(),
                server,
                problem,
                "strait cannot watch a kind of object of the Kubernetes API; it keeps what it knows and tries again"
            ),
            (false, _) => tracing::debug!(
                kind = kind.label(),
                server,
                problem,
                "the trouble with the Kubernetes API goes on"
            ),
        }
    }

    /// Notes that a kind is watched, and logs the end of a trouble with the last kind that had it.
    pub(super) fn ended(&self, kind: Kind) {
        let Some((trouble, since)) = self.clear(kind) else {
            return;
        };
        let server = &*self.server;
        match trouble {
            ApiTrouble::Away => {
                let away_for = since
                    .map(|since| since.elapsed())
                    .map(tracing::field::debug);
                tracing::info!(server, away_for, "the Kubernetes API answers again");
            }
            ApiTrouble::Other(problem) => tracing::info!(
                kind = kind.label(),
                server,
                problem = &*problem,
                "strait watches this kind of the Kubernetes API again"
            ),
        }
    }

    /// Ends the outage for a kind that the API answers, though not as it should.
    fn end_other(&self, kind: Kind, away: bool) {
        let was_away = {
            let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
            troubles.of_kinds.get(&kind) == Some(&ApiTrouble::Away)
        };
        if was_away && !away {
            self.ended(kind);
        }
    }

    /// Whether no other kind has this trouble yet.
    fn note(&self, kind: Kind, problem: &str, away: bool) -> bool {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = match away {
            true => ApiTrouble::Away,
            false => ApiTrouble::Other(problem.into()),
        };
        let is_new = !troubles.of_kinds.values().any(|one| *one == trouble);
        if away && is_new {
            troubles.away_since = Some(Instant::now());
        }
        troubles.of_kinds.insert(kind, trouble);
        is_new
    }

    /// The trouble that no kind has any more, with the time when the API went away.
    fn clear(&self, kind: Kind) -> Option<(ApiTrouble, Option<Instant>)> {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = troubles.of_kinds.remove(&kind)?;
        let is_over = !troubles.of_kinds.values().any(|one| *one == trouble);
        is_over.then(|| (trouble, troubles.away_since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kinds_have_in_common_begins_and_ends_once() {
        let outages = Outages::new("https://a:1".into());
        assert!(outages.note(Kind::Service, "refused", true));
        assert!(!outages.note(Kind::Pod, "reset", true), "the same outage");
        assert!(outages.note(Kind::Node, "403 nodes is forbidden", false));
        assert!(outages.note(Kind::Slice, "403 slices is forbidden", false));
        assert!(!outages.note(Kind::Gateway, "403 slices is forbidden", false));
        assert!(
            outages.clear(Kind::Service).is_none(),
            "pods are still away"
        );
        assert_eq!(
            outages.clear(Kind::Pod).map(|one| one.0),
            Some(ApiTrouble::Away)
        );
        assert!(outages.clear(Kind::Pod).is_none(), "it has ended already");
        assert!(outages.clear(Kind::Node).is_some());
        assert!(outages.note(Kind::Pod, "refused", true), "another outage");
    }

    #[test]
    fn a_kind_with_another_trouble_has_the_first_no_more() {
        let outages = Outages::new("https://a:1".into());
        outages.note(Kind::Service, "refused", true);
        assert!(outages.note(Kind::Service, "403", false));
        assert!(
            outages.note(Kind::Pod, "refused", true),
            "nobody had it any more"
        );
        assert_eq!(
            outages.clear(Kind::Service).map(|one| one.0),
            Some(ApiTrouble::Other("403".into()))
        );
    }
}
