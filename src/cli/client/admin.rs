//! The client of the admin API: one request, one bounded answer, over TCP or a Unix socket.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use futures_util::future::Either;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::cli::config_file::{ConfigText, DEFAULT as DEFAULT_CONFIG};
use crate::socket;

/// The default of `admin.bind`.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// The time that the gateway has to take a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// The time that the gateway has for its whole answer.
const ANSWER: Duration = Duration::from_secs(60);
/// The largest answer in bytes.
const MAX_ANSWER: usize = 256 << 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct AdminArguments {
    /// The admin address: http://IP:PORT, IP:PORT or unix:PATH. Without it, `admin.bind` of the config,
    /// or 127.0.0.1:15000 if that cannot be read
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<AdminAddress>,
    /// The config file that names the admin address
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// The address of an admin server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum AdminAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for AdminAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err("unix: needs a path"),
                false => Ok(Self::Unix(path.into())),
            };
        }
        let host = text.strip_prefix("http://").unwrap_or(text);
        let host = host.trim_end_matches('/');
        let local = host.strip_prefix("localhost:").map(str::parse);
        match (local, host.parse()) {
            (Some(Ok(port)), _) => Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into())),
            (_, Ok(address)) => Ok(Self::Tcp(address)),
            _ => Err("write http://IP:PORT, IP:PORT or unix:PATH"),
        }
    }
}

impl std::fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A running gateway's admin server.
pub(super) struct Admin {
    pub(super) address: AdminAddress,
    /// The largest answer that is taken, in bytes.
    max_answer: usize,
}

/// The answer to a request.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// The body, or the limit that it is larger than.
    body: Result<Bytes, usize>,
}

impl Admin {
    /// The admin server that the arguments name.
    ///
    /// # Errors
    /// The config turns the admin server off.
    pub(super) fn of(arguments: &AdminArguments) -> Result<Self, Box<dyn Error>> {
        Self::at(arguments.admin.as_ref(), &arguments.config)
    }

    /// The admin server at `address`, or at the admin address of the config at `path`.
    ///
    /// # Errors
    /// The config turns the admin server off.
    pub(super) fn at(address: Option<&AdminAddress>, path: &Path) -> Result<Self, Box<dyn Error>> {
        if let Some(address) = address {
            return Ok(Self::new(address.clone()));
        }
        // Of a file that cannot be read, or has problems, the gateway uses an earlier state.
        let loaded = ConfigText::read(path).and_then(|text| text.load());
        let bind = match loaded.as_ref().map(|loaded| loaded.config.admin) {
            Ok(Some(bind)) => bind,
            Ok(None) => {
                let config = path.display();
                return Err(
                    format!("{config} has `admin: off`; name an address with --admin").into(),
                );
            }
            Err(_) => DEFAULT,
        };
        Ok(Self::new(AdminAddress::Tcp(reachable(bind))))
    }

    fn new(address: AdminAddress) -> Self {
        Self {
            address,
            max_answer: MAX_ANSWER,
        }
    }

    /// The same with a limit of its own for an answer, in bytes.
    pub(super) fn with_max_answer(self, max_answer: usize) -> Self {
        Self { max_answer, ..self }
    }

    /// # Errors
    /// Those of [`Admin::ask`].
    pub(super) async fn get(&self, path: &str) -> Result<Reply, Box<dyn Error>> {
        Box::pin(self.ask(Method::GET, path)).await
    }

    /// # Errors
    /// Those of [`Admin::ask`].
    pub(super) async fn post(&self, path: &str) -> Result<Reply, Box<dyn Error>> {
        Box::pin(self.ask(Method::POST, path)).await
    }

    /// # Errors
    /// Those of [`Admin::ask`].
    pub(super) async fn delete(&self, path: &str) -> Result<Reply, Box<dyn Error>> {
        Box::pin(self.ask(Method::DELETE, path)).await
    }

    /// Sends a request and takes the whole answer.
    ///
    /// # Errors
    /// The gateway does not answer, in time, with HTTP.
    async fn ask(&self, method: Method, path: &str) -> Result<Reply, Box<dyn Error>> {
        let place = |error: &dyn std::fmt::Display| {
            format!(
                "the admin server at {} does not answer: {error}",
                self.address
            )
        };
        let reply = async {
            match &self.address {
                AdminAddress::Tcp(address) => {
                    let socket = socket::for_connecting(*address)?;
                    let stream = timed(CONNECT, socket.connect(*address)).await??;
                    exchange(stream, &address.to_string(), method, path, self.max_answer).await
                }
                AdminAddress::Unix(file) => {
                    let stream = timed(CONNECT, UnixStream::connect(file)).await??;
                    exchange(stream, "localhost", method, path, self.max_answer).await
                }
            }
        };
        match timed(ANSWER, reply).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(place(&error).into()),
            Err(error) => Err(place(&error).into()),
        }
    }
}

