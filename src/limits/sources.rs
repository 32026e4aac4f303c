//! The limits on each source address, with a bounded table of the addresses in use.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::collector::LimitUse;
use super::limiter::{Held, Limiter, OverLimit, Usage};
use super::pruned::Pruned;
use crate::config::SourceLimits;
use crate::metrics::{LimitKind, LimitScope};

/// The number of source addresses of one listener that are counted at a time, some 250 bytes each. An
/// address without a connection that took no token within a second is forgotten.
pub const MAX_SOURCES: usize = SHARDS * MAX_IN_SHARD;
/// So many that the walk over one shard, while it is locked, takes some tens of microseconds.
const SHARDS: usize = 64;
const MAX_IN_SHARD: usize = 1024;

/// Enforces the same limits on each source address of a listener.
#[derive(Debug)]
pub struct SourceLimiter {
    limits: SourceLimits,
    table: Arc<SourceTable>,
}

/// The usage of each source address. A shard is locked for one look-up for each connection.
#[derive(Debug)]
pub(super) struct SourceTable {
    shards: [Mutex<SourceShard>; SHARDS],
    hasher: RandomState,
}

impl Default for SourceTable {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

type SourceShard = Pruned<IpAddr, Arc<Usage>>;

impl SourceLimiter {
    pub(super) fn new(limits: SourceLimits, table: Arc<SourceTable>) -> Self {
        Self { limits, table }
    }

    /// Counts one more connection from `ip` (canonical) into `held`.
    ///
    /// # Errors
    /// As [`Limiter::admit`], and if more than [`MAX_SOURCES`] addresses are in use.
    pub fn admit(&self, ip: IpAddr, held: &mut Held) -> Result<(), OverLimit> {
        let source = self.counted_as(ip);
        let usage = self.table.usage(source).ok_or(OverLimit {
            scope: LimitScope::Source,
            kind: LimitKind::Sources,
            limit: u32::try_from(MAX_SOURCES).unwrap_or(u32::MAX),
        })?;
        match Limiter::new(LimitScope::Source, &self.limits.each, usage) {
            Some(limiter) => limiter.admit(held),
            None => Ok(()),
        }
    }

    /// The use of the limits by `ip` (canonical) now.
    pub fn uses_of(&self, ip: IpAddr) -> Vec<LimitUse> {
        let usage = self.table.known(self.counted_as(ip));
        let usage = usage.unwrap_or_else(|| Arc::new(Usage::new()));
        let limiter = Limiter::new(LimitScope::Source, &self.limits.each, usage);
        limiter.as_ref().map(Limiter::uses).unwrap_or_default()
    }

    /// The use of each limit by the address that uses most of it, and the number of addresses that are counted.
    pub fn most_used(&self) -> Vec<LimitUse> {
        let limiter = |usage| Limiter::new(LimitScope::Source, &self.limits.each, usage);
        let mut most = limiter(Arc::new(Usage::new()))
            .map(|limiter| limiter.uses())
            .unwrap_or_default();
        let mut counted = 0;
        self.table.each(|usage| {
            counted += 1;
            let uses = limiter(usage).map(|limiter| limiter.uses());
            for (most, one) in most.iter_mut().zip(uses.unwrap_or_default()) {
                most.used = most.used.max(one.used);
            }
        });
        let all = u64::try_from(MAX_SOURCES).unwrap_or(u64::MAX);
        most.push(LimitUse::new(
            LimitScope::Source,
            LimitKind::Sources,
            all,
            counted,
        ));
        most
    }

    /// The address that is counted. A whole IPv6 prefix counts as one, since one site can choose any
    /// address in it.
    fn counted_as(&self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(_) => ip,
            IpAddr::V6(ip) => {
                let mask = u128::MAX << (128 - self.limits.ipv6_prefix.get());
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        }
    }
}

impl SourceTable {
    fn shard(&self, source: IpAddr) -> Option<MutexGuard<'_, SourceShard>> {
        let shard = self.hasher.hash_one(source) % (SHARDS as u64);
        let shard = self.shards.get(usize::try_from(shard).ok()?)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The usage of a source that is counted.
    fn known(&self, source: IpAddr) -> Option<Arc<Usage>> {
        self.shard(source)?.find(&source).cloned()
    }

