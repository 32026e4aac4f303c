//! The image as the Dockerfile describes it, since no image can be built where the tests run. .ci/run
//! executes the image's commands, and so shows that they work.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::manifests::tool;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An instruction with its arguments, continuation lines joined.
#[derive(Debug, Clone, PartialEq)]
struct Instruction {
    name: String,
    arguments: String,
}

/// The stages of a Dockerfile, each starting with its FROM.
fn stages(text: &str) -> Vec<Vec<Instruction>> {
    let code = |line: &&str| !line.trim_start().starts_with('#') && !line.trim().is_empty();
    let code: Vec<_> = text.lines().filter(code).collect();
    let joined = code.join("\n").replace("\\\n", " ");
    let mut stages: Vec<Vec<Instruction>> = Vec::new();
    for line in joined.lines() {
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        if name == "FROM" {
            stages.push(Vec::new());
        }
        let arguments = arguments.split_whitespace().collect::<Vec<_>>().join(" ");
        let stage = stages.last_mut().expect("FROM comes first");
        stage.push(Instruction {
            name: name.to_owned(),
            arguments,
        });
    }
    stages
}

fn arguments<'a>(stage: &'a [Instruction], name: &str) -> Vec<&'a str> {
    let named = stage.iter().filter(|instruction| instruction.name == name);
    named.map(|instruction| &*instruction.arguments).collect()
}

/// The faults of an image built from `text`, for a package that needs `rust_version`.
fn faults(text: &str, rust_version: &str) -> Vec<String> {
    let stages = stages(text);
    let [build, build_tools, tools, image] = &stages[..] else {
        return vec![format!(
            "{} stages, not two builds and two images",
            stages.len()
        )];
    };
    let mut faults = Vec::new();
    let mut must = |ok: bool, fault: &str| {
        if !ok {
            faults.push(fault.to_owned());
        }
    };
    must(
        arguments(build, "FROM") == [format!("rust:{rust_version}-bookworm AS build")],
        "the build stage is not the pinned Rust of Cargo.toml's rust-version",
    );
    let runs = arguments(build, "RUN");
    must(
        matches!(runs[..], [run] if run.ends_with(" .ci/build-static image")),
        "the build stage runs something else than .ci/build-static",
    );
    must(
        arguments(build_tools, "FROM") == ["build AS build-tools"]
            && matches!(arguments(build_tools, "RUN")[..], [run] if run.ends_with(" .ci/build-static image-tools tools")),
        "the tools are built some other way than the gateway",
    );
    let is_program = |image: &[Instruction], from: &str, copy: &str| {
        let copied = arguments(image, "COPY") == [copy] && arguments(image, "ADD").is_empty();
        copied && arguments(image, "FROM") == [from] && arguments(image, "RUN").is_empty()
    };
    must(
        is_program(image, "scratch", "--from=build /build/image/strait /strait"),
        "the image holds something else than the program",
    );
    must(
        is_program(
            tools,
            "scratch AS tools",
            "--from=build-tools /build/image-tools/strait /strait",
        ),
        "the image of the tools holds something else than their program",
    );
    let users = arguments(image, "USER");
    let numeric = |id: &str| id.parse::<u32>().is_ok_and(|id| id != 0);
    must(
        matches!(users[..], [user] if user.split(':').count() == 2 && user.split(':').all(numeric)),
        "the user is not a number other than root's, nor the group",
    );
    must(
        users
            .iter()
            .all(|user| !user.contains("65532") && !user.contains("1337")),
        "the user shares its pipe pages with other images",
    );
    must(
        arguments(tools, "USER") == ["65432:65432"],
        "the tools run as another user than the gateway",
    );
    let ports: Vec<_> = arguments(image, "EXPOSE")
        .join(" ")
        .split(' ')
        .map(str::to_owned)
        .collect();
    must(
        ports == ["15443", "15021", "15090"],
        "not the default ports of traffic, status and metrics",
    );
    must(
        arguments(image, "ENTRYPOINT") == ["[\"/strait\"]"],
        "a shell that is not there is to start it",
    );
    must(
        arguments(image, "CMD") == ["[\"run\"]"],
        "it does not run without arguments",
    );
    faults
}

fn rust_version() -> String {
    let manifest = read("Cargo.toml");
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    line.expect("Cargo.toml has a rust-version")
        .trim_matches('"')
        .to_owned()
}

#[test]
fn the_image_is_the_program_and_nothing_else() {
    let faults = faults(&read("Dockerfile"), &rust_version());
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The rules that others keep for every Dockerfile.
#[test]
fn hadolint_has_nothing_to_say() {
    let mut hadolint = Command::new(tool("bin/hadolint"));
    hadolint.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = hadolint.arg("Dockerfile").output();
    let output = output.expect("tests/run installs hadolint");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_context_is_a_list_of_what_is_there() {
    let ignore = read(".dockerignore");
    let lines = ignore
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let lines: Vec<_> = lines.collect();
    assert_eq!(
        lines.first(),
        Some(&"*"),
        ".dockerignore lets in what nobody named"
    );
    for line in &lines[1..] {
        let path = line.strip_prefix('!').expect("only names what is let in");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(
            root.join(path).exists(),
            ".dockerignore names {path}, which is not there"
        );
    }
}

#[test]
fn each_fault_is_seen() {
    let good = read("Dockerfile");
    let version = rust_version();
    let (builds, image) = good.rsplit_once("FROM scratch").unwrap();
    let image = format!("FROM scratch{image}");
    for (from, to) in [
        ("FROM scratch", "FROM debian"),
        ("USER 65432:65432", "USER strait"),
        ("USER 65432:65432", "USER 0:0"),
        ("USER 65432:65432", "USER 65432"),
        ("USER 65432:65432", "USER 65532:65532"),
        ("USER 65432:65432\n", ""),
        ("EXPOSE 15443", "EXPOSE 443"),
        ("[\"/strait\"]", "/strait"),
        ("[\"run\"]", "[\"demo\"]"),
        ("EXPOSE", "ADD config /config\nEXPOSE"),
        ("EXPOSE", "COPY config /config\nEXPOSE"),
    ] {
        let bad = image.replace(from, to);
        assert_ne!(bad, image, "{from} is not in the image's stage");
        assert_eq!(faults(&format!("{builds}{bad}"), &version).len(), 1, "{to}");
    }
    for (from, to) in [
        ("FROM rust:", "FROM rust:9"),
        (".ci/build-static image\n", "cargo build --release\n"),
        (
            ".ci/build-static image-tools tools",
            "cargo build --release",
        ),
        ("FROM build AS", "FROM debian AS"),
        ("FROM scratch AS tools", "FROM debian AS tools"),
        ("FROM build AS", "RUN apt-get update\nFROM build AS"),
        ("USER 65432:65432\nENTRYPOINT", "USER 0:0\nENTRYPOINT"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from} is not in the Dockerfile");
        assert_eq!(faults(&bad, &version).len(), 1, "{to}");
    }
}
