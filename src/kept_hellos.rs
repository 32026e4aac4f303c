//! Kept hellos: the first bytes of the last connections that were refused for them, for operators (`GET /hellos`).
//!
//! Off unless the config asks for it: the bytes are what a client sent, and one that did not send TLS may have sent
//! anything, a password included. Each outcome has its own share of the places and of the memory, so that a flood of
//! one kind pushes out none of another.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
#[derive(Debug, Clone)]
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
#[derive(Debug, Default)]
pub struct KeptHellos {
    on: AtomicBool,
    shelves: Mutex<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    /// Hellos of each outcome.
    places: usize,
    /// Bytes of the hellos of each outcome.
    bytes: usize,
    last: u64,
    /// In the order of [`KEPT_OUTCOMES`].
    shelves: [VecDeque<KeptHello>; KEPT_OUTCOMES.len()],
}

impl KeptHellos {
    /// Whether any are kept.
    pub fn are_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Takes the bounds from `config`. Hellos beyond them are forgotten.
    pub fn reconfigure(&self, config: Option<&KeptHellosConfig>) {
        let mut shelves = self.lock();
        shelves.places = config.map_or(0, |config| config.keep);
        shelves.bytes = config.map_or(0, |config| config.memory) / KEPT_OUTCOMES.len();
        let (places, bytes) = (shelves.places, shelves.bytes);
        for shelf in &mut shelves.shelves {
            make_room(shelf, places, bytes);
        }
        self.on.store(config.is_some(), Ordering::Relaxed);
    }

    /// The bytes of a hello that may be kept. `None` if none are.
    pub fn part<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if !self.are_on() {
            return None;
        }
        let most = self.lock().bytes;
        Some(bytes.get(..most).unwrap_or(bytes))
    }

    /// Keeps a hello, whose number it gets, in the place of the oldest ones of its outcome.
    pub fn keep(&self, hello: KeptHello) {
        let mut shelves = self.lock();
        let place = KEPT_OUTCOMES.iter().position(|one| *one == hello.outcome);
        let (places, bytes) = (shelves.places, shelves.bytes);
        if places == 0 || hello.bytes.is_empty() || hello.bytes.len() > bytes {
            return;
        }
        shelves.last += 1;
        let id = shelves.last;
        if let Some(shelf) = place.and_then(|place| shelves.shelves.get_mut(place)) {
            make_room(shelf, places - 1, bytes - hello.bytes.len());
            shelf.push_back(KeptHello { id, ..hello });
        }
    }

    /// Every hello that is kept, the newest first.
    pub fn list(&self) -> Vec<KeptHello> {
        let shelves = self.lock();
        let mut list: Vec<_> = shelves.shelves.iter().flatten().cloned().collect();
        drop(shelves);
        list.sort_unstable_by_key(|hello| std::cmp::Reverse(hello.id));
        list
    }

    /// The hello with that number.
    pub fn get(&self, id: u64) -> Option<KeptHello> {
        let shelves = self.lock();
        let found = shelves
            .shelves
            .iter()
            .flatten()
            .find(|hello| hello.id == id);
        found.cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        // All fields are valid after every statement.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the oldest hellos until there are no more than so many, of no more than so many bytes.
fn make_room(shelf: &mut VecDeque<KeptHello>, places: usize, bytes: usize) {
    let mut used: usize = shelf.iter().map(|hello| hello.bytes.len()).sum();
    while shelf.len() > places || used > bytes {
        match shelf.pop_front() {
            Some(oldest) => used -= oldest.bytes.len(),
            None => return,
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
