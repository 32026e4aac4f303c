//! The PROXY protocol on real connections: the header that a trusted load balancer sends first, and
//! the one that an upstream may want.
//!
//! Exactly the header is taken from the socket, so that the hello behind it can still be peeked at.

use std::io;
use std::net::SocketAddr;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::refusal::{Refusal, gone};
use super::worker::Worker;
use crate::outcome::Outcome;
use crate::proxy_header::{MAX_HEADER, Proxied, ProxyHeader, ProxyHeaderError};
use crate::server_name::ServerName;
use crate::socket;

/// Reads the header of a connection whose peer announces its clients.
///
/// # Errors
/// `proxy_header_invalid`, or that the peer went away or took too long.
pub(super) async fn read(
    worker: &Worker,
    downstream: &TcpStream,
    deadline: Instant,
) -> Result<ProxyHeader, Refusal> {
    let work = async {
        let mut held = Vec::new();
        loop {
            let step = downstream.async_io(Interest::READABLE, || {
                let mut buffer = worker.buffer.borrow_mut();
                take(downstream, &mut buffer, &mut held)
            });
            match step.await {
                Ok(Ok(Some(header))) => return Ok(header),
                Ok(Ok(None)) => {}
                Ok(Err(refusal)) => return Err(refusal),
                Err(error) => return Err(gone(&error, held.len())),
            }
        }
    };
    match tokio::time::timeout_at(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::noted(
            Outcome::HelloTimeout,
            "no PROXY protocol header in time".to_owned(),
        )),
    }
}

/// Peeks at the bytes behind the `held` ones, and takes those that belong to the header.
fn take(
    downstream: &TcpStream,
    buffer: &mut [u8],
    held: &mut Vec<u8>,
) -> io::Result<Result<Option<ProxyHeader>, Refusal>> {
    let (before, rest) = buffer.split_at_mut(held.len());
    before.copy_from_slice(held);
    // A header that is not complete is shorter than the longest one, so at least one more byte fits.
    let most = MAX_HEADER.saturating_sub(held.len()).max(1);
    let rest = &mut rest[..most];
    let arrived = socket::peek(downstream, rest)?;
    if arrived == 0 {
        return Ok(Err(match held.is_empty() {
            true => Refusal::silent(Outcome::Probe),
            false => Refusal::noted(
                Outcome::ClientGoneBeforeHello,
                "the connection ended within the PROXY protocol header".to_owned(),
            ),
        }));
    }
    let known = held.len() + arrived;
    let header = match ProxyHeader::parse(&buffer[..known]) {
        Ok(header) => header,
        Err(error) => return Ok(Err(invalid(error))),
    };
    // While the header is not complete, all that has come belongs to it.
    let end = header.map_or(known, |header| header.len);
    let taken = socket::read(downstream, &mut buffer[held.len()..end])?;
    held.extend_from_slice(&buffer[held.len()..][..taken]);
    Ok(Ok(header.filter(|header| header.len == held.len())))
}

fn invalid(error: ProxyHeaderError) -> Refusal {
    let detail = match error {
        ProxyHeaderError::Missing => {
            format!("{error}, and `proxy_protocol.trusted` holds the peer: one is required")
        }
        _ => error.to_string(),
    };
    Refusal::noted(Outcome::ProxyHeaderInvalid, detail)
}

/// The header that announces a connection from `source` to an endpoint. `destination` is the address that
/// the client connected to, if a header in front said so.
///
/// # Errors
/// The downstream socket has no address any more: it is gone.
pub(super) fn header(
    downstream: &TcpStream,
    source: SocketAddr,
    destination: Option<SocketAddr>,
    name: Option<&ServerName>,
) -> Result<Vec<u8>, Outcome> {
    let destination = match destination {
        Some(destination) => destination,
        None => downstream
            .local_addr()
            .map(socket::canonical)
            .map_err(|_| Outcome::DownstreamReset)?,
    };
    let proxied = Proxied {
        source,
        destination,
    };
    proxied.header(name).map_err(|_| Outcome::InternalError)
}
