//! rustls as a client and as a server, within the test.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
    StreamOwned,
};

use super::data::BODY;
use super::pair_list::Variant;
use crate::support::server::with_deadlines;

/// Serves HTTP as `kind` says, on threads of its own.
pub fn serve(
    port: u16,
    kind: &str,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) {
    let version = if kind.starts_with("12") {
        &TLS12
    } else {
        &TLS13
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    if kind.ends_with('t') {
        config.ticketer = Ticketer::new().unwrap();
    } else {
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            with_deadlines(&socket);
            let session = ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || {
                let _ = serve_one(&mut StreamOwned::new(session, socket));
            });
        }
    });
}

fn serve_one(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    let mut quiet = false;
    while let Some(head) = read_head(stream)? {
        let path = head.split(' ').nth(1).unwrap_or_default();
        quiet = path.contains("quiet");
        let close = path.starts_with("/close") || head.contains("onnection: close");
        let keep = if close { "close" } else { "keep-alive" };
        let length = BODY.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: {keep}\r\n\r\n{BODY}"
        );
        stream.write_all(answer.as_bytes())?;
        if close {
            break;
        }
    }
    if !quiet {
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    stream.sock.shutdown(Shutdown::Write)?;
    // Closing with bytes unread would be a reset.
    io::copy(&mut stream.sock, &mut io::sink()).map(|_| ())
}

/// A request's head; `None` when the client has closed.
fn read_head(stream: &mut impl Read) -> io::Result<Option<String>> {
    let (mut head, mut part) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(0) => return Ok(None),
            Ok(read) => head.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// Calls `name` `calls` times; gives the number of calls that succeeded and the last error.
pub fn call(
    gateway: SocketAddr,
    root: &CertificateDer<'static>,
    name: &str,
    variant: &Variant,
    calls: usize,
) -> (usize, String) {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !variant.resumed {
        config.resumption = Resumption::disabled();
    }
    let config = Arc::new(config);
    let (mut done, mut problem) = (0, String::new());
    for _ in 0..calls {
        match call_once(gateway, config.clone(), name, variant) {
            Ok(()) => done += 1,
            Err(error) => problem = error.to_string(),
        }
    }
    (done, problem)
}

fn call_once(
    gateway: SocketAddr,
    config: Arc<ClientConfig>,
    name: &str,
    variant: &Variant,
) -> io::Result<()> {
    let socket = TcpStream::connect(gateway)?;
    with_deadlines(&socket);
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let session = ClientConnection::new(config, server).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, socket);
    let keep = if variant.server_first {
        "close"
    } else {
        "keep-alive"
    };
    let path = variant.path();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: {keep}\r\n\r\n"
    )?;
    let (mut got, mut part) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&got).contains(BODY) {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err(io::Error::other("closed in the answer"));
        }
        got.extend_from_slice(&part[..read]);
    }
    if variant.server_first {
        let _ = io::copy(&mut stream, &mut io::sink());
    }
    if variant.notify {
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
    match stream.conn.protocol_version() {
        Some(ProtocolVersion::TLSv1_2 | ProtocolVersion::TLSv1_3) => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}
