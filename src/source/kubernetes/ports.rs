//! The ports that the gateway listens on, as far as Gateways may ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The result of opening the ports of all listeners. `app` hands it to the source, for the statuses of
/// Gateways. A port that is in neither part was not tried yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// Ports that the gateway listens on.
    pub open: BTreeSet<u16>,
    /// Ports that cannot be opened, each with the reason.
    pub failed: BTreeMap<u16, Arc<str>>,
}

impl Ports {
    /// Whether the port was tried.
    pub(super) fn is_known(&self, port: u16) -> bool {
        self.open.contains(&port) || self.failed.contains_key(&port)
    }
}