impl Reply {
    /// The body of a good answer as text.
    ///
    /// # Errors
    /// The answer is a refusal, or too large.
    pub(super) fn text(self) -> Result<String, Box<dyn Error>> {
        match self.status.is_success() {
            true => Ok(String::from_utf8_lossy(&self.bytes()?).into_owned()),
            false => {
                let text = self.any_text();
                let status = self.status.as_u16();
                Err(format!("the gateway answers {status}: {}", text.trim_end()).into())
            }
        }
    }

    /// The body of a good answer.
    ///
    /// # Errors
    /// The answer is a refusal, or too large.
    pub(super) fn bytes(self) -> Result<Bytes, Box<dyn Error>> {
        match self.status.is_success() {
            true => self.body.map_err(|limit| too_large(limit).into()),
            false => self.text().map(Bytes::from),
        }
    }

    /// The body as text, whatever the status is.
    pub(super) fn any_text(&self) -> String {
        match &self.body {
            Ok(body) => String::from_utf8_lossy(body).into_owned(),
            Err(limit) => too_large(*limit),
        }
    }

    /// The body of a good answer as JSON.
    ///
    /// # Errors
    /// The answer is a refusal, too large, or no JSON.
    pub(super) fn json(self) -> Result<Value, Box<dyn Error>> {
        let text = self.text()?;
        let value = serde_json::from_str(&text);
        value.map_err(|error| format!("the gateway's answer is no JSON: {error}").into())
    }
}

fn too_large(limit: usize) -> String {
    format!("the answer has more than {limit} bytes")
}

/// The address to connect to for one that a server listens on.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

async fn timed<T>(limit: Duration, what: impl Future<Output = T>) -> io::Result<T> {
    let elapsed = |_| {
        let text = format!("nothing within {}s", limit.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    timeout(limit, what).await.map_err(elapsed)
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    method: Method,
    path: &str,
    max_answer: usize,
) -> Result<Reply, Box<dyn Error>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host);
    let request = request.body(Body::empty())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let body = Body::new(response.into_body());
        let body = taken(body, length.unwrap_or(0), max_answer).await?;
        Ok(Reply { status, body })
    };
    let answer = std::pin::pin!(answer);
    let connection = std::pin::pin!(connection);
    match futures_util::future::select(answer, connection).await {
        Either::Left((answer, _)) => answer,
        // The connection may end before the last bytes were taken.
        Either::Right((Ok(()), answer)) => answer.await,
        Either::Right((Err(error), _)) => Err(error.into()),
    }
}

/// A whole body, or the limit that it is larger than: a server that announces too much is not read.
async fn taken(
    body: Body,
    announced: usize,
    limit: usize,
) -> Result<Result<Bytes, usize>, axum::Error> {
    if announced > limit {
        return Ok(Err(limit));
    }
    let mut bytes = Vec::with_capacity(announced);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        if bytes.len() + piece.len() > limit {
            return Ok(Err(limit));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Ok(bytes.into()))
}

/// A path with a query of the parameters that have a value.
pub(super) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    let mut sign = '?';
    for (key, value) in parameters {
        if let Some(value) = value {
            let _ = write!(text, "{sign}{key}={}", encoded(value));
            sign = '&';
        }
    }
    text
}

/// The text with every byte that has a meaning in a URL as an escape.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_socket() {
        let tcp = |address: &str| Ok(AdminAddress::Tcp(address.parse().unwrap()));
        for (text, address) in [
            ("127.0.0.1:15000", tcp("127.0.0.1:15000")),
            ("http://[::1]:15000/", tcp("[::1]:15000")),
            ("localhost:15000", tcp("127.0.0.1:15000")),
            ("unix:/run/a", Ok(AdminAddress::Unix("/run/a".into()))),
        ] {
            assert_eq!(text.parse(), address, "{text}");
        }
        for wrong in [
            "",
            "unix:",
            "127.0.0.1",
            "https://a:1",
            "a:1/path",
            "a:70000",
            "a\r\n:1",
        ] {
            assert!(wrong.parse::<AdminAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_query_holds_any_text() {
        let path = with_query(
            "/a",
            &[
                ("b", None),
                ("c", Some("[::1]:80 &\u{e4}")),
                ("d", Some("e")),
            ],
        );
        assert_eq!(path, "/a?c=%5B%3A%3A1%5D%3A80%20%26%C3%A4&d=e");
    }

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        for (bind, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reachable(bind.parse().unwrap()).to_string(), reached);
        }
    }
}
