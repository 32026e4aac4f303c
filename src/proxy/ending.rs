//! The end of a connection: its reason, and who ended it.

use super::sockets::Side;
use crate::outcome::Outcome;

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// The side that connected to us.
    Downstream,
    /// The side that we connected to.
    Upstream,
    /// strait: a refusal, a limit, a timeout, a drain.
    Gateway,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// The reason.
    pub outcome: Outcome,
    /// Who ended it.
    pub ended_by: EndedBy,
}

impl EndedBy {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

impl From<Side> for EndedBy {
    fn from(side: Side) -> Self {
        match side {
            Side::Downstream => Self::Downstream,
            Side::Upstream => Self::Upstream,
        }
    }
}
