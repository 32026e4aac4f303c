//! Clients in front of the gateway that speak just enough TLS to be routed.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, Socket, Type};

use super::server::with_deadlines;
use super::{DEADLINE, SERVICE};

/// The ClientHello that rustls sends for `server_name`, record and all.
pub fn hello(server_name: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    config.enable_sni = !server_name.is_empty();
    let name = if server_name.is_empty() {
        "unnamed"
    } else {
        server_name
    };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    wire
}

/// A hello of at least `length` bytes, by many ALPN offers.
pub fn large_hello(server_name: &str, length: usize) -> Vec<u8> {
    let offers: Vec<String> = (0..length / 256 + 1)
        .map(|number| format!("{number:0>255}"))
        .collect();
    let offers: Vec<&str> = offers.iter().map(String::as_str).collect();
    let wire = hello(server_name, &offers);
    assert!(wire.len() >= length);
    wire
}

/// A connection to the gateway, with nothing sent yet.
pub fn connect(gateway: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&gateway, DEADLINE).unwrap();
    with_deadlines(&stream);
    stream
}

/// A connection with small buffers, so that little is in flight.
fn connect_narrow(gateway: SocketAddr, receive_buffer: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(receive_buffer).unwrap();
    socket.connect_timeout(&gateway.into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    with_deadlines(&stream);
    stream
}

/// A connection whose hello for [`SERVICE`] is sent. Returns the hello's length too: a server behind
/// the gateway gets those bytes first.
pub fn open(gateway: SocketAddr) -> (TcpStream, usize) {
    greet(connect(gateway))
}

/// Same as [`open`], over a connection with small buffers.
pub fn open_narrow(gateway: SocketAddr, receive_buffer: usize) -> (TcpStream, usize) {
    greet(connect_narrow(gateway, receive_buffer))
}

fn greet(mut stream: TcpStream) -> (TcpStream, usize) {
    let hello = hello(SERVICE, &[]);
    stream.write_all(&hello).unwrap();
    (stream, hello.len())
}
