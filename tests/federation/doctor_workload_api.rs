//! `strait doctor --workload-api`: the SVID of the caller from SPIRE's own handler of the Workload API, and sockets that give
//! none.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::doctor::{Said, doctor};
use crate::doctor_spire::{file_of, serve_both};
use crate::federation::spire::AN_HOUR;
use crate::federation::world::World;
use crate::support::DEADLINE;
use crate::support::process::Folder;

/// The deadline of the doctor, and time for a machine that is busy.
const LONGEST: Duration = Duration::from_secs(15);
/// A federation whose gateways nobody reaches.
const NOWHERE: &str = "sides:
  - { trust_domain: alpha.com, gateway: '127.0.0.1:1' }
  - { trust_domain: beta.com, gateway: '127.0.0.1:1' }
";

fn unix(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

/// The words of a run that must end before it looks.
#[track_caller]
fn refusal(file: &str, address: &str) -> String {
    let output = doctor(file, &["--workload-api", address]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{address}: {error}");
    assert_eq!(output.stdout, b"", "{address}");
    assert!(error.contains("--workload-api"), "{error}");
    error
}

#[test]
fn a_caller_whose_svid_the_agent_gives_gets_no_cross() {
    let world = World::start();
    let _sidecars = serve_both(&world);
    let file = file_of(&world);
    for caller in [&world.alpha, &world.beta] {
        let socket = world.workload(caller, "caller", AN_HOUR);
        let address = unix(&socket);
        let said = Said::of(&doctor(&file, &["-o", "json", "--workload-api", &address]));
        let faults = said.faults();
        assert!(faults.is_empty(), "{}: {faults:?}", caller.service);
        let checks = said.report["checks"].as_array().unwrap();
        for name in ["caller-svid", "call"] {
            let passed =
                |one: &&serde_json::Value| one["check"] == *name && one["state"] == "passed";
            let passed = checks.iter().filter(passed).count();
            assert_eq!(passed, 1, "{}: {name}: {:#}", caller.service, said.report);
        }
    }
}

#[test]
fn an_agent_that_issues_no_identity_is_one_sentence_with_the_remedy() {
    let world = World::start();
    let socket = world.alpha.spire.socket("stranger");
    let error = refusal(&file_of(&world), &unix(&socket));
    assert!(
        error.contains("issues no identity to this process") && error.contains("--svid"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn a_socket_that_says_nothing_ends_a_run_within_its_deadline() {
    let folder = Folder::create();
    let path = folder.path("silent.sock");
    // The kernel takes the connection, and nobody reads it.
    let _silent = UnixListener::bind(&path).unwrap();
    let began = Instant::now();
    let error = refusal(NOWHERE, &unix(&path));
    assert!(error.contains("no answer in 5 s"), "{error}");
    assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
}

#[test]
fn what_is_no_workload_api_is_named() {
    let folder = Folder::create();
    let missing = unix(&folder.path("missing.sock"));
    let file = unix(Path::new(&folder.file("file.sock", "")));
    // It takes the connection and speaks no HTTP/2.
    let path = folder.path("closing.sock");
    let closing = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in closing.incoming() {
            drop(stream);
        }
    });
    for (address, says) in [
        (&*missing, "No such file or directory"),
        (&*file, "Connection refused"),
        (&*unix(&path), "name the socket of a SPIRE agent"),
        ("tcp://127.0.0.1:8081", "over a Unix socket only"),
        ("", "SPIFFE_ENDPOINT_SOCKET"),
    ] {
        let error = refusal(NOWHERE, address);
        assert!(error.contains(says), "{address}: {error}");
    }
}

/// A program that is ended with its test.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_watch_fetches_the_svid_again_at_each_look() {
    let world = World::start();
    let _sidecars = serve_both(&world);
    let socket = world.workload(&world.alpha, "caller", AN_HOUR);
    let mut child = Command::new(env!("CARGO_BIN_EXE_strait"))
        .args(["doctor", "--watch", "1s", "--workload-api"])
        .args([&*unix(&socket), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(file_of(&world).as_bytes()).unwrap();
    drop(input);
    let (said, lines) = channel();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let _watch = Watch(child);
    let errors = said.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = said.send(line);
        }
    });
    std::thread::spawn(move || {
        for line in BufReader::new(err).lines().map_while(Result::ok) {
            let _ = errors.send(line);
        }
    });
    let first = lines.recv_timeout(DEADLINE).unwrap();
    assert!(first.contains(" looked well: "), "{first}");
    world.alpha.spire.tell("unregister caller");
    let next = lines.recv_timeout(DEADLINE).unwrap();
    assert!(next.contains("issues no identity"), "{next}");
}
