//! Kept hellos: the first bytes of the last connections that were refused for them, for operators (`GET /hellos`).
//!
//! Off unless the config asks for it: the bytes are what a client sent, and one that did not send TLS may have sent
//! anything, a password included. Each outcome has its own share of the places and of the memory, so that a flood of
//! one kind pushes out none of another.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::SystemTime;

use crate::config::KeptHellosConfig;
use crate::names::ListenerName;
use crate::outcome::Outcome;

/// The outcomes whose hellos are kept.
pub const KEPT_OUTCOMES: [Outcome; 8] = [
    Outcome::ClientGoneBeforeHello,
    Outcome::NotTls,
    Outcome::HelloMalformed,
    Outcome::HelloTooLarge,
    Outcome::NoSni,
    Outcome::BadServerName,
    Outcome::NoRoute,
    Outcome::AlpnRefused,
];

/// The hello of a connection that was refused.
#[derive(Debug)]
pub struct KeptHello {
    /// Its number, unique in the process.
    pub id: u64,
    /// The time of the refusal.
    pub at: SystemTime,
    /// The number of the connection.
    pub connection: u64,
    /// The listener's name.
    pub listener: ListenerName,
    /// The client.
    pub source: SocketAddr,
    /// The reason.
    pub outcome: Outcome,
    /// Details of the reason.
    pub detail: Option<Box<str>>,
    /// The first bytes that the client sent.
    pub bytes: Arc<[u8]>,
    /// True if it had sent more of them.
    pub cut: bool,
}

/// The hellos that are kept.
///
/// Workers keep them while strangers flood them, and nobody waits for a lock then: a hello whose shelf is busy is left
/// out.
#[derive(Debug, Default)]
pub struct KeptHellos {
    on: AtomicBool,
    /// Hellos of each outcome. A change comes before the shelves are looked through.
    places: AtomicUsize,
    /// Bytes of the hellos of each outcome. The same holds.
    bytes: AtomicUsize,
    last: AtomicU64,
    /// In the order of [`KEPT_OUTCOMES`].
    shelves: [Mutex<Shelf>; KEPT_OUTCOMES.len()],
}

/// The hellos of one outcome, the oldest first.
#[derive(Debug, Default)]
struct Shelf {
    hellos: VecDeque<Arc<KeptHello>>,
    /// The sum of their bytes.
    bytes: usize,
}

impl KeptHellos {
    /// Whether any are kept.
    pub fn are_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Takes the bounds from `config`. Hellos beyond them are forgotten.
    pub fn reconfigure(&self, config: Option<&KeptHellosConfig>) {
        let places = config.map_or(0, |config| config.keep);
        let bytes = config.map_or(0, |config| config.memory) / KEPT_OUTCOMES.len();
        // Relaxed: who keeps a hello reads them with its shelf locked. Either the shelf is looked through after that,
        // or its lock has shown the new bounds.
        self.places.store(places, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        for shelf in &self.shelves {
            lock(shelf).make_room(places, bytes);
        }
        self.on.store(config.is_some(), Ordering::Relaxed);
    }

    /// The bytes of a hello that may be kept. `None` if none are.
    pub fn part<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if !self.are_on() {
            return None;
        }
        let most = self.bytes.load(Ordering::Relaxed);
        Some(bytes.get(..most).unwrap_or(bytes))
    }

