//! `SharedMap`: an ordered map whose copies share the entries that they have in common.
//!
//! A source publishes a whole value with every change, of tens of thousands of entries. A copy of this map costs a
//! reference for each chunk of entries, and a change copies one chunk. [`SharedMap::diff`] compares two copies by
//! their chunks, so a reader of the newer value finds what has changed at the cost of the change. The crate imbl has
//! such a map, but a licence that `deny.toml` does not allow.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// The most entries of a chunk.
const MOST: usize = 128;
/// The entries of a chunk that joins its neighbour, if the neighbour has room.
const FEW: usize = 32;
/// The entries of a chunk of a new map.
const NEW: usize = 96;

type Chunk<K, V> = Vec<(K, V)>;

/// An ordered map. Its copies share what they have in common.
pub struct SharedMap<K, V> {
    /// In the order of their keys; none is empty.
    chunks: Arc<Vec<Arc<Chunk<K, V>>>>,
    len: usize,
}

/// A key whose values in two maps differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'m, K, V> {
    /// The key.
    pub key: &'m K,
    /// Its value in the first map.
    pub before: Option<&'m V>,
    /// Its value in the second map.
    pub after: Option<&'m V>,
}

impl<K, V> SharedMap<K, V> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let chunks = self.chunks.iter();
        chunks.flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }

    /// The keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Whether two maps are copies of one, neither of which was changed since, or have no entry.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks) || (self.is_empty() && other.is_empty())
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The chunk that has `key`, or would have it.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let begins = |chunk: &Arc<Chunk<K, V>>| {
            let first = chunk.first();
            first.is_some_and(|(first, _)| first.borrow() <= key)
        };
        self.chunks.partition_point(begins).saturating_sub(1)
    }

    /// The value of `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let found = position(chunk, key).ok()?;
        chunk.get(found).map(|(_, value)| value)
    }

    /// Whether it has `key`.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The keys whose values in `self` and in `after` are not the `same`, in their order.
    pub fn diff<'m>(
        &'m self,
        after: &'m Self,
        same: impl Fn(&V, &V) -> bool,
    ) -> Vec<Difference<'m, K, V>> {
        let mut found = Vec::new();
        if self.is_same(after) {
            return found;
        }
        let (mut one, mut other) = (Cursor::of(self), Cursor::of(after));
        loop {
            one.skip_shared(&mut other);
            let (before, now) = (one.entry(), other.entry());
            let (key, before, after) = match (before, now) {
                (None, None) => return found,
                (Some((key, before)), now) if now.is_none_or(|(now, _)| key < now) => {
                    one.advance();
                    (key, Some(before), None)
                }
                (before, Some((key, now))) if before.is_none_or(|(before, _)| key < before) => {
                    other.advance();
                    (key, None, Some(now))
                }
                (Some((key, before)), Some((_, now))) => {
                    one.advance();
                    other.advance();
                    if same(before, now) {
                        continue;
                    }
                    (key, Some(before), Some(now))
                }
                // The first guard has taken a key that stands alone, and so has the second.
                (Some(_), None) | (None, Some(_)) => return found,
            };
            found.push(Difference { key, before, after });
        }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets the value of `key`. Returns the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        match position(chunk, &key) {
            Ok(found) => {
                let slot = chunk.get_mut(found)?;
                Some(std::mem::replace(&mut slot.1, value))
            }
            Err(free) => {
                chunk.insert(free, (key, value));
                self.len += 1;
                if chunk.len() > MOST {
                    let rest = chunk.split_off(chunk.len() / 2);
                    chunks.insert(at + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    /// Removes `key`. Returns the value that it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let found = position(self.chunks.get(at)?, key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        let (_, value) = chunk.remove(found);
        self.len -= 1;
        if chunk.is_empty() {
            chunks.remove(at);
        } else if chunk.len() < FEW {
            join(chunks, at);
        }
        Some(value)
    }
}

/// Joins the chunk at `at` with the next one, or else with the one before, if they fit into one with room left.
fn join<K: Clone, V: Clone>(chunks: &mut Vec<Arc<Chunk<K, V>>>, at: usize) {
    for first in [Some(at), at.checked_sub(1)].into_iter().flatten() {
        let both = chunks.get(first).zip(chunks.get(first + 1));
        if both.is_some_and(|(one, next)| one.len() + next.len() <= NEW) {
            let next = chunks.remove(first + 1);
            if let Some(one) = chunks.get_mut(first) {
                Arc::make_mut(one).extend(next.iter().cloned());
            }
            return;
        }
    }
}

fn position<K: Ord + Borrow<Q>, V, Q: Ord + ?Sized>(
    chunk: &[(K, V)],
    key: &Q,
) -> Result<usize, usize> {
    chunk.binary_search_by(|(one, _)| one.borrow().cmp(key))
}

/// A place in a map.
struct Cursor<'m, K, V> {
    chunks: &'m [Arc<Chunk<K, V>>],
    /// The position in the first chunk, which has it.
    at: usize,
}

impl<'m, K, V> Cursor<'m, K, V> {
    fn of(map: &'m SharedMap<K, V>) -> Self {
        Self {
            chunks: &map.chunks,
            at: 0,
        }
    }

    fn entry(&self) -> Option<(&'m K, &'m V)> {
        let (key, value) = self.chunks.first()?.get(self.at)?;
        Some((key, value))
    }

    fn advance(&mut self) {
        self.at += 1;
        if self
            .chunks
            .first()
            .is_none_or(|chunk| self.at >= chunk.len())
        {
            self.chunks = self.chunks.get(1..).unwrap_or_default();
            self.at = 0;
        }
    }

    /// Moves both places past the chunks that both maps have.
    fn skip_shared(&mut self, other: &mut Self) {
        while let (0, 0, [one, rest @ ..], [its, its_rest @ ..]) =
            (self.at, other.at, self.chunks, other.chunks)
            && Arc::ptr_eq(one, its)
        {
            (self.chunks, other.chunks) = (rest, its_rest);
        }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self {
            chunks: Arc::default(),
            len: 0,
        }
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            len: self.len,
        }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Serialize, V: Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let sorted: BTreeMap<K, V> = entries.into_iter().collect();
        sorted.into()
    }
}

