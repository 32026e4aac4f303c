//! A minimal HTTP server for clocks whose time cannot be written as a date, as before 1970.
//!
//! hyper panics then, whatever its settings, since it keeps the time for a `Date` header. Probes and
//! scrapes still need answers, so this server reads one request, answers it without a date, and closes.

use std::io::{self, ErrorKind};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::origin::PeerAddress;

/// The largest request line and headers, in bytes.
pub(super) const MAX_HEADER: usize = 16 * 1024;
/// The longest answer in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// Serves one request of a connection.
///
/// # Errors
/// The connection fails, or the client takes too long for its request.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    from: PeerAddress,
    router: Router,
    header_timeout: Duration,
) -> io::Result<()> {
    let head = timeout(header_timeout, read_head(&mut stream)).await??;
    let response = match request(&head) {
        Some(mut request) => {
            request.extensions_mut().insert(from);
            let answered = TowerToHyperService::new(router).call(request).await;
            answered.unwrap_or_else(|never| match never {})
        }
        None => refusal(),
    };
    let answer = written(response).await?;
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

/// Reads up to the empty line.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= MAX_HEADER {
            return Err(ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// Parses the head of a request. It has no body, since no path takes one.
fn request(head: &[u8]) -> Option<Request<Body>> {
    let mut lines = str::from_utf8(head).ok()?.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut request = Request::builder().method(method).uri(target);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, value.trim());
    }
    request.body(Body::empty()).ok()
}

fn refusal() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// The bytes of an answer.
async fn written(response: Response<Body>) -> io::Result<Vec<u8>> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER).await.map_err(io::Error::other)?;
    let mut answer = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        if name == header::CONTENT_LENGTH || name == header::CONNECTION {
            continue;
        }
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    let end = format!(
        "content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    answer.extend_from_slice(end.as_bytes());
    answer.extend_from_slice(&body);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::net::TcpListener;

    async fn asked(request: &[u8]) -> String {
        let router = Router::new().route("/live", get(|| async { "live\n" }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let from = PeerAddress(address.ip());
            let _ = serve(stream, from, router, Duration::from_secs(5)).await;
        };
        let ask = async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            stream.write_all(request).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            // The connection may be reset after the answer, since the client sent more than was read.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        };
        tokio::join!(serve, ask).1
    }

    #[tokio::test]
    async fn one_request_gets_its_answer() {
        let answer = asked(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.ends_with("content-length: 5\r\nconnection: close\r\n\r\nlive\n"),
            "{answer}"
        );
        let answer = asked(b"GET /no HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        for wrong in [
            "\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ] {
            let answer = asked(wrong.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{wrong:?}: {answer}");
        }
        assert_eq!(asked(b"GET / HTT").await, "");
        assert_eq!(asked(&[b'a'; 2 * MAX_HEADER]).await, "");
    }
}
