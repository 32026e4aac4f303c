//! The loader's problems of broken files: line, key, fault and remedy.

use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;
use strait::config::{ConfigError, Loaded, MAX_FILE, Machine, Problem};

fn load(bytes: &[u8]) -> Result<Loaded, ConfigError> {
    let machine = Machine {
        cpus: NonZeroUsize::MIN,
        zone: None,
        node: None,
        interfaces: Vec::new(),
    };
    Loaded::parse(bytes, "strait.yaml", &machine)
}

/// Whether one problem is at `line` and `key` and says `message`; if `remedy` is not empty, also
/// what to do.
fn said(problems: &[Problem], (line, key, message, remedy): (u64, &str, &str, &str)) -> bool {
    problems.iter().any(|problem| {
        problem.line == line
            && problem.key == key
            && problem.message.contains(message)
            && problem
                .remedy
                .as_deref()
                .unwrap_or_default()
                .contains(remedy)
    })
}

type Expected<'a> = (u64, &'a str, &'a str, &'a str);

/// Each file has this one problem, no more: one mistake must not look like two.
fn check(cases: &[(&str, Expected<'_>)]) {
    for (yaml, expected) in cases {
        let Err(error) = load(yaml.as_bytes()) else {
            panic!("accepted:\n{yaml}")
        };
        assert!(
            said(&error.problems, *expected),
            "{expected:?} not in\n{error}\n{yaml}"
        );
        assert_eq!(error.problems.len(), 1, "{error}\n{yaml}");
    }
}

/// A good file with `line` added as its line 8.
fn with_listener_line(line: &str) -> String {
    format!(
        "upstreams:
  svcb: {{ endpoints: [\"10.1.0.7:8443\"] }}
  svca: {{ dns: \"a.example:1\" }}
sources: [{{ name: alpha, cidrs: [10.0.0.0/8] }}]
listeners:
- name: in
  bind: \"[::]:15443\"
  {line}
"
    )
}

/// A good file with `route` as the second route, on line 10.
fn with_route(route: &str) -> String {
    with_listener_line(&format!(
        "routes:\n  - {{ sni: a.example, alpn: any, upstream: svca }}\n  - {route}"
    ))
}

/// A good file with `upstream` as another upstream, on line 8.
fn with_upstream(upstream: &str) -> String {
    format!(
        "listeners:
- name: in
  bind: \"[::]:15443\"
  routes:
  - {{ sni: a, alpn: any, upstream: svca }}
upstreams:
  svca: {{ dns: \"a.example:1\" }}
  new: {upstream}
"
    )
}

/// A good file with `line` at the top level, on line 2.
fn with_top_line(line: &str) -> String {
    format!("listeners: [{{ name: in, bind: \"[::]:15443\" }}]\n{line}\n")
}

fn check_made(make: fn(&str) -> String, cases: &[(&str, Expected<'_>)]) {
    for (part, expected) in cases {
        check(&[(&make(part), *expected)]);
    }
}

/// A good file with `keys` as the keys of its section `kubernetes`, from line 3 on.
fn with_kubernetes(keys: &str) -> String {
    with_top_line(&format!("kubernetes:\n  {}", keys.replace('\n', "\n  ")))
}

#[test]
fn kubernetes() {
    check_made(
        with_kubernetes,
        &[
            (
                "export: { mod: all }",
                (3, "kubernetes.export.mod", "unknown key", "\"mode\""),
            ),
            (
                "export: { mode: everything }",
                (
                    3,
                    "kubernetes.export.mode",
                    "unknown value",
                    "none, selected, all",
                ),
            ),
            (
                "export: { mode: selected }",
                (
                    3,
                    "kubernetes.export.mode",
                    "nothing is selected",
                    "write `all`",
                ),
            ),
            (
                "export: { mode: all, namespaces: [apps] }",
                (
                    3,
                    "kubernetes.export.namespaces[0]",
                    "`mode: selected` only",
                    "remove",
                ),
            ),
            (
                "export:\n  labels: { a: b }",
                (
                    4,
                    "kubernetes.export.labels",
                    "`mode: selected` only",
                    "set the mode",
                ),
            ),
            (
                "export: { opt_in: annotation }",
                (
                    3,
                    "kubernetes.export.opt_in",
                    "`mode: selected` only",
                    "set the mode",
                ),
            ),
            (
                "export: { mode: selected, namespaces: [apps, apps] }",
                (3, "kubernetes.export.namespaces[1]", "listed twice", ""),
            ),
            (
                "export: { mode: selected, namespaces: [Apps] }",
                (3, "kubernetes.export.namespaces[0]", "holds 'A'", "a-z0-9"),
            ),
            (
                "export: { mode: selected, ports: [0] }",
                (3, "kubernetes.export.ports[0]", "not a port", "1 to 65535"),
            ),
            (
                "export: { mode: selected, labels: { \"a/b/c\": d } }",
                (
                    3,
                    "kubernetes.export.labels[\"a/b/c\"]",
                    "holds '/'",
                    "label",
                ),
            ),
            (
                "export: { mode: all, listeners: [inn] }",
                (
                    3,
                    "kubernetes.export.listeners[0]",
                    "no listener is named \"inn\"",
                    "\"in\"",
                ),
            ),
            (
                "context: beta",
                (3, "kubernetes.context", "no `kubeconfig`", "name the file"),
            ),
            (
                "gateway_api: { address: \"[::]:15443\" }",
                (
                    3,
                    "kubernetes.gateway_api.address",
                    "not an IP address",
                    "without a port",
                ),
            ),
            (
                "gateway_api: { controller: strait }",
                (
                    3,
                    "kubernetes.gateway_api.controller",
                    "has no path",
                    "DOMAIN/PATH",
                ),
            ),
            (
                "gateway_api: { allow_sources: [alpha] }",
                (
                    3,
                    "kubernetes.gateway_api.allow_sources[0]",
                    "neither a CIDR nor a group",
                    "",
                ),
            ),
            (
                "gateway_api: { service: strait }",
                (
                    3,
                    "kubernetes.gateway_api.service",
                    "has no namespace",
                    "NAMESPACE/NAME",
                ),
            ),
            (
                "gateway_api: { service: a/b, addresses: [192.0.2.1] }",
                (
                    3,
                    "kubernetes.gateway_api.service",
                    "there are `addresses` too",
                    "keep one",
                ),
            ),
            (
                "gateway_api: { namespaces: apps }",
                (3, "kubernetes.gateway_api.namespaces", "a list", "apps"),
            ),
            (
                "gateway_api: { namespaces: [apps, apps] }",
                (
                    3,
                    "kubernetes.gateway_api.namespaces[1]",
                    "listed twice",
                    "",
                ),
            ),
            (
                "gateway_api: { ports: [9-8] }",
                (
                    3,
                    "kubernetes.gateway_api.ports[0]",
                    "nor a range",
                    "FIRST-LAST",
                ),
            ),
            (
                "ejection: { base: 10m }",
                (3, "kubernetes.ejection", "greater than `max`", ""),
            ),
        ],
    );
    check(&[
        (
            "listeners: []\nkubernetes: { export: { mode: all } }",
            (1, "listeners", "the list is empty", "gateway_api"),
        ),
        (
            "listeners: []\nkubernetes: { gateway_api: {} }",
            (
                1,
                "listeners",
                "a port that a Gateway may have",
                "gateway_api.ports",
            ),
        ),
        (
            "kubernetes: {}",
            (1, "listeners", "this key is required", ""),
        ),
    ]);
    let gateways_alone =
        load(b"listeners: []\nkubernetes: { gateway_api: { ports: [443, 8000-8010] } }").unwrap();
    assert!(
        gateways_alone.warnings.is_empty(),
        "{:?}",
        gateways_alone.warnings
    );
}

#[test]
fn no_config_at_all() {
    check(&[
        ("", (0, "", "the file is empty", "config/strait.yaml")),
        ("# only a comment\n", (0, "", "the file is empty", "")),
        (
            "just words",
            (
                1,
                "",
                "expected a section, found the text \"just words\"",
                "listeners",
            ),
        ),
        (
            "- a\n- b\n",
            (1, "", "expected a section, found a list", ""),
        ),
        ("workers: 1\n", (1, "listeners", "this key is required", "")),
        (
            "listeners: []\n",
            (1, "listeners", "the list is empty", "1 to 64"),
        ),
        (
            "listeners: 5\n",
            (1, "listeners", "expected a list, found the number 5", ""),
        ),
        (
            "listeners:\n\t- name: a\n",
            (2, "", "a tab indents this line", "spaces"),
        ),
        (
            "a: 1\n---\nb: 2\n",
            (3, "", "more than one YAML document", "remove"),
        ),
        ("a: [1, 2\n", (1, "", "not valid YAML", "")),
    ]);
}

#[test]
fn bytes_that_are_no_text_and_too_many_bytes() {
    let error = load(b"workers: 1\nzone: \xff\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "strait.yaml:2:7: the file is not UTF-8 text; save it as UTF-8"
    );
    let error = load(&vec![b'#'; MAX_FILE + 1]).unwrap_err();
    assert!(
        said(&error.problems, (0, "", "larger than 16 MiB", "")),
        "{error}"
    );
    assert!(
        load(&vec![b'#'; MAX_FILE])
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
}

#[test]
fn files_that_cannot_be_read() {
    let missing = std::path::Path::new("/nowhere/strait.yaml");
    let error = Loaded::load(missing).unwrap_err().to_string();
    assert!(
        error.starts_with("/nowhere/strait.yaml: cannot read this file: "),
        "{error}"
    );
    assert!(error.ends_with("; name the file with --config"), "{error}");
    let directory = Loaded::load(std::path::Path::new("/"))
        .unwrap_err()
        .to_string();
    assert!(
        directory.starts_with("/: cannot read this file: "),
        "{directory}"
    );
}

#[test]
fn keys() {
    check_made(
        with_top_line,
        &[
            (
                "worker: 1",
                (2, "worker", "unknown key", "did you mean \"workers\"?"),
            ),
            (
                "accessLog: {}",
                (
                    2,
                    "accessLog",
                    "unknown key",
                    "did you mean \"access_log\"?",
                ),
            ),
            (
                "max_size: 1KiB",
                (
                    2,
                    "max_size",
                    "unknown key",
                    "the keys here are: workers, busy_poll, zone",
                ),
            ),
            (
                "format: text",
                (
                    2,
                    "format",
                    "unknown key",
                    "it belongs below \"access_log\"",
                ),
            ),
            (
                "zone: a\nzone: b",
                (3, "zone", "given twice, first on line 2", "remove"),
            ),
            (
                "1: 2",
                (2, "", "expected a key, found the number 1", "in quotes"),
            ),
            (
                "drain: { windw: 5s }",
                (2, "drain.windw", "unknown key", "did you mean \"window\"?"),
            ),
        ],
    );
    check_made(
        with_route,
        &[(
            "{ sni: b, alpn: any, upstrem: svca, upstream: svca }",
            (
                10,
                "listeners[0].routes[1].upstrem",
                "unknown key",
                "did you mean \"upstream\"?",
            ),
        )],
    );
    check_made(
        with_upstream,
        &[(
            "{ dns: { nam: \"a:1\", name: \"a:1\" } }",
            (
                8,
                "upstreams.new.dns.nam",
                "unknown key",
                "did you mean \"name\"?",
            ),
        )],
    );
}

#[test]
fn types_and_bounds() {
    check_made(
        with_top_line,
        &[
            (
                "workers: 0",
                (2, "workers", "the number 0 is out of bounds", "1 to 1024"),
            ),
            (
                "workers: 1025",
                (2, "workers", "out of bounds", "1 to 1024"),
            ),
            (
                "workers: many",
                (
                    2,
                    "workers",
                    "expected a whole number, found the text \"many\"",
                    "",
                ),
            ),
            (
                "workers: \"4\"",
                (2, "workers", "expected a number", "without quotes"),
            ),
            (
                "drain: 5s",
                (
                    2,
                    "drain",
                    "expected a section, found the text \"5s\"",
                    "window",
                ),
            ),
            (
                "drain:",
                (2, "drain", "expected a section, found nothing", ""),
            ),
            (
                "drain: { window: 20 }",
                (2, "drain.window", "has no unit", "write 20s"),
            ),
            (
                "drain: { window: 2 days }",
                (2, "drain.window", "out of bounds", "0s to 1day"),
            ),
            (
                "drain: { window: soon }",
                (2, "drain.window", "is not a duration", "5s"),
            ),
            (
                "limits: { hello_memory: 64MB }",
                (
                    2,
                    "limits.hello_memory",
                    "is not a size",
                    "did you mean 64MiB?",
                ),
            ),
            (
                "limits: { hello_memory: 1048576 }",
                (2, "limits.hello_memory", "has no unit", "1048576B"),
            ),
            (
                "limits: { carry_memory: 1KiB }",
                (
                    2,
                    "limits.carry_memory",
                    "1KiB is out of bounds",
                    "64KiB to 64GiB",
                ),
            ),
            (
                "access_log: { format: jsno }",
                (
                    2,
                    "access_log.format",
                    "unknown value",
                    "did you mean \"json\"?",
                ),
            ),
            (
                "log: { level: inof }",
                (
                    2,
                    "log.level",
                    "unknown value \"inof\"",
                    "did you mean \"info\"?",
                ),
            ),
            (
                "log: { level: \"info,strait=loud\" }",
                (2, "log.level", "unknown value \"loud\"", "off, error"),
            ),
            ("zone: 1", (2, "zone", "found the number 1", "in quotes")),
            ("zone: \"a b\"", (2, "zone", "holds ' '", "1 to 63")),
            (
                "resolver: { servers: [10.0.0.10] }",
                (2, "resolver.servers[0]", "not ip:port", "10.0.0.10:PORT"),
            ),
            (
                "resolver: { servers: 10.0.0.10:53 }",
                (
                    2,
                    "resolver.servers",
                    "expected a list",
                    "[\"10.0.0.10:53\"]",
                ),
            ),
        ],
    );
    check_made(
        with_listener_line,
        &[
            (
                "client_hello: { timeout: 61s }",
                (
                    8,
                    "listeners[0].client_hello.timeout",
                    "1m 1s is out of bounds",
                    "100ms to 1m",
                ),
            ),
            (
                "client_hello: { max_size: 65KiB }",
                (
                    8,
                    "listeners[0].client_hello.max_size",
                    "65KiB is out of bounds",
                    "512B to 64KiB",
                ),
            ),
            (
                "timeouts: { idle: 8days }",
                (
                    8,
                    "listeners[0].timeouts.idle",
                    "out of bounds",
                    "1s to 7days",
                ),
            ),
            (
                "tcp: { keepalive_time: 1500ms }",
                (
                    8,
                    "listeners[0].tcp.keepalive_time",
                    "not whole seconds",
                    "",
                ),
            ),
        ],
    );
}

#[test]
fn addresses() {
    check(&[
        (
            "listeners:\n- name: a\n  bind: \":15443\"\n",
            (
                3,
                "listeners[0].bind",
                "\":15443\" is not ip:port",
                "\"[::]:15443\"",
            ),
        ),
        (
            "listeners:\n- name: a\n  bind: 15443\n",
            (3, "listeners[0].bind", "found the number 15443", ""),
        ),
        (
            "listeners:\n- name: a\n  bind: localhost:15443\n",
            (3, "listeners[0].bind", "is not ip:port", "[::]:15443"),
        ),
        (
            "listeners:\n- name: a\n  bind: [::]:15443\n",
            (3, "", "not valid YAML", "in quotes"),
        ),
        (
            "listeners:\n- { name: a, bind: \"0.0.0.0:1\" }\n- { name: b, bind: \"[::]:1\" }\n",
            (
                3,
                "listeners[1].bind",
                "[::]:1 is taken: listeners[0].bind (line 2)",
                "own port",
            ),
        ),
        (
            "listeners: [{ name: a, bind: \"[::]:15021\" }]\n",
            (
                1,
                "status.bind",
                "is taken: listeners[0].bind (line 1)",
                "own port",
            ),
        ),
    ]);
    check_made(
        with_upstream,
        &[
            (
                "{ endpoints: [\"svc.example:8443\"] }",
                (
                    8,
                    "upstreams.new.endpoints[0]",
                    "is a host name",
                    "write `dns: \"svc.example:8443\"`",
                ),
            ),
            (
                "{ endpoints: [\"10.1.0.7:0\"] }",
                (8, "upstreams.new.endpoints[0]", "port 0", ""),
            ),
            (
                "{ endpoints: [\"10.1.0.7\"] }",
                (
                    8,
                    "upstreams.new.endpoints[0]",
                    "not ip:port",
                    "10.1.0.7:PORT",
                ),
            ),
            (
                "{ endpoints: [\"fd00::1\"] }",
                (
                    8,
                    "upstreams.new.endpoints[0]",
                    "not ip:port",
                    "[fd00::1]:PORT",
                ),
            ),
            (
                "{ endpoints: [\"0.0.0.0:1\"] }",
                (8, "upstreams.new.endpoints[0]", "every address", ""),
            ),
            (
                "{ endpoints: [\"127.0.0.1:15443\"] }",
                (
                    8,
                    "upstreams.new.endpoints[0]",
                    "listeners[0].bind (line 3): a loop",
                    "",
                ),
            ),
            (
                "{ endpoints: [{ zone: a }] }",
                (
                    8,
                    "upstreams.new.endpoints[0].address",
                    "required",
                    "ip:port",
                ),
            ),
            (
                "{ endpoints: [\"10.0.0.1:1\", { address: \"10.0.0.1:1\" }] }",
                (
                    8,
                    "upstreams.new.endpoints[1].address",
                    "listed twice, first on line 8",
                    "weight",
                ),
            ),
            (
                "{ endpoints: [{ address: \"10.0.0.1:1\", weight: 0 }] }",
                (
                    8,
                    "upstreams.new.endpoints[0].weight",
                    "out of bounds",
                    "1 to 1000",
                ),
            ),
            (
                "{ endpoints: [{ address: \"10.0.0.1:1\", weight: 1001 }] }",
                (
                    8,
                    "upstreams.new.endpoints[0].weight",
                    "out of bounds",
                    "1 to 1000",
                ),
            ),
        ],
    );
}

#[test]
fn sources() {
    let groups = |groups: &str| with_top_line(&format!("sources:\n{groups}"));
    check(&[
        (
            &groups("- { name: other, cidrs: [10.0.0.0/8] }"),
            (3, "sources[0].name", "reserved", "another name"),
        ),
        (
            &groups("- { name: Alpha, cidrs: [10.0.0.0/8] }"),
            (3, "sources[0].name", "holds 'A'", "a-z0-9_-"),
        ),
        (
            &groups("- { name: a, cidrs: [] }"),
            (3, "sources[0].cidrs", "the list is empty", "1 to 1024"),
        ),
        (
            &groups("- { name: a, cidrs: [10.0.0.1/8] }"),
            (
                3,
                "sources[0].cidrs[0]",
                "beyond its prefix",
                "write the network 10.0.0.0/8",
            ),
        ),
        (
            &groups("- { name: a, cidrs: [10.0.0.1] }"),
            (3, "sources[0].cidrs[0]", "not a CIDR", "10.0.0.1/32"),
        ),
        (
            &groups("- { name: a, cidrs: [10.0.0.0/33] }"),
            (3, "sources[0].cidrs[0]", "not a CIDR", "10.0.0.0/8"),
        ),
        (
            &groups("- { name: a, cidrs: [\"::ffff:10.0.0.0/104\"] }"),
            (
                3,
                "sources[0].cidrs[0]",
                "IPv6 spelling",
                "write 10.0.0.0/8",
            ),
        ),
        (
            &groups("- { name: a, cidrs: [10.0.0.0/8] }\n- { name: a, cidrs: [11.0.0.0/8] }"),
            (
                4,
                "sources[1].name",
                "the name of another group, sources[0].name (line 3)",
                "own name",
            ),
        ),
    ]);
    check_made(
        with_listener_line,
        &[
            (
                "allow_sources: []",
                (8, "listeners[0].allow_sources", "the list is empty", ""),
            ),
            (
                "allow_sources: [alhpa]",
                (
                    8,
                    "listeners[0].allow_sources[0]",
                    "neither a CIDR nor a group",
                    "did you mean \"alpha\"?",
                ),
            ),
            (
                "deny_sources: [beta]",
                (
                    8,
                    "listeners[0].deny_sources[0]",
                    "neither a CIDR nor a group",
                    "the groups are: alpha",
                ),
            ),
            (
                "limits: { connections: 0 }",
                (8, "listeners[0].limits.connections", "0", "1 to 10000000"),
            ),
            (
                "limits_per_source: { conections: 5 }",
                (
                    8,
                    "listeners[0].limits_per_source.conections",
                    "unknown key",
                    "did you mean \"connections\"?",
                ),
            ),
            (
                "ipv6_source_prefix: 16",
                (8, "listeners[0].ipv6_source_prefix", "16", "32 to 128"),
            ),
            (
                "proxy_protocol: { trusted: [alhpa] }",
                (
                    8,
                    "listeners[0].proxy_protocol.trusted[0]",
                    "neither a CIDR nor a group",
                    "did you mean \"alpha\"?",
                ),
            ),
            (
                "proxy_protocol: {}",
                (
                    8,
                    "listeners[0].proxy_protocol.trusted",
                    "this key is required",
                    "",
                ),
            ),
            (
                "proxy_protocol: v2",
                (
                    8,
                    "listeners[0].proxy_protocol",
                    "expected a section",
                    "the keys here are: trusted",
                ),
            ),
            (
                "allow_sources: [10.1.0.0/8]",
                (
                    8,
                    "listeners[0].allow_sources[0]",
                    "beyond its prefix",
                    "10.0.0.0/8",
                ),
            ),
        ],
    );
}

#[test]
fn names_of_listeners_upstreams_and_routes() {
    check(&[
        (
            "listeners:\n- { name: a, bind: \"[::]:1\" }\n- { name: a, bind: \"[::]:2\" }\n",
            (
                3,
                "listeners[1].name",
                "the name of another listener, listeners[0].name (line 2)",
                "",
            ),
        ),
        (
            "listeners:\n- { name: none, bind: \"[::]:1\" }\n",
            (2, "listeners[0].name", "reserved", ""),
        ),
        (
            "listeners:\n- bind: \"[::]:1\"\n",
            (2, "listeners[0].name", "this key is required", "1 to 63"),
        ),
        (
            "listeners: [{ name: a, bind: \"[::]:1\" }]\nupstreams:\n  \"a/b\": { dns: \"a:1\" }\n",
            (3, "upstreams[\"a/b\"]", "holds '/'", "1 to 63"),
        ),
        (
            "listeners: [{ name: a, bind: \"[::]:1\" }]\nupstreams:\n  a: { dns: \"a:1\" }\n  a: { dns: \"b:1\" }\n",
            (4, "upstreams.a", "given twice, first on line 3", ""),
        ),
    ]);
    check_made(
        with_route,
        &[
            (
                "{ name: other, sni: b, alpn: any, upstream: svca }",
                (10, "listeners[0].routes[1].name", "reserved", ""),
            ),
            (
                "{ sni: other, alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].sni",
                    "reserved",
                    "give it a `name`",
                ),
            ),
            (
                "{ name: a.example, sni: b, alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].name",
                    "the name of another route, listeners[0].routes[0] (line 9)",
                    "own `name`",
                ),
            ),
        ],
    );
}

#[test]
fn routes() {
    check_made(
        with_route,
        &[
            (
                "{ sni: b, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].alpn",
                    "security boundary",
                    "istio",
                ),
            ),
            (
                "{ sni: b, alpn: isto, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].alpn",
                    "unknown value",
                    "[\"isto\"]",
                ),
            ),
            (
                "{ sni: b, alpn: [], upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].alpn",
                    "0 protocols",
                    "or write any",
                ),
            ),
            (
                "{ sni: b, alpn: [any], upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].alpn",
                    "a protocol of that name",
                    "alpn: any",
                ),
            ),
            (
                "{ sni: b, alpn: [h2, h2], upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].alpn",
                    "\"h2\" is listed twice",
                    "",
                ),
            ),
            (
                "{ sni: b, alpn: any, upstream: scvb }",
                (
                    10,
                    "listeners[0].routes[1].upstream",
                    "no upstream is named \"scvb\"",
                    "did you mean \"svcb\"?",
                ),
            ),
            (
                "{ sni: b, alpn: any, upstream: zzzz }",
                (
                    10,
                    "listeners[0].routes[1].upstream",
                    "no upstream is named",
                    "the upstreams are: svca, svcb",
                ),
            ),
            (
                "{ alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1]",
                    "matches nothing",
                    "service: HOST:PORT",
                ),
            ),
            (
                "{ sni: b, service: \"c:1\", alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].sni",
                    "`service` too",
                    "keep one",
                ),
            ),
            (
                "{ sni: b, plain_host: true, alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].plain_host",
                    "with `service` only",
                    "remove",
                ),
            ),
            (
                "{ sni: b, subsets: [v1], alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].subsets[0]",
                    "with `service` only",
                    "remove",
                ),
            ),
            (
                "{ service: b.example, alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].service",
                    "has no port",
                    "HOST:PORT",
                ),
            ),
            (
                "{ service: \"b.example:0\", alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].service",
                    "\"0\" is not a port",
                    "1 to 65535",
                ),
            ),
            (
                "{ service: \"*.b:80\", alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].service",
                    "is not a service",
                    "`sni`",
                ),
            ),
            (
                "{ service: \"outbound_.80_._.b:80\", alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].service",
                    "not the name of a service",
                    "`sni`",
                ),
            ),
            (
                "{ service: \"b:80\", subsets: [v_1], alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].subsets[0]",
                    "holds '_'",
                    "a-z0-9-",
                ),
            ),
            (
                "{ service: \"b:80\", subsets: [v1, V1], alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].subsets[1]",
                    "\"v1\" is listed twice",
                    "",
                ),
            ),
            (
                "{ sni: a.*.b, alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].sni",
                    "misplaced wildcard",
                    "leading `*.`",
                ),
            ),
            (
                "{ sni: \"*b\", alpn: any, upstream: svca }",
                (10, "listeners[0].routes[1].sni", "misplaced wildcard", ""),
            ),
            (
                "{ sni: \"b:80\", alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].sni",
                    "holds a port",
                    "`service`",
                ),
            ),
            (
                "{ sni: 10.0.0.1, alpn: any, upstream: svca }",
                (10, "listeners[0].routes[1].sni", "IP address", ""),
            ),
            (
                "{ sni: a..b, alpn: any, upstream: svca }",
                (10, "listeners[0].routes[1].sni", "empty label", ""),
            ),
            (
                "{ sni: -a.b, alpn: any, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].sni",
                    "starts or ends with `-`",
                    "",
                ),
            ),
            (
                "{ sni: \"\", alpn: any, upstream: svca }",
                (10, "listeners[0].routes[1].sni", "the name is empty", ""),
            ),
        ],
    );
    let many = vec!["v"; 65].join(", ");
    let many = format!("{{ service: \"b:80\", subsets: [{many}], alpn: any, upstream: svca }}");
    check_made(
        with_route,
        &[(
            &many,
            (
                10,
                "listeners[0].routes[1].subsets",
                "the list has 65 items",
                "up to 64 items",
            ),
        )],
    );
    let label = "a".repeat(60);
    let long =
        format!("{{ service: \"{label}.{label}.{label}.{label}:80\", alpn: any, upstream: svca }}");
    check_made(
        with_route,
        &[(
            &long,
            (
                10,
                "listeners[0].routes[1].service",
                "longer than 253 bytes",
                "shorter host",
            ),
        )],
    );
}