    /// Calls `look` with the usage of each source that is counted. No shard is locked then: workers wait for it.
    fn each(&self, mut look: impl FnMut(Arc<Usage>)) {
        for shard in &self.shards {
            let usages: Vec<Arc<Usage>> = {
                let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                shard.values().cloned().collect()
            };
            usages.into_iter().for_each(&mut look);
        }
    }

    fn usage(&self, source: IpAddr) -> Option<Arc<Usage>> {
        let mut shard = self.shard(source)?;
        if let Some(usage) = shard.find(&source) {
            return Some(usage.clone());
        }
        let usage = Arc::new(Usage::new());
        // Another thread may hold a usage that it has just looked up and not taken from yet.
        let lives = |usage: &Arc<Usage>| Arc::strong_count(usage) > 1 || !usage.is_idle();
        shard
            .insert(source, usage.clone(), MAX_IN_SHARD, lives)
            .then_some(usage)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{ConnectionLimits, Connections};

    fn limiter(each: ConnectionLimits) -> SourceLimiter {
        let limits = SourceLimits {
            each,
            ..SourceLimits::default()
        };
        SourceLimiter::new(limits, Arc::default())
    }

    fn admit(limiter: &SourceLimiter, ip: &str) -> Result<Held, OverLimit> {
        let mut held = Held::default();
        let admitted = limiter.admit(ip.parse().unwrap(), &mut held);
        admitted.map(|()| held)
    }

    #[test]
    fn each_address_has_its_own_and_an_ipv6_prefix_has_one() {
        let limiter = limiter(ConnectionLimits {
            connections: Connections::new(1),
            ..ConnectionLimits::OFF
        });
        let first = admit(&limiter, "192.0.2.1").unwrap();
        assert!(admit(&limiter, "192.0.2.1").is_err());
        let _other = admit(&limiter, "192.0.2.2").unwrap();
        drop(first);
        assert!(admit(&limiter, "192.0.2.1").is_ok());

        let _first = admit(&limiter, "2001:db8::1").unwrap();
        let over = admit(&limiter, "2001:db8::ffff:2").unwrap_err();
        assert_eq!((over.scope, over.limit), (LimitScope::Source, 1));
        assert!(admit(&limiter, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn a_walk_over_all_addresses_holds_no_shard_while_it_looks() {
        let limiter = limiter(ConnectionLimits {
            connections: Connections::new(1),
            ..ConnectionLimits::OFF
        });
        let addresses = (0..1000).map(|n| format!("10.0.{}.{}", n / 250, n % 250));
        let addresses: Vec<String> = addresses.collect();
        let held: Vec<Held> = addresses
            .iter()
            .map(|ip| admit(&limiter, ip).unwrap())
            .collect();
        let mut looked = 0;
        limiter.table.each(|_| {
            looked += 1;
            assert!(
                limiter
                    .table
                    .shards
                    .iter()
                    .all(|one| one.try_lock().is_ok())
            );
        });
        assert_eq!(looked, held.len());
    }

    #[test]
    fn addresses_that_use_nothing_are_forgotten_and_those_that_do_are_bounded() {
        let limiter = limiter(ConnectionLimits {
            connections: Connections::new(10),
            ..ConnectionLimits::OFF
        });
        let address = |n: usize| format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
        for n in 0..2 * MAX_SOURCES {
            admit(&limiter, &address(n)).unwrap();
        }
        let held: Vec<_> = (0..2 * MAX_SOURCES)
            .filter_map(|n| admit(&limiter, &address(n)).ok())
            .collect();
        assert!(held.len() <= MAX_SOURCES);
        assert!(held.len() > MAX_SOURCES * 9 / 10, "{}", held.len());
        drop(held);
        std::thread::sleep(Duration::from_millis(100));
        assert!(admit(&limiter, "192.0.2.1").is_ok());
    }
}
