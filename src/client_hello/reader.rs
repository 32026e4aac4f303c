//! A cursor over the presentation language of RFC 8446 section 3: numbers and length-prefixed vectors.

/// The bytes that are still to be read. A read returns `None` when too few bytes are left; the rest is
/// then undefined.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of bytes that are still to be read.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        step();
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        step();
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        step();
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A vector with a length of one byte.
    pub(super) fn vector_u8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.bytes(usize::from(length))
    }

    /// A vector with a length of two bytes.
    pub(super) fn vector_u16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }
}

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts a read, in tests.
fn step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

/// The number of reads by this thread since the last call.
#[cfg(test)]
pub(super) fn steps() -> usize {
    STEPS.take()
}