#[test]
fn two_routes_cannot_have_one_server_name() {
    let at = "listeners[0].routes[1].service";
    check_made(
        with_route,
        &[
            (
                "{ sni: A.example., alpn: any, name: b, upstream: svca }",
                (
                    10,
                    "listeners[0].routes[1].sni",
                    "a.example belongs to listeners[0].routes[0].sni (line 9) already",
                    "remove one",
                ),
            ),
            (
                "{ service: \"a.example:80\", alpn: any, upstream: svca }",
                (
                    10,
                    at,
                    "a.example belongs to listeners[0].routes[0].sni (line 9) already",
                    "plain_host",
                ),
            ),
            (
                "{ service: \"b:80\", alpn: any, upstream: svca }\n  - { service: \"b:81\", alpn: any, upstream: svca }",
                (
                    11,
                    "listeners[0].routes[2].service",
                    "b belongs to listeners[0].routes[1].service (line 10) already",
                    "`plain_host: false` on one of the two",
                ),
            ),
            (
                "{ service: \"b:80\", alpn: any, upstream: svca }\n  - { service: \"b:80\", subsets: [v1], plain_host: false, alpn: any, upstream: svcb }",
                (
                    11,
                    "listeners[0].routes[2].service",
                    "outbound_.80_._.b belongs to listeners[0].routes[1].service (line 10) already",
                    "outbound_.PORT_.SUBSET_.HOST",
                ),
            ),
        ],
    );
}

