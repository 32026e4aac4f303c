//! The bytes that a connection has moved.

/// Bytes that were written to the two sides so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// To the upstream.
    pub to_upstream: u64,
    /// To the downstream.
    pub to_downstream: u64,
}
