//! One probe: a connection, a ClientHello, and what comes back. Each has its deadline, and keeps a bounded part of what
//! the peer sends.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{DATE, HOST};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName as TlsName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::bundle::ServedBundle;
use super::certificate::{ShownChain, ShownName};
use super::identity::CallerSvid;
use super::seen::{BundleAnswer, ClockSeen, GatewayReach, ShownServer, TlsAnswer};
use crate::client_hello::DOCTOR_LABEL;
use crate::server_name::ServerName;
use crate::{clock, socket};

/// The ALPN protocol by which a gateway's log and metrics name the doctor.
pub const LABEL: &str = DOCTOR_LABEL;

/// The time that a gateway has to take a connection.
pub(super) const CONNECT: Duration = Duration::from_millis(1_500);
/// The time for the answer to a hello: longer than the 3 s that a gateway tries to connect to an endpoint by default.
pub(super) const ANSWER: Duration = Duration::from_millis(4_000);
/// The time for the answers to a hello and to a request together.
pub(super) const BOTH_ANSWERS: Duration = Duration::from_millis(5_000);
/// The largest bundle in bytes; SPIRE's have some kilobytes.
const MAX_BUNDLE: usize = 1 << 20;
/// Bytes that are kept of what comes first.
const FIRST_BYTES: usize = 16;
/// Certificates of a chain that are kept.
const MAX_CHAIN: usize = 16;
/// CA names that are kept; Istio's sidecars name one for each root.
const MAX_CA_NAMES: usize = 512;
/// Protocols that make a hello larger than a packet of 1,500 bytes, and their length.
const PADDING: (usize, usize) = (9, 200);

/// A hello to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeHello<'a> {
    pub(super) name: &'a ServerName,
    /// The protocols to offer; [`LABEL`] comes behind them.
    pub(super) alpn: &'a [&'a str],
    /// Makes it longer than one packet.
    pub(super) large: bool,
    /// The certificate for a server that asks for one.
    pub(super) svid: Option<&'a CallerSvid>,
}

/// Connects and closes.
pub(super) async fn reach(address: SocketAddr) -> GatewayReach {
    match connect(address).await {
        Ok(_) => GatewayReach::Connected,
        Err(reach) => reach,
    }
}

pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, GatewayReach> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => GatewayReach::Refused,
        io::ErrorKind::TimedOut => GatewayReach::Timeout,
        _ => GatewayReach::Failed(error.to_string()),
    };
    let socket = socket::for_connecting(address).map_err(failed)?;
    match timeout(CONNECT, socket.connect(address)).await {
        Err(_) => Err(GatewayReach::Timeout),
        Ok(connected) => connected.map_err(failed),
    }
}

/// Sends a hello and says what came back, up to the server's certificate.
pub(super) async fn ask(address: SocketAddr, hello: ProbeHello<'_>) -> TlsAnswer {
    match Box::pin(shake_hands(address, hello)).await {
        Ok((_, answer)) => answer,
        Err(failure) => failure.answer,
    }
}

/// Fetches the bundle at `path`, by HTTP/1.1.
pub(super) async fn fetch(address: SocketAddr, hello: ProbeHello<'_>, path: &str) -> BundleAnswer {
    let began = Instant::now();
    let shaken = Box::pin(shake_hands(address, hello)).await;
    let left = (CONNECT + BOTH_ANSWERS).saturating_sub(began.elapsed());
    match shaken.map_err(|failure| failure.answer) {
        Ok((stream, _)) => {
            let answer = Box::pin(exchange(stream, hello.name, path));
            let answer = timeout(left, answer).await;
            answer.unwrap_or(BundleAnswer::Silent)
        }
        // The server's certificate came, and then no agreement on HTTP/1.1.
        Err(TlsAnswer::Shown(_) | TlsAnswer::Alert(_)) => BundleAnswer::NoHttp,
        Err(_) => BundleAnswer::NotAsked,
    }
}

