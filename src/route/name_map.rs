//! `NameMap`: a hash map of server names whose copies share most of their entries.
//!
//! A lookup hashes the name once and takes no lock. A change copies one shard: the entries of some tens of names.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::server_name::ServerName;

/// The entries of a shard, on average, at which shards are split.
const FULL: usize = 64;
/// The most shards. Beyond it, they grow.
const MOST_SHARDS: usize = 1024;

type Shard<V> = HashTable<(ServerName, V)>;

/// A hash map of server names.
#[derive(Debug, Clone)]
pub(super) struct NameMap<V> {
    hasher: RandomState,
    /// A power of two.
    shards: Box<[Arc<Shard<V>>]>,
    len: usize,
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: Box::new([Arc::default()]),
            len: 0,
        }
    }
}

impl<V> NameMap<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The shard of a hash. The table in it uses the lowest and the highest bits.
    fn shard_of(&self, hash: u64) -> usize {
        let bits = (hash >> 32) as usize;
        bits & (self.shards.len() - 1)
    }

    pub(super) fn get_key_value(&self, name: &str) -> Option<(&ServerName, &V)> {
        let hash = self.hasher.hash_one(name);
        let shard = self.shards.get(self.shard_of(hash))?;
        let (own, value) = shard.find(hash, |(own, _)| own.as_str() == name)?;
        Some((own, value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&V> {
        self.get_key_value(name).map(|(_, value)| value)
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ServerName, &V)> {
        let entries = self.shards.iter().flat_map(|shard| shard.iter());
        entries.map(|(name, value)| (name, value))
    }
}

impl<V: Clone> NameMap<V> {
    /// Sets the value of `name`.
    pub(super) fn insert(&mut self, name: ServerName, value: V) {
        if self.len >= self.shards.len() * FULL && self.shards.len() < MOST_SHARDS {
            self.split();
        }
        let hash = self.hasher.hash_one(name.as_str());
        let hasher = &self.hasher;
        let at = self.shard_of(hash);
        let Some(shard) = self.shards.get_mut(at) else {
            return;
        };
        let entry = Arc::make_mut(shard).entry(
            hash,
            |(own, _)| *own == name,
            |(own, _)| hasher.hash_one(own.as_str()),
        );
        match entry {
            Entry::Occupied(mut before) => before.get_mut().1 = value,
            Entry::Vacant(free) => {
                free.insert((name, value));
                self.len += 1;
            }
        }
    }

    /// Removes `name`.
    pub(super) fn remove(&mut self, name: &str) {
        let hash = self.hasher.hash_one(name);
        let at = self.shard_of(hash);
        let Some(shard) = self.shards.get_mut(at) else {
            return;
        };
        let is_it = |(own, _): &(ServerName, V)| own.as_str() == name;
        if shard.find(hash, is_it).is_none() {
            return;
        }
        if let Ok(entry) = Arc::make_mut(shard).find_entry(hash, is_it) {
            entry.remove();
            self.len -= 1;
        }
    }

    /// Divides the entries among four times as many shards.
    fn split(&mut self) {
        let count = self.shards.len() * 4;
        let mut shards: Vec<Shard<V>> = Vec::new();
        shards.resize_with(count, Shard::new);
        let hash_of = |(name, _): &(ServerName, V)| self.hasher.hash_one(name.as_str());
        for entry in self.shards.iter().flat_map(|shard| shard.iter()) {
            let hash = hash_of(entry);
            if let Some(shard) = shards.get_mut((hash >> 32) as usize & (count - 1)) {
                shard.insert_unique(hash, entry.clone(), hash_of);
            }
        }
        self.shards = shards.into_iter().map(Arc::new).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_map_that_grows_and_shrinks_has_what_was_put_into_it_and_copies_stay() {
        let name = |number: usize| {
            let text = format!("service-{number}.apps");
            ServerName::parse(text.as_bytes()).unwrap()
        };
        let (mut map, mut model) = (NameMap::default(), HashMap::new());
        let mut copies = Vec::new();
        for step in 0..20_000 {
            let number = fastrand::usize(..6000);
            if fastrand::u8(..) < 100 {
                map.remove(name(number).as_str());
                model.remove(&number);
            } else {
                map.insert(name(number), step);
                model.insert(number, step);
            }
            if step % 4000 == 0 {
                copies.push((map.clone(), model.clone()));
            }
        }
        copies.push((map, model));
        for (map, model) in copies {
            assert_eq!((map.len, map.iter().count()), (model.len(), model.len()));
            for number in 0..6000 {
                assert_eq!(map.get(name(number).as_str()), model.get(&number));
            }
        }
    }
}
