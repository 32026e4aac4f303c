//! One connection, from connect to close.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tools::refusal::CallRefusal;
use crate::tools::wire::connect;

/// The time that a server may take to close after the client. Some servers never close; that is not a
/// failure.
const CLOSE: Duration = Duration::from_secs(1);
/// The longest status line of an HTTP answer.
const MAX_STATUS_LINE: usize = 1024;

/// The steps that every connection makes.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The addresses to connect to, in turn.
    pub targets: Vec<SocketAddr>,
    pub name: ServerName<'static>,
    pub tls: Arc<ClientConfig>,
    pub exchange: Exchange,
    /// The longest time of each step.
    pub timeout: Duration,
}

/// The bytes that go over a connection once its handshake is done.
#[derive(Debug)]
pub(super) enum Exchange {
    /// Nothing.
    None,
    /// Sends a line, and waits for the first bytes of an answer.
    Line(String),
    /// Sends an HTTP request, and reads the status line of the answer.
    Http(String),
}

impl Exchange {
    pub(super) fn http(path: &str, host: &str) -> Self {
        Self::Http(format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: strait-load\r\nconnection: close\r\n\r\n"
        ))
    }
}

/// A part of a connection's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptStep {
    /// The TCP connection to the gateway.
    Connect,
    /// The TLS handshake with the endpoint.
    Handshake,
    /// From the request to the first bytes of the answer.
    Answer,
    /// From the client's close to the server's. A refusal by the server may arrive only now.
    Close,
}

impl AttemptStep {
    pub(super) const ALL: [Self; 4] = [Self::Connect, Self::Handshake, Self::Answer, Self::Close];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Answer => "answer",
            Self::Close => "close",
        }
    }
}

/// The duration of every step that succeeded, and the reason why the next one failed.
#[derive(Debug)]
pub(super) struct AttemptResult {
    pub steps: Vec<(AttemptStep, Duration)>,
    pub failure: Option<(AttemptStep, String)>,
}

impl Attempt {
    /// Makes the connection with this number.
    pub(super) async fn make(&self, number: usize) -> AttemptResult {
        let mut steps = Vec::new();
        let failure = Box::pin(self.go(number, &mut steps)).await.err();
        AttemptResult { steps, failure }
    }

    async fn go(
        &self,
        number: usize,
        steps: &mut Vec<(AttemptStep, Duration)>,
    ) -> Result<(), (AttemptStep, String)> {
        let target = self.targets[number % self.targets.len()];
        let socket = self.step(AttemptStep::Connect, steps, open(target)).await?;
        let connector = TlsConnector::from(self.tls.clone());
        let handshake = Box::pin(connector.connect(self.name.clone(), socket));
        let mut stream = self.step(AttemptStep::Handshake, steps, handshake).await?;
        match &self.exchange {
            Exchange::None => {}
            Exchange::Line(line) => {
                let answer = first_bytes(&mut stream, line);
                self.step(AttemptStep::Answer, steps, answer).await?;
            }
            Exchange::Http(request) => {
                let answer = status(&mut stream, request);
                let status = self.step(AttemptStep::Answer, steps, answer).await?;
                if !(200..400).contains(&status) {
                    return Err((AttemptStep::Answer, format!("HTTP status {status}")));
                }
            }
        }
        // In TLS 1.3 the client's handshake ends before the server has checked the client's
        // certificate. A refusal arrives as an alert in place of the server's close.
        let answered = !matches!(self.exchange, Exchange::None);
        self.step(AttemptStep::Close, steps, close(&mut stream, answered))
            .await
    }

    /// Makes one step within the timeout, and notes its duration if it succeeds.
    async fn step<T>(
        &self,
        step: AttemptStep,
        steps: &mut Vec<(AttemptStep, Duration)>,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, (AttemptStep, String)> {
        let start = Instant::now();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(done)) => {
                steps.push((step, start.elapsed()));
                Ok(done)
            }
            Ok(Err(error)) => Err((step, CallRefusal::from(error).to_string())),
            Err(_) => Err((step, "timed out".to_owned())),
        }
    }
}

async fn open(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = connect(target).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn first_bytes(stream: &mut TlsStream<TcpStream>, line: &str) -> io::Result<()> {
    stream.write_all(line.as_bytes()).await?;
    stream.flush().await?;
    match stream.read(&mut [0; 64]).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Sends `request` and reads the status of the answer.
async fn status(stream: &mut TlsStream<TcpStream>, request: &str) -> io::Result<u16> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') {
        if answer.len() > MAX_STATUS_LINE || stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::other("not an HTTP answer"));
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1));
    let status = status.and_then(|digits| digits.get(..3)?.parse().ok());
    status.ok_or_else(|| io::Error::other("not an HTTP answer"))
}

/// Closes the sending side, and waits a while for the server to close as well.
async fn close(stream: &mut TlsStream<TcpStream>, answered: bool) -> io::Result<()> {
    let closed = async {
        stream.shutdown().await?;
        tokio::io::copy(stream, &mut tokio::io::sink()).await
    };
    match tokio::time::timeout(CLOSE, closed).await {
        Err(_) => Ok(()),
        // The server closed without close_notify. That is improper, but no byte is missing.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        // A server that closes right after its answer may reset the connection when it gets our close.
        // Without an answer the reset may have replaced a refusal.
        Ok(Err(error)) if answered && is_reset(&error) => Ok(()),
        Ok(result) => result.map(drop),
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected
    )
}
