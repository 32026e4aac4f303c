//! The JSON Schema of the config, judged by a validator that others wrote.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use strait::config::{Config, reference};

use crate::manifests::tool;

/// Reads a schema and documents in YAML, and prints for each the problem that the schema has with it.
const JUDGE: &str = "
import json, sys, yaml, jsonschema
given = json.load(sys.stdin)
judge = jsonschema.Draft202012Validator
judge.check_schema(given['schema'])
judge = judge(given['schema'])
class Loader(yaml.SafeLoader):
    pass
# `off` is a word in YAML 1.2.
Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != 'tag:yaml.org,2002:bool']
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
import re
Loader.add_implicit_resolver('tag:yaml.org,2002:bool', re.compile('^(true|false)$'), list('tf'))
def problem(text):
    for error in judge.iter_errors(yaml.load(text, Loader)):
        return error.message[:300]
print(json.dumps([problem(text) for text in given['documents']]))
";

fn problems(documents: &[String]) -> Vec<Option<String>> {
    let mut command = Command::new(tool("bin/python"));
    command
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let started = command.spawn();
    let mut child = started.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; start this test with tests/run, which installs what it needs")
    });
    let question = json!({ "schema": reference::schema(), "documents": documents });
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(question.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn with(route: &str, upstream: &str) -> String {
    format!(
        "listeners:
  - name: a
    bind: '127.0.0.1:0'
    routes: [{{ alpn: istio, upstream: b, {route} }}]
upstreams: {{ b: {{ {upstream} }} }}
"
    )
}

/// The schema and the loader agree about what must be given exactly once.
#[test]
fn the_schema_and_the_loader_agree_on_keys_of_which_one_is_given() {
    let fixed = "endpoints: ['127.0.0.1:1']";
    let named = "sni: a.example";
    let documents: Vec<String> = [
        (named, fixed),
        ("service: 'a.b:80'", fixed),
        ("no_sni: true", fixed),
        ("service: 'a.b:80', no_sni: false, sni: null", fixed),
        (named, "dns: 'a.example:1'"),
        (named, "dns: { name: 'a.example:1' }, endpoints: null"),
        (named, "dns: { srv: _a._tcp.example, name: null }"),
        ("name: a", fixed),
        ("no_sni: false", fixed),
        ("service: 'a.b:80', sni: a.example", fixed),
        ("service: 'a.b:80', no_sni: true", fixed),
        ("sni: a.example, no_sni: true", fixed),
        (named, "slow_start: off"),
        (named, "endpoints: ['127.0.0.1:1'], dns: 'a.example:1'"),
        (named, "dns: { min_ttl: 5s }"),
        (named, "dns: { name: 'a.example:1', srv: _a._tcp.example }"),
    ]
    .map(|(route, upstream)| with(route, upstream))
    .into();
    let judged = problems(&documents);
    assert_eq!(judged.len(), documents.len());
    for (index, (document, problem)) in documents.iter().zip(&judged).enumerate() {
        let loaded = Config::parse(document, "a case");
        assert_eq!(loaded.is_ok(), index < 7, "{document}: {loaded:?}");
        assert_eq!(problem.is_none(), index < 7, "{document}: {problem:?}");
    }
}

#[test]
fn the_schema_accepts_what_ships() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        "config/strait.yaml",
        "config/kubernetes/base/strait.yaml",
        "config/kubernetes/istio/strait.yaml",
        "src/cli/init.yaml",
    ];
    let read = |file: &&str| std::fs::read_to_string(root.join(file)).unwrap();
    let documents: Vec<String> = files.iter().map(read).collect();
    for (file, problem) in files.iter().zip(problems(&documents)) {
        assert_eq!(problem, None, "{file}");
    }
}
