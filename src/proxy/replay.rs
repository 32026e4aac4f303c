//! Replay: bytes that were taken from the socket before the endpoint was known, and that it gets first.

use super::hellos::Hello;
use crate::limits::{Budget, Share};

/// Bytes taken from the downstream socket, from the first byte of the connection, in order; none when the
/// hello was only peeked at.
#[derive(Debug, Default)]
pub(super) struct Replay(Option<Hello>);

impl Replay {
    /// The bytes of `hello`, which waits for its upstream.
    pub(super) fn of(hello: Hello) -> Self {
        Self(Some(hello))
    }

    /// Waits until the bytes must give way to other hellos; they are gone then.
    pub(super) async fn evicted(&self) {
        match &self.0 {
            Some(hello) => hello.evicted().await,
            None => std::future::pending().await,
        }
    }

    /// The bytes, if there are any, with a share of `carry`, or of the hello memory if that has none left.
    pub(super) fn leave(self, carry: &Budget) -> Option<(Box<[u8]>, Share)> {
        let (bytes, share) = self.0?.leave();
        let share = carry.take(bytes.len()).unwrap_or(share);
        (!bytes.is_empty()).then(|| (bytes.into(), share))
    }
}
