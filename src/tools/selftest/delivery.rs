//! What is sent, and in which pieces.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::client_hello::vectors::{self, Vector, VectorClass, fragments, records};

/// A longer hello goes in this many segments instead of one a byte.
const MOST_SEGMENTS: usize = 4096;

/// How a vector is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Whole,
    ByteByByte,
    InTwo,
    /// Its message cut into other records, of this many bytes.
    Records(usize),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::ByteByByte => f.write_str("byte by byte"),
            Self::InTwo => f.write_str("cut in two"),
            Self::Records(1) => f.write_str("records of 1 byte"),
            Self::Records(len) => write!(f, "records of {len} bytes"),
        }
    }
}

/// A vector, to be sent in one way.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) vector: Arc<Vector>,
    pub(super) way: Way,
}

/// Every vector in every way.
pub(super) fn deliveries() -> Vec<Delivery> {
    let any = [Way::Whole, Way::ByteByByte, Way::InTwo];
    let valid = [1, 7, 60].map(Way::Records);
    let mut all = Vec::new();
    for vector in vectors::all().into_iter().map(Arc::new) {
        let valid = valid.iter().filter(|_| vector.expect.is_ok());
        all.extend(any.iter().chain(valid).map(|way| Delivery {
            vector: vector.clone(),
            way: *way,
        }));
    }
    all
}

impl Delivery {
    /// All that is sent.
    pub(super) fn wire(&self) -> Cow<'_, [u8]> {
        let bytes = &self.vector.bytes;
        match (self.way, bytes.split_at_checked(self.vector.hello_len)) {
            (Way::Records(len), Some((hello, rest))) => {
                [&records([3, 1], &fragments(hello), len), rest]
                    .concat()
                    .into()
            }
            _ => bytes.into(),
        }
    }

    /// Bytes of each segment.
    pub(super) fn segment(&self, wire_len: usize) -> usize {
        let size = match self.way {
            Way::Whole | Way::Records(_) => wire_len,
            Way::ByteByByte => wire_len.div_ceil(MOST_SEGMENTS),
            Way::InTwo => wire_len.div_ceil(2),
        };
        size.max(1)
    }

    /// Whether the client closes its side when all is sent.
    pub(super) fn ends(&self) -> bool {
        self.vector.class == VectorClass::CutShort
    }
}
