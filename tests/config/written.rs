//! The config file as `/config` writes it: in its own language, with the same meaning.

use std::fs;
use std::path::{Path, PathBuf};

use strait::config::{Config, ConfigSource};

use crate::config_feed;

fn written(yaml: &str, defaults: bool) -> String {
    let source = ConfigSource::new(Path::new("test.yaml"), yaml.as_bytes());
    source.to_yaml(defaults).unwrap()
}

#[track_caller]
fn config(yaml: &str) -> Config {
    Config::parse(yaml, "test.yaml").unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

const SMALL: &str = r#"
# A comment.
upstreams:
  svcb: &one
    endpoints: ["10.1.0.7:8443", { zone: eu-1a, address: "10.1.0.8:8443" }]
    slow_start: 10s
  second: { <<: *one, slow_start: off }
listeners:
  - bind: "[::]:15443"
    name: east-west
    allow_sources: [10.0.0.0/8]
    end_disallowed: 5s
    limits: {}
    routes:
      - { alpn: istio, upstream: svcb, service: "svcb.apps.svc.cluster.local:80" }
      - { upstream: second, sni: "*.b.example", alpn: [h2, http/1.1] }
takeover: false
"#;

#[test]
fn a_file_is_written_in_the_order_of_the_reference() {
    let expected = r#"listeners:
  - name: east-west
    bind: "[::]:15443"
    allow_sources: ["10.0.0.0/8"]
    end_disallowed: 5s
    limits: {}
    routes:
      - service: "svcb.apps.svc.cluster.local:80"
        alpn: istio
        upstream: svcb
      - sni: "*.b.example"
        alpn: [h2, http/1.1]
        upstream: second
upstreams:
  svcb:
    endpoints:
      - "10.1.0.7:8443"
      - address: "10.1.0.8:8443"
        zone: eu-1a
    slow_start: 10s
  second:
    endpoints:
      - "10.1.0.7:8443"
      - address: "10.1.0.8:8443"
        zone: eu-1a
    slow_start: off
takeover: false
"#;
    let plain = written(SMALL, false);
    assert_eq!(plain, expected);
    assert_eq!(config(&plain), config(SMALL));
    assert_eq!(written(&plain, false), plain, "written twice");
}

#[test]
fn defaults_are_comments_below_what_is_given() {
    let all = written(SMALL, true);
    assert_eq!(config(&all), config(SMALL));
    for lines in [
        "    slow_start: 10s\n    # dns: null\n    # connect:\n    #   timeout: 3s\n    #   attempts: 3\n",
        "        upstream: svcb\n        # name: null\n        # subsets: []\n        # plain_host: true\n",
        "takeover: false\n# workers: auto\n",
        "\n# admin:\n#   bind: \"127.0.0.1:15000\"\n",
        "        zone: eu-1a\n        # node: null\n        # weight: 100\n",
        "    limits: {}\n      # connections: off\n",
    ] {
        assert!(all.contains(lines), "no {lines:?} in\n{all}");
    }
}

/// A default that is written down as such changes nothing.
#[test]
fn the_comments_are_keys_that_can_be_set() {
    let file = r#"
listeners:
  - name: east-west
    bind: "[::]:15443"
    routes: [{ service: "svcb.apps.svc.cluster.local:80", alpn: istio, upstream: svcb }]
upstreams: { svcb: { endpoints: [{ address: "10.1.0.8:8443" }] }, spire: { dns: { name: "spire.test:1" } } }
kubernetes: { export: { mode: selected, namespaces: [apps] }, gateway_api: { class: a, namespaces: all } }
"#;
    let all = written(file, true);
    let set: Vec<String> = all.lines().map(|line| line.replacen("# ", "", 1)).collect();
    let set = set.join("\n");
    assert!(set.lines().count() > 150 && !set.contains('#'), "{set}");
    assert_eq!(config(&set), config(file), "{set}");
}

#[test]
fn every_config_of_the_repository_means_the_same_when_it_is_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![
        root.join("config/strait.yaml"),
        root.join("src/cli/init.yaml"),
    ];
    collect(&root.join("config/kubernetes"), &mut files);
    collect(&root.join("config/federation"), &mut files);
    let mut checked = 0;
    for path in files {
        let text = fs::read(&path).unwrap();
        checked += usize::from(config_feed::check(&text));
    }
    assert!(checked >= 4, "only {checked} configs were found");
}

/// The files `strait.yaml` in a folder and below.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.file_name().is_some_and(|name| name == "strait.yaml") {
            files.push(path);
        }
    }
}
