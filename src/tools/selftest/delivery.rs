//! The deliveries: the bytes to send, and their pieces.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::client_hello::vectors::{self, Vector, VectorClass, fragments, records};

/// The most segments of a delivery. A longer hello is not sent byte by byte but in this many segments.
const MOST_SEGMENTS: usize = 4096;

/// A way to send a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Whole,
    ByteByByte,
    InTwo,
    /// The message is cut again into records of this many bytes.
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

/// A vector and a way to send it.
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
    /// All bytes to send.
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

    /// Number of bytes in each segment.
    pub(super) fn segment(&self, wire_len: usize) -> usize {
        let size = match self.way {
            Way::Whole | Way::Records(_) => wire_len,
            Way::ByteByByte => wire_len.div_ceil(MOST_SEGMENTS),
            Way::InTwo => wire_len.div_ceil(2),
        };
        size.max(1)
    }

    /// Whether the client closes its side after the last byte.
    pub(super) fn ends(&self) -> bool {
        self.vector.class == VectorClass::CutShort
    }
}