    /// Keeps a hello, whose number it gets, in the place of the oldest ones of its outcome. It is left out if another
    /// of its outcome is kept or listed at this moment.
    pub fn keep(&self, hello: KeptHello) {
        let place = KEPT_OUTCOMES.iter().position(|one| *one == hello.outcome);
        let Some(shelf) = place.and_then(|place| self.shelves.get(place)) else {
            return;
        };
        let mut shelf = match shelf.try_lock() {
            Ok(shelf) => shelf,
            // All fields are valid after every statement.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let places = self.places.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        let size = hello.bytes.len();
        if places == 0 || size == 0 || size > bytes {
            return;
        }
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        shelf.make_room(places - 1, bytes - size);
        shelf.bytes += size;
        shelf.hellos.push_back(Arc::new(KeptHello { id, ..hello }));
    }

    /// Every hello that is kept, the newest first.
    pub fn list(&self) -> Vec<Arc<KeptHello>> {
        let mut list = Vec::new();
        for shelf in &self.shelves {
            list.extend(lock(shelf).hellos.iter().cloned());
        }
        list.sort_unstable_by_key(|hello| std::cmp::Reverse(hello.id));
        list
    }

    /// The hello with that number.
    pub fn get(&self, id: u64) -> Option<Arc<KeptHello>> {
        let is_meant = |hello: &&Arc<KeptHello>| hello.id == id;
        let found = |shelf: &Mutex<Shelf>| lock(shelf).hellos.iter().find(is_meant).cloned();
        self.shelves.iter().find_map(found)
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    // All fields are valid after every statement.
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// Forgets the oldest hellos until there are no more than so many, of no more than so many bytes.
    fn make_room(&mut self, places: usize, bytes: usize) {
        while self.hellos.len() > places || self.bytes > bytes {
            match self.hellos.pop_front() {
                Some(oldest) => self.bytes = self.bytes.saturating_sub(oldest.bytes.len()),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(outcome: Outcome, bytes: usize) -> KeptHello {
        KeptHello {
            id: 0,
            at: SystemTime::UNIX_EPOCH,
            connection: 7,
            listener: "east-west".into(),
            source: "10.0.0.1:1".parse().unwrap(),
            outcome,
            detail: None,
            bytes: vec![0; bytes].into(),
            cut: false,
        }
    }

    fn config(keep: usize, memory: usize) -> KeptHellosConfig {
        KeptHellosConfig { keep, memory }
    }

    fn sizes(kept: &KeptHellos) -> Vec<(Outcome, usize)> {
        let list = kept.list().into_iter();
        list.map(|hello| (hello.outcome, hello.bytes.len()))
            .collect()
    }

    #[test]
    fn each_outcome_has_its_share_of_places_and_bytes() {
        let kept = KeptHellos::default();
        kept.keep(hello(Outcome::NotTls, 10));
        assert_eq!((sizes(&kept), kept.part(&[1])), (vec![], None), "it is off");
        kept.reconfigure(Some(&config(3, 8 * 100)));
        kept.keep(hello(Outcome::NoRoute, 90));
        for bytes in [10, 20, 30, 40, 101, 0] {
            kept.keep(hello(Outcome::NotTls, bytes));
        }
        kept.keep(hello(Outcome::Ok, 1));
        let not_tls = |bytes| (Outcome::NotTls, bytes);
        let left = [
            not_tls(40),
            not_tls(30),
            not_tls(20),
            (Outcome::NoRoute, 90),
        ];
        assert_eq!(sizes(&kept), left);
        kept.keep(hello(Outcome::NotTls, 50));
        assert_eq!(
            sizes(&kept)[..2],
            [not_tls(50), not_tls(40)],
            "bytes are full"
        );
        assert_eq!(sizes(&kept).len(), 3);
        let newest = kept.list()[0].id;
        assert_eq!(kept.get(newest).unwrap().bytes.len(), 50);
        assert_eq!(kept.part(&[1; 101]).unwrap().len(), 100);
    }

    /// A worker that waited would let a flood of one kind, or an operator who lists, hold up its connections.
    #[test]
    fn nobody_waits_for_a_shelf_that_is_busy() {
        let kept = Arc::new(KeptHellos::default());
        kept.reconfigure(Some(&config(16, 8 * 100)));
        let held = lock(&kept.shelves[1]);
        let (done, is_done) = std::sync::mpsc::channel();
        let worker = kept.clone();
        std::thread::spawn(move || {
            let part = worker.part(&[1; 101]).map(<[u8]>::len);
            worker.keep(hello(Outcome::NotTls, 10));
            worker.keep(hello(Outcome::NoRoute, 20));
            done.send(part)
        });
        let part = is_done.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(part, Ok(Some(100)));
        drop(held);
        assert_eq!(sizes(&kept), [(Outcome::NoRoute, 20)]);
    }

    #[test]
    fn a_reload_forgets_what_is_beyond_the_new_bounds() {
        let kept = KeptHellos::default();
        kept.reconfigure(Some(&config(16, 1 << 20)));
        (0..16).for_each(|_| kept.keep(hello(Outcome::NoSni, 100)));
        let first = kept.list()[15].id;
        kept.reconfigure(Some(&config(2, 1 << 20)));
        assert_eq!(kept.list().len(), 2);
        assert!(kept.get(first).is_none());
        kept.reconfigure(None);
        assert!(kept.list().is_empty() && !kept.are_on());
    }
}
