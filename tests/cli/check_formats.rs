//! The formats of `strait check`, `--strict`, `--bind`, and colours.

use std::net::TcpListener;
use std::process::Command;

use serde_json::json;

use crate::program::{File, err, out, strait, strait_with};

const GOOD: &str = "\
listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    routes: [{ sni: a.test, alpn: any, upstream: svcb }]
upstreams: { svcb: { endpoints: ['127.0.0.1:8443'] } }
";

/// GOOD with a warning.
fn unused() -> String {
    GOOD.to_owned()
        + "sources: [{ name: a, cidrs: [10.0.0.0/8] }, { name: b, cidrs: [10.1.0.0/16] }]\n"
}

fn misspelt() -> String {
    GOOD.replace("upstream: svcb", "upstream: svcc")
}

#[test]
fn a_problem_is_shown_in_its_line() {
    let output = strait_with(&["check", "-"], misspelt().as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let expected = "\
stdin:4:50: listeners[0].routes[0].upstream: no upstream is named \"svcc\"; did you mean \"svcb\"?
  4 |     routes: [{ sni: a.test, alpn: any, upstream: svcc }]
    |                                                  ^
";
    assert_eq!(err(&output), expected);
}

#[test]
fn json_has_every_finding_with_its_place() {
    let answer = |config: &str, arguments: &[&str]| {
        let arguments = [&["check", "-", "--format", "json"], arguments].concat();
        let output = strait_with(&arguments, config.as_bytes());
        let answer: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
        assert_eq!(err(&output), "");
        (output.status.code().unwrap(), answer)
    };
    let good = json!({ "file": "stdin", "good": true, "size": "1 listener, 1 route, 1 upstream", "findings": [] });
    assert_eq!(answer(GOOD, &["--strict"]), (0, good));
    let (code, bad) = answer(&misspelt(), &[]);
    let finding = json!({
        "severity": "error",
        "line": 4,
        "column": 50,
        "key": "listeners[0].routes[0].upstream",
        "message": "no upstream is named \"svcc\"",
        "remedy": "did you mean \"svcb\"?",
    });
    let expected = json!({ "file": "stdin", "good": false, "findings": [finding] });
    assert_eq!((code, bad), (1, expected));
    let (code, empty) = answer("", &[]);
    assert_eq!(code, 1);
    assert_eq!(empty["findings"][0]["line"], json!(null));
    for (arguments, code, good) in [(&[][..], 0, true), (&["--strict"], 1, false)] {
        let (given, warned) = answer(&unused(), arguments);
        assert_eq!((given, &warned["good"]), (code, &json!(good)));
        assert_eq!(warned["findings"][0]["severity"], "warning");
    }
}

#[test]
fn github_gets_a_command_for_each_finding() {
    let file = File::with(&misspelt());
    let output = strait(&["check", "--format", "github", file.path()]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "::error file={},line=4,col=50,title=listeners[0].routes[0].upstream::no upstream is named \"svcc\"; did you mean \"svcb\"?\n",
        file.path()
    );
    assert_eq!(out(&output), expected);
    let output = strait_with(&["check", "--format", "github", "-"], unused().as_bytes());
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).starts_with("::warning file=stdin,line=6,"));
}

#[test]
fn strict_refuses_what_only_has_warnings() {
    let relaxed = strait_with(&["check", "-"], unused().as_bytes());
    assert_eq!(relaxed.status.code(), Some(0));
    assert!(out(&relaxed).contains("good:"));
    let strict = strait_with(&["check", "--strict", "-"], unused().as_bytes());
    assert_eq!(strict.status.code(), Some(1));
    assert_eq!(out(&strict), "");
    let said = err(&strict);
    assert!(said.starts_with("warning: stdin:6:"), "{said}");
    assert!(
        said.ends_with("stdin: refused: --strict takes no warning\n"),
        "{said}"
    );
}

#[test]
fn an_address_that_is_taken_is_found_only_if_asked_for() {
    // Nobody else has that loopback address, and so nobody takes the port once it is free.
    let taken = TcpListener::bind("127.98.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = GOOD.replace("127.0.0.1:0", &address.to_string())
        + "admin: off\nstatus: off\nmetrics: off\n";
    let checked =
        |arguments: &[&str]| strait_with(&[&["check", "-"], arguments].concat(), config.as_bytes());
    assert_eq!(checked(&[]).status.code(), Some(0));
    let output = checked(&["--bind"]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    let text = format!("stdin: listeners[0].bind: cannot listen on {address}: ");
    assert!(
        said.starts_with(&text) && said.contains("ss -ltnp"),
        "{said}"
    );
    drop(taken);
    assert_eq!(checked(&["--bind"]).status.code(), Some(0));
}

#[test]
fn a_kubeconfig_that_is_not_here_is_a_warning() {
    let config = GOOD.to_owned() + "kubernetes: { kubeconfig: /nowhere/kubeconfig }\n";
    let output = strait_with(&["check", "-"], config.as_bytes());
    assert_eq!(output.status.code(), Some(0));
    let said = err(&output);
    let text = "warning: stdin: kubernetes.kubeconfig: cannot find /nowhere/kubeconfig";
    assert!(said.contains(text), "{said}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let broken = File::with(&misspelt());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let used = File::with(&GOOD.replace("127.0.0.1:0", &bind));
    let program = env!("CARGO_BIN_EXE_strait");
    // script(1) gives the command a terminal.
    let on_terminal = |command: &str, term: &str, no_color: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", &format!("{program} {command}"), "/dev/null"]);
        script.env("TERM", term).env("NO_COLOR", no_color);
        String::from_utf8_lossy(&script.output().unwrap().stdout).into_owned()
    };
    for command in [
        format!("check {}", broken.path()),
        format!("run {}", used.path()),
        "demo".to_owned(),
    ] {
        let coloured = on_terminal(&command, "xterm", "");
        assert!(coloured.contains("\x1b["), "{command}: {coloured}");
        for (term, no_color) in [("dumb", ""), ("xterm", "1")] {
            let plain = on_terminal(&command, term, no_color);
            assert!(!plain.contains('\x1b'), "{command}: {plain}");
            assert!(!plain.is_empty());
        }
    }
    let piped = strait(&["check", broken.path()]);
    assert!(!err(&piped).contains('\x1b'));
}
