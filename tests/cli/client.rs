//! The commands that ask a running gateway, against one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::program::{File, err, out, strait};
use crate::support::client::{hello, open};
use crate::support::config_text::ConfigText;
use crate::support::process::{Folder, Process};
use crate::support::server::{Server, read_exactly, refusing_address};
use crate::support::wait_until;

/// A gateway to a server that holds its connections.
struct Running {
    server: Server,
    process: Process,
    admin: String,
}

impl Running {
    fn start() -> Self {
        let server = Server::start(|mut stream| {
            let mut hello = [0; 4096];
            while let Ok(1..) = stream.read(&mut hello) {
                let _ = stream.write_all(&crate::support::server::ANSWER);
            }
        });
        let config =
            ConfigText::to(&[server.address]).top("drain: { readiness_delay: 0s, window: 1s }");
        let process = Process::start(&config);
        let admin = process.server("admin").to_string();
        Self {
            server,
            process,
            admin,
        }
    }

    /// An open connection through the gateway.
    fn connection(&self) -> TcpStream {
        let (mut client, _) = open(self.process.address);
        read_exactly(&mut client, crate::support::server::ANSWER.len());
        client
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        strait(&[arguments, &["--admin", &self.admin]].concat())
    }

    #[track_caller]
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        out(&output)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// The numbers of the open connections.
    fn open_ids(&self) -> Vec<u64> {
        let list = self.json(&["connections"]);
        let list = list["connections"].as_array().unwrap();
        list.iter().map(|one| one["id"].as_u64().unwrap()).collect()
    }
}

