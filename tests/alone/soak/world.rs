//! The gateway's surroundings: its addresses, its config, and the services behind it.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;

use super::DRAIN_WINDOW;
use crate::dns_server::DnsServer;
use crate::own_addresses;
use crate::support::client::hello;
use crate::support::mtls::{self, Pki};
use crate::support::process::{Folder, Process};
use crate::support::server::{ANSWER, BlackHole, Server, refusing_address, reset};

/// A service that nothing is wrong with; its endpoints come and go.
pub(super) const STEADY: &str = "steady.soak.example";
/// A service with an endpoint that refuses connections and one that swallows them, beside a good one.
pub(super) const PARTLY: &str = "partly.soak.example";
/// A service whose endpoints DNS has, while DNS has them.
pub(super) const FROM_DNS: &str = "dns.soak.example";
/// A service that answers each message after [`SLOW_ANSWER`].
pub(super) const SLOW: &str = "slow.soak.example";
/// A service that speaks mutual TLS.
pub(super) const MTLS: &str = "mtls.soak.example";
/// A service all of whose endpoints are broken, each in another way.
pub(super) const BROKEN: &str = "broken.soak.example";

pub(super) const SLOW_ANSWER: Duration = Duration::from_secs(1);
/// The name that the upstream of [`FROM_DNS`] asks for.
pub(super) const DNS_NAME: &str = "pods.soak.test";

pub(super) struct World {
    /// The address of the first listener.
    pub gateway: SocketAddr,
    /// The address of the second one, while there is one.
    pub second: SocketAddr,
    /// The admin, status and metrics servers.
    pub servers: [SocketAddr; 3],
    pub dns: DnsServer,
    /// The hello of each service.
    pub hellos: HashMap<&'static str, Vec<u8>>,
    /// The caller's end of [`MTLS`].
    pub tls: ClientConfig,
    /// The endpoints of [`STEADY`] that the config has, oldest first.
    pub steady: Mutex<Vec<Server>>,
    folder: Folder,
    good: HashMap<&'static str, Server>,
    broken: Vec<Server>,
    refusing: SocketAddr,
    hole: BlackHole,
}

/// The letter in the answer of a service.
pub(super) fn letter(service: &str) -> u8 {
    service.as_bytes()[0]
}

/// Takes a hello off, and answers it.
fn answer(stream: &mut TcpStream, letter: u8) -> io::Result<()> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u16::from_be_bytes([head[3], head[4]]);
    stream.read_exact(&mut vec![0; length.into()])?;
    stream.write_all(&[&ANSWER[..], &[letter]].concat())
}

