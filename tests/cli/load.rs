//! `strait load` against a gateway: its counts, its report of failures, and the servers that it trusts.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use strait::tools::spiffe::{Svid, TrustBundle};

use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::mtls::{Pki, ServerStream, pod};
use crate::support::process::Folder;
use crate::support::server::{Server, refusing_address};
use crate::support::{DEADLINE, OUTBOUND, wait_until};

/// Connections that a run makes: a rate for a time that no busy machine makes fewer.
const FEW: &[&str] = &["--rate", "20", "--duration", "500ms"];

/// Identities, as files for the command line.
struct Files {
    pki: Pki,
    folder: Folder,
}

impl Files {
    fn create() -> Self {
        Self {
            pki: Pki::create(),
            folder: Folder::create(),
        }
    }

    fn pem(&self, name: &str, label: &str, der: &[u8]) -> PathBuf {
        let text = base64(der);
        let text = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        self.folder.file(name, &text)
    }

    fn bundle(&self, bundle: &TrustBundle) -> String {
        let path = self.pem("ca.pem", "CERTIFICATE", &bundle.root);
        path.to_str().unwrap().to_owned()
    }

    /// The arguments that make the client that workload.
    fn identity(&self, svid: &Svid) -> Vec<String> {
        let cert = self.pem("cert.pem", "CERTIFICATE", &svid.chain[0]);
        let key = self.pem("key.pem", "PRIVATE KEY", svid.key.secret_der());
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        vec!["--cert".into(), text(cert), "--key".into(), text(key)]
    }
}

/// RFC 4648 section 4, in one line: PEM's readers do not mind.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let padded = [
            chunk[0],
            *chunk.get(1).unwrap_or(&0),
            *chunk.get(2).unwrap_or(&0),
            0,
        ];
        let bits = u32::from_be_bytes(padded);
        let digit = |index: usize| match index <= chunk.len() {
            true => char::from(DIGITS[(bits >> (26 - 6 * index)) as usize & 63]),
            false => '=',
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// Answers every request with this status.
fn http_pod(pki: &Pki, status: &'static str) -> Server {
    let serve = move |mut stream: ServerStream| {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => return,
            }
        }
        assert!(request.starts_with(b"GET /health HTTP/1.1\r\n"));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        stream.conn.send_close_notify();
        let _ = stream.flush();
        // A close with the client's unread would be a reset.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    };
    pod(pki.pod(), serve, |_| {})
}

/// Sends back what comes, until the client closes.
fn echo_pod(pki: &Pki) -> Server {
    let serve = |mut stream: ServerStream| {
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..read]).unwrap();
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    };
    pod(pki.pod(), serve, |_| {})
}

fn gateway_to(pod: SocketAddr) -> TestGateway {
    let route = "[{ service: 'svcb.apps.svc.cluster.local:80', alpn: istio, upstream: svcb }]";
    TestGateway::start(&ConfigText::to(&[pod]).routes(route))
}

fn load(gateway: SocketAddr, arguments: &[&str]) -> Output {
    let target = gateway.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
    command.args(["load", "--target", &target, "--timeout"]);
    command.arg(format!("{}s", DEADLINE.as_secs()));
    command.args(arguments).output().unwrap()
}

/// Runs the command, checks its exit code, and returns its output.
#[track_caller]
fn printed(gateway: SocketAddr, code: i32, arguments: &[&str]) -> String {
    let output = load(gateway, arguments);
    let printed = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{printed}{complaint}");
    printed
}

/// The number that stands behind `title`.
#[track_caller]
fn number(printed: &str, title: &str) -> u64 {
    let line = printed.lines().find(|line| line.starts_with(title));
    let line = line.unwrap_or_else(|| panic!("no {title} in\n{printed}"));
    let word = line[title.len()..].split_whitespace().next().unwrap();
    word.parse().unwrap()
}