async fn exchange(stream: TappedTls, name: &ServerName, path: &str) -> BundleAnswer {
    let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(stream)).await else {
        return BundleAnswer::NoHttp;
    };
    let request = Request::get(path).header(HOST, name.as_str());
    let Ok(request) = request.body(Body::empty()) else {
        return BundleAnswer::NotAsked;
    };
    let answer = async {
        let Ok(response) = sender.send_request(request).await else {
            return BundleAnswer::NoHttp;
        };
        let date = response
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        let clock = date.and_then(http_date).map(|theirs| ClockSeen {
            theirs,
            ours: now(),
        });
        match response.status().as_u16() {
            200 => match to_bytes(Body::new(response.into_body()), MAX_BUNDLE).await {
                Ok(body) => BundleAnswer::Served(ServedBundle::parse(&body), clock),
                Err(_) => BundleAnswer::TooLarge,
            },
            status => BundleAnswer::Status(status, clock),
        }
    };
    Box::pin(answered(answer, connection)).await
}

/// The answer that comes by an HTTP connection, which is driven until then.
pub(super) async fn answered<T>(answer: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The answer may have been received already.
        _ = &mut connection => answer.await,
    }
}

/// The present time in seconds since 1970.
pub(super) fn now() -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "before the year 10,000")]
    let seconds = clock::seconds() as i64;
    seconds
}

/// A date of HTTP (RFC 9110 section 5.6.7) in seconds since 1970.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let parts: Vec<&str> = text.split_ascii_whitespace().take(6).collect();
    let [_, day, month, year, time, "GMT"] = parts[..] else {
        return None;
    };
    let month = MONTHS.find(month).filter(|_| month.len() == 3)? / 3 + 1;
    let written = format!("{year}-{month:02}-{day}T{time}Z");
    let date = humantime::parse_rfc3339(&written).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// A connection after its handshake.
pub(super) type TappedTls = TlsStream<Tap>;

/// A handshake that failed.
#[derive(Debug)]
pub(super) struct HandshakeFailure {
    pub(super) answer: TlsAnswer,
    /// The alert that the server ended it by, if it has shown its certificate before.
    pub(super) alert: Option<u8>,
}

impl From<TlsAnswer> for HandshakeFailure {
    fn from(answer: TlsAnswer) -> Self {
        let alert = None;
        Self { answer, alert }
    }
}

/// Connects, and shakes hands with whoever answers.
///
/// # Errors
/// The handshake does not come to its end.
pub(super) async fn shake_hands(
    address: SocketAddr,
    hello: ProbeHello<'_>,
) -> Result<(TappedTls, TlsAnswer), HandshakeFailure> {
    let recorder = Arc::new(Recorder::with(hello.svid));
    let broken = |error: &dyn std::fmt::Display| TlsAnswer::Broken(error.to_string());
    let config = config(&recorder, hello).map_err(|error| broken(&error))?;
    let name = TlsName::try_from(hello.name.as_str().to_owned()).map_err(|error| broken(&error))?;
    let stream = connect(address).await.map_err(TlsAnswer::Unreached)?;
    let first = FirstSent::default();
    let tap = Tap {
        stream,
        first: first.clone(),
    };
    let connector = TlsConnector::from(Arc::new(config));
    let shaken = timeout(ANSWER, Box::pin(connector.connect(name, tap))).await;
    let shown = |server| TlsAnswer::Shown(Box::new(server));
    let seen = |alpn| recorder.server(alpn).map(shown);
    match shaken {
        Ok(Ok(stream)) => {
            let alpn = stream.get_ref().1.alpn_protocol();
            let alpn = alpn.map(|protocol| String::from_utf8_lossy(protocol).into_owned());
            match seen(alpn) {
                Some(answer) => Ok((stream, answer)),
                None => Err(TlsAnswer::Broken("it shows no X.509 certificate".to_owned()).into()),
            }
        }
        // The certificate is what was asked for, whatever came of the handshake then.
        Ok(Err(error)) => Err(HandshakeFailure {
            answer: seen(None).unwrap_or_else(|| first.answer(&error)),
            alert: alert_of(&error),
        }),
        Err(_) => Err(seen(None)
            .unwrap_or_else(|| match first.get().is_empty() {
                true => TlsAnswer::Silent,
                false => TlsAnswer::Broken("it began to answer and did not go on".to_owned()),
            })
            .into()),
    }
}

