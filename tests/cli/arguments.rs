//! The arguments that several commands share, `--version`, and exit codes.

use std::process::{Command, Stdio};

use crate::program::{File, err, out, strait, strait_with};
use crate::support::config_text::ConfigText;
use crate::support::process::Process;

const CONFIG: &str = "
listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    routes: [{ sni: a.test, alpn: any, upstream: svcb }]
upstreams: { svcb: { endpoints: ['127.0.0.1:8443'] } }
";

#[test]
fn check_and_explain_name_the_file_in_the_same_three_ways() {
    let file = File::with(CONFIG);
    for command in [
        &["check"][..],
        &["explain", "--sni", "a.test", "--listener", "east-west"],
    ] {
        for way in [&[file.path()][..], &["--config", file.path()], &["-"]] {
            let arguments = [command, way].concat();
            let output = strait_with(&arguments, CONFIG.as_bytes());
            let said = out(&output) + &err(&output);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        }
        let both = [command, &[file.path(), "--config", file.path()]].concat();
        assert_eq!(strait(&both).status.code(), Some(2));
        // The default, which no machine of the tests has.
        let none = strait(command);
        assert_eq!(none.status.code(), Some(2), "{}", out(&none));
        let said = err(&none);
        assert!(said.contains("/etc/strait/strait.yaml: cannot"), "{said}");
    }
}

#[test]
fn problems_of_standard_input_name_it() {
    let broken = CONFIG.replace("alpn: any", "alpm: any");
    let output = strait_with(&["check", "-"], broken.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(
        said.contains("stdin:5:29: listeners[0].routes[0].alpm: "),
        "{said}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_no_answer_of_any_command() {
    for path in ["/nowhere/strait.yaml", "/", "/dev/ptmx"] {
        for command in [
            &["check", path][..],
            &["explain", path, "--sni", "a.test"],
            &["run", path],
        ] {
            let output = strait(command);
            assert_eq!(output.status.code(), Some(2), "{command:?}");
            let said = err(&output);
            let text = format!("strait: {path}: cannot read this file: ");
            assert!(said.contains(&text), "{command:?}: {said}");
        }
    }
}

#[test]
fn run_takes_a_config_from_standard_input_and_says_that_it_cannot_read_it_again() {
    let config = ConfigText::to(&[crate::support::server::refusing_address()]);
    let file = File::with(&config.text());
    let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
    command.args(["run", "-"]).stdout(Stdio::null());
    command.stdin(std::fs::File::open(file.path()).unwrap());
    command.stderr(Stdio::piped());
    let process = Process::of_command(command);
    process.signal(rustix::process::Signal::HUP);
    process.wait_for("cannot be read again");
    assert_eq!(process.metric("strait_config_current", &[]), 1.0);
}

#[test]
fn the_version_says_what_it_was_built_from() {
    let version = out(&strait(&["--version"]));
    let lines: Vec<_> = version.lines().collect();
    let [name, commit, target, allocator, features] = lines[..] else {
        panic!("{version}");
    };
    assert_eq!(name, concat!("strait ", env!("CARGO_PKG_VERSION")));
    assert!(commit.starts_with("commit     "), "{commit}");
    let arch = std::env::consts::ARCH;
    let expected = format!("target     {arch}-unknown-linux-");
    assert!(target.starts_with(&expected), "{target}");
    assert!(allocator.starts_with("allocator  "), "{allocator}");
    let built = [
        ("doctor", cfg!(feature = "doctor")),
        ("kubernetes", cfg!(feature = "kubernetes")),
        ("otlp", cfg!(feature = "otlp")),
        ("tools", cfg!(feature = "tools")),
        ("top", cfg!(feature = "top")),
    ];
    let built = built.into_iter().filter(|(_, built)| *built);
    let built: Vec<&str> = built.map(|(name, _)| name).collect();
    assert_eq!(features, format!("features   {}", built.join(", ")));
    assert_eq!(out(&strait(&["-V"])).trim_end(), name);
}
