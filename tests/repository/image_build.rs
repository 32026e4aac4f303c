//! The build of the image: what it starts from is enough, and its program holds no more than the gateway.

use std::path::Path;
use std::process::Command;

use crate::support::process::Folder;

/// Crates that only the tools need: a certificate authority, and what draws and sums up a load.
const TOOLS_ONLY: [&str; 3] = ["rcgen", "hdrhistogram", "indicatif"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Standard output of a command that succeeds.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Without this, a manifest that names a file outside of the image's context fails only when the image is built.
#[test]
fn cargo_reads_the_manifest_in_the_images_context() {
    let context = Folder::create();
    let ignore = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    for path in ignore.lines().filter_map(|line| line.strip_prefix('!')) {
        let to = context.path(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        output(Command::new("cp").arg("-r").arg(root().join(path)).arg(to));
    }
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    metadata.current_dir(context.path("."));
    assert!(output(&mut metadata).contains("\"name\":\"strait\""));
}

/// The crates in the program that is built with these features.
fn crates(features: &str) -> Vec<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--edges", "normal", "--prefix", "none"]);
    tree.args(["--format", "{lib}", "--no-default-features", "--features"]);
    tree.arg(features).current_dir(root());
    let crates = output(&mut tree);
    crates.lines().map(str::to_owned).collect()
}

#[test]
fn the_gateway_of_the_image_holds_none_of_the_tools() {
    let script = root().join(".ci/build-static");
    let features = output(Command::new(script).arg("--features"));
    let features = features.trim();
    let gateway = crates(features);
    assert!(gateway.iter().any(|name| name == "tokio"), "{gateway:?}");
    let tools = crates(&format!("{features},tools"));
    for name in TOOLS_ONLY {
        assert!(!gateway.iter().any(|held| held == name), "it holds {name}");
        assert!(tools.iter().any(|held| held == name), "{name} is not built");
    }
}
