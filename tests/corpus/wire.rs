//! Every vector of the hello corpus and every one of the project's own through a gateway on real
//! sockets: whole, in segments of one byte, split, re-cut into other records. A hello that is routed
//! arrives with every byte, and its FIN follows; one that is refused ends at once, cleanly, and
//! never reaches a server.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use sha2::{Digest, Sha256};
use strait::client_hello::vectors::{fragments, records};
use strait::outcome::Outcome;

use crate::samples::{self, Expect, Sample};
use crate::support::client::connect;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{ANSWER, Server, read_exactly, read_to_eof, read_to_error};
use crate::support::wait_until;

/// Longer hellos go in fewer segments: their bytes are a system call each.
const MAX_BYTEWISE: usize = 4096;
/// Connections at a time.
const CLIENTS: usize = 8;
/// The time for which the gateway takes what a client still sends that it has refused.
const LINGER: Duration = Duration::from_secs(1);

pub fn trials() -> Vec<Trial> {
    samples::trials("vectors_arrive_or_are_refused", carry)
}

/// The bytes that a client sends, in these segments.
struct Delivery<'a> {
    sample: &'a Sample,
    how: String,
    segments: Vec<Vec<u8>>,
}

/// Sends every sample in every way and checks what came of each.
fn carry(samples: &[Sample]) {
    let hashing = Server::start(hash_until_fin);
    let config = ConfigText::to(&[hashing.address])
        .routes("[{ sni: '*', alpn: any, upstream: svcb }]")
        // So long that a client that is left hanging fails by the test's own deadline.
        .listener("client_hello: { timeout: 60s }");
    let gateway = TestGateway::start(&config);
    let deliveries: Vec<Delivery<'_>> = samples.iter().flat_map(deliveries).collect();

    let address = gateway.address();
    let left = Mutex::new(deliveries.iter());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let Some(delivery) = left.lock().unwrap().next() else {
                        return;
                    };
                    deliver(connect(address), delivery);
                }
            });
        }
    });

    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in &deliveries {
        let outcome = match &delivery.sample.expect {
            Expect::Route(_) => Outcome::Ok,
            Expect::Refusal(outcome) => *outcome,
            Expect::Incomplete => Outcome::ClientGoneBeforeHello,
        };
        *expected.entry(outcome.label()).or_default() += 1;
    }
    let total: usize = expected.values().sum();
    wait_until("every connection has ended", || {
        gateway.metric("strait_connections_closed_total", &[]) >= total as f64
    });
    for (outcome, count) in &expected {
        assert_eq!(gateway.closed(outcome), *count as f64, "{outcome}");
    }
    let routed = expected.get("ok").copied().unwrap_or_default();
    assert_eq!(hashing.connections(), routed, "nothing else was routed");
}

/// Answers the first bytes as a server does, and FIN with the SHA-256 of all that came.
fn hash_until_fin(mut stream: TcpStream) {
    let mut received = vec![0];
    if stream.read_exact(&mut received).is_err() || stream.write_all(&ANSWER).is_err() {
        return;
    }
    if stream.read_to_end(&mut received).is_ok() {
        let _ = stream.write_all(&Sha256::digest(&received));
    }
}

/// Every way in which a sample is sent.
fn deliveries(sample: &Sample) -> Vec<Delivery<'_>> {
    let wire = &sample.wire;
    let mut all = vec![Delivery::new(sample, "whole", [wire.clone()])];
    let size = 1 + wire.len() / MAX_BYTEWISE;
    let how = format!("in segments of {size}");
    all.push(Delivery::new(sample, &how, wire.chunks(size)));
    for offset in offsets(wire.len()) {
        let (first, second) = wire.split_at(offset);
        let how = format!("split at {offset}");
        all.push(Delivery::new(sample, &how, [first, second]));
    }
    if let Some(hello_len) = sample.hello_len {
        let (hello, rest) = wire.split_at(hello_len);
        let message = fragments(hello);
        for record_len in [1, 3, 60, 1000] {
            let recut = [&records([3, 1], &message, record_len), rest].concat();
            let how = format!("in records of {record_len}");
            all.push(Delivery::new(sample, &how, [recut]));
        }
    }
    all
}

/// Within the record header, the message header and its fields, in the middle, and at the end.
fn offsets(len: usize) -> Vec<usize> {
    let mut offsets = vec![1, 4, 5, 6, 9, 11, 43, 44, 76, len.saturating_sub(1)];
    offsets.extend((1..8).map(|eighths| len / 8 * eighths));
    offsets.retain(|offset| (1..len).contains(offset));
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

impl<'a> Delivery<'a> {
    fn new<T: Into<Vec<u8>>>(
        sample: &'a Sample,
        how: &str,
        segments: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            sample,
            how: how.to_owned(),
            segments: segments.into_iter().map(Into::into).collect(),
        }
    }
}

fn deliver(mut client: TcpStream, delivery: &Delivery<'_>) {
    let what = format!("{} {}", delivery.sample.name, delivery.how);
    let segments = delivery.segments.iter();
    let (begun, mut sent) = (Instant::now(), Ok(()));
    for (number, segment) in segments.enumerate() {
        if number == 1 {
            // The first segment has been read, or is about to be.
            std::thread::sleep(Duration::from_millis(1));
        }
        sent = sent.and_then(|()| client.write_all(segment));
    }
    // On a machine that stood still: the kernel answers bytes for a closed socket with RST.
    let is_late = delivery.segments.len() > 1 && begun.elapsed() >= LINGER;
    match &delivery.sample.expect {
        Expect::Route(_) => {
            sent.unwrap_or_else(|error| panic!("{what}: {error}"));
            // A client that closes before it is answered gets nothing any more.
            assert_eq!(read_exactly(&mut client, ANSWER.len()), ANSWER, "{what}");
            client.shutdown(Shutdown::Write).unwrap();
            let digest = Sha256::digest(delivery.segments.concat());
            assert_eq!(read_to_eof(&mut client), digest.as_slice(), "{what}");
        }
        Expect::Incomplete => {
            sent.unwrap_or_else(|error| panic!("{what}: {error}"));
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_eof(&mut client), b"", "{what}");
        }
        // Without a FIN from here: the gateway must not wait for one.
        Expect::Refusal(Outcome::NotTls) => {
            let (received, error) = read_to_error(&mut client);
            assert_eq!(received, b"", "{what}: nobody would understand it");
            // The kernel answers bytes for a closed socket with RST.
            let late = delivery.segments.len() > 1 && error == Some(ErrorKind::ConnectionReset);
            assert!(error.is_none() || late, "{what}: {error:?}");
        }
        Expect::Refusal(outcome) => {
            let (received, error) = read_to_error(&mut client);
            let alert = matches!(received.as_slice(), [21, 3, 3, 0, 2, 2, _]);
            assert!(alert, "{what}: {outcome:?}, received {received:?}");
            let reset = is_late && error == Some(ErrorKind::ConnectionReset);
            assert!(error.is_none() || reset, "{what}: no clean end: {error:?}");
        }
    }
}
