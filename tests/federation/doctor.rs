//! `strait doctor` between two real gateways: both sides well, then one mistake each. The program must name that mistake
//! and no other.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use serde_json::{Value, json};
use strait::doctor::{Federation, LABEL};
use strait::tools::spiffe::tls::{BOTH_VERSIONS, ISTIO_HTTP};
use strait::tools::spiffe::{SpiffeId, Svid, TrustDomain};

use crate::federation::manifests::Manifests;
use crate::support::config_text::ConfigText;
use crate::support::faults::ClosedPort;
use crate::support::gateway::{TestGateway, get};
use crate::support::mtls::pod;
use crate::support::server::{BlackHole, Server, refusing_address};
use crate::support::wait_until;

/// The longest that a run may take, silent peers included. The machine of the tests may be busy.
const LONGEST_MS: u64 = 15_000;

/// A sidecar's demand for a certificate, which names its CAs and is never met here.
#[derive(Debug)]
struct Demand(Vec<DistinguishedName>);

impl Demand {
    fn of(roots: &[CertificateDer<'_>]) -> Arc<Self> {
        let name = |root: &CertificateDer<'_>| {
            let anchor = webpki::anchor_from_trusted_cert(root).unwrap();
            DistinguishedName::in_sequence(&anchor.subject)
        };
        Arc::new(Self(roots.iter().map(name).collect()))
    }
}

impl ClientCertVerifier for Demand {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.0
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::ring::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn server(svid: &Svid, demand: Option<Arc<Demand>>, alpn: &[&str]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = match demand {
        Some(demand) => demand,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(BOTH_VERSIONS)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(svid.chain.clone(), svid.key.clone_key())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|one| one.as_bytes().to_vec()).collect();
    config
}

/// The answer of a bundle endpoint.
#[derive(Debug, Clone)]
enum Answers {
    Bundle(String),
    /// Nothing, until the client goes.
    Nothing,
}

fn bundle_of(roots: &[CertificateDer<'_>]) -> Answers {
    let key = |root: &CertificateDer<'_>| json!({ "use": "x509-svid", "kty": "EC", "x5c": [BASE64_STANDARD.encode(root)] });
    let keys: Vec<Value> = roots.iter().map(key).collect();
    Answers::Bundle(json!({ "keys": keys, "spiffe_refresh_hint": 300 }).to_string())
}

/// A bundle endpoint whose clock is off by so many seconds.
fn endpoint(svid: &Svid, answers: Answers, alpn: &[&str], skew: i64) -> Server {
    let serve = move |mut stream: crate::support::mtls::ServerStream| {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            request.push(byte[0]);
        }
        let (status, body) = match &answers {
            Answers::Nothing => {
                let _ = stream.read(&mut byte);
                return;
            }
            Answers::Bundle(body) if request.starts_with(b"GET / ") => ("200 OK", &**body),
            Answers::Bundle(_) => ("404 Not Found", ""),
        };
        let date = http_date(skew);
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ndate: {date}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let _ = stream.flush();
        let _ = stream.read(&mut byte);
    };
    pod(server(svid, None, alpn), serve, |_| {})
}

/// The present time and so many seconds, as HTTP writes it.
fn http_date(skew: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let now = SystemTime::now();
    let by = Duration::from_secs(skew.unsigned_abs());
    let at = if skew < 0 { now - by } else { now + by };
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let [year, month, day] = [&text[..4], &text[5..7], &text[8..10]];
    let month = MONTHS[month.parse::<usize>().unwrap() - 1];
    format!("Sun, {day} {month} {year} {} GMT", &text[11..19])
}

const HTTPS: &[&str] = &["h2", "http/1.1"];

/// One side, as a test changes it before it starts.
struct SidePlan {
    trust_domain: String,
    authority: TrustDomain,
    /// The roots that its bundle endpoint serves.
    served: Vec<CertificateDer<'static>>,
    /// The roots that its sidecar trusts.
    trusted: Vec<CertificateDer<'static>>,
    service: Svid,
    endpoint: Svid,
    endpoint_alpn: &'static [&'static str],
    hangs: bool,
    skew: i64,
    asks: bool,
    /// Another upstream for the service, or for the bundle endpoint.
    pod: Option<SocketAddr>,
    spire: Option<SocketAddr>,
    service_route: String,
    bundle_route: String,
    refuse: &'static str,
    /// Another address than the gateway's.
    address: Option<SocketAddr>,
    /// The bundle endpoint's URL after its scheme and name; `PORT` stands for the gateway's port.
    url: (&'static str, &'static str),
    profile: &'static str,
    endpoint_id: String,
    service_id: String,
    /// Lets a packet of full size disappear before the gateway.
    loses_large: bool,
}

