//! The labels of an object, in little memory: thousands of pods have the same ones.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Labels, sorted by key. They are cheap to clone; equal ones may share their memory.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let position = self.0.binary_search_by(|(have, _)| (**have).cmp(key));
        position.ok().map(|at| &*self.0[at].1)
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the only clone of the value.
    pub(crate) fn is_only_holder(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Every key with its value, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Whether all of `wanted` are among these labels, as in a `matchLabels` selector. An empty
    /// `wanted` always matches.
    pub fn have_all<'a>(
        &self,
        wanted: impl IntoIterator<Item = (&'a Arc<str>, &'a Arc<str>)>,
    ) -> bool {
        let mut wanted = wanted.into_iter();
        wanted.all(|(key, value)| self.get(key) == Some(&**value))
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    /// If a key occurs twice, the last value counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let labels = labels
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()));
        let mut labels: Vec<(Arc<str>, Arc<str>)> = labels.collect();
        // The sort is stable, so of equal keys the last one comes first and stays.
        labels.reverse();
        labels.sort_by(|(a, _), (b, _)| a.cmp(b));
        labels.dedup_by(|(later, _), (earlier, _)| later == earlier);
        Self(labels.into())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_and_selectors_need_all() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("a"), Some("2"));
        assert_eq!(labels.get("c"), None);
        let selector = |wanted: &[(&str, &str)]| {
            let wanted: Labels = wanted.iter().copied().collect();
            labels.have_all(wanted.iter())
        };
        assert!(selector(&[]));
        assert!(selector(&[("a", "2"), ("b", "3")]));
        assert!(!selector(&[("a", "2"), ("b", "1")]));
        assert!(!selector(&[("c", "2")]));
    }
}
