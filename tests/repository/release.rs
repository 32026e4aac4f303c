//! `.ci/release` with small programs in place of strait's: the files of a release fit each other, the image is one as
//! the OCI's image specification has it, and the list of crates is complete. .ci/run makes one with strait itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::manifests::tool;
use crate::support::process::Folder;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const REPOSITORY: &str = "registry.example/team/strait";
/// The C compiler for each platform, and its machine's name in Rust's targets.
const PLATFORMS: [(&str, &str); 2] = [
    ("amd64", "x86_64-linux-gnu-gcc"),
    ("arm64", "aarch64-linux-gnu-gcc"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn output(command: &mut Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs what it needs"))
}

/// Standard output of a command that must succeed.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = output(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Programs of a version that do nothing else, in the folders that the script expects.
fn stand_ins(work: &Folder, version: &str) -> PathBuf {
    let main = format!(
        r#"#include <stdio.h>
int main(int n, char **a) {{ if (n > 1 && a[1][2] == 'v') puts("strait {version}"); return 0; }}"#
    );
    let source = work.file("stand-in.c", &main);
    for (platform, compiler) in PLATFORMS {
        let program = work.file(&format!("programs/{platform}/strait"), "");
        said(
            Command::new(compiler)
                .args(["-static", "-o"])
                .arg(program)
                .arg(&source),
        );
    }
    work.path("programs")
}

fn release(out: &Path, programs: &Path) -> Output {
    let mut script = Command::new(root().join(".ci/release"));
    output(script.arg(out).arg(REPOSITORY).arg(programs))
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The content that a descriptor names, whose size and digest it must have.
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let content = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(descriptor["size"], content.len());
    let found: String = Sha256::digest(&content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(found, hex);
    content
}

fn unpacked(work: &Folder, archive: &Path, name: &str) -> PathBuf {
    let folder = work.path(name);
    fs::create_dir_all(&folder).unwrap();
    said(
        Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(&folder),
    );
    folder
}

/// Checks the image in all its parts, and returns its digest.
fn image(work: &Folder, out: &Path) -> String {
    let layout = unpacked(
        work,
        &out.join(format!("strait-{VERSION}-image.tar")),
        "layout",
    );
    let version = json_of(&fs::read(layout.join("oci-layout")).unwrap());
    assert_eq!(version, json!({ "imageLayoutVersion": "1.0.0" }));
    let top = json_of(&fs::read(layout.join("index.json")).unwrap());
    let [whole] = &top["manifests"].as_array().unwrap()[..] else {
        panic!("{top}");
    };
    assert_eq!(
        whole["annotations"]["org.opencontainers.image.ref.name"],
        VERSION
    );
    let index = json_of(&blob(&layout, whole));
    let manifests = index["manifests"].as_array().unwrap();
    let platforms: Vec<_> = manifests.iter().map(|one| &one["platform"]).collect();
    let expected = PLATFORMS.map(|(name, _)| json!({ "architecture": name, "os": "linux" }));
    assert_eq!(platforms, expected.each_ref());
    for (manifest, (platform, _)) in manifests.iter().zip(PLATFORMS) {
        let manifest = json_of(&blob(&layout, manifest));
        let config = json_of(&blob(&layout, &manifest["config"]));
        assert_eq!(config["architecture"], platform);
        let run = &config["config"];
        assert_eq!(run["User"], "65432:65432");
        assert_eq!(run["Entrypoint"], json!(["/strait"]));
        assert_eq!(run["Cmd"], json!(["run"]));
        assert_eq!(run["ExposedPorts"].as_object().unwrap().len(), 3);
        assert_eq!(run["Labels"]["org.opencontainers.image.version"], VERSION);
        let [layer] = &manifest["layers"].as_array().unwrap()[..] else {
            panic!("{manifest}");
        };
        let packed = work.path("layer.tar.gz");
        fs::write(&packed, blob(&layout, layer)).unwrap();
        let listed = said(
            Command::new("tar")
                .args(["-tvz", "--numeric-owner", "-f"])
                .arg(&packed),
        );
        let [line] = listed.lines().collect::<Vec<_>>()[..] else {
            panic!("{listed}");
        };
        assert!(
            line.starts_with("-rwxr-xr-x 0/0 ") && line.ends_with(" strait"),
            "{line}"
        );
        let plain = output(Command::new("gzip").args(["-dc"]).arg(&packed)).stdout;
        let diff: String = Sha256::digest(plain)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            config["rootfs"]["diff_ids"],
            json!([format!("sha256:{diff}")])
        );
    }
    whole["digest"].as_str().unwrap().to_owned()
}

/// The list of crates inside of a program, as `cargo audit bin` reads it.
fn crates_in(program: &Path) -> BTreeSet<String> {
    const READ: &str = "import subprocess, sys, zlib
subprocess.run(['objcopy', '--dump-section', '.dep-v0=' + sys.argv[2], sys.argv[1], '/dev/null'], check=True)
print(zlib.decompress(open(sys.argv[2], 'rb').read()).decode())";
    let work = Folder::create();
    let text = said(
        Command::new("python3")
            .args(["-c", READ])
            .arg(program)
            .arg(work.path("section")),
    );
    let packages = json_of(text.as_bytes())["packages"].clone();
    let packages = packages.as_array().unwrap();
    let roots = packages.iter().filter(|one| one["root"] == true);
    assert_eq!(
        roots.map(|one| &one["name"]).collect::<Vec<_>>(),
        ["strait"]
    );
    for package in packages {
        for number in package["dependencies"].as_array().into_iter().flatten() {
            let number = usize::try_from(number.as_u64().unwrap()).unwrap();
            assert!(number < packages.len());
        }
    }
    let name = |one: &Value| {
        format!(
            "{} {}",
            one["name"].as_str().unwrap(),
            one["version"].as_str().unwrap()
        )
    };
    packages.iter().map(name).collect()
}

/// The crates that cargo links into the gateway, macros left out.
fn crates_by_cargo() -> BTreeSet<String> {
    let features = said(Command::new(root().join(".ci/build-static")).arg("--features"));
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--locked",
        "--target",
        "x86_64-unknown-linux-gnu",
        "--prefix",
        "none",
    ]);
    tree.args([
        "--edges",
        "normal,no-proc-macro",
        "--no-default-features",
        "--format",
        "{p}",
    ]);
    let tree = said(
        tree.args(["--features", features.trim()])
            .current_dir(root()),
    );
    let name = |line: &str| {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        format!("{name} {}", version.trim_start_matches('v'))
    };
    tree.lines()
        .filter(|line| !line.is_empty())
        .map(name)
        .collect()
}

