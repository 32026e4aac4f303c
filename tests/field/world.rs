//! The servers of `pairs.txt`, and the gateway before them, in a network namespace whose ports are all ours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Stdio;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::pair_list::{KINDS, Pairs, Program, port};
use super::programs::{Authority, Running, Workshop};
use super::rustls_peer;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::namespace::replace_file;
use crate::support::wait_until;

/// The address that clients dial, by the names of /etc/hosts.
pub const GATEWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);

/// Servers behind a gateway.
pub struct World {
    /// The certificate that all clients trust.
    pub root: CertificateDer<'static>,
    /// The folder in which programs run.
    pub workshop: Workshop,
    _servers: Vec<Running>,
}

/// The part of a server name that routes to a server.
pub fn domain(server: &str, kind: &str) -> String {
    format!("{server}-{kind}.field.test")
}

impl World {
    /// Starts all servers of `pairs`, and a gateway.
    pub fn start(pairs: &Pairs) -> (Self, TestGateway) {
        let workshop = Workshop::open();
        if pairs
            .clients
            .iter()
            .any(|client| client.command.contains("classes"))
        {
            workshop.build_long_peers();
        }
        replace_file("/etc/hosts", &workshop.file("hosts", &hosts(pairs)));
        let authority = Authority::create("field");
        workshop.file("ca.pem", &authority.certificate().pem());
        let started = pairs.servers.iter().map(|server| {
            let names = KINDS.map(|kind| format!("*.{}", domain(&server.name, kind)));
            let (certificate, key) = authority.issue(&names);
            workshop.keep(&server.name, &certificate, &key);
            if server.how != "here" {
                return launch(&workshop, server);
            }
            for kind in KINDS {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                let chain = vec![certificate.der().clone()];
                rustls_peer::serve(port(server, kind), kind, chain, key);
            }
            Vec::new()
        });
        let mut servers: Vec<Running> = started.flatten().collect();
        for server in &pairs.servers {
            for kind in KINDS {
                let at = SocketAddr::from(([127, 0, 0, 1], port(server, kind)));
                wait_until(&format!("{} serves {kind} at {at}", server.name), || {
                    servers.iter_mut().for_each(Running::must_run);
                    TcpStream::connect(at).is_ok()
                });
            }
        }
        let gateway = TestGateway::start(&ConfigText::verbatim(&config(pairs)));
        let world = Self {
            root: authority.certificate().der().clone(),
            workshop,
            _servers: servers,
        };
        (world, gateway)
    }
}

/// Starts the processes of a server: one for all kinds, or one for each.
fn launch(workshop: &Workshop, server: &Program) -> Vec<Running> {
    let start = |kind: &str, environment: [(&str, String); 2]| {
        let mut command = workshop.shell(&server.command);
        command.envs(environment);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Running::start(
            command,
            workshop.path(&format!("{}-{kind}.log", server.name)),
        )
    };
    if server.how == "all" {
        let places = KINDS.map(|kind| format!("{}:{kind}", port(server, kind)));
        return vec![start(
            "all",
            [("PORTS", places.join(" ")), ("KIND", "all".into())],
        )];
    }
    let of_kind = |kind: &str| {
        let at = port(server, kind).to_string();
        start(kind, [("PORT", at), ("KIND", kind.to_owned())])
    };
    KINDS.map(of_kind).into()
}

/// Every server name, at the gateway.
fn hosts(pairs: &Pairs) -> String {
    let mut lines = String::from("127.0.0.1 localhost\n");
    for pair in &pairs.pairs {
        for variant in pairs.variants_of(pairs.client(&pair.client)) {
            let name = super::pairs::server_name(pair, variant);
            lines += &format!("127.0.0.1 {name}\n");
        }
    }
    lines
}

fn config(pairs: &Pairs) -> String {
    let mut routes = String::new();
    let mut upstreams = String::new();
    for server in &pairs.servers {
        for kind in KINDS {
            let name = format!("{}-{kind}", server.name);
            let domain = domain(&server.name, kind);
            routes += &format!("      - {{ sni: '*.{domain}', alpn: any, upstream: {name} }}\n");
            let port = port(server, kind);
            upstreams += &format!("  {name}: {{ endpoints: ['127.0.0.1:{port}'] }}\n");
        }
    }
    let asks = |client: &Program| client.name == "libpq-asks";
    let starttls = match pairs.clients.iter().any(asks) {
        true => "postgres",
        false => "off",
    };
    let listener = format!(
        "  - name: east-west\n    bind: '{GATEWAY}'\n    starttls: {starttls}\n    routes:\n{routes}"
    );
    format!("listeners:\n{listener}upstreams:\n{upstreams}")
}
