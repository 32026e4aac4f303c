//! The output of `strait check`, `strait explain` and `--help`, for a person.

use std::process::Command;

use crate::dns_server::DnsServer;
use crate::program::{File, err, out, strait};
use crate::support::OUTBOUND;

const CONFIG: &str = "
sources: [{ name: alpha, cidrs: [10.0.0.0/8] }]
listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    deny_sources: [192.0.2.0/24]
    routes:
      - { service: 'svcb.apps.svc.cluster.local:80', alpn: istio, upstream: svcb }
      - { sni: '*.bundles.beta.com', alpn: any, upstream: spire }
upstreams:
  svcb: { endpoints: ['127.0.0.1:8443'] }
  spire: { dns: { name: 'spire.test:8443', allow: [loopback] } }
";

/// Explains and holds the answer to its exit code and to every text it must contain.
#[track_caller]
fn explained(config: &str, arguments: &[&str], code: i32, texts: &[&str]) {
    let file = File::with(config);
    let mut all = vec!["explain", file.path()];
    all.extend_from_slice(arguments);
    let output = strait(&all);
    let printed = out(&output);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{printed}{}",
        err(&output)
    );
    for text in texts {
        assert!(printed.contains(text), "no {text:?} in\n{printed}");
    }
}

#[test]
fn a_pipe_is_checked_like_a_file() {
    let checked = |shell: &str| {
        let output = Command::new("bash")
            .args(["-c", shell, env!("CARGO_BIN_EXE_strait")])
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let good = "config/strait.yaml";
    for shell in ["\"$0\" check <(cat {})", "cat {} | \"$0\" check /dev/stdin"] {
        let (code, said) = checked(&shell.replace("{}", good));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(": good: "), "{said}");
    }
    let (code, said) = checked("\"$0\" check /dev/ptmx");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("this is a device, not a regular file"),
        "{said}"
    );
}

#[test]
fn the_shipped_example_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/strait.yaml");
    let output = strait(&["check", example]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("good: 1 listener, 3 routes, 3 upstreams"));
    assert_eq!(err(&output), "");
}

