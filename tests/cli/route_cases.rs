//! `strait test`: cases that hold, cases that differ, and files of cases that are none.

use crate::program::{File, err, out, strait, strait_with};

const CONFIG: &str = "
sources: [{ name: alpha, cidrs: [10.0.0.0/8] }]
listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    allow_sources: [alpha]
    routes:
      - { name: svcb, service: 'svcb.apps.svc.cluster.local:80', alpn: istio, upstream: svcb }
      - { sni: '*.bundles.beta.com', alpn: any, upstream: spire }
  - name: second
    bind: '127.0.0.2:0'
    routes: [{ sni: '*.bundles.beta.com', alpn: any, upstream: spire }]
upstreams:
  svcb: { endpoints: ['127.0.0.1:8443'] }
  spire: { endpoints: ['127.0.0.1:8444'] }
";

const CASES: &str = "\
- { listener: east-west, sni: SVCB.apps.svc.cluster.local, alpn: istio, from: 10.1.2.3, route: svcb }
- { listener: east-west, sni: outbound_.80_._.svcb.apps.svc.cluster.local, alpn: [h2, istio], upstream: svcb }
- { listener: east-west, sni: svcb.apps.svc.cluster.local, alpn: [h2, http/1.1], outcome: alpn_refused }
- { listener: east-west, sni: a.test, from: '::ffff:192.0.2.1', outcome: source_denied }
- { listener: second, sni: svcb.apps.svc.cluster.local, alpn: istio, outcome: no_route }
- { sni: a.bundles.beta.com, upstream: spire }
- { no_sni: true, outcome: no_sni }
- { sni: 10.0.0.1, outcome: bad_server_name }
";

/// Holds the config to these cases.
fn tested(cases: &str, config: &str) -> (Option<i32>, String, String) {
    let cases = File::with(cases);
    let output = strait_with(&["test", cases.path(), "-"], config.as_bytes());
    let without = |text: String| text.replace(cases.path(), "CASES");
    (
        output.status.code(),
        without(out(&output)),
        without(err(&output)),
    )
}

#[test]
fn cases_that_hold_are_counted() {
    let expected = (Some(0), "CASES: 8 cases: good\n".to_owned(), String::new());
    assert_eq!(tested(CASES, CONFIG), expected);
}

#[test]
fn each_case_that_differs_is_named_with_what_was_found() {
    let wrong = CONFIG
        .replace("alpn: istio", "alpn: any")
        .replace("allow_sources: [alpha]", "")
        .replace("upstream: spire }]", "upstream: svcb }]");
    let (code, good, said) = tested(CASES, &wrong);
    assert_eq!((code, &*good), (Some(1), ""));
    let expected = "\
CASES:3: sni \"svcb.apps.svc.cluster.local\", alpn h2, http/1.1 at listener east-west: expected alpn_refused, found route svcb to upstream svcb
CASES:4: sni \"a.test\", from 192.0.2.1 at listener east-west: expected source_denied, found no_route
CASES:6: sni \"a.bundles.beta.com\" at listener second: expected upstream spire, found route *.bundles.beta.com to upstream svcb
";
    assert_eq!(said, expected);
}

#[test]
fn a_file_that_is_no_list_of_cases_is_no_answer() {
    for (cases, text) in [
        (
            "- { sni: a.test, rote: svcb }",
            "CASES:1:18: [0].rote: unknown key; did you mean \"route\"?",
        ),
        (
            "- { sni: a.test }",
            "CASES:1:3: [0]: this case does not expect one decision",
        ),
        (
            "- { sni: a.test, route: a, outcome: no_route }",
            "this case does not expect one decision",
        ),
        ("- { route: a }", "this case does not say one server name"),
        (
            "- { sni: a, no_sni: true, route: a }",
            "this case does not say one server name",
        ),
        (
            "- { sni: a, outcome: no_rout }",
            "did you mean \"no_route\"?",
        ),
        (
            "- { sni: a, outcome: connect_refused }",
            "the outcomes here are: source_denied",
        ),
        (
            "- { sni: a, from: 10.0.0.0/8, route: a }",
            "is not an IP address",
        ),
        (
            "- { sni: a, alpn: 5, route: a }",
            "expected a protocol or a list of protocols",
        ),
        ("[]", "the list is empty"),
        ("a: b", "expected a list"),
        (
            "- { listener: a, sni: a, route: a }",
            "CASES:1: there is no listener a",
        ),
    ] {
        let (code, _, said) = tested(cases, CONFIG);
        assert_eq!(code, Some(2), "{cases}: {said}");
        assert!(said.contains(text), "{cases}: {said}");
    }
    let missing = strait(&["test", "/nowhere/cases.yaml", "/nowhere/strait.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(err(&missing).contains("/nowhere/cases.yaml: cannot read this file"));
    let (code, _, said) = tested(CASES, "listeners: 5");
    assert_eq!(code, Some(2), "{said}");
}
