//! No name is read two ways: the name that strait routes by is the name that the servers behind it read, or
//! strait refuses the hello.
//!
//! rustls reads in this process; OpenSSL (Python's `ssl`), Go's crypto/tls and BoringSSL (Envoy) in programs of their own
//! (`readers.rs`). `STRAIT_HELLOS` is the number of hellos, `STRAIT_READERS=openssl,go,envoy` the programs. The long run
//! is a command of `docs/src/internals/hello-policy.md`, which has the last count.

use fastrand::Rng;
use strait::client_hello::vectors::{self, HelloBuilder, MAX_SIZE, X25519, fragments, records};

use crate::hello_feed::{Verdict, whole};
use crate::readers::{BATCH, Reader};

/// The hellos of a run in the test command.
const FEW: usize = 3000;

/// A hello, and the name that strait routes it by.
type Named = (Vec<u8>, String);

#[test]
fn no_name_is_read_two_ways() {
    let count = std::env::var("STRAIT_HELLOS").map_or(FEW, |count| count.parse().unwrap());
    let wanted = std::env::var("STRAIT_READERS").unwrap_or_else(|_| "openssl,envoy".to_owned());
    let mut readers: Vec<Reader> = wanted.split(',').map(Reader::start).collect();
    readers.push(Reader::Rustls);
    let seeds = seeds();
    let seed = std::env::var("STRAIT_SEED").map_or(15, |seed| seed.parse().unwrap());
    let mut random = Rng::with_seed(seed);
    let (mut tried, mut routed, mut taken) = (0, 0, vec![0; readers.len()]);
    while tried < count {
        let mut batch: Vec<Named> = Vec::new();
        while tried < count && batch.len() < BATCH {
            tried += 1;
            let mut wire = mutated(&seeds, &mut random);
            if let Verdict::Routed { name, wire_len, .. } = whole(&wire, MAX_SIZE) {
                wire.truncate(wire_len);
                batch.push((wire, name));
            }
        }
        routed += batch.len();
        for (reader, taken) in readers.iter_mut().zip(&mut taken) {
            *taken += compare(reader, &batch);
        }
    }
    let names: Vec<&str> = readers.iter().map(Reader::name).collect();
    println!("{count} hellos, {routed} of them routed; taken by {names:?}: {taken:?}");
    // A run in which nobody takes anything shows nothing.
    assert!(routed * 5 > count, "{routed} of {count} routed");
    assert!(
        taken.iter().all(|taken| taken * 4 > routed),
        "{names:?} took {taken:?} of {routed}"
    );
}

/// Has a reader read each hello, and returns the number of those that it took.
fn compare(reader: &mut Reader, batch: &[Named]) -> usize {
    let hellos: Vec<&[u8]> = batch.iter().map(|(hello, _)| &**hello).collect();
    let read = reader.read(&hellos);
    assert_eq!(read.len(), batch.len(), "{}", reader.name());
    let mut taken = 0;
    for ((hello, name), read) in batch.iter().zip(read) {
        let Some(read) = read else { continue };
        taken += 1;
        let read = read.trim_end_matches('.').to_ascii_lowercase();
        assert_eq!(
            read,
            *name,
            "{} reads this hello so: {}",
            reader.name(),
            hello.escape_ascii()
        );
    }
    taken
}

/// The messages that hellos are made of: the project's own vectors, those of the corpus if it is there, and
/// builders that put the name in several places.
fn seeds() -> Vec<Vec<u8>> {
    let mut wires: Vec<Vec<u8>> = vectors::all()
        .into_iter()
        .map(|vector| vector.bytes)
        .collect();
    if let Some(corpus) = std::env::var_os("STRAIT_HELLO_CORPUS") {
        let files = std::fs::read_dir(corpus)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let binary = files.filter(|path| path.extension().is_some_and(|ending| ending == "bin"));
        wires.extend(binary.map(|path| std::fs::read(path).unwrap()));
    }
    let valid = |wire: &Vec<u8>| matches!(whole(wire, MAX_SIZE), Verdict::Routed { .. });
    let short = wires.into_iter().filter(|wire| wire.len() < 4096);
    let mut messages: Vec<_> = short
        .filter(valid)
        .map(|wire| match whole(&wire, MAX_SIZE) {
            Verdict::Routed { wire_len, .. } => fragments(&wire[..wire_len]),
            _ => Vec::new(),
        })
        .collect();
    for builder in [HelloBuilder::tls12(), HelloBuilder::tls13()] {
        let key_shares = |builder: HelloBuilder| builder.key_shares(&[(X25519, 32)]);
        let first = key_shares(builder.clone().server_name("svcb.apps.example"));
        let last = key_shares(builder.clone()).server_name("Outbound_.80_._.svcb.apps");
        let many = builder
            .extension(30_000, [0, 5, 0, 0, 2, b'a', b'b'])
            .server_name("a.b")
            .alpn(&[&b"h2"[..], b"http/1.1"]);
        messages.extend([first, last, key_shares(many)].map(|builder| builder.message()));
    }
    messages
}

/// A message with changes at random places or near its server name, in records of any size.
fn mutated(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut message = random.choice(seeds).unwrap().clone();
    for _ in 0..random.usize(0..4) {
        let near = server_name_at(&message).filter(|_| random.bool());
        let at = match near {
            Some(at) => (at + random.usize(0..24)).min(message.len() - 1),
            None => random.usize(..message.len()),
        };
        match random.u8(0..6) {
            0 => message[at] = random.u8(..),
            1 => message[at] = message[at].wrapping_add(*random.choice(&[1, 2, 255]).unwrap()),
            2 => message[at] = *random.choice(b"aZ.-_09\0 ").unwrap(),
            3 => {
                message.remove(at);
            }
            4 => message.insert(at, random.u8(..)),
            _ => {
                // A piece of another hello, such as its server name.
                let other = random.choice(seeds).unwrap();
                let from = random.usize(..other.len());
                let to = (from + random.usize(0..40)).min(other.len());
                message.splice(at..at, other[from..to].iter().copied());
            }
        }
        if random.bool() {
            mend(&mut message);
        }
    }
    let size = *random.choice(&[1, 7, 100, 1 << 14]).unwrap();
    records([3, random.u8(0..5)], &message, size)
}

/// The place of the server_name extension: its type, its length, and a list that fills it.
fn server_name_at(message: &[u8]) -> Option<usize> {
    message.windows(6).position(|window| match *window {
        [0, 0, high, low, list_high, list_low] => {
            let list = u16::from_be_bytes([list_high, list_low]);
            u16::from_be_bytes([high, low]).checked_sub(2) == Some(list)
        }
        _ => false,
    })
}

/// Makes the message's length fit, so that not every change of it ends there.
fn mend(message: &mut [u8]) {
    let length = message.len().saturating_sub(4);
    if let [_, high, middle, low, ..] = message {
        let [_, a, b, c] = u32::try_from(length).unwrap_or_default().to_be_bytes();
        (*high, *middle, *low) = (a, b, c);
    }
}
