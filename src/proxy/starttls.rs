//! The request for TLS that comes before the hello in PostgreSQL's protocol: strait answers the client's, and
//! sends one to the endpoint before it replays the hello.
//!
//! Nothing may follow a request before its answer. An attacker on the way could put such bytes in front of what
//! the two ends then encrypt (CVE-2021-23222, CVE-2021-23214).

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

use super::refusal::{Refusal, gone};
use crate::client_hello::{HelloError, NotTls, POSTGRES_REQUEST, PostgresRequest};
use crate::outcome::Outcome;
use crate::socket;

/// The first byte of PostgreSQL's requests: the highest one of a small length. No TLS record begins with it.
const FIRST_BYTE: u8 = 0;
const TLS_MAY_BEGIN: u8 = b'S';
const NO_ENCRYPTION: u8 = b'N';

/// Answers the requests of a client until its hello can come. Returns whether it asked for TLS; a client that
/// begins with TLS, or sends nothing, is left as it is. `begun` is set once a byte of a request has come.
///
/// # Errors
/// The client asks for something else, sends more than its request, or goes away.
pub(super) async fn answer(downstream: &TcpStream, begun: &Cell<bool>) -> Result<bool, Refusal> {
    let mut gssapi_refused = false;
    while first_byte(downstream, begun).await? == Some(FIRST_BYTE) {
        begun.set(true);
        let start = read(downstream).await?;
        match PostgresRequest::parse(start) {
            Some(PostgresRequest::Tls) => {
                reply(downstream, TLS_MAY_BEGIN).await?;
                return Ok(true);
            }
            Some(PostgresRequest::Gssapi) if !gssapi_refused => {
                gssapi_refused = true;
                reply(downstream, NO_ENCRYPTION).await?;
            }
            other => return Err(refused(other)),
        }
    }
    Ok(false)
}

/// The refusal of a client that does not ask for TLS.
fn refused(request: Option<PostgresRequest>) -> Refusal {
    let detail = match request {
        Some(PostgresRequest::Cancel) => {
            "PostgreSQL's CancelRequest without TLS names no server, so it cannot be routed"
        }
        Some(PostgresRequest::Startup) => {
            "PostgreSQL's StartupMessage without TLS: the client needs sslmode=require or more"
        }
        Some(PostgresRequest::Gssapi | PostgresRequest::Tls) => {
            "PostgreSQL's GSSENCRequest came twice"
        }
        None => return Refusal::bad_hello(&HelloError::NotTls(NotTls::FirstByte(FIRST_BYTE))),
    };
    Refusal::noted(Outcome::NotTls, detail.to_owned())
}

/// The next byte, which stays in the socket. `None` if the client sends nothing more.
async fn first_byte(downstream: &TcpStream, begun: &Cell<bool>) -> Result<Option<u8>, Refusal> {
    let mut first = [0];
    let peeked = downstream.async_io(Interest::READABLE, || socket::peek(downstream, &mut first));
    let length = peeked
        .await
        .map_err(|error| gone(&error, begun.get().into()))?;
    Ok(first.first().copied().filter(|_| length > 0))
}

/// Takes the start of a message, and no byte after it.
async fn read(downstream: &TcpStream) -> Result<[u8; POSTGRES_REQUEST], Refusal> {
    let mut start = [0; POSTGRES_REQUEST];
    let mut taken = 0;
    while taken < POSTGRES_REQUEST {
        let rest = &mut start[taken..];
        let read = downstream.async_io(Interest::READABLE, || socket::read(downstream, rest));
        match read.await.map_err(|error| gone(&error, POSTGRES_REQUEST))? {
            0 => return Err(Refusal::silent(Outcome::ClientGoneBeforeHello)),
            length => taken += length,
        }
    }
    Ok(start)
}

/// Answers a request with one byte, unless something follows the request already.
async fn reply(downstream: &TcpStream, answer: u8) -> Result<(), Refusal> {
    match socket::peek(downstream, &mut [0]) {
        Ok(0) => return Err(Refusal::silent(Outcome::ClientGoneBeforeHello)),
        Ok(_) => {
            let detail =
                "bytes follow PostgreSQL's request before its answer: were they put in on the way?";
            return Err(Refusal::noted(Outcome::NotTls, detail.to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(gone(&error, POSTGRES_REQUEST)),
    }
    let write = || socket::write(downstream, &[answer]);
    let written = downstream.async_io(Interest::WRITABLE, write).await;
    written
        .map(drop)
        .map_err(|error| gone(&error, POSTGRES_REQUEST))
}

/// Reads the answer of the endpoint at `address`, to which SSLRequest was sent.
///
/// # Errors
/// TLS cannot begin there: the outcome, and the reason for the log.
pub(super) async fn granted(
    endpoint: &mut TcpStream,
    address: SocketAddr,
) -> Result<(), (Outcome, String)> {
    // More than the answer: nothing may follow it.
    let mut answer = [0; POSTGRES_REQUEST];
    let request = "PostgreSQL's SSLRequest";
    let length = match endpoint.read(&mut answer).await {
        Ok(length) => length,
        Err(error) => {
            let detail = format!("{address}: {error}, after {request}");
            return Err((Outcome::UpstreamReset, detail));
        }
    };
    match answer.get(..length).unwrap_or(&answer) {
        [TLS_MAY_BEGIN] => Ok(()),
        [] => {
            let detail = format!("{address} closed after {request}");
            Err((Outcome::UpstreamClosedBeforeReply, detail))
        }
        [NO_ENCRYPTION] => {
            let detail = format!("{address} answers N to {request}: TLS is off there");
            Err((Outcome::UpstreamNotTls, detail))
        }
        other => {
            let shown = other.escape_ascii();
            let detail = format!("{address} answers \"{shown}\" to {request}, not S alone");
            Err((Outcome::UpstreamNotTls, detail))
        }
    }
}
