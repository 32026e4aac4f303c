//! The end of a connection: its reason, and the party that ended it.

use crate::outcome::{EndedBy, Outcome};

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// The reason.
    pub outcome: Outcome,
    /// The party that ended it.
    pub ended_by: EndedBy,
}

impl Ending {
    /// The end that `outcome` alone says: by the gateway, if it may be either side's.
    pub(super) fn of(outcome: Outcome) -> Self {
        let ended_by = outcome.ended_by().unwrap_or(EndedBy::Gateway);
        Self { outcome, ended_by }
    }
}