#[test]
fn the_files_of_a_release_fit_each_other_and_are_the_same_each_time() {
    let work = Folder::create();
    let programs = stand_ins(&work, VERSION);
    let [out, again] = ["out", "again"].map(|name| work.path(name));
    for folder in [&out, &again] {
        let made = release(folder, &programs);
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{errors}");
    }
    let sums = |folder: &Path| fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert_eq!(sums(&out), sums(&again));
    said(
        Command::new("sha256sum")
            .args(["--check", "SHA256SUMS"])
            .current_dir(&out),
    );
    let files = fs::read_dir(&out).unwrap().count();
    assert_eq!(
        sums(&out).lines().count(),
        files - 1,
        "a file without a checksum"
    );

    let digest = image(&work, &out);
    let named = format!("{REPOSITORY}@{digest}");
    let manifests = unpacked(
        &work,
        &out.join(format!("strait-{VERSION}-manifests.tar.gz")),
        "manifests",
    );
    let manifests = manifests.join(format!("strait-{VERSION}-manifests"));
    for folder in ["base", "istio", "istio-migration"] {
        let mut kustomize = Command::new(tool("kubectl"));
        let rendered = said(
            kustomize
                .arg("kustomize")
                .arg(manifests.join("kubernetes").join(folder)),
        );
        assert!(rendered.contains(&format!("image: {named}\n")), "{folder}");
    }
    let mut helm = Command::new(tool("helm"));
    let chart = said(
        helm.args(["template", "strait"])
            .arg(out.join(format!("strait-{VERSION}-chart.tgz"))),
    );
    assert!(chart.contains(&format!("image: \"{named}\"\n")));
    let provenance = json_of(&fs::read(out.join("provenance.json")).unwrap());
    assert_eq!(provenance["image"], named);

    let expected = crates_by_cargo();
    let listed = json_of(&fs::read(out.join(format!("strait-{VERSION}.cdx.json"))).unwrap());
    let components = listed["components"].as_array().unwrap().iter();
    let components = components.chain([&listed["metadata"]["component"]]);
    let name = |one: &Value| {
        format!(
            "{} {}",
            one["name"].as_str().unwrap(),
            one["version"].as_str().unwrap()
        )
    };
    assert_eq!(components.map(name).collect::<BTreeSet<_>>(), expected);
    for (platform, _) in PLATFORMS {
        let name = format!("strait-{VERSION}-linux-{platform}");
        let folder = unpacked(&work, &out.join(format!("{name}.tar.gz")), platform).join(name);
        for file in [
            "strait.service",
            "strait.socket",
            "strait.yaml",
            "LICENSE-MIT",
            "LICENSE-APACHE",
        ] {
            assert!(folder.join(file).exists(), "{platform}: {file}");
        }
        if platform == "amd64" {
            assert_eq!(crates_in(&folder.join("strait")), expected);
        }
    }
}

