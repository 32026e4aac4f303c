//! The PROXY protocol with a peer that we did not write: a real HAProxy in front of strait, and one
//! behind it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::process::Folder;
use crate::support::server::{Server, read_exactly, read_to_eof};
use crate::support::{self, SERVICE, assert_same_bytes, noise};

/// HAProxy on a socket that the test has bound for it, forwarding to one server.
struct HaProxy {
    address: SocketAddr,
    process: Child,
    _folder: Folder,
}

impl HaProxy {
    fn start(bind_options: &str, server: SocketAddr, server_options: &str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        // HAProxy inherits the socket: no port can be taken by another test in between.
        fcntl_setfd(&socket, FdFlags::empty()).unwrap();
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 20s\n  timeout client 60s\n  timeout server 60s\n\
             listen l\n  bind fd@{} {bind_options}\n  server s {server} {server_options}\n",
            socket.as_raw_fd()
        );
        let folder = Folder::create();
        let file = folder.file("haproxy.cfg", &config);
        let process = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("haproxy: {error}; tests/run installs it"));
        fcntl_setfd(&socket, FdFlags::CLOEXEC).unwrap();
        Self {
            address,
            process,
            _folder: folder,
        }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends `wire` and gets it back, all of it, through whatever stands in between.
#[track_caller]
fn echoes(mut client: TcpStream, wire: &[u8]) {
    let writer = support::server::write_beside(&client, wire.to_vec());
    assert_same_bytes(&read_exactly(&mut client, wire.len()), wire);
    writer.join().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
}

#[test]
fn in_front_it_announces_its_clients() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]);
    let gateway =
        TestGateway::start(&config.listener("proxy_protocol: { trusted: [127.0.0.0/8] }"));
    let wire = [hello(SERVICE, &[]), noise(300_000, 8)].concat();
    for options in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
    ] {
        let haproxy = HaProxy::start("", gateway.address(), options);
        let client = connect(haproxy.address);
        let source = client.local_addr().unwrap();
        echoes(client, &wire);
        let record = gateway.record();
        assert_eq!(
            (&*record.outcome, record.source),
            ("ok", source),
            "{options}"
        );
        assert_ne!(record.proxy, Some(source));
        assert!(record.proxy.is_some());
    }
}

#[test]
fn in_front_its_health_checks_are_probes() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]);
    let gateway =
        TestGateway::start(&config.listener("proxy_protocol: { trusted: [127.0.0.0/8] }"));
    let options = "send-proxy-v2 check inter 50ms check-send-proxy";
    let _haproxy = HaProxy::start("", gateway.address(), options);
    support::wait_until("checks are probes", || {
        gateway.metric_or_zero("strait_connections_closed_total") >= 3.0
    });
    // Read in this order, since checks go on.
    let all = gateway.metric_or_zero("strait_connections_closed_total");
    assert!(gateway.closed("probe") >= all, "{all} in all");
}

#[test]
fn behind_it_understands_the_header() {
    // Behind the second HAProxy, a server gets the client's address in version 1.
    let server = Server::start(|mut stream| {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            line.push(byte[0]);
        }
        let _ = stream.write_all(&line);
    });
    let haproxy = HaProxy::start("accept-proxy", server.address, "send-proxy");
    let config = ConfigText::to(&[haproxy.address]).upstream("proxy_protocol: v2");
    let gateway = TestGateway::start(&config);
    let mut client = connect(gateway.address());
    let source = client.local_addr().unwrap();
    client.write_all(&hello(SERVICE, &[])).unwrap();
    let line = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
        source.port(),
        gateway.address().port()
    );
    assert_eq!(read_exactly(&mut client, line.len()), line.as_bytes());
}
