//! The queue of objects whose status must be looked at. It is plain data, so the order can be tested
//! without an API.
//!
//! An object that the API refuses waits by itself and goes behind those that were refused less often.
//! It never keeps another object from getting its status.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::statuses::Key;
use crate::source::kubernetes::cluster::Kind;

/// The wait after the first failure of an object. It doubles with each further one, up to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_secs(1);
/// The longest wait. With it, ten thousand objects that are all refused cost the API less than a
/// hundred requests a second.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The wait after a failure, when `failures` came before it.
pub(super) fn wait_after(failures: u32) -> Duration {
    let doubled = MIN_WAIT.saturating_mul(1 << failures.min(16));
    // A random part, so that objects that failed together are not tried together.
    doubled.min(MAX_WAIT).mul_f64(0.8 + 0.4 * fastrand::f64())
}

/// Objects whose status must be looked at.
#[derive(Debug, Default)]
pub(super) struct Queue {
    objects: BTreeMap<Key, QueueEntry>,
}

/// The place of an object in the queue.
#[derive(Debug, Clone, Copy)]
struct QueueEntry {
    /// The earliest time to look at it.
    due: Instant,
    /// The number of failures in a row.
    failures: u32,
    /// A random number; of otherwise equal objects the smallest comes first. Neighbours by name may
    /// fail together, and without it three of them in a row would look like trouble of the API.
    lot: u32,
}

impl Queue {
    /// Adds an object that must be looked at now. One that has failed keeps its place behind the
    /// others.
    pub(super) fn add(&mut self, key: Key, now: Instant) {
        let turn = self.objects.entry(key).or_insert_with(|| QueueEntry {
            due: now,
            failures: 0,
            lot: fastrand::u32(..),
        });
        turn.due = turn.due.min(now);
    }

    /// Removes an object that needs nothing any more.
    pub(super) fn remove(&mut self, key: &Key) {
        self.objects.remove(key);
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Key) -> bool) {
        self.objects.retain(|key, _| keep(key));
    }

    pub(super) fn clear(&mut self) {
        self.objects.clear();
    }

    /// The due objects in order: by failures, then by kind (classes and Gateways before routes).
    pub(super) fn due(&self, now: Instant) -> Vec<Key> {
        let due = self.objects.iter().filter(|(_, turn)| turn.due <= now);
        let mut due: Vec<((u32, Kind, u32), &Key)> = due
            .map(|(key, turn)| ((turn.failures, key.0, turn.lot), key))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// The time when the next object is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.objects.values().map(|turn| turn.due).min()
    }

    /// Notes that an object was not written. Its wait grows each time.
    pub(super) fn failed(&mut self, key: &Key, now: Instant) {
        if let Some(turn) = self.objects.get_mut(key) {
            turn.due = now + wait_after(turn.failures);
            turn.failures = turn.failures.saturating_add(1);
            turn.lot = fastrand::u32(..);
        }
    }

    /// Delays the objects for which `concerns` holds, without counting a failure.
    pub(super) fn put_off(&mut self, until: Instant, concerns: impl Fn(&Key) -> bool) {
        for (key, turn) in &mut self.objects {
            if concerns(key) {
                turn.due = turn.due.max(until);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::source::kubernetes::records::ObjectKey;

    fn key(kind: Kind, name: &str) -> Key {
        let (namespace, name) = ("apps".into(), name.into());
        (kind, ObjectKey { namespace, name })
    }

    fn names(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(|(_, key)| &*key.name).collect()
    }

    #[test]
    fn what_failed_comes_after_what_did_not_and_each_time_later() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let (bad, good) = (key(Kind::Gateway, "bad"), key(Kind::TlsRoute, "good"));
        queue.add(bad.clone(), now);
        queue.add(good.clone(), now);
        assert_eq!(names(&queue.due(now)), ["bad", "good"], "Gateways first");
        let mut waits = Vec::new();
        let mut at = now;
        for _ in 0..12 {
            queue.failed(&bad, at);
            assert_eq!(names(&queue.due(at)), ["good"]);
            queue.remove(&good);
            let due = queue.next_due().unwrap();
            waits.push((due - at).as_secs_f64());
            at = due;
            queue.add(good.clone(), at);
            assert_eq!(names(&queue.due(at)), ["good", "bad"], "it goes behind");
        }
        let doubled = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0, 120.0];
        for (wait, expected) in waits.iter().zip(doubled) {
            let ratio: f64 = wait / expected;
            assert!((0.79..1.21).contains(&ratio), "{wait} for {expected}");
        }
        queue.remove(&bad);
        queue.remove(&good);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn news_of_an_object_make_it_due_and_do_not_bring_it_forward() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add(key(Kind::TlsRoute, "a"), now);
        queue.failed(&key(Kind::TlsRoute, "a"), now);
        queue.add(key(Kind::TlsRoute, "a"), now);
        queue.add(key(Kind::TlsRoute, "b"), now);
        assert_eq!(names(&queue.due(now)), ["b", "a"]);
    }

    #[test]
    fn what_is_put_off_has_not_failed() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add(key(Kind::TlsRoute, "a"), now);
        queue.add(key(Kind::Gateway, "b"), now);
        queue.put_off(now + MIN_WAIT, |(kind, _)| *kind == Kind::TlsRoute);
        assert_eq!(names(&queue.due(now)), ["b"]);
        assert_eq!(names(&queue.due(now + MIN_WAIT)), ["b", "a"]);
    }
}
