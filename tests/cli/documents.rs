//! The commands that print a document: `init`, `schema`, `completions` and `man`.

use std::process::Command;

use strait::config::reference;

use crate::program::{err, out, strait, strait_with};

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = strait(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    out(&output)
}

#[test]
fn the_config_of_init_is_good_without_a_warning() {
    let config = printed(&["init"]);
    let output = strait_with(&["check", "--strict", "-"], config.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(err(&output), "");
}

#[test]
fn what_init_leaves_to_uncomment_is_good_too() {
    let config = printed(&["init"]);
    for line in [
        "allow_sources:",
        "kubernetes:",
        "admin:",
        "status:",
        "metrics:",
    ] {
        assert!(config.contains(&format!("# {line}")), "no {line}");
    }
    let commented = [
        "# allow_sources",
        "# kubernetes:",
        "# admin:",
        "# status:",
        "# metrics:",
    ];
    let config = commented
        .iter()
        .fold(config, |text, line| text.replace(line, &line[2..]));
    let output = strait_with(&["check", "--strict", "-"], config.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn the_schema_is_the_one_of_the_loader() {
    let schema: serde_json::Value = serde_json::from_str(&printed(&["schema"])).unwrap();
    assert_eq!(schema, reference::schema());
}

#[test]
fn completions_name_every_command_and_bash_can_read_them() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for command in ["run", "check", "explain", "completions", "strict"] {
            assert!(script.contains(command), "{shell}: no {command}");
        }
    }
    let script = printed(&["completions", "bash"]);
    let read = Command::new("bash").args(["-n", "-c", &script]).status();
    assert!(read.unwrap().success());
    assert_eq!(strait(&["completions", "cmd.exe"]).status.code(), Some(2));
}

#[test]
fn each_command_has_a_manual_page() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH strait 1"), "{page}");
    assert!(page.contains("passthrough"), "{page}");
    let page = printed(&["man", "check"]);
    assert!(page.contains(".TH strait-check 1"), "{page}");
    assert!(page.contains("\\-\\-strict"), "{page}");
    let unknown = strait(&["man", "chekc"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(err(&unknown).contains("no such command"));
}
