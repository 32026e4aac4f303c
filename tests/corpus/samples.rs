//! The vectors of the hello corpus and the project's own in one form, and the tests of both.
//!
//! The corpus is not part of the repository: `STRAIT_HELLO_CORPUS` names its folder. Without the variable its
//! tests are ignored, which the test command counts as skipped. With it, and in CI (`CI` is set) in any case, a
//! corpus that is missing is a failure.

use std::env;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
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

/// `test` on the corpus and on the project's own vectors, as two tests named after what it shows.
pub fn trials(name: &str, test: fn(&[Sample])) -> Vec<Trial> {
    let named = env::var_os("STRAIT_HELLO_CORPUS").filter(|named| !named.is_empty());
    let named = named.map(PathBuf::from);
    let skipped = named.is_none() && env::var_os("CI").is_none();
    let of_corpus = Trial::test(format!("corpus_{name}"), move || {
        let folder = named.ok_or("STRAIT_HELLO_CORPUS does not name the corpus, and CI is set")?;
        test(&corpus(&folder));
        Ok(())
    });
    let of_project = Trial::test(format!("generated_{name}"), move || {
        test(&generated());
        Ok(())
    });
    vec![of_corpus.with_ignored_flag(skipped), of_project]
}

/// Every vector of the corpus in `folder`.
fn corpus(folder: &Path) -> Vec<Sample> {
    let manifest = folder.join("manifest.json");
    let manifest = std::fs::read_to_string(&manifest)
        .unwrap_or_else(|error| panic!("STRAIT_HELLO_CORPUS: {}: {error}", manifest.display()));
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let entries = manifest["vectors"].as_array().unwrap().iter();
    let over_tcp = entries.filter(|entry| entry["transport"] == "tcp");
    let samples: Vec<Sample> = over_tcp
        .map(|entry| Sample::of_corpus(folder, entry))
        .collect();
    assert!(samples.len() >= 200, "the corpus has shrunk");
    samples
}

/// Every vector of the project.
fn generated() -> Vec<Sample> {
    vectors::all().into_iter().map(Sample::of_vector).collect()
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
