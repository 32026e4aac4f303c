//! The two sides of a connection, and the first bytes of one.

use std::fmt;

use crate::outcome::EndedBy;

/// One of the two sides of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that connected to us.
    Downstream,
    /// The side that we connected to.
    Upstream,
}

impl Side {
    /// The other side.
    pub const fn other(self) -> Self {
        match self {
            Self::Downstream => Self::Upstream,
            Self::Upstream => Self::Downstream,
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Downstream => 0,
            Self::Upstream => 1,
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

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EndedBy::from(*self).label())
    }
}

/// The first bytes of a side, as many as are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FirstBytes {
    bytes: [u8; Self::MOST],
    length: u8,
}

impl FirstBytes {
    /// Bytes that are kept.
    pub const MOST: usize = 16;

    pub(super) fn push(&mut self, more: &[u8]) {
        for byte in more {
            let Some(place) = self.bytes.get_mut(usize::from(self.length)) else {
                return;
            };
            *place = *byte;
            self.length += 1;
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }
}
