//! The end of a connection: its reason, and the party that ended it.

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

impl Ending {
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