/// The alert that an error of a connection comes from.
pub(super) fn alert_of(error: &(dyn Error + 'static)) -> Option<u8> {
    let mut next = Some(error);
    // Errors of these libraries are a few deep.
    for _ in 0..8 {
        let error = next?;
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let inner = inner.map(|inner| -> &(dyn Error + 'static) { inner });
        let tls = inner.unwrap_or(error).downcast_ref::<rustls::Error>();
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return Some(u8::from(*alert));
        }
        next = error.source();
    }
    None
}

fn config(recorder: &Arc<Recorder>, hello: ProbeHello<'_>) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(recorder.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_client_cert_resolver(recorder.clone());
    let mut protocols: Vec<Vec<u8>> = hello
        .alpn
        .iter()
        .map(|one| one.as_bytes().to_vec())
        .collect();
    protocols.push(LABEL.as_bytes().to_vec());
    if hello.large {
        let (count, length) = PADDING;
        protocols.extend((0..count).map(|_| format!("{LABEL:x<length$}").into_bytes()));
    }
    config.alpn_protocols = protocols;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The certificates and CA names that a server shows. They are kept and not judged: nothing is sent that a
/// wrong server could misuse.
#[derive(Debug)]
struct Recorder {
    chain: Mutex<Vec<Vec<u8>>>,
    trusts: Mutex<Option<Vec<ShownName>>>,
    provider: Arc<CryptoProvider>,
    /// The certificate for a server that asks for one.
    own: Option<Arc<CertifiedKey>>,
}

impl Recorder {
    fn with(svid: Option<&CallerSvid>) -> Self {
        Self {
            chain: Mutex::default(),
            trusts: Mutex::default(),
            provider: Arc::new(ring::default_provider()),
            own: svid.map(|svid| svid.key.clone()),
        }
    }

    fn server(&self, alpn: Option<String>) -> Option<ShownServer> {
        let chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let trusts = self.trusts.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ShownServer {
            chain: ShownChain::parse(&chain)?,
            trusts: trusts.clone(),
            alpn,
        })
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &TlsName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let all = all.take(MAX_CHAIN).map(|one| one.to_vec()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Recorder {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let names = root_hint_subjects.iter().take(MAX_CA_NAMES);
        let names = names.filter_map(|der| ShownName::parse(der)).collect();
        *self.trusts.lock().unwrap_or_else(PoisonError::into_inner) = Some(names);
        self.own.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The first bytes that a server sent.
#[derive(Debug, Clone, Default)]
struct FirstSent(Arc<Mutex<Vec<u8>>>);

impl FirstSent {
    fn get(&self) -> Vec<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = FIRST_BYTES.saturating_sub(kept.len());
        kept.extend(bytes.iter().take(room));
    }

    /// The meaning of a handshake that failed before a certificate.
    fn answer(&self, error: &io::Error) -> TlsAnswer {
        match self.get()[..] {
            [] if error.kind() == io::ErrorKind::UnexpectedEof => TlsAnswer::Closed,
            [] => TlsAnswer::Reset,
            [21, 3, _, 0, 2, _, description, ..] => TlsAnswer::Alert(description),
            [21 | 22, ..] => TlsAnswer::Broken(error.to_string()),
            ref other => TlsAnswer::NotTls(other.to_vec()),
        }
    }
}

/// A stream that keeps the first bytes which it reads.
#[derive(Debug)]
pub(super) struct Tap {
    stream: TcpStream,
    first: FirstSent,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.first
            .add(buffer.filled().get(before..).unwrap_or_default());
        read
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_read() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "a b anF 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999 08:49:37 GMT",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn what_came_first_tells_the_kind_of_the_answer() {
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let first = |bytes: &[u8]| {
            let first = FirstSent::default();
            first.add(bytes);
            first
        };
        assert_eq!(first(&[]).answer(&eof()), TlsAnswer::Closed);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(first(&[]).answer(&reset), TlsAnswer::Reset);
        assert_eq!(
            first(&[21, 3, 3, 0, 2, 2, 112]).answer(&eof()),
            TlsAnswer::Alert(112)
        );
        assert!(matches!(
            first(&[22, 3, 3]).answer(&eof()),
            TlsAnswer::Broken(_)
        ));
        assert_eq!(
            first(b"HTTP/1.1").answer(&eof()),
            TlsAnswer::NotTls(b"HTTP/1.1".to_vec())
        );
        assert_eq!(first(&[7; 100]).get().len(), FIRST_BYTES);
    }
}
