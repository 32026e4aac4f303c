//! The owners of the names of a port: routes of the file, then listeners of Gateways.

use std::collections::{BTreeMap, HashMap};

use super::listeners::OwnGateway;
use super::names;
use crate::config::SniPattern;

/// A listener's position: the Gateway's index, and the listener's index in it.
pub(super) type ListenerPlace = (usize, usize);

/// The served listeners by port and by the names that they take. No two listeners of a port take the
/// same names.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<u16, HashMap<SniPattern, ListenerPlace>>);

impl Owners {
    pub(super) fn of(gateways: &[OwnGateway<'_>]) -> Self {
        let mut owners = Self::default();
        for (index, gateway) in gateways.iter().enumerate() {
            for (at, listener) in gateway.listeners.iter().enumerate() {
                if gateway.serves(listener) {
                    let port = owners.0.entry(listener.spec.port).or_default();
                    port.insert(listener.hostname.clone(), (index, at));
                }
            }
        }
        owners
    }

    /// The most specific listener of the port that takes all of `pattern`.
    pub(super) fn owner(&self, port: u16, pattern: &SniPattern) -> Option<ListenerPlace> {
        let listeners = self.0.get(&port)?;
        names::at_or_above(pattern).find_map(|above| listeners.get(&above).copied())
    }

    /// Each port with its listeners.
    pub(super) fn ports(&self) -> impl Iterator<Item = (u16, &HashMap<SniPattern, ListenerPlace>)> {
        self.0.iter().map(|(port, listeners)| (*port, listeners))
    }
}
