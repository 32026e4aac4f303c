//! The listeners in force, by name: what open connections are held against.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::listener::{Listener, ListenerState};
use crate::names::ListenerName;

/// The listeners in force.
#[derive(Debug, Default)]
pub struct ListenersInForce {
    by_name: ArcSwap<HashMap<ListenerName, Arc<Listener>>>,
    ends_disallowed: AtomicBool,
}

impl ListenersInForce {
    /// Replaces all of them.
    pub fn replace(&self, listeners: Vec<Arc<Listener>>) {
        let named = |listener: Arc<Listener>| (listener.state().policy.name.clone(), listener);
        let by_name: HashMap<_, _> = listeners.into_iter().map(named).collect();
        let ends = |listener: &Arc<Listener>| listener.state().policy.end_disallowed.is_some();
        let ends_disallowed = by_name.values().any(ends);
        self.by_name.store(Arc::new(by_name));
        self.ends_disallowed
            .store(ends_disallowed, Ordering::Relaxed);
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Listener>> {
        let by_name = self.by_name.load();
        let mut all: Vec<_> = by_name.iter().collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all.into_iter()
            .map(|(_, listener)| listener.clone())
            .collect()
    }

    /// Whether one of them ends connections that would no longer be let in.
    pub(super) fn ends_disallowed(&self) -> bool {
        self.ends_disallowed.load(Ordering::Relaxed)
    }

    /// The state of the listener of that name, if there still is one.
    pub(super) fn state(&self, name: &ListenerName) -> Option<Arc<ListenerState>> {
        self.by_name
            .load()
            .get(name)
            .map(|listener| listener.state())
    }
}
