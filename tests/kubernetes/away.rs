//! A Kubernetes API that is away: its address and the cause are said once, and at once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::kubernetes;
use crate::kubernetes::api_server::ApiServer;
use crate::soon;
use crate::support::gateway::get;
use crate::support::process::{Folder, Process};
use crate::support::server::refusing_address;

const EXPORT: &str = "export: { mode: all }";

/// The time in which `strait explain` gives an API up.
const GIVEN_UP: Duration = Duration::from_secs(12);

/// The answer of `strait explain` with an API at this address, and its time.
fn explain(address: SocketAddr) -> (String, Duration) {
    let folder = Folder::create();
    let kubeconfig = folder.file(
        "kubeconfig",
        &format!(
            "apiVersion: v1
kind: Config
current-context: test
contexts: [{{ name: test, context: {{ cluster: test, user: test, namespace: strait }} }}]
clusters: [{{ name: test, cluster: {{ server: 'http://{address}' }} }}]
users: [{{ name: test, user: {{ token: none }} }}]
"
        ),
    );
    let config = folder.file(
        "strait.yaml",
        &format!(
            "listeners: [{{ name: east-west, bind: '127.0.0.1:0' }}]
kubernetes: {{ kubeconfig: '{}', {EXPORT} }}
",
            kubeconfig.display()
        ),
    );
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_strait"))
        .args(["explain", "--sni", "web.apps.svc.cluster.local"])
        .arg(&config)
        .output()
        .unwrap();
    let took = began.elapsed();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let server = format!("the Kubernetes API at http://{address} has not listed");
    assert!(said.contains(&server), "{said}");
    (said, took)
}

#[test]
fn explain_names_an_api_that_refuses_connections_at_once() {
    let address = refusing_address();
    let (said, took) = explain(address);
    let cause = format!("http://{address} does not answer: ");
    assert_eq!(said.matches(&cause).count(), 1, "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    assert!(took < GIVEN_UP / 2, "{took:?}");
}

#[test]
fn explain_names_an_api_that_is_silent() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in silent.incoming() {
            kept.push(stream);
        }
    });
    let (said, took) = explain(address);
    assert!(said.contains(": no answer yet"), "{said}");
    assert!(took >= GIVEN_UP, "it has its time: {took:?}");
}

#[test]
fn explain_names_an_api_that_refuses_every_request() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    thread::spawn(move || {
        for stream in refusing.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let body =
                    r#"{"kind":"Status","code":403,"reason":"Forbidden","message":"go away"}"#;
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                let mut request = [0; 4096];
                while let Ok(1..) = stream.read(&mut request) {
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let (said, took) = explain(address);
    assert!(said.contains("go away"), "{said}");
    assert!(said.lines().count() <= 3, "a reason is said once: {said}");
    assert!(took < GIVEN_UP / 2, "{took:?}");
}

#[test]
fn an_outage_is_one_line_in_the_log_and_its_end_another() {
    let api = ApiServer::start();
    api.down();
    let folder = Folder::create();
    let text = kubernetes::config(&api, EXPORT).text();
    let path = folder.file("strait.yaml", &text);
    let process = Process::of_file(&path);
    let line = process.wait_for("the Kubernetes API does not answer");
    let kubeconfig = std::fs::read_to_string(api.kubeconfig()).unwrap();
    let server = kubeconfig.split('\'').nth(1).unwrap().to_owned();
    assert!(
        line.contains("WARN") && line.contains(&format!("server=\"{server}\"")),
        "{line}"
    );
    assert!(line.contains("problem="), "{line}");
    let ready = || get(process.server("admin"), "/healthz/ready").unwrap();
    let reason = format!("kubernetes service: {server} does not answer: ");
    soon("the reason is the same", || ready().1.contains(&reason));
    let (status, public) = get(process.server("status"), "/healthz/ready").unwrap();
    assert!(status == 503 && !public.contains(&server), "{public}");
    // All kinds have failed several times by now.
    let failures = || process.metric("strait_kubernetes_errors_total", &[]);
    soon("all kinds have failed", || failures() > 30.0);
    assert_eq!(process.said("the Kubernetes API does not answer"), 1);
    assert_eq!(process.said("cannot watch a kind"), 0);
    api.up();
    let line = process.wait_for("the Kubernetes API answers again");
    assert!(
        line.contains("INFO") && line.contains("away_for="),
        "{line}"
    );
    soon("it is ready", || ready().0 == 200);
    assert_eq!(process.said("the Kubernetes API answers again"), 1);
    assert_eq!(process.said("watches this kind"), 0);
    // The next outage has a line of its own.
    api.down();
    soon("it is said again", || {
        process.said("the Kubernetes API does not answer") == 2
    });
}