#[test]
fn a_misspelt_key_is_printed_with_its_line_and_the_nearest_one() {
    let file = File::with(&CONFIG.replace("upstream: svcb }", "upstrem: svcb }"));
    let output = strait(&["check", file.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "");
    let printed = err(&output);
    assert!(
        printed.contains(&format!("{}:8:", file.path())),
        "{printed}"
    );
    assert!(
        printed.contains("upstrem: unknown key; did you mean \"upstream\"?"),
        "{printed}"
    );
}

#[test]
fn a_warning_is_printed_and_the_file_is_still_good() {
    let file = File::with(&CONFIG.replace(
        "spire: {",
        "unused: { endpoints: ['127.0.0.1:1'] }\n  spire: {",
    ));
    let output = strait(&["check", file.path()]);
    assert_eq!(output.status.code(), Some(0));
    let printed = err(&output);
    assert!(
        printed.starts_with("warning: ") && printed.contains("unused"),
        "{printed}"
    );
}

#[test]
fn both_spellings_are_routed() {
    for name in [OUTBOUND, "SVCB.apps.svc.cluster.local."] {
        explained(
            CONFIG,
            &["--sni", name, "--alpn", "istio", "--from", "10.1.2.3"],
            0,
            &[
                "listener east-west",
                "10.1.2.3, group alpha",
                "svcb.apps.svc.cluster.local:80, which takes an Istio ALPN",
                "127.0.0.1:8443, weight 100",
            ],
        );
    }
}

#[test]
fn each_refusal_says_why() {
    for (arguments, texts) in [
        (
            vec!["--sni", OUTBOUND, "--alpn", "h2,http/1.1"],
            vec![
                "h2, http/1.1",
                "alpn_refused (Envoy: NR)",
                "demands an Istio ALPN",
            ],
        ),
        (vec!["--sni", OUTBOUND], vec!["alpn_refused", "none"]),
        (
            vec!["--sni", "outbound_.8080_._.svcb.apps.svc.cluster.local"],
            vec!["no_route", "routed only for service port 80", OUTBOUND],
        ),
        (
            vec!["--sni", "svca.apps.svc.cluster.local"],
            vec![
                "no_route",
                "nearest      svcb.apps.svc.cluster.local (route",
            ],
        ),
        (
            vec!["--sni", "10.0.0.1"],
            vec!["bad_server_name", "IP address"],
        ),
        (
            vec![
                "--sni",
                OUTBOUND,
                "--alpn",
                "istio",
                "--from",
                "::ffff:192.0.2.7",
            ],
            vec!["192.0.2.7, group other", "source_denied (Envoy: UAEX)"],
        ),
    ] {
        explained(CONFIG, &arguments, 1, &texts);
    }
}

#[test]
fn a_connection_without_a_name_is_explained() {
    let refused = &["server name  none", "no_sni (Envoy: NR)", "`no_sni: true`"];
    explained(CONFIG, &["--no-sni"], 1, refused);
    let route = "{ no_sni: true, alpn: any, upstream: svcb }";
    let config = CONFIG.replace("upstreams:", &format!("      - {route}\nupstreams:"));
    let taken = &["no_sni, which takes any ALPN", "127.0.0.1:8443, weight"];
    explained(&config, &["--no-sni"], 0, taken);
    explained(&config, &["--sni", "no_sni"], 1, &["no_route"]);
}

#[test]
fn a_listener_that_is_not_there_is_an_error_of_the_caller() {
    let file = File::with(CONFIG);
    let output = strait(&[
        "explain",
        "--config",
        file.path(),
        "--sni",
        "x.y",
        "--listener",
        "z",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("no such listener; there is east-west"));
}

#[tokio::test]
async fn a_dns_upstream_is_resolved_from_here() {
    let dns = DnsServer::start().await;
    let config = format!("{CONFIG}resolver: {{ servers: ['{}'] }}\n", dns.address);
    let explain = |code, texts: &'static [&str]| {
        let config = config.clone();
        let name = ["--sni", "spire.bundles.beta.com"];
        tokio::task::spawn_blocking(move || explained(&config, &name, code, texts))
    };
    dns.set_addresses("spire.test", 60, &["127.0.0.9", "0.0.0.0"]);
    let both = &[
        "resolved     spire.test:8443",
        "127.0.0.9:8443, weight",
        "0.0.0.0:8443 is not used: unspecified",
    ];
    explain(0, both).await.unwrap();
    dns.set_addresses("spire.test", 60, &["0.0.0.0"]);
    explain(1, &["no_endpoint (Envoy: UH)"]).await.unwrap();
}

#[tokio::test]
async fn check_asks_dns_if_told_to() {
    let dns = DnsServer::start().await;
    let config = format!("{CONFIG}resolver: {{ servers: ['{}'] }}\n", dns.address);
    let file = std::sync::Arc::new(File::with(&config));
    let check = |arguments: &'static [&'static str]| {
        let file = file.clone();
        let check = move || strait(&[&["check"], arguments, &[file.path()]].concat());
        async { tokio::task::spawn_blocking(check).await.unwrap() }
    };
    assert_eq!(check(&[]).await.status.code(), Some(0));
    let unknown = check(&["--dns"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    let said = err(&unknown);
    assert!(
        said.contains(": upstreams.spire.dns: spire.test:8443: "),
        "{said}"
    );
    dns.set_addresses("spire.test", 60, &["127.0.0.9"]);
    let known = check(&["--dns"]).await;
    assert_eq!(known.status.code(), Some(0), "{}", err(&known));
}

#[test]
fn help_tells_every_command_and_option() {
    for (arguments, texts) in [
        (
            vec!["--help"],
            vec!["run", "check", "explain", "demo", "selftest", "strait demo"],
        ),
        (
            vec!["run", "--help"],
            vec!["--config", "/etc/strait/strait.yaml", "SIGHUP", "SIGTERM"],
        ),
        (
            vec!["check", "--help"],
            vec!["[FILE]", "--dns", "Exits with 0"],
        ),
        (
            vec!["explain", "--help"],
            vec![
                "--sni",
                "--no-sni",
                "--alpn",
                "--from",
                "--listener",
                "--config",
            ],
        ),
        (vec!["demo", "--help"], vec!["--keep"]),
        (
            vec!["selftest", "--help"],
            vec![
                "--endpoint",
                "--timeout",
                "HAProxy:",
                "nginx",
                "Exits with 0",
            ],
        ),
    ] {
        let output = strait(&arguments);
        assert_eq!(output.status.code(), Some(0));
        for text in texts {
            assert!(out(&output).contains(text), "{arguments:?}: no {text}");
        }
    }
}