/// Answers a hello with the service's letter, and then sends back what comes.
fn echo(service: &'static str, pause: Duration) -> Server {
    Server::start(move |mut stream| {
        // A client may be gone at any time.
        if answer(&mut stream, letter(service)).is_err() {
            return;
        }
        let mut bytes = vec![0; 32 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            sleep(pause);
            if stream.write_all(&bytes[..length]).is_err() {
                return;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// One more endpoint of [`STEADY`].
pub(super) fn steady() -> Server {
    echo(STEADY, Duration::ZERO)
}

/// Servers that accept connections, each with a fault of its own after that.
fn broken() -> Vec<Server> {
    let read = |stream: &mut TcpStream| drop(stream.read(&mut [0; 4096]));
    vec![
        Server::start(reset),
        Server::start(move |mut stream| {
            read(&mut stream);
            reset(stream);
        }),
        Server::start(move |mut stream| read(&mut stream)),
        // Silent until the client has had enough.
        Server::start(|mut stream| while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}),
        Server::start(move |mut stream| {
            read(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }),
        // Fails in the middle of what it sends.
        Server::start(|mut stream| {
            let _ = answer(&mut stream, b'b');
            let _ = stream.write_all(&[7; 300_000]);
            reset(stream);
        }),
        // Half a record, and then its close.
        Server::start(move |mut stream| {
            read(&mut stream);
            let _ = stream.write_all(&ANSWER[..4]);
        }),
        Server::start(move |mut stream| {
            read(&mut stream);
            let _ = stream.write_all(&[0; 100]);
        }),
    ]
}

fn list(addresses: impl IntoIterator<Item = SocketAddr>) -> String {
    let quoted = addresses.into_iter().map(|address| format!("'{address}'"));
    quoted.collect::<Vec<_>>().join(", ")
}

impl World {
    pub(super) fn create() -> Self {
        let [gateway, second, admin, status, metrics] = own_addresses();
        let mut pki = Pki::create();
        // Longer than any run; an SVID's usual hour is not.
        let now = SystemTime::now();
        let end = now + Duration::from_secs(7 * 24 * 3600);
        pki.svca = pki.alpha.sign_between(&pki.svca.id, now, end).unwrap();
        pki.svcb = pki.beta.sign_between(&pki.svcb.id, now, end).unwrap();
        let pod = mtls::pod(
            pki.pod(),
            |mut stream| {
                let mut bytes = vec![0; 16 * 1024];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..length]).is_err() {
                        return;
                    }
                }
            },
            |_| {},
        );
        let echo_of = |service| (service, echo(service, Duration::ZERO));
        let good = [PARTLY, FROM_DNS].map(echo_of);
        let good = good
            .into_iter()
            .chain([(SLOW, echo(SLOW, SLOW_ANSWER)), (MTLS, pod)]);
        let dns = DnsServer::on_a_thread();
        dns.set_addresses(DNS_NAME, 1, &["127.0.0.1"]);
        let services = [STEADY, PARTLY, FROM_DNS, SLOW, BROKEN];
        Self {
            gateway,
            second,
            servers: [admin, status, metrics],
            dns,
            hellos: services.map(|name| (name, hello(name, &[]))).into(),
            tls: pki.svca(),
            steady: Mutex::new(vec![steady(), steady()]),
            folder: Folder::create(),
            good: good.collect(),
            broken: broken(),
            refusing: refusing_address(),
            hole: BlackHole::dig(),
        }
    }

    /// Starts `strait run` with the config, and waits until it serves.
    pub(super) fn start(&self) -> Process {
        self.write(&self.config(0));
        Process::of_file(&self.folder.path("strait.yaml"))
    }

    /// Puts another config file into the place of the old one, as one step.
    pub(super) fn write(&self, text: &str) {
        let new = self.folder.file("new.yaml", text);
        std::fs::rename(new, self.folder.path("strait.yaml")).unwrap();
    }

    /// Whether the config of this round has the second listener.
    pub(super) fn has_second(round: usize) -> bool {
        round % 4 >= 2
    }

    /// The config of a round: one more route with the round's name, some further ones, and at times a second
    /// listener. Routes and upstreams of earlier rounds are gone.
    pub(super) fn config(&self, round: usize) -> String {
        let good = |service: &str| self.good[service].address;
        let route = |name: &str, upstream: &str| {
            format!("        - {{ sni: {name}, alpn: any, upstream: {upstream} }}\n")
        };
        let mut names = [STEADY, PARTLY, FROM_DNS, SLOW, MTLS, BROKEN];
        names.rotate_left(round % 6);
        let mut routes: String = names
            .iter()
            .map(|name| route(name, name.split('.').next().unwrap()))
            .collect();
        routes += &route(&marker(round), &format!("round-{round}"));
        let steady = list(self.steady.lock().unwrap().iter().map(|one| one.address));
        let mut upstreams = format!("  round-{round}: {{ endpoints: [{steady}] }}\n");
        for more in 0..round % 5 {
            routes += &route(
                &format!("more-{more}.soak.example"),
                &format!("more-{more}"),
            );
            upstreams += &format!(
                "  more-{more}: {{ endpoints: ['192.0.2.1:{}'] }}\n",
                round + 1
            );
        }
        let listener = |name: &str, bind: SocketAddr| {
            format!(
                "  - name: {name}
    bind: '{bind}'
    timeouts: {{ idle: 30s, half_closed: 5s }}
    tcp: {{ keepalive_time: 2s, keepalive_interval: 1s, keepalive_probes: 3, user_timeout: 5s }}
    routes:\n{routes}"
            )
        };
        let mut listeners = listener("east-west", self.gateway);
        if Self::has_second(round) {
            listeners += &listener("second", self.second);
        }
        let (partly, slow, mtls) = (good(PARTLY), good(SLOW), good(MTLS));
        let (refusing, hole, port) = (self.refusing, self.hole.address, good(FROM_DNS).port());
        let broken = list(self.broken.iter().map(|one| one.address));
        let [admin, status, metrics] = self.servers;
        format!(
            "workers: 2
listeners:
{listeners}upstreams:
  steady: {{ endpoints: [{steady}] }}
  partly: {{ endpoints: ['{refusing}', '{hole}', '{partly}'], connect: {{ timeout: 1s }} }}
  dns: {{ dns: {{ name: '{DNS_NAME}:{port}', min_ttl: 1s, max_ttl: 2s, allow: [loopback] }} }}
  slow: {{ endpoints: ['{slow}'] }}
  mtls: {{ endpoints: ['{mtls}'] }}
  broken: {{ endpoints: [{broken}] }}
{upstreams}resolver: {{ servers: ['{}'], timeout: 500ms }}
drain: {{ readiness_delay: 1s, window: {}s }}
takeover: {{ path: '{}' }}
admin: {{ bind: '{admin}' }}
status: {{ bind: '{status}' }}
metrics: {{ bind: '{metrics}' }}
log: {{ format: text }}
",
            self.dns.address,
            DRAIN_WINDOW.as_secs(),
            self.folder.path("takeover").display(),
        )
    }
}

/// The server name that only the config of this round routes.
pub(super) fn marker(round: usize) -> String {
    format!("round-{round}.soak.example")
}
