//! A handle that ends the gateway from another thread.

use std::fmt;
use std::sync::Arc;

use super::control::Control;
use crate::drain::{DrainPhase, DrainWatcher};

/// A handle to end a gateway, even while its control thread is busy.
#[derive(Clone)]
pub struct Ender(pub(super) Arc<Control>);

impl Ender {
    /// As [`Gateway::drain`](super::Gateway::drain); the drain then runs on the caller's runtime.
    pub fn drain(&self) {
        self.0.clone().begin_drain();
    }

    /// As [`Gateway::stop`](super::Gateway::stop).
    pub fn stop(&self) {
        self.0.drain.advance(DrainPhase::Stopped);
    }

    /// A watcher of the drain phases.
    pub fn watcher(&self) -> DrainWatcher {
        self.0.watcher.clone()
    }
}

impl fmt::Debug for Ender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ender")
            .field(&self.0.watcher.phase())
            .finish()
    }
}
