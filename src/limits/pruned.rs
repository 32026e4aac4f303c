//! A map that removes its dead entries by itself.

use std::collections::HashMap;
use std::hash::Hash;

use super::rate::now;

/// The smallest number of insertions between two searches for dead entries.
const FEW: usize = 256;
/// The part of the entries, one in this many, that must be inserted before the next search.
const SHARE: usize = 8;
/// Nanoseconds between two searches while the map is full, so that dead entries do not keep others out.
const FULL_PAUSE: u64 = 100_000_000;

/// A map that searches for dead entries when it would be full, or has grown much since the last search.
/// The cost for each insertion, even a refused one, is constant whatever the number of entries.
#[derive(Debug)]
pub(super) struct Pruned<K, V> {
    entries: HashMap<K, V>,
    /// The number of insertions before the next search.
    until_pruned: usize,
    /// The time of the last search, in nanoseconds on the clock of [`now`].
    pruned_at: u64,
}

impl<K, V> Default for Pruned<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            until_pruned: FEW,
            pruned_at: 0,
        }
    }
}

impl<K: Eq + Hash, V> Pruned<K, V> {
    pub(super) fn find(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// Every entry, dead ones too.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    /// Inserts an entry, unless `most` entries are there that live or were not checked yet. Returns
    /// whether it did.
    pub(super) fn insert(
        &mut self,
        key: K,
        value: V,
        most: usize,
        mut lives: impl FnMut(&V) -> bool,
    ) -> bool {
        self.until_pruned -= 1;
        let full = self.entries.len() >= most;
        if self.until_pruned == 0 || (full && now() >= self.pruned_at + FULL_PAUSE) {
            self.pruned_at = now();
            self.entries.retain(|_, value| lives(value));
            self.until_pruned = (self.entries.len() / SHARE).max(FEW);
            // Shrinks, so that a flood leaves no large table behind.
            self.entries.shrink_to(2 * self.entries.len());
        }
        let fits = self.entries.len() < most;
        if fits {
            self.entries.insert(key, value);
        }
        fits
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_make_room_and_the_living_stay() {
        let mut map = Pruned::default();
        for key in 0..100_000 {
            assert!(map.insert(key, key % 1000 == 0, 10_000, |lives| *lives));
        }
        assert!(map.len() < 100 + 2 * FEW, "{}", map.len());
        for key in (0..100_000).step_by(1000) {
            assert_eq!(map.find(&key), Some(&true));
        }
    }

    #[test]
    fn the_living_are_no_more_than_may_be_and_are_not_looked_at_each_time() {
        let (mut map, mut looks) = (Pruned::default(), 0);
        let mut insert = |key| {
            map.insert(key, (), 3000, |()| {
                looks += 1;
                true
            })
        };
        assert_eq!((0..100_000).filter(|key| insert(*key)).count(), 3000);
        let seconds = usize::try_from(now() / 1_000_000_000).unwrap() + 1;
        assert!(
            looks <= 100_000 * (SHARE + 1) + seconds * 10 * 3000,
            "{looks}"
        );
        // After the entries have died, the map accepts new ones a moment later.
        std::thread::sleep(std::time::Duration::from_nanos(FULL_PAUSE));
        assert!(map.insert(usize::MAX, (), 3000, |()| false));
    }
}
