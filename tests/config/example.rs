//! The files that ship with the config: the example, the JSON Schema and the reference.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_json::Value as Json;
use strait::config::{Config, Loaded, Machine, Problem, reference};

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

fn machine() -> Machine {
    Machine {
        cpus: NonZeroUsize::new(4).unwrap(),
        zone: None,
        node: None,
        interfaces: Vec::new(),
    }
}

fn parse(yaml: &str) -> Loaded {
    Loaded::parse(yaml.as_bytes(), "test.yaml", &machine())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The content of the example, without the values that it marks as defaults.
const WITHOUT_DEFAULTS: &str = r#"
sources: [{ name: alpha, cidrs: [10.0.0.0/8, "fd00:a::/32"] }]
listeners:
  - name: east-west
    bind: "[::]:15443"
    allow_sources: [alpha]
    deny_sources: [10.9.0.0/16]
    routes:
      - { service: "svcb.apps.svc.cluster.local:80", subsets: [v1], alpn: istio, upstream: svcb }
      - name: svcb-grpc
        service: svcb.apps.svc.cluster.local:9090
        plain_host: false
        alpn: istio
        upstream: svcb-grpc
      - { sni: spire.bundles.beta.com, alpn: any, upstream: spire }
upstreams:
  svcb: { endpoints: ["10.1.0.7:8443", { address: "10.1.0.8:8443", zone: eu-west-1a, node: node-7 }] }
  svcb-grpc: { dns: { srv: _grpc._tcp.svcb-headless.apps.svc.cluster.local } }
  spire: { dns: "spire-server.spire.svc.cluster.local:8443" }
zone: eu-west-1a
"#;

#[test]
fn the_example_says_what_it_marks_as_default() {
    let loaded = Loaded::load(&shipped("strait.yaml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings, Vec::<Problem>::new());
    let mut plain = Config::clone(&parse(WITHOUT_DEFAULTS).config);
    plain.workers = loaded.config.workers;
    assert_eq!(*loaded.config, plain);
}

/// Every key of the schema is in the example, so that it stays complete.
#[test]
fn the_example_has_every_key() {
    let example = fs::read_to_string(shipped("strait.yaml")).unwrap();
    let schema = reference::schema();
    for (section, definition) in schema["$defs"].as_object().unwrap() {
        // An address and a name stand for these sections in the example as well.
        let definition = definition.get("anyOf").map_or(definition, |any| &any[1]);
        for key in definition["properties"].as_object().unwrap().keys() {
            let found =
                example.contains(&format!("{key}:")) || (section == "DnsFile" && key == "name");
            assert!(found, "{section}.{key}");
        }
    }
}

#[test]
fn the_schema_is_up_to_date() {
    let generated = serde_json::to_string_pretty(&reference::schema()).unwrap() + "\n";
    let path = shipped("strait.schema.json");
    if std::env::var_os("STRAIT_BLESS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let shipped = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        shipped == generated,
        "strait.schema.json is stale: STRAIT_BLESS=1 cargo test --test config example"
    );
}

#[test]
fn every_reference_in_the_schema_leads_somewhere() {
    let schema = reference::schema();
    let mut found = 0;
    let mut left = vec![&schema];
    while let Some(json) = left.pop() {
        match json {
            Json::Object(entries) => {
                if let Some(Json::String(target)) = entries.get("$ref") {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(schema.pointer(pointer).is_some(), "{target}");
                    found += 1;
                }
                left.extend(entries.values());
            }
            Json::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(found > 10, "{found} references");
}

#[test]
fn the_smallest_file_needs_traffic_only() {
    let config = parse("listeners: [{ name: a, bind: \"127.0.0.1:0\" }]").config;
    assert_eq!(config.workers.get(), 4);
    let dump = serde_json::to_value(&config).unwrap();
    for (pointer, value) in [
        ("/zone", Json::Null),
        ("/listeners/0/client_hello/timeout", "5s".into()),
        ("/listeners/0/client_hello/max_size", 65536.into()),
        ("/listeners/0/timeouts/idle", "1h".into()),
        ("/listeners/0/source_policy/allow", Json::Null),
        ("/drain/window", "20s".into()),
        ("/access_log/format", "json".into()),
        ("/access_log/queue", 16384.into()),
        ("/log/level", "info".into()),
        ("/admin", "127.0.0.1:15000".into()),
        ("/status", "[::]:15021".into()),
        ("/metrics", "[::]:15090".into()),
    ] {
        assert_eq!(dump.pointer(pointer), Some(&value), "{pointer}");
    }
}

#[test]
fn the_dump_reads_like_the_file() {
    let dump = serde_json::to_value(parse(WITHOUT_DEFAULTS).config).unwrap();
    for (pointer, value) in [
        (
            "/listeners/0/routes/0/name",
            "svcb.apps.svc.cluster.local:80".into(),
        ),
        ("/listeners/0/routes/0/alpn", "istio".into()),
        ("/listeners/0/routes/0/matches/service/port", 80.into()),
        ("/listeners/0/routes/2/alpn", "any".into()),
        (
            "/listeners/0/routes/2/matches/sni",
            "spire.bundles.beta.com".into(),
        ),
        ("/listeners/0/source_policy/deny/0", "10.9.0.0/16".into()),
        (
            "/upstreams/svcb/source/static/0/address",
            "10.1.0.7:8443".into(),
        ),
        (
            "/upstreams/spire/source/dns/query/address/port",
            Json::from(8443),
        ),
        ("/upstreams/spire/source/dns/max_ttl", "5m".into()),
    ] {
        assert_eq!(dump.pointer(pointer), Some(&value), "{pointer}");
    }
}

#[test]
fn what_is_off_is_off_however_it_is_spelled() {
    let config = parse(
        "listeners: [{ name: a, bind: \"127.0.0.1:0\" }]
admin: off
status: false
metrics: \"off\"
access_log: { format: off }
",
    )
    .config;
    assert_eq!(
        (config.admin, config.status, config.metrics),
        (None, None, None)
    );
    assert_eq!(config.access_log.format, None);
}

#[test]
fn names_are_normalised_and_anchors_work() {
    let config = parse(
        r#"
listeners:
  - name: a
    bind: "127.0.0.1:0"
    tcp: &tcp { keepalive_time: 30s }
    routes:
      - { service: "SVCB.Apps.:80", subsets: [V1], alpn: any, upstream: b }
      - { sni: "*.Example.COM.", alpn: [h2, http/1.1], upstream: b }
upstreams:
  b: { dns: "B.example:1", tcp: { <<: *tcp, keepalive_probes: 3 } }
"#,
    )
    .config;
    let names: Vec<&str> = config.listeners[0]
        .routes
        .own()
        .iter()
        .map(|route| &*route.name)
        .collect();
    assert_eq!(names, ["svcb.apps:80", "*.example.com"]);
    let tcp = config.upstreams["b"].tcp;
    assert_eq!(
        (tcp.keepalive_time.get().as_secs(), tcp.keepalive_probes),
        (30, 3)
    );
}

#[test]
fn the_environment_names_the_zone_unless_the_file_does() {
    let file = "listeners: [{ name: a, bind: \"127.0.0.1:0\" }]\n";
    let machine = |zone: &str| Machine {
        zone: Some(zone.to_owned()),
        ..machine()
    };
    let zone = |file: &str, env: &str| {
        Loaded::parse(file.as_bytes(), "f", &machine(env)).map(|loaded| loaded.config.zone.clone())
    };
    assert_eq!(zone(file, "a").unwrap().as_deref(), Some("a"));
    assert_eq!(
        zone(&format!("{file}zone: b"), "a").unwrap().as_deref(),
        Some("b")
    );
    let error = zone(file, "a b").unwrap_err().to_string();
    assert!(
        error.starts_with("f: STRAIT_ZONE: the name \"a b\" holds ' '"),
        "{error}"
    );
}

#[test]
fn config_parse_is_the_same_without_the_warnings() {
    let config = Config::parse(WITHOUT_DEFAULTS, "test.yaml").unwrap();
    let mut loaded = Config::clone(&parse(WITHOUT_DEFAULTS).config);
    loaded.workers = config.workers;
    assert_eq!(config, loaded);
}
