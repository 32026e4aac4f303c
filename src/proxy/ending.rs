//! The end of a connection: its reason, and the party that ended it.

use super::counts::Counts;
use crate::access_log::LineEnd;
use crate::outcome::{EndedBy, Outcome};
use crate::verdict::{Confidence, EndVerdict};

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// The reason.
    pub outcome: Outcome,
    /// The party that ended it.
    pub ended_by: EndedBy,
    /// The certainty of both.
    pub confidence: Confidence,
}

impl From<EndVerdict> for Ending {
    fn from(verdict: EndVerdict) -> Self {
        Self {
            outcome: verdict.outcome,
            ended_by: verdict.by.into(),
            confidence: verdict.confidence,
        }
    }
}

impl From<Ending> for LineEnd {
    fn from(ending: Ending) -> Self {
        let Ending {
            outcome,
            ended_by,
            confidence,
        } = ending;
        Self {
            outcome,
            ended_by,
            confidence,
        }
    }
}

impl Ending {
    /// The end in words, of a connection that has moved so many bytes.
    pub(super) fn said(self, counts: Counts, detail: Option<&str>) -> String {
        let Counts {
            to_upstream,
            to_downstream,
        } = counts;
        let colon = if detail.is_some() { ": " } else { "" };
        format!(
            "outcome {}, ended by {}, {to_upstream} bytes to the upstream, {to_downstream} to the downstream{colon}{}",
            self.outcome.label(),
            self.ended_by.label(),
            detail.unwrap_or_default(),
        )
    }

    /// The end that `outcome` alone says: by the gateway, if it may be either side's.
    pub(super) fn of(outcome: Outcome) -> Self {
        let ended_by = outcome.ended_by().unwrap_or(EndedBy::Gateway);
        Self {
            outcome,
            ended_by,
            confidence: Confidence::Seen,
        }
    }
}
