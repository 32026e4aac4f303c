//! The vectors of `hello-corpus/` and the project's own in one form.
//!
//! The corpus lies beside the project, never in it. In CI (`CI` is set) it must be found.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use strait::client_hello::vectors::{self, VectorClass};
use strait::outcome::Outcome;

/// Bytes and what must come of them.
pub struct Sample {
    pub name: String,
    pub wire: Vec<u8>,
    /// Up to the end of the last record of a whole hello.
    pub hello_len: Option<usize>,
    pub expect: Expect,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    Route(String),
    Refusal(Outcome),
    Incomplete,
}

/// Every vector of the corpus; none, with a warning, where it is missing outside of CI.
pub fn corpus() -> Vec<Sample> {
    let Some(corpus) = corpus_directory() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "hello-corpus not found; STRAIT_HELLO_CORPUS must say where it is"
        );
        eprintln!("WARNING: hello-corpus not found, its vectors are NOT tested; see CI");
        return Vec::new();
    };
    let manifest = std::fs::read_to_string(corpus.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let entries = manifest["vectors"].as_array().unwrap().iter();
    let over_tcp = entries.filter(|entry| entry["transport"] == "tcp");
    let samples: Vec<Sample> = over_tcp
        .map(|entry| Sample::of_corpus(&corpus, entry))
        .collect();
    assert!(samples.len() >= 200, "the corpus has shrunk");
    samples
}

/// Every vector of the project.
pub fn generated() -> Vec<Sample> {
    vectors::all().into_iter().map(Sample::of_vector).collect()
}

/// What STRAIT_HELLO_CORPUS says, if anything; else the directory beside the project.
fn corpus_directory() -> Option<PathBuf> {
    let directory = match std::env::var_os("STRAIT_HELLO_CORPUS") {
        Some(told) => PathBuf::from(told),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/hello-corpus"),
    };
    directory
        .join("manifest.json")
        .is_file()
        .then_some(directory)
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
}
