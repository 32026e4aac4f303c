//! Every vector of `hello-corpus/` and every one of the project's own gives its result: whole, byte
//! by byte, split at every offset and, where a whole hello is there, re-cut into other records.
//!
//! The corpus lies beside the project, never in it. In CI (`CI` is set) it must be found.

mod hello_feed;

use std::path::{Path, PathBuf};

use hello_feed::{Verdict, in_pieces, whole};
use serde_json::Value;
use sha2::{Digest, Sha256};
use strait::client_hello::vectors::{self, MAX_SIZE, VectorClass, records};
use strait::outcome::Outcome;

#[test]
fn corpus_vectors_give_their_manifests_result() {
    let Some(corpus) = corpus_directory() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "hello-corpus not found; STRAIT_HELLO_CORPUS must say where it is"
        );
        eprintln!("WARNING: hello-corpus not found, its vectors are NOT tested; see CI");
        return;
    };
    let manifest = std::fs::read_to_string(corpus.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let over_tcp = manifest["vectors"].as_array().unwrap().iter();
    let over_tcp: Vec<_> = over_tcp
        .filter(|entry| entry["transport"] == "tcp")
        .collect();
    assert!(over_tcp.len() >= 200, "the corpus has shrunk");
    for entry in over_tcp {
        Sample::of_corpus(&corpus, entry).holds();
    }
}

#[test]
fn generated_vectors_give_their_result() {
    for vector in vectors::all() {
        Sample::of_vector(vector).holds();
    }
}

/// What STRAIT_HELLO_CORPUS says, if anything; else the directory beside the project, or the one
/// beside the main worktree.
fn corpus_directory() -> Option<PathBuf> {
    let candidates = match std::env::var_os("STRAIT_HELLO_CORPUS") {
        Some(told) => vec![PathBuf::from(told)],
        None => vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/hello-corpus")],
    };
    let mut candidates = candidates.into_iter();
    candidates.find(|directory| directory.join("manifest.json").is_file())
}

/// Bytes and what must come of them.
struct Sample {
    name: String,
    wire: Vec<u8>,
    /// Up to the end of the last record of a whole hello.
    hello_len: Option<usize>,
    expect: Expect,
}

#[derive(Debug, PartialEq)]
enum Expect {
    Route(String),
    Refusal(Outcome),
    Incomplete,
}

impl Sample {
    fn of_corpus(corpus: &Path, entry: &Value) -> Self {
        let name = entry["file"].as_str().unwrap().to_owned();
        let wire = std::fs::read(corpus.join(&name)).unwrap();
        let digest = Sha256::digest(&wire);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, entry["sha256"].as_str().unwrap(), "{name}");

        let expect = &entry["expect"];
        let expect = match expect["result"].as_str().unwrap() {
            "sni" => Expect::Route(expect["route_key"].as_str().unwrap().to_owned()),
            "no_sni" => Expect::Refusal(Outcome::NoSni),
            "bad_name" => Expect::Refusal(Outcome::BadServerName),
            "malformed" => Expect::Refusal(Outcome::HelloMalformed),
            "too_large" => Expect::Refusal(Outcome::HelloTooLarge),
            "not_tls" => Expect::Refusal(Outcome::NotTls),
            "incomplete" => Expect::Incomplete,
            other => panic!("{name}: unknown result {other}"),
        };
        let hello_len = entry["hello_len"].as_u64();
        Self {
            name,
            wire,
            hello_len: hello_len.map(|len| usize::try_from(len).unwrap()),
            expect,
        }
    }

    fn of_vector(vector: vectors::Vector) -> Self {
        let in_whole_records = !matches!(
            vector.class,
            VectorClass::Record | VectorClass::NotTls | VectorClass::CutShort
        );
        let fits = vector.expect != Err(Outcome::HelloTooLarge);
        let expect = match vector.expect {
            Ok(route) => Expect::Route(route),
            Err(Outcome::ClientGoneBeforeHello) => Expect::Incomplete,
            Err(outcome) => Expect::Refusal(outcome),
        };
        Self {
            name: vector.name.to_owned(),
            hello_len: (in_whole_records && fits).then_some(vector.hello_len),
            wire: vector.bytes,
            expect,
        }
    }

    /// At every split over segments, and over records where the hello is whole.
    fn holds(&self) {
        self.holds_in_segments();
        let Some(hello_len) = self.hello_len else {
            return;
        };
        let (hello, rest) = self.wire.split_at(hello_len);
        let message = message_of(hello);
        let step = 1 + message.len() / 4096;
        let small = (1..=64).step_by(step);
        let larger = [
            65, 100, 127, 255, 256, 512, 1000, 1369, 4096, 16_383, 16_384,
        ];
        for record_len in small.chain(larger) {
            let recut = records([3, 1], &message, record_len);
            let hello_len = recut.len();
            let wire = [&recut, rest].concat();
            let verdict = whole(&wire, MAX_SIZE);
            self.check(
                &verdict,
                Some(hello_len),
                &format!("in records of {record_len}"),
            );
            if matches!(record_len, 1 | 5 | 64) {
                let verdict = in_pieces(&wire, MAX_SIZE, 1..wire.len());
                let how = format!("byte by byte in records of {record_len}");
                self.check(&verdict, Some(hello_len), &how);
            }
        }
    }

    fn holds_in_segments(&self) {
        let wire = &self.wire;
        let verdict = whole(wire, MAX_SIZE);
        self.check(&verdict, self.hello_len, "whole");

        let verdict = in_pieces(wire, MAX_SIZE, 1..wire.len());
        self.check(&verdict, self.hello_len, "byte by byte");

        // At every offset, but for the project's own hellos of some 64 KiB: at 50 of theirs.
        let step = if wire.len() < 32 * 1024 {
            1
        } else {
            wire.len() / 50
        };
        let tested = |offset: &usize| *offset < 20 || offset.is_multiple_of(step);
        for offset in (1..wire.len()).filter(tested) {
            let verdict = in_pieces(wire, MAX_SIZE, [offset]);
            self.check(&verdict, self.hello_len, &format!("split at {offset}"));
        }
    }

    fn check(&self, verdict: &Verdict, hello_len: Option<usize>, how: &str) {
        let got = match verdict {
            Verdict::Incomplete => Expect::Incomplete,
            Verdict::Routed { name, .. } => Expect::Route(name.clone()),
            Verdict::Refused(outcome, _) => Expect::Refusal(*outcome),
        };
        assert_eq!(got, self.expect, "{} {how}: {verdict:?}", self.name);
        if let Verdict::Routed { wire_len, .. } = verdict {
            assert_eq!(Some(*wire_len), hello_len, "{} {how}", self.name);
        }
    }
}

/// The handshake bytes of whole records.
fn message_of(mut wire: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = wire {
        let (fragment, next) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend_from_slice(fragment);
        wire = next;
    }
    message
}