/// The steps of a container engine, from the layout to the root of a container.
#[test]
fn an_image_unpacks_to_its_program_and_a_changed_one_does_not() {
    let work = Folder::create();
    let program = stand_ins(&work, VERSION).join("arm64/strait");
    let layout = work.path("layout");
    let script = || Command::new(root().join(".ci/oci-image"));
    let pair = format!("arm64={}", program.display());
    said(script().arg(&layout).args([VERSION, "1", "commit", &pair]));
    let unpack = |platform: &str, to: &Path| {
        let mut script = script();
        output(script.arg("--unpack").arg(&layout).arg(platform).arg(to))
    };
    let made = work.path("root");
    assert!(unpack("arm64", &made).status.success());
    let unpacked = made.join("strait");
    assert_eq!(fs::read(&unpacked).unwrap(), fs::read(&program).unwrap());
    assert_eq!(
        fs::metadata(&unpacked).unwrap().permissions().mode() & 0o777,
        0o755
    );

    let other = unpack("amd64", &work.path("other"));
    let errors = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(errors.contains("no image for amd64"), "{errors}");
    for blob in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let content = fs::read(&path).unwrap();
        fs::write(&path, [&content[..], b" "].concat()).unwrap();
        let changed = unpack("arm64", &work.path("changed"));
        let errors = String::from_utf8_lossy(&changed.stderr).into_owned();
        // The image's config is not read: it says what to run, and the caller knows that.
        let read = !content.starts_with(b"{\"architecture\"");
        assert_eq!(errors.contains("holds something else"), read, "{errors}");
        fs::write(&path, content).unwrap();
        let _ = fs::remove_dir_all(work.path("changed"));
    }
}

#[test]
fn a_program_of_another_version_or_machine_is_not_packed() {
    let work = Folder::create();
    let programs = stand_ins(&work, "0.0.9");
    let refused = release(&work.path("old"), &programs);
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && errors.contains("is not strait"),
        "{errors}"
    );
    let [amd64, arm64] = PLATFORMS.map(|(platform, _)| programs.join(platform).join("strait"));
    fs::copy(amd64, arm64).unwrap();
    let pair = |platform: &str| format!("{platform}={}", programs.join("arm64/strait").display());
    let mut script = Command::new(root().join(".ci/oci-image"));
    script
        .arg(work.path("layout"))
        .args([VERSION, "1", "commit", &pair("arm64")]);
    let refused = output(&mut script);
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && errors.contains("no program for arm64"),
        "{errors}"
    );
}
