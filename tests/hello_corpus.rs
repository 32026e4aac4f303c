//! Every vector, the project's own and those of `hello-corpus`, however the bytes are cut.
//!
//! The corpus lies beside the project, not in it. It is looked for at `STRAIT_HELLO_CORPUS`, then
//! at `../shared/hello-corpus`, then at `/work/shared/hello-corpus`; without it the test fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use strait::client_hello::vectors::{MAX_SIZE, records, vectors};
use strait::client_hello::{HelloParser, Progress};
use strait::outcome::Outcome;

const RECORD_HEADER: usize = 5;
/// Up to this length a vector is split at every offset; beyond, parsing it that often would cost
/// the square of its length.
const SPLIT_EVERYWHERE: usize = 4096;
const SPLITS_OF_LONG_VECTORS: usize = 64;

/// What a parser that was shown all the bytes says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Routed { name: String, wire_len: usize },
    Refused(Outcome),
    Incomplete,
}

/// Shows `bytes` to a new parser up to each of `cuts`, then whole.
fn judge(bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Verdict {
    let mut parser = HelloParser::new(MAX_SIZE);
    for end in cuts.into_iter().chain([bytes.len()]) {
        let verdict = match parser.parse(&bytes[..end]) {
            Ok(Progress::Incomplete) => continue,
            Ok(Progress::Complete(hello)) => Verdict::Routed {
                name: hello.server_name.as_str().to_owned(),
                wire_len: hello.wire_len,
            },
            Err(error) => Verdict::Refused(error.outcome()),
        };
        assert!(parser.buffered() <= MAX_SIZE.min(2 * end));
        return verdict;
    }
    Verdict::Incomplete
}

/// The verdict must not depend on how the bytes arrive.
fn check_splits(name: &str, bytes: &[u8], expected: &Verdict) {
    assert_eq!(judge(bytes, []), *expected, "{name}, whole");
    let every_byte = judge(bytes, 1..bytes.len());
    assert_eq!(every_byte, *expected, "{name}, byte by byte");

    let step = match bytes.len() {
        0..=SPLIT_EVERYWHERE => 1,
        long => long / SPLITS_OF_LONG_VECTORS,
    };
    // A long vector's first bytes are its headers: there, too, every offset.
    let sampled = (0..bytes.len()).step_by(step);
    let offsets: BTreeSet<usize> = (0..bytes.len().min(20)).chain(sampled).collect();
    for offset in offsets {
        let verdict = judge(bytes, [offset]);
        assert_eq!(verdict, *expected, "{name}, split at {offset}");
    }
}

/// A well-formed hello gives the same result in records of any size, with what follows it intact.
fn check_records(name: &str, bytes: &[u8], hello_len: usize, expected: &Verdict) {
    let (hello, after) = bytes.split_at(hello_len);
    let message = message_of(hello);
    for size in (1..=64).chain([100, 1000, 16_384]) {
        let mut wire = records(&message, size);
        let recut = match expected {
            Verdict::Routed { name, .. } => Verdict::Routed {
                name: name.clone(),
                wire_len: wire.len(),
            },
            other => other.clone(),
        };
        wire.extend_from_slice(after);
        assert_eq!(judge(&wire, []), recut, "{name}, records of {size}");
        if [1, 2, 3, 5, 64].contains(&size) && wire.len() <= SPLIT_EVERYWHERE {
            let every_byte = judge(&wire, 1..wire.len());
            assert_eq!(every_byte, recut, "{name}, records of {size}, byte by byte");
        }
    }
}

/// The records' fragments, strung together.
fn message_of(mut wire: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = wire {
        let (fragment, next) = rest.split_at(u16::from_be_bytes([*high, *low]).into());
        message.extend_from_slice(fragment);
        wire = next;
    }
    message
}

/// Bytes of the wire up to the end of the record that completes the message: a second opinion to
/// the parser's, for wires that start with a whole hello.
fn hello_len_of(wire: &[u8]) -> usize {
    let (mut end, mut message) = (0, Vec::new());
    loop {
        let length = usize::from(u16::from_be_bytes([wire[end + 3], wire[end + 4]]));
        let start = end + RECORD_HEADER;
        end = start + length;
        message.extend_from_slice(&wire[start..end]);
        if let [1, a, b, c, body @ ..] = message.as_slice()
            && body.len() >= u32::from_be_bytes([0, *a, *b, *c]) as usize
        {
            return end;
        }
    }
}

#[test]
fn own_vectors_give_their_result_however_they_are_cut() {
    for vector in vectors() {
        let expected = match vector.expect {
            Ok(name) => Verdict::Routed {
                name,
                wire_len: hello_len_of(&vector.bytes),
            },
            Err(outcome) => Verdict::Refused(outcome),
        };
        check_splits(vector.name, &vector.bytes, &expected);
        if well_formed(&expected) {
            let hello_len = hello_len_of(&vector.bytes);
            check_records(vector.name, &vector.bytes, hello_len, &expected);
        }
    }
}

/// Whether the hello's form is valid, so that other records around it keep it so.
fn well_formed(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Routed { .. } | Verdict::Refused(Outcome::NoSni | Outcome::BadServerName)
    )
}

