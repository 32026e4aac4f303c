//! The usage of each scope, kept so that a new config continues with it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::limiter::{Limiter, Usage};
use super::pruned::Pruned;
use super::sources::{SourceLimiter, SourceTable};
use crate::config::{ConnectionLimits, SourceLimits};
use crate::metrics::LimitScope;
use crate::names::{ListenerName, RouteName, SourceGroupName};

/// The usage of every scope that a config limits. A scope without limits is forgotten. Connections that
/// were open before the scope was limited do not count.
#[derive(Debug, Default)]
pub struct Scopes {
    usages: Mutex<Pruned<ScopeKey, Weak<Usage>>>,
    sources: Mutex<Pruned<ListenerName, Weak<SourceTable>>>,
}

/// The identity of a scope, the same in two configs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ScopeKey {
    /// A listener by its name.
    Listener(ListenerName),
    /// A route by its listener's name and its own.
    Route(ListenerName, RouteName),
    /// A source group by its name.
    SourceGroup(SourceGroupName),
}

impl ScopeKey {
    fn scope(&self) -> LimitScope {
        match self {
            Self::Listener(_) => LimitScope::Listener,
            Self::Route(..) => LimitScope::Route,
            Self::SourceGroup(_) => LimitScope::SourceGroup,
        }
    }
}

impl Scopes {
    /// The limiter of a scope; `None` when nothing is limited.
    pub fn limiter(&self, key: ScopeKey, limits: &ConnectionLimits) -> Option<Limiter> {
        if limits.is_off() {
            return None;
        }
        let scope = key.scope();
        let usage = known_or_new(&self.usages, key, Usage::new);
        Limiter::new(scope, limits, usage)
    }

    /// The limiter for each source address of a listener; `None` when nothing is limited.
    pub fn source_limiter(
        &self,
        listener: &ListenerName,
        limits: &SourceLimits,
    ) -> Option<SourceLimiter> {
        if limits.each.is_off() {
            return None;
        }
        let table = known_or_new(&self.sources, listener.clone(), SourceTable::default);
        Some(SourceLimiter::new(*limits, table))
    }
}

fn known_or_new<K: Eq + std::hash::Hash, V>(
    map: &Mutex<Pruned<K, Weak<V>>>,
    key: K,
    make: impl FnOnce() -> V,
) -> Arc<V> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = map.find(&key).and_then(Weak::upgrade) {
        return known;
    }
    let made = Arc::new(make());
    map.insert(key, Arc::downgrade(&made), usize::MAX, |usage| {
        usage.strong_count() > 0
    });
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Connections;
    use crate::limits::limiter::{Held, OverLimit};

    fn at_most(connections: u32) -> ConnectionLimits {
        ConnectionLimits {
            connections: Connections::new(connections),
            ..ConnectionLimits::OFF
        }
    }

    fn admit(limiter: &Limiter) -> Result<Held, OverLimit> {
        let mut held = Held::default();
        limiter.admit(&mut held).map(|()| held)
    }

    #[test]
    fn a_new_config_counts_the_connections_of_the_old_one() {
        let scopes = Scopes::default();
        let key = || ScopeKey::Listener("east-west".into());
        let before = scopes.limiter(key(), &at_most(2)).unwrap();
        let _first = admit(&before).unwrap();
        // A config that was only prepared, and refused or dropped, changes nothing.
        let prepared = scopes.limiter(key(), &at_most(1)).unwrap();
        assert_eq!(admit(&prepared).unwrap_err().limit, 1);
        let _second = admit(&before).unwrap();
        assert!(admit(&before).is_err());

        let other = scopes.limiter(ScopeKey::Listener("other".into()), &at_most(1));
        assert!(admit(&other.unwrap()).is_ok());
    }
}