impl SidePlan {
    fn new(trust_domain: &str, account: &str) -> Self {
        let authority = TrustDomain::create(trust_domain).unwrap();
        let endpoint_id = format!("spiffe://{trust_domain}/spire/server");
        let service = authority.issue("apps", account).unwrap();
        Self {
            served: vec![authority.bundle().root],
            trusted: Vec::new(),
            service_id: service.id.to_string(),
            endpoint: authority
                .sign(&SpiffeId::parse(&endpoint_id).unwrap())
                .unwrap(),
            endpoint_alpn: HTTPS,
            hangs: false,
            skew: 0,
            asks: true,
            pod: None,
            spire: None,
            service_route: format!(
                "{{ service: '{account}.apps.svc.cluster.local:80', alpn: istio, upstream: pods }}"
            ),
            bundle_route: format!(
                "{{ sni: spire.bundles.{trust_domain}, alpn: any, upstream: spire }}"
            ),
            refuse: "alert",
            address: None,
            url: ("https", ":PORT"),
            profile: "https_spiffe",
            endpoint_id,
            service,
            trust_domain: trust_domain.to_owned(),
            authority,
            loses_large: false,
        }
    }

    fn root(&self) -> CertificateDer<'static> {
        self.authority.bundle().root
    }

    fn start(self) -> Standing {
        let demand = self.asks.then(|| Demand::of(&self.trusted));
        let pod_server = pod(server(&self.service, demand, ISTIO_HTTP), |_| {}, |_| {});
        let answers = match self.hangs {
            true => Answers::Nothing,
            false => bundle_of(&self.served),
        };
        let spire = endpoint(&self.endpoint, answers, self.endpoint_alpn, self.skew);
        let routes: Vec<&str> = [&*self.service_route, &*self.bundle_route]
            .into_iter()
            .filter(|one| !one.is_empty())
            .collect();
        let gateway = TestGateway::start(&ConfigText::verbatim(&format!(
            "listeners:
  - name: east-west
    bind: 127.0.0.1:0
    refuse: {}
    routes: [{{ sni: other.test, alpn: any, upstream: pods }}, {{ sni: another.test, alpn: any, upstream: spire }}, {}]
upstreams:
  pods: {{ endpoints: ['{}'] }}
  spire: {{ endpoints: ['{}'] }}",
            self.refuse,
            routes.join(", "),
            self.pod.unwrap_or(pod_server.address),
            self.spire.unwrap_or(spire.address),
        )));
        let front = self.loses_large.then(|| front(gateway.address()));
        let gateway_address = front
            .as_ref()
            .map_or(gateway.address(), |front| front.address);
        let address = self.address.unwrap_or(gateway_address);
        let (scheme, rest) = self.url;
        let rest = rest.replace("PORT", &address.port().to_string());
        let (name, account) = (
            &self.trust_domain,
            self.service.id.as_str().rsplit('/').next().unwrap(),
        );
        let account = if self.service_id.ends_with(account) {
            account
        } else {
            self.service_id.rsplit('/').next().unwrap()
        };
        let text = format!(
            "  - trust_domain: {name}
    gateway: '{address}'
    bundle_endpoint: {{ url: '{scheme}://spire.bundles.{name}{rest}', profile: {}, spiffe_id: '{}' }}
    services:
      - {{ host: {account}.apps.svc.cluster.local, port: 80, spiffe_id: '{}' }}
",
            self.profile, self.endpoint_id, self.service_id,
        );
        Standing {
            text,
            gateway,
            _servers: [Some(pod_server), Some(spire), front],
        }
    }
}