#[derive(Deserialize)]
struct Manifest {
    vectors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    bytes: usize,
    sha256: String,
    transport: String,
    expect: Expectation,
    hello_len: Option<usize>,
}

#[derive(Deserialize)]
struct Expectation {
    result: String,
    route_key: Option<String>,
}

impl Entry {
    fn verdict(&self) -> Verdict {
        let refusal = match self.expect.result.as_str() {
            "sni" => {
                return Verdict::Routed {
                    name: self.expect.route_key.clone().expect("a route_key"),
                    wire_len: self.hello_len.expect("a hello_len"),
                };
            }
            "incomplete" => return Verdict::Incomplete,
            "no_sni" => Outcome::NoSni,
            "bad_name" => Outcome::BadServerName,
            "malformed" => Outcome::HelloMalformed,
            "not_tls" => Outcome::NotTls,
            "too_large" => Outcome::HelloTooLarge,
            other => panic!("{}: unknown result {other:?}", self.file),
        };
        Verdict::Refused(refusal)
    }
}

fn corpus() -> PathBuf {
    let candidates = match std::env::var_os("STRAIT_HELLO_CORPUS") {
        Some(path) => vec![PathBuf::from(path)],
        None => vec![
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/hello-corpus"),
            PathBuf::from("/work/shared/hello-corpus"),
        ],
    };
    let found = candidates
        .iter()
        .find(|dir| dir.join("manifest.json").is_file());
    found.cloned().unwrap_or_else(|| {
        panic!(
            "no manifest.json in any of {candidates:?}: set STRAIT_HELLO_CORPUS to the directory \
             hello-corpus, which lies beside the project"
        )
    })
}

#[test]
fn corpus_vectors_give_their_manifest_result_however_they_are_cut() {
    let corpus = corpus();
    let manifest = std::fs::read(corpus.join("manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    let mut checked = 0;
    for entry in manifest
        .vectors
        .iter()
        .filter(|entry| entry.transport == "tcp")
    {
        let bytes = std::fs::read(corpus.join(&entry.file)).unwrap();
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(digest, entry.sha256, "{}", entry.file);
        assert_eq!(bytes.len(), entry.bytes, "{}", entry.file);

        let expected = entry.verdict();
        check_splits(&entry.file, &bytes, &expected);
        if well_formed(&expected) {
            let hello_len = entry.hello_len.expect("a hello_len");
            assert_eq!(hello_len, hello_len_of(&bytes), "{}", entry.file);
            check_records(&entry.file, &bytes, hello_len, &expected);
        }
        checked += 1;
    }
    assert!(
        checked > 200,
        "only {checked} vectors in {}",
        corpus.display()
    );
}
