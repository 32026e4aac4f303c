//! One connection: it sends a delivery, reads the answer, and judges it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::delivery::Delivery;
use super::endpoint::{ANSWER, BANNER, EchoEndpoint};
use crate::socket;

/// The pause between the first and the second segment: long enough for the gateway to read them
/// separately.
const PAUSE: Duration = Duration::from_millis(5);
const RECORD_TYPE_ALERT: u8 = 21;

/// The judgement of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Judgement {
    Right,
    /// Wrong, for this reason.
    Wrong(&'static str),
    /// Unknown: only an endpoint of ours could judge it.
    NotJudged,
}

/// The client's observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Our endpoint answered. This is the number of the connection.
    Endpoint(u64),
    /// Another server answered.
    Answer,
    /// The connection ended, with at most an alert before.
    End,
    /// Nothing came within the timeout.
    Nothing,
    NoConnection,
}

/// Connects to `address`.
///
/// # Errors
/// Those of connect(2).
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket::for_connecting(address)?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Sends a delivery to `gateway` and judges the answer within `timeout`.
pub(super) async fn judge(
    gateway: SocketAddr,
    delivery: &Delivery,
    endpoint: Option<&EchoEndpoint>,
    timeout: Duration,
) -> Judgement {
    let wire = delivery.wire();
    let seen = tokio::time::timeout(timeout, exchange(gateway, delivery, &wire)).await;
    let (seen, _stream) = seen.unwrap_or((Seen::Nothing, None));
    let whole = match (seen, endpoint) {
        (Seen::Endpoint(number), Some(endpoint)) => {
            let got = tokio::time::timeout(timeout, endpoint.got(number, &wire)).await;
            endpoint.forget(number);
            got.unwrap_or(false)
        }
        _ => false,
    };
    if delivery.vector.expect.is_err() {
        return match seen {
            Seen::End => Judgement::Right,
            Seen::Endpoint(_) => Judgement::Wrong("routed"),
            Seen::Answer => Judgement::Wrong("answered"),
            Seen::Nothing => Judgement::Wrong("left hanging"),
            Seen::NoConnection => Judgement::Wrong("no connection"),
        };
    }
    match (seen, endpoint) {
        (Seen::Endpoint(_), _) if whole => Judgement::Right,
        (Seen::Endpoint(_), _) => Judgement::Wrong("routed with other bytes"),
        (Seen::NoConnection, _) => Judgement::Wrong("no connection"),
        (Seen::Answer, None) => Judgement::Right,
        (Seen::Answer, Some(_)) => Judgement::Wrong("routed elsewhere"),
        (Seen::End | Seen::Nothing, None) => Judgement::NotJudged,
        (Seen::End, Some(_)) => Judgement::Wrong("refused"),
        (Seen::Nothing, Some(_)) => Judgement::Wrong("left hanging"),
    }
}

/// Returns the client's observation and the connection. The connection stays open until the caller
/// drops it.
async fn exchange(
    gateway: SocketAddr,
    delivery: &Delivery,
    wire: &[u8],
) -> (Seen, Option<TcpStream>) {
    let Ok(mut stream) = connect(gateway).await else {
        return (Seen::NoConnection, None);
    };
    let (reader, writer) = stream.split();
    let seen = {
        let (reading, writing) = (look(reader), send(writer, delivery, wire));
        tokio::pin!(reading, writing);
        let mut sent = false;
        let seen = loop {
            tokio::select! {
                seen = &mut reading => break seen,
                () = &mut writing, if !sent => sent = true,
            }
        };
        if !sent && matches!(seen, Seen::Endpoint(_)) {
            writing.await;
        }
        seen
    };
    (seen, Some(stream))
}

/// Sends the segments. A gateway may close the connection before the last one.
async fn send(mut writer: WriteHalf<'_>, delivery: &Delivery, wire: &[u8]) {
    for (position, segment) in wire.chunks(delivery.segment(wire.len())).enumerate() {
        if position == 1 {
            tokio::time::sleep(PAUSE).await;
        }
        if writer.write_all(segment).await.is_err() {
            return;
        }
    }
    if delivery.ends() {
        let _ = writer.shutdown().await;
    }
}

/// Reads until the observation is clear.
async fn look(mut reader: ReadHalf<'_>) -> Seen {
    let mut received = Vec::with_capacity(ANSWER);
    loop {
        let mut buffer = [0; ANSWER];
        match reader.read(&mut buffer).await {
            // RST counts as an end, too.
            Ok(0) | Err(_) => return Seen::End,
            Ok(length) => received.extend_from_slice(buffer.get(..length).unwrap_or(&[])),
        }
        let banner = received
            .iter()
            .zip(BANNER)
            .all(|(is, should_be)| is == should_be);
        match (received.first(), received.get(BANNER.len()..ANSWER)) {
            (Some(&RECORD_TYPE_ALERT), _) => received.truncate(ANSWER),
            (_, Some(number)) if banner => {
                let number = number.first_chunk().copied().unwrap_or_default();
                return Seen::Endpoint(u64::from_be_bytes(number));
            }
            (_, None) if banner => {}
            _ => return Seen::Answer,
        }
    }
}
