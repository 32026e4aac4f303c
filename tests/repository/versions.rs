//! The table of the versions that strait was run with: it is made from the places where they are pinned.

use std::fs;
use std::path::Path;

use crate::docs::{assert_section, cell, table};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The word after `before`, in the first line that has it.
#[track_caller]
fn pinned(text: &str, before: &str) -> String {
    let rest = text.lines().find_map(|line| line.split_once(before));
    let (_, rest) = rest.unwrap_or_else(|| panic!("nothing is pinned as {before:?}"));
    let word = rest.split_whitespace().next().unwrap();
    word.trim_start_matches('v').to_owned()
}

/// The day and the commit of a version that Go has made for a commit without a tag.
fn commit(version: &str) -> String {
    let [.., time, hash] = version.split('-').collect::<Vec<_>>()[..] else {
        panic!("{version}");
    };
    let day = time.split('.').next_back().unwrap();
    let [year, month, day] = [&day[..4], &day[4..6], &day[6..8]];
    format!("commit {hash} of {year}-{month}-{day}")
}

/// Each version of istiod that the oracle asks.
fn istiods() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/istiod");
    let folders = fs::read_dir(folder).unwrap();
    let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    let version = |name: &String| {
        let module = read(&format!("tests/cluster/istiod/{name}/go.mod"));
        format!("{name} ({})", commit(&pinned(&module, "istio.io/istio ")))
    };
    names.iter().map(version).collect()
}

#[test]
fn the_page_lists_the_versions_that_the_tests_run_with() {
    let run = read("tests/run");
    let cluster = read("tests/cluster/go.mod");
    let kube = read("tests/cluster/kube/go.mod");
    let spire = read("tests/federation/spire/go.mod");
    let servers = read("tests/federation/servers/go.mod");
    let module = "github.com/spiffe/spire ";
    assert_eq!(
        pinned(&servers, module),
        pinned(&spire, module),
        "SPIRE's own programs, and the one with its code"
    );
    let schemas = pinned(&run, "schema_versions=(");
    let (_, rest) = run.split_once("schema_versions=(").unwrap();
    let newest = rest
        .split(')')
        .next()
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap();
    let rows = [
        (
            "Kubernetes: API server, controller manager, etcd",
            pinned(&kube, "\tk8s.io/kubernetes "),
            "tests/cluster",
        ),
        (
            "Kubernetes: the schemas of its objects",
            format!("{schemas} and {newest}"),
            "manifests and chart",
        ),
        ("kubectl", pinned(&run, "kubectl_version="), "manifests"),
        ("Helm", pinned(&run, "helm_version="), "the chart"),
        (
            "Gateway API: CRDs and conformance suite",
            pinned(&cluster, "\tsigs.k8s.io/gateway-api/conformance "),
            "tests/cluster",
        ),
        (
            "Multi-Cluster Services API",
            pinned(&cluster, "\tsigs.k8s.io/mcs-api "),
            "tests/cluster",
        ),
        (
            "Istio: istiod",
            istiods().join(", "),
            "its answers, compared with strait's",
        ),
        (
            "Istio: CRDs",
            commit(&pinned(&cluster, "\tistio.io/api ")),
            "tests/cluster",
        ),
        (
            "Envoy",
            pinned(&run, "envoy_version="),
            "sidecars, clients, servers",
        ),
        (
            "SPIRE: authority, bundle endpoint, bundle client, SDS",
            pinned(&spire, "\tgithub.com/spiffe/spire "),
            "tests/federation, as a library",
        ),
        (
            "Go's crypto/tls",
            pinned(&run, "go_version="),
            "clients and servers",
        ),
        (
            "Java",
            pinned(&run, "java_version="),
            "clients and servers, by `tests/run --field-long`",
        ),
        (
            "PostgreSQL",
            pinned(&run, "postgres_version="),
            "server, by `tests/run --field-long`",
        ),
    ];
    let rows = rows.map(|(what, version, place)| [cell(what), cell(&version), cell(place)]);
    let table = table(["Program or format", "Version", "Where"], rows.into_iter());
    assert_section("docs/src/operate/versions.md", "versions", &table);
}

#[test]
fn a_version_of_a_commit_is_read() {
    let version = "1.31.0-rc.0.0.20260824154656-b943409680a7";
    assert_eq!(commit(version), "commit b943409680a7 of 2026-08-24");
    assert_eq!(
        commit("0.0.0-20260826214018-9739e10eb9d7"),
        "commit 9739e10eb9d7 of 2026-08-26"
    );
    assert_eq!(pinned("a\n\tx/y v1.2.3 // indirect\n", "\tx/y "), "1.2.3");
}