#[test]
fn upstreams() {
    check_made(
        with_upstream,
        &[
            (
                "{}",
                (
                    8,
                    "upstreams.new",
                    "neither `endpoints` nor `dns`",
                    "endpoints: [",
                ),
            ),
            (
                "{ endpoints: [] }",
                (
                    8,
                    "upstreams.new.endpoints",
                    "the list is empty",
                    "1 or more",
                ),
            ),
            (
                "{ endpoints: [\"10.0.0.1:1\"], dns: \"a:1\" }",
                (8, "upstreams.new.dns", "`endpoints` too", "keep one"),
            ),
            (
                "\"10.0.0.1:1\"",
                (8, "upstreams.new", "expected a section", "endpoints, dns"),
            ),
            (
                "{ dns: \"10.0.0.1:1\" }",
                (
                    8,
                    "upstreams.new.dns",
                    "is an address, not a name",
                    "endpoints: [\"10.0.0.1:1\"]",
                ),
            ),
            (
                "{ dns: a.example }",
                (8, "upstreams.new.dns", "has no port", "HOST:PORT"),
            ),
            (
                "{ dns: _https._tcp.a.example }",
                (8, "upstreams.new.dns", "has no port", "srv:"),
            ),
            (
                "{ dns: { srv: \"_a._tcp.b:80\" } }",
                (8, "upstreams.new.dns.srv", "holds a port", "name alone"),
            ),
            (
                "{ dns: {} }",
                (8, "upstreams.new.dns", "neither `name` nor `srv`", "name:"),
            ),
            (
                "{ dns: { name: \"a:1\", srv: _a._tcp.b } }",
                (8, "upstreams.new.dns.srv", "a `name` too", "keep one"),
            ),
            (
                "{ dns: { name: \"a:1\", min_ttl: 10m } }",
                (8, "upstreams.new.dns.min_ttl", "greater than `max_ttl`", ""),
            ),
            (
                "{ dns: { name: \"a:1\", max_ttl: 2s } }",
                (8, "upstreams.new.dns.max_ttl", "greater than `max_ttl`", ""),
            ),
            (
                "{ dns: { name: \"a:1\", allow: [loopbak] } }",
                (
                    8,
                    "upstreams.new.dns.allow[0]",
                    "unknown value",
                    "did you mean \"loopback\"?",
                ),
            ),
            (
                "{ dns: \"a:1\", connect: { attempts: 11 } }",
                (
                    8,
                    "upstreams.new.connect.attempts",
                    "out of bounds",
                    "1 to 10",
                ),
            ),
            (
                "{ dns: \"a:1\", ejection: { base: 1m, max: 30s } }",
                (
                    8,
                    "upstreams.new.ejection",
                    "`base` is greater than `max`",
                    "",
                ),
            ),
        ],
    );
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let error = load(
        b"workers: 0
listeners:
- name: a
  bind: \"[::]:15443\"
  client_hello: { timeout: 5 }
  routes:
  - { sni: \"*x\", alpn: any, upstream: b }
  - { sni: y, upstream: b }
  - { sni: z, alpn: any, upstrem: b, upstream: c }
upstreams:
  b: { dns: a }
  d: { endpoints: [\"10.0.0.1:0\"], connect: { attempts: 0 } }
unknown: 1
",
    )
    .unwrap_err();
    let reported: Vec<(u64, &str)> = error
        .problems
        .iter()
        .map(|problem| (problem.line, problem.key.as_str()))
        .collect();
    let expected = [
        (1, "workers"),
        (5, "listeners[0].client_hello.timeout"),
        (7, "listeners[0].routes[0].sni"),
        (8, "listeners[0].routes[1].alpn"),
        (9, "listeners[0].routes[2].upstrem"),
        (9, "listeners[0].routes[2].upstream"),
        (11, "upstreams.b.dns"),
        (12, "upstreams.d.endpoints[0]"),
        (12, "upstreams.d.connect.attempts"),
        (13, "unknown"),
    ];
    assert_eq!(reported, expected, "{error}");
    assert_eq!(
        error.to_string().lines().nth(4),
        Some(
            "strait.yaml:9:26: listeners[0].routes[2].upstrem: unknown key; did you mean \"upstream\"?"
        )
    );
}

#[test]
fn warnings_do_not_refuse_the_file() {
    let loaded = load(
        b"sources:
- { name: all, cidrs: [0.0.0.0/0] }
- { name: some, cidrs: [10.0.0.0/8] }
listeners:
- name: a
  bind: \"[::]:15443\"
  allow_sources: [10.1.0.0/16]
  deny_sources: [some]
  proxy_protocol: { trusted: [\"::/0\"] }
upstreams:
  b: { endpoints: [{ address: \"10.0.0.1:1\", zone: z }] }
",
    )
    .unwrap();
    for expected in [
        (
            3,
            "sources[1].name",
            "no address belongs to this group",
            "smaller networks first",
        ),
        (5, "listeners[0].name", "has no routes", ""),
        (7, "listeners[0].allow_sources[0]", "allowed in vain", ""),
        (
            9,
            "listeners[0].proxy_protocol.trusted[0]",
            "trusts everyone",
            "load balancer's addresses",
        ),
        (11, "upstreams.b", "no route leads to this upstream", ""),
        (
            11,
            "upstreams.b.endpoints[0]",
            "the gateway's is unknown",
            "STRAIT_ZONE",
        ),
    ] {
        assert!(
            said(&loaded.warnings, expected),
            "{expected:?}: {:#?}",
            loaded.warnings
        );
    }
    assert_eq!(loaded.warnings.len(), 6);
}

#[test]
fn what_is_fine_is_not_refused() {
    for route in [
        "{ sni: \"*\", alpn: any, upstream: svca }",
        "{ sni: \"*.example\", alpn: [h2], upstream: svca }",
        "{ sni: outbound_.80_.v1_.b.example, alpn: istio, upstream: svca }",
        "{ service: \"b:80\", alpn: istio, upstream: svca }\n  - { service: \"b:81\", plain_host: false, alpn: istio, upstream: svca }",
    ] {
        let yaml = with_route(route);
        assert!(
            load(yaml.as_bytes()).is_ok(),
            "{}",
            load(yaml.as_bytes()).unwrap_err()
        );
    }
    let silence = with_listener_line("timeouts: { idle: 1m, half_closed: 5m }");
    assert!(load(silence.as_bytes()).is_ok());
}

/// Time that this thread has run, whatever else keeps the machine busy.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = stat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds)
}

#[test]
fn a_file_that_is_wrong_everywhere_is_refused_fast() {
    let routes: String = (0..20_000)
        .map(|n| format!("  - {{ sni: n{n}, alpn: any, upstream: wrong{n} }}\n"))
        .collect();
    let upstreams: String = (0..2_000)
        .map(|n| format!("  right{n}: {{ dns: \"a:1\" }}\n"))
        .collect();
    let yaml = format!(
        "listeners:\n- name: a\n  bind: \"[::]:1\"\n  routes:\n{routes}upstreams:\n{upstreams}"
    );
    let start = cpu_time();
    let error = load(yaml.as_bytes()).unwrap_err();
    let took = cpu_time() - start;
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(error.problems.len(), 101);
    assert_eq!(
        error.problems[100].message,
        "19900 more problems are not shown"
    );
}

/// The example, cut, doubled and mistyped at random: near enough to a config to reach every check.
fn mutated_example() -> impl Strategy<Value = Vec<u8>> {
    let example = include_bytes!("../../config/strait.yaml");
    let edit = (
        0..example.len(),
        0..40usize,
        "[a-z0-9:{}\\[\\],*&<\" -]{0,6}",
    );
    proptest::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut text = example.to_vec();
        for (at, length, replacement) in edits {
            let start = at.min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, replacement.into_bytes());
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Err(error) = load(&bytes) {
            prop_assert!(!error.problems.is_empty());
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[ \\n\\t\\[\\]{}:,*&!|>'\"#%@a-c0-9<~?-]{0,200}") {
        if let Err(error) = load(text.as_bytes()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_broken_example_names_its_lines(text in mutated_example()) {
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64 + 2;
        if let Err(error) = load(&text) {
            for problem in error.problems {
                prop_assert!(problem.line <= lines, "{:?}", problem);
            }
        }
    }
}