/// Passes connections on, except that nothing comes of a first packet of more than 1,500 bytes.
pub fn front(gateway: SocketAddr) -> Server {
    Server::start(move |mut client| {
        let mut first = vec![0; 16 << 10];
        let Ok(length) = client.read(&mut first) else {
            return;
        };
        if length > 1_500 {
            let _ = client.read(&mut first);
            return;
        }
        let mut upstream = TcpStream::connect(gateway).unwrap();
        upstream.write_all(&first[..length]).unwrap();
        let (mut from, mut to) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut client, &mut upstream);
        let _ = upstream.shutdown(Shutdown::Write);
        let _ = back.join();
    })
}

struct Standing {
    text: String,
    gateway: TestGateway,
    _servers: [Option<Server>; 3],
}

/// Runs the program on a federation file.
pub fn doctor(file: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_strait"))
        .arg("doctor")
        .args(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = child.stdin.take().unwrap().write_all(file.as_bytes());
    // One that refuses its arguments may have ended without reading.
    if let Err(error) = written {
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
    }
    child.wait_with_output().unwrap()
}

/// The program's answer about two sides.
pub struct Said {
    code: Option<i32>,
    pub report: Value,
}

impl Said {
    /// Reads the JSON of the program.
    pub fn of(output: &Output) -> Self {
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        Self {
            code: output.status.code(),
            report,
        }
    }

    /// The side, the check and the cause of all that did not pass, each with its finding and remedy. A warning has `?`.
    pub fn faults(&self) -> BTreeMap<String, String> {
        let checks = self.report["checks"].as_array().unwrap();
        let wrong = checks
            .iter()
            .filter(|check| check["state"] == "failed" || check["state"] == "warned");
        let fault = |check: &Value| {
            let text = |key: &str| check[key].as_str().unwrap().to_owned();
            let side = text("group").split([':', ' ']).next().unwrap().to_owned();
            let mark = if check["state"] == "warned" { "?" } else { "" };
            (
                format!("{side} {}{mark} {}", text("check"), text("cause")),
                format!("{} / {}", text("finding"), text("remedy")),
            )
        };
        wrong.map(fault).collect()
    }
}

fn examine(change: impl FnOnce(&mut SidePlan, &mut SidePlan)) -> (Said, [Standing; 2]) {
    let mut alpha = SidePlan::new("alpha.com", "svca");
    let mut beta = SidePlan::new("beta.com", "svcb");
    let both = [alpha.root(), beta.root()];
    (alpha.trusted, beta.trusted) = (both.to_vec(), both.to_vec());
    change(&mut alpha, &mut beta);
    let sides = [alpha.start(), beta.start()];
    let file = format!("sides:\n{}{}", sides[0].text, sides[1].text);
    let said = Said::of(&doctor(&file, &["-o", "json"]));
    (said, sides)
}

/// The program names these faults and no other. Each is a side, a check and a cause, with words of its finding or remedy.
#[track_caller]
fn finds(change: impl FnOnce(&mut SidePlan, &mut SidePlan), expected: &[(&str, &str)]) {
    let (said, _sides) = examine(change);
    let faults = said.faults();
    let found: Vec<&str> = faults.keys().map(String::as_str).collect();
    let mut names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(found, names, "{:#}", said.report);
    for (name, words) in expected {
        assert!(faults[*name].contains(words), "{name}: {}", faults[*name]);
    }
    let failed = names.iter().any(|name| !name.contains('?'));
    assert_eq!(said.code, Some(i32::from(failed)));
    assert_eq!(said.report["healthy"], !failed);
    let took = said.report["took_ms"].as_u64().unwrap();
    assert!(took < LONGEST_MS, "it took {took} ms");
}

/// An SVID of another authority of the same trust domain.
fn of(authority: &TrustDomain, id: &str) -> Svid {
    authority.sign(&SpiffeId::parse(id).unwrap()).unwrap()
}

#[test]
fn two_sides_that_are_well_get_no_cross() {
    let (said, sides) = examine(|_, _| {});
    assert_eq!(said.faults(), BTreeMap::new());
    assert_eq!(said.code, Some(0));
    let checks = said.report["checks"].as_array().unwrap();
    assert!(checks.len() > 30, "only {} checks", checks.len());
    for check in checks {
        assert_eq!(check["state"], "passed", "{check:#}");
    }
    // The gateways' logs tell the doctor's connections from others.
    for side in &sides {
        let mut labelled = 0;
        while labelled < 5 {
            let record = side.gateway.record();
            let Some(alpn) = record.alpn else { continue };
            assert!(alpn.contains(LABEL), "{alpn}");
            labelled += 1;
        }
    }
    finds(
        |alpha, beta| (alpha.refuse, beta.refuse) = ("close", "close"),
        &[],
    );
}

#[test]
fn a_gateway_that_is_not_reached() {
    finds(
        |_, beta| beta.address = Some(refusing_address()),
        &[("beta.com gateway-reached unreached", "(refused)")],
    );
    let hole = BlackHole::dig();
    finds(
        |_, beta| beta.address = Some(hole.address),
        &[("beta.com gateway-reached unreached", "(timeout)")],
    );
}

#[test]
fn a_bundle_endpoint_whose_route_is_wrong() {
    finds(
        |_, beta| beta.bundle_route = String::new(),
        &[(
            "beta.com bundle-route no_route",
            "add the route { sni: spire.bundles.beta.com, alpn: any",
        )],
    );
    finds(
        |_, beta| beta.bundle_route = beta.bundle_route.replace("any", "istio"),
        &[("beta.com bundle-route alpn", "alpn: any")],
    );
    finds(
        |_, beta| beta.spire = Some(refusing_address()),
        &[(
            "beta.com bundle-route connect",
            "cannot connect to SPIRE's bundle endpoint",
        )],
    );
    finds(
        |_, beta| (beta.bundle_route, beta.refuse) = (String::new(), "close"),
        &[(
            "beta.com bundle-route one_of",
            "no route for spire.bundles.beta.com, a route that",
        )],
    );
}

#[test]
fn an_upstream_that_is_no_bundle_endpoint() {
    let plain = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let at = plain.address;
    finds(
        |_, beta| beta.spire = Some(at),
        &[("beta.com bundle-route not_tls", "begins with \"HTTP/1.1")],
    );
    finds(
        |_, beta| beta.endpoint_alpn = &["h2"],
        &[("beta.com bundle-document api", "8081")],
    );
    finds(
        |_, beta| beta.hangs = true,
        &[("beta.com bundle-document silent", "idle: 2m")],
    );
    let silent = Server::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let at = silent.address;
    finds(
        |_, beta| beta.spire = Some(at),
        &[("beta.com bundle-route silent", "says nothing")],
    );
}

#[test]
fn an_endpoint_that_is_not_who_is_expected() {
    let alphas = |alpha: &mut SidePlan, beta: &mut SidePlan| {
        beta.endpoint = of(&alpha.authority, "spiffe://alpha.com/spire/server");
        beta.served = vec![alpha.root()];
    };
    finds(
        alphas,
        &[
            (
                "beta.com bundle-identity other_trust_domain",
                "the wrong cluster's SPIRE",
            ),
            (
                "beta.com bundle-roots other_trust_domain",
                "spiffe://alpha.com",
            ),
            (
                "beta.com service-authority other_authority",
                "its own bundle does not have",
            ),
        ],
    );
    finds(
        |_, beta| beta.endpoint_id = "spiffe://beta.com/spire-server".to_owned(),
        &[(
            "beta.com bundle-identity endpoint_id",
            "write endpointSPIFFEID: spiffe://beta.com/spire/server",
        )],
    );
    finds(
        |_, beta| beta.profile = "https_web",
        &[("beta.com bundle-identity profile", "https_spiffe")],
    );
}

#[test]
fn a_url_that_spire_cannot_use() {
    finds(
        |_, beta| beta.url = ("https", ":8443"),
        &[("beta.com bundle-url port", "has port 8443")],
    );
    finds(
        |_, beta| beta.url = ("http", ":PORT"),
        &[("beta.com bundle-url scheme", "https://")],
    );
    finds(
        |_, beta| beta.url = ("https", ":PORT/bundle"),
        &[
            ("beta.com bundle-document path", "404"),
            ("beta.com bundle-url path", "without a path"),
        ],
    );
}

#[test]
fn a_bundle_that_has_not_arrived() {
    finds(
        |_, beta| beta.trusted = vec![beta.root()],
        &[("beta.com trust no_bundle", "do not have alpha.com's bundle")],
    );
    let prepared = |_: &mut SidePlan, beta: &mut SidePlan| {
        let next = TrustDomain::create("beta.com").unwrap();
        beta.served.push(next.bundle().root);
    };
    finds(prepared, &[("alpha.com trust? stale", "within 75 s")]);
    let activated = |_: &mut SidePlan, beta: &mut SidePlan| {
        let next = TrustDomain::create("beta.com").unwrap();
        beta.served.push(next.bundle().root);
        beta.endpoint = of(&next, "spiffe://beta.com/spire/server");
        beta.service = of(&next, "spiffe://beta.com/ns/apps/sa/svcb");
    };
    finds(
        activated,
        &[(
            "alpha.com trust stale_for_good",
            "Calls to beta.com fail now",
        )],
    );
}

#[test]
fn a_service_that_is_not_as_its_callers_expect() {
    let expired = |_: &mut SidePlan, beta: &mut SidePlan| {
        let end = SystemTime::now() - Duration::from_secs(5);
        beta.service = beta.authority.sign_until(&beta.service.id, end).unwrap();
    };
    finds(expired, &[("beta.com service-expiry expired", "its node")]);
    // The way back: alpha's service shows it at alpha's gateway.
    let callers = |alpha: &mut SidePlan, _: &mut SidePlan| {
        let end = SystemTime::now() - Duration::from_secs(5);
        alpha.service = alpha.authority.sign_until(&alpha.service.id, end).unwrap();
    };
    finds(
        callers,
        &[("alpha.com service-expiry expired", "and so do its own")],
    );
    finds(
        |_, beta| beta.service = beta.authority.issue("apps", "default").unwrap(),
        &[(
            "beta.com service-identity account",
            "sa/default, subjectAltNames say",
        )],
    );
    let rogue = |_: &mut SidePlan, beta: &mut SidePlan| {
        let rogue = TrustDomain::create("beta.com").unwrap();
        beta.service = of(&rogue, "spiffe://beta.com/ns/apps/sa/svcb");
    };
    finds(
        rogue,
        &[(
            "beta.com service-authority other_authority",
            "another SPIRE signs here",
        )],
    );
    finds(
        |_, beta| beta.asks = false,
        &[("beta.com service-mtls no_request", "STRICT")],
    );
}

#[test]
fn a_service_that_is_not_there() {
    finds(
        |_, beta| beta.pod = Some(refusing_address()),
        &[("beta.com service-route connect", "does not listen")],
    );
    let plain = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let at = plain.address;
    finds(
        |_, beta| beta.pod = Some(at),
        &[("beta.com service-route not_tls", "no sidecar")],
    );
    let silent = Server::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let at = silent.address;
    finds(
        |_, beta| beta.pod = Some(at),
        &[("beta.com service-route silent", "takes the connection")],
    );
    finds(
        |_, beta| beta.service_route = beta.service_route.replace(":80", ":8080"),
        &[(
            "beta.com service-route no_route",
            "no route for outbound_.80_._.svcb",
        )],
    );
    finds(
        |_, beta| beta.service_route = beta.service_route.replace("istio", "any"),
        &[("beta.com service-alpn open", "DANGER")],
    );
}

#[test]
fn clocks_large_hellos_and_names_that_do_not_fit() {
    finds(
        |_, beta| beta.skew = -300,
        &[("beta.com clock skew", "behind")],
    );
    finds(
        |_, beta| beta.loses_large = true,
        &[("beta.com large-hello lost", "MTU")],
    );
}

#[test]
fn a_person_gets_marks_sentences_and_the_place_in_the_documentation() {
    let closed = refusing_address();
    let side = |name: &str| format!("  - trust_domain: {name}\n    gateway: '{closed}'\n");
    let file = format!("sides:\n{}{}", side("alpha.com"), side("beta.com"));
    let output = doctor(&file, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        format!("alpha.com: the gateway {closed}\n---"),
        "\u{d7} the gateway is reached\n    its gateway is not reached at ".to_owned(),
        "    see docs/src/operate/doctor.md#gateway-reached\n".to_owned(),
        "? hellos of more than one packet arrive\n    not told: ".to_owned(),
        "\nnot well: 0 passed, 0 warned, 2 failed, ".to_owned(),
    ] {
        assert!(text.contains(&line), "no {line:?} in\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours without a terminal");
    let refused = doctor("sides: [{ trust_domain: alpha.com, gatway: a:1 }]", &[]);
    assert_eq!(refused.status.code(), Some(2));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        error.contains("gatway: unknown key; did you mean \"gateway\"?"),
        "{error}"
    );
}

#[test]
fn a_watch_says_each_change_once_and_serves_metrics() {
    let closed = ClosedPort::reserve();
    let open = Server::echo();
    let file = format!(
        "sides:\n  - {{ trust_domain: alpha.com, gateway: '{}' }}\n  - {{ trust_domain: beta.com, gateway: '{}' }}\n",
        closed.address, open.address
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_strait"))
        .args(["doctor", "--watch", "1s", "--metrics", "127.0.0.1:0", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(file.as_bytes())
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let metrics = errors.next().unwrap().unwrap();
    let (_, metrics) = metrics.split_once("metrics at http://").unwrap();
    let metrics: SocketAddr = metrics.strip_suffix("/metrics").unwrap().parse().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().expect("a line").unwrap();

    let failed = next();
    assert!(
        failed.contains(" failed alpha.com: the gateway"),
        "{failed}"
    );
    assert!(failed.ends_with("(gateway-reached unreached)"), "{failed}");
    let looked = next();
    assert!(looked.contains(" looked not well: "), "{looked}");
    let (status, text) = get(metrics, "/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(
        text.contains("strait_doctor_checks{state=\"failed\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("check=\"gateway-reached\",cause=\"unreached\",state=\"failed\"} 1\n"),
        "{text}"
    );
    assert_eq!(get(metrics, "/").unwrap().0, 404);

    let _listening = closed.open();
    let passed = next();
    assert!(
        passed.contains(" passed alpha.com: the gateway"),
        "{passed}"
    );
    wait_until("the metrics say so", || {
        let (_, text) = get(metrics, "/metrics").unwrap();
        text.contains("strait_doctor_checks{state=\"failed\"} 0\n")
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_shipped_file_says_what_the_shipped_objects_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/federation/doctor.yaml");
    let federation = Federation::parse(&std::fs::read(path).unwrap(), path).unwrap();
    let [a, b] = Manifests::shipped().clusters();
    for (side, own, other) in [
        (&federation.sides[0], &a, &b),
        (&federation.sides[1], &b, &a),
    ] {
        assert_eq!(&*side.trust_domain, own.trust_domain());
        let gateway = side.gateway.to_string();
        assert_eq!(gateway, format!("east-west.{}:15443", own.trust_domain()));
        let bundle = side.bundle.as_ref().unwrap();
        assert_eq!(bundle.url.host, own.bundle_name());
        assert_eq!(bundle.profile.word(), "https_spiffe");
        let id = format!("spiffe://{}/spire/server", own.trust_domain());
        assert_eq!(bundle.spiffe_id.as_deref(), Some(&*id));
        let (host, port, expected) = other.called();
        let [service] = &side.services[..] else {
            panic!("not one service")
        };
        assert_eq!(
            (service.host.as_str(), u64::from(service.port)),
            (&*host, port)
        );
        assert_eq!(service.spiffe_id.as_deref(), Some(expected.as_str()));
    }
}
