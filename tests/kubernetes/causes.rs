//! Six faults that somebody makes, each of which the status page and `strait top` name within a minute.

use std::process::Command;
use std::time::{Duration, Instant};

use strait::tools::spiffe::tls::{ISTIO_HTTP, TlsEnd};

use crate::dns_server::{DnsServer, Reply};
use crate::kubernetes::api_server::ApiServer;
use crate::kubernetes::objects::served;
use crate::kubernetes::{config, pods::Pods};
use crate::support::client::{hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::get;
use crate::support::mtls::{Pki, dial, pod};
use crate::support::process::{Folder, Process};
use crate::support::server::{Server, read_exactly};
use crate::support::{SERVICE, wait_until};
use hickory_proto::op::ResponseCode;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// The time in which somebody must find the cause.
const MINUTE: Duration = Duration::from_secs(60);
/// The time between two looks: each starts a program.
const PAUSE: Duration = Duration::from_millis(100);

/// A text with one blank between words, so that line breaks do not part it.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The status page as a browser gets it, and the troubles of `strait top`.
fn seen(process: &Process) -> [String; 2] {
    let admin = process.server("admin");
    let page = get(admin, "/?format=html").unwrap().1;
    let top = Command::new(env!("CARGO_BIN_EXE_strait"))
        .args(["top", "--once", "--by", "trouble", "--admin"])
        .arg(admin.to_string())
        .output()
        .unwrap();
    assert!(
        top.status.success(),
        "{}",
        String::from_utf8_lossy(&top.stderr)
    );
    [words(&page), words(&String::from_utf8(top.stdout).unwrap())]
}

/// Does `call` again and again until page and `top` are both right.
#[track_caller]
fn both_are(
    process: &Process,
    wanted: &str,
    is_right: impl Fn(&str) -> bool,
    mut call: impl FnMut(),
) {
    let deadline = Instant::now() + MINUTE;
    loop {
        call();
        let last = seen(process);
        if last.iter().all(|view| is_right(view)) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{wanted} is not in both:\n{}\n\n{}",
            last[0],
            last[1]
        );
        std::thread::sleep(PAUSE);
    }
}

/// Waits until page and `top` have each of the texts, while `call` is done again and again.
#[track_caller]
fn both_name(process: &Process, texts: &[&str], call: impl FnMut()) {
    let has_all = |view: &str| texts.iter().all(|text| view.contains(text));
    both_are(process, &format!("{texts:?}"), has_all, call);
}

/// Sends a hello and waits for the end of the connection, or for an answer.
fn call(gateway: SocketAddr) {
    let mut client = TcpStream::connect(gateway).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let _ = client.write_all(&hello(SERVICE, &[]));
    let _ = client.read(&mut [0; 1024]);
}

#[test]
fn trust_that_is_broken_on_one_side() {
    let pki = Pki::create();
    // The pod's bundle of the callers' trust domain is missing.
    let tls = TlsEnd::new(&pki.svcb, ISTIO_HTTP);
    let tls = tls.server(&[pki.beta.bundle()]).unwrap();
    let pod = pod(tls, |_| {}, |_| {});
    let process = Process::start(&ConfigText::to(&[pod.address]));
    both_name(
        &process,
        &[
            "fails: handshake_refused",
            "The side in ended_by says why in its own log: bundles",
            "The endpoint refused the callers.",
        ],
        || {
            let mut stream = dial(process.address, pki.svca(), SERVICE);
            let _ = stream.write_all(b"x");
            let _ = stream.read(&mut [0; 64]);
        },
    );
}

#[test]
fn one_pod_of_two_that_dies_on_each_connection() {
    let good = Server::echo();
    let bad = Server::start(drop);
    let process = Process::start(&ConfigText::to(&[good.address, bad.address]));
    let address = bad.address.to_string();
    // Ejected, it is "ADDRESS of svcb is ejected".
    let is_named = |view: &str| {
        let of_svcb = ["endpoints of svcb", "of svcb is ejected"];
        view.contains(&address)
            && view.contains("ends before a reply")
            && of_svcb.iter().any(|text| view.contains(text))
    };
    both_are(&process, "the endpoint with what it does", is_named, || {
        (0..5).for_each(|_| call(process.address));
    });
}

#[test]
fn a_config_file_with_a_mistake() {
    let echo = Server::echo();
    let folder = Folder::create();
    let text = ConfigText::to(&[echo.address]).text();
    let path = folder.file("strait.yaml", &text);
    let process = Process::of_file(&path);
    folder.file(
        "strait.yaml",
        &text.replace("upstream: svcb", "upstrem: svcb"),
    );
    let problem = [
        "The newest config file is refused",
        "unknown key",
        "upstrem",
    ];
    both_name(&process, &problem, || {});
}

#[test]
fn a_dns_name_that_is_gone() {
    let dns = DnsServer::on_a_thread();
    dns.fail(Reply::Code(ResponseCode::NXDomain));
    let text = format!(
        "listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    routes: [{{ service: '{SERVICE}:80', alpn: any, upstream: svcb }}]
upstreams: {{ svcb: {{ dns: {{ name: 'pods.gone.test:8080', min_ttl: 1s }} }} }}
resolver: {{ servers: ['{}'] }}",
        dns.address
    );
    let process = Process::start(&ConfigText::verbatim(&text));
    let cause = ["fails: no_endpoint", "pods.gone.test"];
    both_name(&process, &cause, || call(process.address));
}

#[test]
fn an_api_server_that_is_away() {
    let (api, pods) = (ApiServer::start(), Pods::start(&["web"]));
    api.put_all(served("apps", "web", 80, pods.socket("web")));
    let process = Process::start(&config(&api, "export: { mode: all }"));
    let admin = process.server("admin");
    wait_until("it is ready", || {
        get(admin, "/healthz/ready").unwrap().0 == 200
    });
    api.down();
    let server = format!("http://{} does not answer: ", api.address);
    let cause = [
        "The Kubernetes API does not tell changes",
        &server,
        "client error (",
    ];
    both_name(&process, &cause, || {});
}

#[test]
fn a_limit_that_is_reached() {
    let echo = Server::echo();
    let limited = ConfigText::to(&[echo.address]).listener("limits: { connections: 2 }");
    let process = Process::start(&limited);
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..2 {
        let (mut client, length) = open(process.address);
        read_exactly(&mut client, length);
        held.push(client);
    }
    let cause = [
        "connections of listener east-west: 2 of 2 are used",
        "over_limit",
    ];
    both_name(&process, &cause, || call(process.address));
    drop(held);
}
