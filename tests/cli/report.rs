//! `strait report`: the archive has every part, and says why one is missing.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::program::{err, out, strait};
use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::process::{Folder, Process};
use crate::support::server::{Server, read_exactly, read_to_eof, refusing_address};
use crate::support::wait_until;

/// The files of an archive, as tar(1) unpacks them.
fn unpack(archive: &[u8]) -> BTreeMap<String, String> {
    let folder = Folder::create();
    let path = folder.path("report.tar");
    std::fs::write(&path, archive).unwrap();
    let mut tar = Command::new("tar");
    let output = tar
        .arg("-xf")
        .arg(&path)
        .arg("-C")
        .arg(folder.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let files = std::fs::read_dir(folder.path("strait-report")).unwrap();
    files
        .map(|file| file.unwrap())
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(file.path()).unwrap())
        })
        .collect()
}

#[test]
fn the_archive_has_every_part() {
    use std::io::Write as _;

    let echo = Server::echo();
    let process = Process::start(&ConfigText::to(&[echo.address]));
    let admin = process.server("admin").to_string();
    let (mut client, length) = open(process.address);
    read_exactly(&mut client, length);
    let mut refused = connect(process.address);
    refused.write_all(&hello("nobody.example", &[])).unwrap();
    let _ = read_to_eof(&mut refused);
    let packed = || {
        let output = strait(&["report", "-", "--admin", &admin]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(
            err(&output).contains("14 parts, 0 missing"),
            "{}",
            err(&output)
        );
        unpack(&output.stdout)
    };
    let mut parts = packed();
    wait_until("the refusal is known", || {
        parts = packed();
        parts["status.json"].contains("nobody.example")
    });
    let json = |name: &str| -> Value { serde_json::from_str(&parts[name]).unwrap() };
    assert_eq!(
        json("connections.json")["connections"][0]["state"],
        "relaying"
    );
    assert_eq!(json("upstreams.json")["upstreams"][0]["name"], "svcb");
    assert_eq!(json("sources.json")["sources"][0]["source"], "127.0.0.1");
    assert_eq!(json("logging.json")["level"], "info");
    assert_eq!(
        json("config_dump.json")["file"]["in_force"]["generation"],
        1
    );
    let failures = json("status.json")["failures"].clone();
    assert!(failures.to_string().contains("no_route"), "{failures}");
    assert_eq!(parts["readiness.txt"], "ready\n");
    assert!(
        parts["config.yaml"].contains("\nlisteners:\n"),
        "{}",
        parts["config.yaml"]
    );
    assert!(
        parts["metrics.txt"].contains("strait_limit{"),
        "{}",
        parts["metrics.txt"]
    );
    assert!(
        parts["machine.txt"].contains("somaxconn: "),
        "{}",
        parts["machine.txt"]
    );
    for name in parts
        .keys()
        .filter(|name| name.ends_with(".txt") && **name != "README.txt")
    {
        assert!(
            parts["README.txt"].contains(&format!("  {name} ")),
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_had_says_why_and_no_file_is_written_over() {
    let nobody = refusing_address().to_string();
    let folder = Folder::create();
    let path = folder.path("report.tar");
    let ask = || strait(&["report", path.to_str().unwrap(), "--admin", &nobody]);
    let output = ask();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let said = out(&output);
    assert!(said.contains("3 parts, 11 missing"), "{said}");
    let parts = unpack(&std::fs::read(&path).unwrap());
    let why = &parts["upstreams.json.missing.txt"];
    assert!(why.contains(&format!("{nobody} does not answer")), "{why}");
    assert!(parts["machine.txt"].starts_with("Linux "));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600, "it has addresses");
    let again = ask();
    assert_eq!(again.status.code(), Some(2));
    assert!(err(&again).contains("File exists"), "{}", err(&again));
}