impl<K, V> From<BTreeMap<K, V>> for SharedMap<K, V> {
    fn from(sorted: BTreeMap<K, V>) -> Self {
        let len = sorted.len();
        let mut chunks = Vec::with_capacity(len.div_ceil(NEW));
        let mut sorted = sorted.into_iter().peekable();
        while sorted.peek().is_some() {
            chunks.push(Arc::new(sorted.by_ref().take(NEW).collect()));
        }
        Self {
            chunks: Arc::new(chunks),
            len,
        }
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SharedMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Ord + Borrow<Q>, V, Q: Ord + ?Sized> Index<&Q> for SharedMap<K, V> {
    type Output = V;

    #[expect(
        clippy::expect_used,
        reason = "as of every map: a test reads an entry that it knows to be there"
    )]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry of this key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Changes of a map: a key, with a value or without.
    fn changes(most: usize) -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
        prop::collection::vec(
            (0..2000u16, prop::option::weighted(0.6, any::<u8>())),
            0..most,
        )
    }

    fn apply(
        map: &mut SharedMap<u16, u8>,
        model: &mut BTreeMap<u16, u8>,
        changes: &[(u16, Option<u8>)],
    ) {
        for (key, value) in changes {
            match value {
                Some(value) => assert_eq!(map.insert(*key, *value), model.insert(*key, *value)),
                None => assert_eq!(map.remove(key), model.remove(key)),
            }
        }
    }

    proptest! {
        #[test]
        fn a_map_is_as_an_ordered_map_and_a_diff_is_what_differs(
            first in changes(3000),
            second in changes(200),
            third in changes(20),
        ) {
            let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
            for changes in [first, second, third] {
                let before = (map.clone(), model.clone());
                apply(&mut map, &mut model, &changes);
                prop_assert!(before.0.iter().eq(&before.1), "a copy changes with the other");
                prop_assert!(map.iter().eq(&model));
                prop_assert_eq!(map.len(), model.len());
                prop_assert!(map.chunks.iter().all(|chunk| (1..=MOST).contains(&chunk.len())));
                for key in 0..2000 {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                }
                let keys = before.1.keys().chain(model.keys()).copied();
                let keys: std::collections::BTreeSet<u16> = keys.collect();
                let expected: Vec<(u16, Option<u8>, Option<u8>)> = keys
                    .into_iter()
                    .map(|key| (key, before.1.get(&key).copied(), model.get(&key).copied()))
                    .filter(|(_, before, after)| before != after)
                    .collect();
                let differences = before.0.diff(&map, |before, after| before == after);
                let found: Vec<(u16, Option<u8>, Option<u8>)> = differences
                    .iter()
                    .map(|one| (*one.key, one.before.copied(), one.after.copied()))
                    .collect();
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(&map, &model.into());
        }
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let map: SharedMap<u32, u32> = (0..50_000).map(|key| (key * 2, key)).collect();
        let mut changed = map.clone();
        changed.insert(50_001, 0);
        changed.remove(&70_000);
        let shared = changed
            .chunks
            .iter()
            .filter(|chunk| map.chunks.iter().any(|one| Arc::ptr_eq(one, chunk)));
        assert_eq!(shared.count(), map.chunks.len() - 2);
    }
}