#[test]
fn counts_what_the_gateway_counts_and_tells_how_long_it_took() {
    let files = Files::create();
    let pod = http_pod(&files.pki, "200 OK");
    let gateway = gateway_to(pod.address);
    let identity = files.identity(&files.pki.svca);
    let ca = files.bundle(&files.pki.beta.bundle());
    let id = files.pki.svcb.id.to_string();
    let mut arguments = vec!["--sni", OUTBOUND, "--alpn", "istio", "--http", "/health"];
    arguments.extend(["--ca", &ca, "--spiffe-id", &id]);
    arguments.extend(identity.iter().map(String::as_str));
    arguments.extend(FEW);
    let printed = printed(gateway.address(), 0, &arguments);
    let succeeded = number(&printed, "succeeded");
    assert!(succeeded > 0, "{printed}");
    assert_eq!(number(&printed, "connections"), succeeded, "{printed}");
    assert_eq!(number(&printed, "failed"), 0, "{printed}");
    for step in [
        "connect ",
        "handshake ",
        "answer ",
        "close ",
        "connect + handshake ",
    ] {
        assert_eq!(number(&printed, step), succeeded, "{printed}");
    }
    let closed = || gateway.closed("ok");
    wait_until("the gateway has counted them all", || {
        closed() >= succeeded as f64
    });
    assert_eq!(closed(), succeeded as f64);
}

#[test]
fn a_line_is_answered() {
    let files = Files::create();
    let pod = echo_pod(&files.pki);
    let gateway = gateway_to(pod.address);
    let identity = files.identity(&files.pki.svca);
    let mut arguments = vec!["--sni", OUTBOUND, "--alpn", "istio", "--line", "hello"];
    arguments.extend(identity.iter().map(String::as_str));
    // As many as go, one at a time.
    arguments.extend(["--rate", "0", "--connections", "1", "--duration", "300ms"]);
    let printed = printed(gateway.address(), 0, &arguments);
    assert!(
        printed.contains("its certificate is not verified"),
        "{printed}"
    );
    assert_eq!(
        number(&printed, "answer "),
        number(&printed, "succeeded"),
        "{printed}"
    );
}

#[test]
fn each_kind_of_failure_is_listed() {
    let files = Files::create();
    let pod = http_pod(&files.pki, "503 Service Unavailable");
    let gateway = gateway_to(pod.address);
    let identity = files.identity(&files.pki.svca);
    let identity: Vec<&str> = identity.iter().map(String::as_str).collect();
    let stranger = files.bundle(&files.pki.alpha.bundle());
    let id = files.pki.svcb.id.to_string();
    let routed = ["--sni", OUTBOUND, "--alpn", "istio"];
    let cases: &[(&[&str], &str)] = &[
        (
            &["--sni", "nobody.test"],
            "handshake: TLS alert UnrecognisedName",
        ),
        (
            &["--sni", OUTBOUND, "--alpn", "h2"],
            "handshake: TLS alert NoApplicationProtocol",
        ),
        // The pod refuses only after the client's handshake is done.
        (&routed, "close: TLS alert CertificateRequired"),
        (
            &[&routed[..], &identity, &["--http", "/health"]].concat(),
            "answer: HTTP status 503",
        ),
        (
            &[
                &routed[..],
                &identity,
                &["--ca", &stranger, "--spiffe-id", &id],
            ]
            .concat(),
            "handshake: server not accepted",
        ),
        (
            &[&routed[..], &identity, &["--ca", &stranger]].concat(),
            "handshake: invalid peer certificate",
        ),
    ];
    for (arguments, kind) in cases {
        let arguments = [arguments, FEW].concat();
        let printed = printed(gateway.address(), 1, &arguments);
        assert_eq!(number(&printed, "succeeded"), 0, "{printed}");
        let failed = number(&printed, "failed");
        let line = printed.lines().find(|line| line.contains(kind));
        let line = line.unwrap_or_else(|| panic!("no {kind} in\n{printed}"));
        assert_eq!(number(line.trim_start(), ""), failed, "{printed}");
    }
    let printed = printed(refusing_address(), 1, &[&["--sni", OUTBOUND], FEW].concat());
    assert!(printed.contains("connect: Connection refused"), "{printed}");
}

#[test]
fn what_it_cannot_do_is_an_error_of_its_own() {
    let address = refusing_address();
    let folder = Folder::create();
    let empty = folder.file("empty.pem", "");
    let empty = empty.to_str().unwrap();
    for (arguments, complaint) in [
        (
            &["--sni", "svcb", "--ca", empty][..],
            "no certificate in it",
        ),
        (&["--sni", "svcb", "--ca", "/nonexistent"], "/nonexistent"),
        (&["--sni", "10.0.0.1"], "an IP address is no server name"),
        (&["--sni", "svcb", "--cert", empty], "--key"),
        (&["--sni", "svcb", "--rate", "1e9"], "0 to"),
    ] {
        let output = load(address, arguments);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(
            printed.contains(complaint),
            "no {complaint:?} in\n{printed}"
        );
    }
}