/// Whether the peer has closed the connection.
fn is_closed(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    match client.read(&mut [0; 64]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn status_says_whether_it_is_ready_and_what_it_has() {
    let running = Running::start();
    let _open = running.connection();
    let status = running.json(&["status"]);
    assert_eq!(status["ready"], true);
    assert_eq!(status["upstreams"], 1);
    assert_eq!(status["endpoints"]["ready"], 1);
    assert_eq!(status["connections"], 1);
    assert_eq!(status["log_level"], "info");
    let text = running.text(&["status"]);
    for line in [
        format!(
            "strait       {} at {}",
            env!("CARGO_PKG_VERSION"),
            running.admin
        ),
        "ready        yes".to_owned(),
        format!("listeners    east-west on {}", running.process.address),
        "endpoints    1 ready".to_owned(),
        "open         1 connection".to_owned(),
    ] {
        assert!(text.contains(&line), "no {line:?} in\n{text}");
    }
}

#[test]
fn upstreams_and_connections_are_tables_and_can_be_narrowed() {
    let running = Running::start();
    let _open = running.connection();
    let endpoint = running.server.address.to_string();
    let text = running.text(&["upstreams"]);
    assert!(text.starts_with("UPSTREAM"), "{text}");
    assert!(text.contains(&endpoint) && text.contains("ready"), "{text}");
    let upstreams = running.json(&["upstreams"]);
    let name = upstreams["upstreams"][0]["name"].as_str().unwrap();
    assert_eq!(running.json(&["upstreams", name]), upstreams);
    let none = running.ask(&["upstreams", "nobody"]);
    assert_eq!(none.status.code(), Some(1));

    let text = running.text(&["connections", "--endpoint", &endpoint, "--sort", "bytes"]);
    assert!(text.starts_with("ID"), "{text}");
    assert!(text.contains(&endpoint), "{text}");
    assert!(text.ends_with("1 shown, 1 matched, 1 open\n"), "{text}");
    let text = running.text(&["connections", "--source", "192.0.2.0/24"]);
    assert!(text.ends_with("0 shown, 0 matched, 1 open\n"), "{text}");
    let wrong = running.ask(&["connections", "--source", "alpha"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = err(&wrong);
    assert!(
        said.contains("answers 400: `source` is an IP address"),
        "{said}"
    );
}

#[test]
fn one_connection_is_ended_or_all_to_an_endpoint() {
    let running = Running::start();
    let mut first = running.connection();
    let id = running.open_ids()[0].to_string();
    let mut second = running.connection();
    assert_eq!(running.text(&["end", &id]), "1 connection ended\n");
    wait_until("the connection is closed", || is_closed(&mut first));
    assert!(!is_closed(&mut second));
    let again = running.ask(&["end", &id]);
    assert_eq!(again.status.code(), Some(1), "{}", err(&again));
    assert_eq!(out(&again), "0 connections ended\n");
    let endpoint = running.server.address.to_string();
    let ended = running.json(&["end", "--endpoint", &endpoint]);
    assert_eq!(ended["ended"], 1);
    wait_until("the connection is closed", || is_closed(&mut second));
    for arguments in [
        &["end"][..],
        &["end", "1", "--endpoint", &endpoint],
        &["end", "x"],
    ] {
        assert_eq!(
            running.ask(arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

#[test]
fn the_log_level_is_shown_and_changed() {
    let running = Running::start();
    assert_eq!(running.text(&["log-level"]), "info\n");
    let filter = "info,strait::proxy=debug";
    assert_eq!(running.text(&["log-level", filter]), format!("{filter}\n"));
    assert_eq!(running.json(&["log-level"])["level"], filter);
    let wrong = running.ask(&["log-level", "loud & clear"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = err(&wrong);
    assert!(said.contains("answers 400: not a log filter"), "{said}");
}

#[test]
fn a_log_level_may_end_by_itself() {
    let running = Running::start();
    assert_eq!(
        running.text(&["log-level", "debug", "--for", "1s"]),
        "debug\n"
    );
    wait_until("the level goes back", || {
        running.text(&["log-level"]) == "info\n"
    });
    assert_eq!(
        running.ask(&["log-level", "--for", "1s"]).status.code(),
        Some(2)
    );
    let wrong = running.ask(&["log-level", "debug", "--for", "soon"]);
    assert!(err(&wrong).contains("answers 400"), "{}", err(&wrong));
}

#[test]
fn a_kept_hello_is_listed_and_goes_to_strait_hello() {
    let server = Server::echo();
    let config = ConfigText::to(&[server.address]).top("hellos: { keep: 4 }");
    let process = Process::start(&config);
    let admin = process.server("admin").to_string();
    let ask = |arguments: &[&str]| out(&strait(&[arguments, &["--admin", &admin]].concat()));
    let mut client = TcpStream::connect(process.address).unwrap();
    client
        .write_all(&hello("nowhere.example", &["h2"]))
        .unwrap();
    wait_until("it is kept", || ask(&["hellos"]).contains(" no_route "));
    let folder = Folder::create();
    let file = folder.file("hello.hex", &ask(&["hellos", "1"]));
    let shown = out(&strait(&["hello", file.to_str().unwrap()]));
    assert!(shown.contains("nowhere.example"), "{shown}");
    let none = strait(&["hellos", "9", "--admin", &admin]);
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn a_trace_has_a_line_for_each_step_of_a_connection_that_matches() {
    let running = Running::start();
    let text = running.text(&["trace", "--sni", "*.cluster.local", "--source", "127.0.0.1"]);
    assert!(text.starts_with("trace 1 runs; "), "{text}");
    let other = running.json(&["trace", "--route", "another", "--for", "10m"]);
    assert_eq!(
        (&other["trace"]["id"], &other["logged"]),
        (&2.into(), &true.into())
    );
    drop(running.connection());
    let line = running.process.wait_for("step=\"close\"");
    assert!(
        line.contains("trace=1 ") && line.contains("outcome "),
        "{line}"
    );
    for step in ["accept", "hello", "route", "pick", "connect", "first_reply"] {
        let said = running.process.said(&format!("step=\"{step}\""));
        assert_eq!(said, 1, "{step}");
    }
    let traces = running.json(&["trace"]);
    let counts = traces["traces"].as_array().unwrap().iter();
    let counts: Vec<_> = counts.map(|trace| trace["lines"].as_u64()).collect();
    assert_eq!(counts, [Some(7), Some(0)]);
    assert!(
        running
            .text(&["trace", "--end", "2"])
            .starts_with("trace 2 ended: route another")
    );
    assert_eq!(running.ask(&["trace", "--end", "2"]).status.code(), Some(2));
    assert!(
        running
            .text(&["trace", "--end", "all"])
            .starts_with("trace 1 ended")
    );
    running.process.wait_for("a trace is over");
    assert_eq!(running.text(&["trace"]), "no trace runs\n");
    drop(running.connection());
    assert_eq!(
        running.process.said("step=\"accept\""),
        1,
        "no trace follows it"
    );
}

#[test]
fn a_trace_ends_by_itself_and_tells_of_refusals() {
    let running = Running::start();
    running.text(&["trace", "--source", "127.0.0.0/8", "--for", "6s"]);
    let mut client = TcpStream::connect(running.process.address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let line = running.process.wait_for("step=\"close\"");
    assert!(line.contains("outcome not_tls, ended by gateway"), "{line}");
    running.process.wait_for("a trace is over");
    for (arguments, says) in [
        (
            &["trace", "--route", "x", "--for", "2h"][..],
            "an hour at most",
        ),
        (
            &["trace", "--source", "alpha"],
            "`source` is an IP address or a CIDR",
        ),
    ] {
        let refused = running.ask(arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert!(err(&refused).contains(says), "{}", err(&refused));
    }
}

#[test]
fn an_endpoint_is_taken_out_and_put_back() {
    let running = Running::start();
    let endpoint = running.server.address.to_string();
    let upstreams = running.json(&["upstreams"]);
    let name = upstreams["upstreams"][0]["name"].as_str().unwrap();
    let mut kept = running.connection();
    let state = |change: &str| running.text(&["endpoint", name, &endpoint, change]);
    assert_eq!(state("drain"), format!("{endpoint} drained\n"));
    let (mut refused, _) = open(running.process.address);
    wait_until("a new connection is refused", || is_closed(&mut refused));
    assert!(!is_closed(&mut kept), "an open one goes on");
    assert_eq!(state("ready"), format!("{endpoint} ready\n"));
    let _ = running.connection();
    assert_eq!(state("lift"), format!("{endpoint} ready\n"));
    let nobody = running.ask(&["endpoint", name, "192.0.2.1:1", "drain", "--for", "1m"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(
        err(&nobody).contains("answers 404: there is no such upstream"),
        "{}",
        err(&nobody)
    );
}

#[test]
fn readiness_is_taken_away_and_given_back() {
    let running = Running::start();
    let status = || running.ask(&["status"]).status.code();
    running.text(&["ready", "fail", "--for", "10m"]);
    assert_eq!(status(), Some(1));
    let _served = running.connection();
    running.text(&["ready", "ok"]);
    assert_eq!(status(), Some(0));
}

#[test]
fn a_drain_ends_the_process() {
    let mut running = Running::start();
    assert_eq!(running.text(&["drain"]), "draining\n");
    assert!(running.process.wait_end().success());
}

#[test]
fn the_address_comes_from_the_config_and_may_be_a_socket() {
    let running = Running::start();
    let config = format!(
        "listeners: [{{ name: a, bind: '127.0.0.1:0' }}]\nadmin: {{ bind: '{}' }}\n",
        running.admin
    );
    let file = File::with(&config);
    let output = strait(&["log-level", "--config", file.path()]);
    assert_eq!(out(&output), "info\n", "{}", err(&output));
    let off = File::with("listeners: [{ name: a, bind: '127.0.0.1:0' }]\nadmin: off\n");
    let output = strait(&["log-level", "--config", off.path()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("has `admin: off`"),
        "{}",
        err(&output)
    );

    let folder = Folder::create();
    let socket = folder.path("admin");
    let is_open = Arc::new(AtomicBool::new(true));
    forward(&socket, running.admin.parse().unwrap(), &is_open);
    let admin = format!("unix:{}", socket.display());
    let output = strait(&["log-level", "--admin", &admin]);
    assert_eq!(out(&output), "info\n", "{}", err(&output));
}

/// Passes connections to a Unix socket on to an address while `open` is set, and closes others.
pub fn forward(socket: &Path, to: SocketAddr, open: &Arc<AtomicBool>) {
    let (listener, open) = (UnixListener::bind(socket).unwrap(), open.clone());
    thread::spawn(move || {
        for from in listener.incoming() {
            let mut from = from.unwrap();
            if !open.load(Ordering::Relaxed) {
                continue;
            }
            let mut to = TcpStream::connect(to).unwrap();
            let (mut request, mut upstream) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut request, &mut upstream));
            let _ = std::io::copy(&mut to, &mut from);
            let _ = from.shutdown(std::net::Shutdown::Both);
        }
    });
}

#[test]
fn a_gateway_that_is_not_there_is_named_with_the_reason() {
    let nobody = refusing_address().to_string();
    for command in ["status", "upstreams", "connections", "log-level", "drain"] {
        let output = strait(&[command, "--admin", &nobody]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = err(&output);
        let text = format!("the admin server at {nobody} does not answer: Connection refused");
        assert!(said.contains(&text), "{said}");
    }
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = stranger.accept().unwrap();
        let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let output = strait(&["status", "--admin", &address]);
    assert_eq!(output.status.code(), Some(2));
    let text = format!("the admin server at {address} does not answer: ");
    assert!(err(&output).contains(&text), "{}", err(&output));
    for wrong in ["https://127.0.0.1:1", "127.0.0.1", "unix:"] {
        let output = strait(&["status", "--admin", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}
