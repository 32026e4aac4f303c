//! A caller of cluster A: a workload, and its sidecar that wraps a request in mTLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tools::refusal::CallRefusal;
use crate::tools::spiffe::SpiffeId;
use crate::tools::spiffe::tls::verified_peer;
use crate::tools::wire::{Counted, WireBytes, connect};

/// The longest time that a step of a call over loopback may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest reply that the demo expects.
const MAX_REPLY: usize = 8 * 1024;

/// One call, seen from the caller.
#[derive(Debug)]
pub struct Call {
    /// The caller's end of its connection to the gateway; the gateway's record carries it too.
    pub source: SocketAddr,
    /// Bytes on the caller's connection so far.
    pub bytes: Arc<WireBytes>,
    /// The result of the call.
    pub result: Result<Conversation, CallRefusal>,
}

/// A call that was answered. Its connection stays open until [`Conversation::close`].
#[derive(Debug)]
pub struct Conversation {
    stream: TlsStream<Counted>,
    /// The server's identity, as this side verified it.
    pub server: SpiffeId,
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The HTTP body.
    pub body: String,
}

/// Calls `gateway` for `server_name` with one HTTP request inside mTLS.
///
/// # Errors
/// The gateway does not accept the connection. [`Call::result`] holds everything that fails later.
pub async fn call(
    tls: &Arc<ClientConfig>,
    gateway: SocketAddr,
    server_name: &str,
) -> io::Result<Call> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
    let stream = timeout(DEADLINE, connect(gateway)).await??;
    stream.set_nodelay(true)?;
    let source = stream.local_addr()?;
    let stream = Counted::new(stream);
    let bytes = stream.bytes();
    // Boxed: a TLS session is kilobytes, and would make every future that calls this one larger.
    let conversation = Box::pin(converse(TlsConnector::from(tls.clone()), name, stream));
    let result = match timeout(DEADLINE, conversation).await {
        Ok(result) => result.map_err(CallRefusal::from),
        Err(late) => Err(CallRefusal::Failed(late.to_string())),
    };
    Ok(Call {
        source,
        bytes,
        result,
    })
}

async fn converse(
    connector: TlsConnector,
    name: ServerName<'static>,
    stream: Counted,
) -> io::Result<Conversation> {
    let host = name.to_str().into_owned();
    let mut stream = connector.connect(name, stream).await?;
    // In TLS 1.3 the client's handshake ends before the server has checked the client's certificate. A
    // refusal by the server arrives as an alert in place of the reply.
    stream.write_all(request(&host).as_bytes()).await?;
    stream.flush().await?;
    let reply = read_reply(&mut stream).await?;
    let (status, body) = parse_reply(&reply).ok_or(io::ErrorKind::InvalidData)?;
    let session = stream.get_ref().1;
    let server = verified_peer(session).ok_or(io::ErrorKind::InvalidData)?;
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "unknown",
    };
    Ok(Conversation {
        server,
        version,
        status,
        body,
        stream,
    })
}

/// The request that the workload makes. It names no port, no subset and no TLS.
fn request(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\nuser-agent: strait-demo\r\n\r\n")
}

async fn read_reply(stream: &mut TlsStream<Counted>) -> io::Result<String> {
    let mut reply = Vec::new();
    while reply.len() < MAX_REPLY {
        if stream.read_buf(&mut reply).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(text) = std::str::from_utf8(&reply).ok().filter(|t| is_whole(t)) {
            return Ok(text.to_owned());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn is_whole(reply: &str) -> bool {
    let length = |head: &str| {
        let line = head
            .lines()
            .find(|line| line.starts_with("content-length:"));
        line.and_then(|line| line.split_once(' ')?.1.parse().ok())
    };
    reply
        .split_once("\r\n\r\n")
        .is_some_and(|(head, body)| length(head) == Some(body.len()))
}

fn parse_reply(reply: &str) -> Option<(u16, String)> {
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

impl Conversation {
    /// Closes the connection and waits until the other side closes as well. After that no byte is under
    /// way, so byte counts can be compared.
    ///
    /// # Errors
    /// The other side reset the connection.
    pub async fn close(mut self) -> io::Result<()> {
        let close = async {
            self.stream.shutdown().await?;
            let mut rest = tokio::io::sink();
            tokio::io::copy(&mut self.stream, &mut rest).await?;
            Ok(())
        };
        timeout(DEADLINE, close).await?
    }
}

/// Sends a plain HTTP request without TLS. Returns the caller's address and the reply.
///
/// # Errors
/// The gateway does not accept the connection.
pub async fn call_without_tls(
    gateway: SocketAddr,
    host: &str,
) -> io::Result<(SocketAddr, Result<Vec<u8>, io::Error>)> {
    let mut stream = timeout(DEADLINE, connect(gateway)).await??;
    let source = stream.local_addr()?;
    let exchange = async {
        stream.write_all(request(host).as_bytes()).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        Ok(reply)
    };
    Ok((source, timeout(DEADLINE, exchange).await?))
}
