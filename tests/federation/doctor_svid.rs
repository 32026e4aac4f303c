//! `strait doctor --svid`: calls with the SVID of a caller, through a real gateway to a real sidecar. Each mistake that only
//! a caller meets is named, and no healthy world gets a cross.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use strait::tools::spiffe::{Svid, TrustBundle};

use crate::doctor::{Said, doctor};
use crate::federation::app::App;
use crate::federation::gateway;
use crate::federation::sidecar::{Inbound, Protocol};
use crate::support::mtls::Pki;
use crate::support::process::Folder;
use crate::support::server::{BlackHole, Server};
use crate::support::wait_until;

/// The longest that a run may take, silent peers included. The machine of the tests may be busy.
const LONGEST_MS: u64 = 15_000;
const SVCA: &str = "spiffe://alpha.com/ns/apps/sa/svca";
const NAMESAKE: &str = "spiffe://beta.com/ns/apps/sa/svca";

fn pem(kind: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(kind, der))
}

/// The files of an SVID as `spire-agent api fetch x509 -write` names them.
struct SvidFiles {
    _folder: Folder,
    paths: [PathBuf; 3],
}

impl SvidFiles {
    fn write(svid: &Svid, bundle: &TrustBundle) -> Self {
        let folder = Folder::create();
        let chain: String = svid
            .chain
            .iter()
            .map(|der| pem("CERTIFICATE", der))
            .collect();
        let paths = [
            folder.file("svid.0.pem", &chain),
            folder.file("svid.0.key", &pem("PRIVATE KEY", svid.key.secret_der())),
            folder.file("bundle.0.pem", &pem("CERTIFICATE", &bundle.root)),
        ];
        Self {
            _folder: folder,
            paths,
        }
    }

    fn arguments(&self) -> Vec<&str> {
        let paths = self.paths.iter().map(|path| path.to_str().unwrap());
        ["--svid"].into_iter().chain(paths).collect()
    }
}

/// Two sides, of which only beta has a service. `more` is added to its keys.
fn file_of(alpha: SocketAddr, beta: SocketAddr, more: &str) -> String {
    format!(
        "sides:
  - {{ trust_domain: alpha.com, gateway: '{alpha}' }}
  - trust_domain: beta.com
    gateway: '{beta}'
    services:
      - {{ host: svcb.apps.svc.cluster.local, port: 80, spiffe_id: 'spiffe://beta.com/ns/apps/sa/svcb'{more} }}
"
    )
}

/// The answer about beta's sidecar to a caller with that SVID of alpha.
fn examine(pki: &Pki, inbound: &Inbound, svid: &Svid, more: &str) -> Said {
    let sidecar = inbound.start(&pki.svcb, &pki.bundles());
    let gateway = gateway(&[sidecar.address]);
    let files = SvidFiles::write(svid, &pki.alpha.bundle());
    let file = file_of(gateway.address(), gateway.address(), more);
    let arguments = [&["-o", "json"], &*files.arguments()].concat();
    Said::of(&doctor(&file, &arguments))
}

/// The doctor names these faults and no other: each is a side, a check and a cause.
#[track_caller]
fn finds(said: &Said, mistake: &str, expected: &[&str]) {
    let faults = said.faults();
    let found: Vec<&str> = faults.keys().map(String::as_str).collect();
    assert_eq!(found, expected, "{mistake}: {:#}", said.report);
}

/// The state of a check about the call.
fn state<'a>(said: &'a Said, check: &str) -> &'a str {
    let checks = said.report["checks"].as_array().unwrap();
    let found = checks.iter().find(|one| one["check"] == *check);
    found.unwrap_or_else(|| panic!("no {check}: {:#}", said.report))["state"]
        .as_str()
        .unwrap()
}

#[test]
fn a_caller_that_is_let_in_gets_no_cross() {
    let pki = Pki::create();
    let app = App::start("svcb");
    let inbound = Inbound::to(app.address);
    for more in ["", &format!(", callers: ['{SVCA}']")] {
        let said = examine(&pki, &inbound, &pki.svca, more);
        finds(&said, "well", &[]);
        assert_eq!(state(&said, "caller-svid"), "passed", "{:#}", said.report);
        assert_eq!(state(&said, "call"), "passed", "{:#}", said.report);
    }
    // Another account of alpha is denied, as the file says.
    let other = pki.alpha.issue("apps", "other").unwrap();
    let said = examine(&pki, &inbound, &other, &format!(", callers: ['{SVCA}']"));
    finds(&said, "a stranger", &[]);
    assert_eq!(state(&said, "kept-out"), "passed", "{:#}", said.report);
}

#[test]
fn a_policy_that_does_not_name_the_caller() {
    let pki = Pki::create();
    let app = App::start("svcb");
    for principal in ["alpha.com/ns/apps/sa/other", SVCA] {
        let inbound = Inbound {
            principals: vec![principal.to_owned()],
            ..Inbound::to(app.address)
        };
        let said = examine(&pki, &inbound, &pki.svca, "");
        finds(&said, principal, &["alpha.com call policy"]);
        let words = &said.faults()["alpha.com call policy"];
        let write = "principals: [alpha.com/ns/apps/sa/svca]";
        assert!(words.contains(write), "{words}");
    }
}

#[test]
fn a_mesh_config_that_does_not_name_the_callers_trust_domain() {
    let pki = Pki::create();
    let app = App::start("svcb");
    let inbound = Inbound {
        foreign_trust_domains: Vec::new(),
        ..Inbound::to(app.address)
    };
    let said = examine(&pki, &inbound, &pki.svca, "");
    finds(
        &said,
        "no caCertificates",
        &["alpha.com call ca_certificates"],
    );
}

#[test]
fn an_alias_that_makes_a_namesake_pass() {
    let pki = Pki::create();
    let app = App::start("svcb");
    let callers = format!(", callers: ['{NAMESAKE}']");
    let strict = Inbound {
        principals: vec!["beta.com/ns/apps/sa/svca".to_owned()],
        ..Inbound::to(app.address)
    };
    let said = examine(&pki, &strict, &pki.svca, &callers);
    finds(&said, "no alias", &[]);
    assert_eq!(state(&said, "kept-out"), "passed", "{:#}", said.report);
    let aliased = Inbound {
        aliases: vec!["alpha.com".to_owned()],
        ..strict
    };
    let said = examine(&pki, &aliased, &pki.svca, &callers);
    finds(&said, "an alias", &["alpha.com kept-out aliases"]);
}

#[test]
fn an_svid_that_has_expired() {
    let pki = Pki::create();
    let app = App::start("svcb");
    let end = SystemTime::now() - Duration::from_secs(60);
    let old = pki.alpha.sign_until(&pki.svca.id, end).unwrap();
    let said = examine(&pki, &Inbound::to(app.address), &old, "");
    finds(&said, "expired", &["alpha.com caller-svid expired"]);
    assert_eq!(state(&said, "call"), "not_told");
}

#[test]
fn a_service_that_speaks_no_http_is_not_asked() {
    let pki = Pki::create();
    let (ended, messages) = channel();
    let app = Server::start(move |mut stream| {
        let mut message = Vec::new();
        let _ = stream.read_to_end(&mut message);
        let _ = ended.send(message);
    });
    let inbound = Inbound {
        protocol: Protocol::Tcp,
        ..Inbound::to(app.address)
    };
    let said = examine(&pki, &inbound, &pki.svca, ", protocol: tcp");
    finds(&said, "tcp", &[]);
    assert_eq!(state(&said, "call"), "not_told");
    let mut received = Vec::new();
    wait_until("each connection to the service has ended", || {
        received.extend(messages.try_iter());
        !received.is_empty() && received.len() == app.connections()
    });
    assert_eq!(received.concat(), b"", "nothing may be sent to it");
}

#[test]
fn silent_peers_do_not_hold_up_a_run_with_an_svid() {
    let pki = Pki::create();
    let silent = Server::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let gateway = gateway(&[silent.address]);
    let hole = BlackHole::dig();
    let files = SvidFiles::write(&pki.svca, &pki.alpha.bundle());
    let file = file_of(hole.address, gateway.address(), "");
    let arguments = [&["-o", "json"], &*files.arguments()].concat();
    let said = Said::of(&doctor(&file, &arguments));
    let expected = [
        "alpha.com gateway-reached unreached",
        "beta.com service-route silent",
    ];
    finds(&said, "silent", &expected);
    let took = said.report["took_ms"].as_u64().unwrap();
    assert!(took < LONGEST_MS, "it took {took} ms");
}

#[test]
fn files_that_are_no_svid_are_named() {
    let pki = Pki::create();
    let right = SvidFiles::write(&pki.svca, &pki.alpha.bundle());
    let [chain, key, bundle] = right.arguments()[1..] else {
        panic!("not three files")
    };
    let gamma = strait::tools::spiffe::TrustDomain::create("gamma.com").unwrap();
    let foreign = SvidFiles::write(&gamma.issue("apps", "x").unwrap(), &gamma.bundle());
    let at = SocketAddr::from(([127, 0, 0, 1], 1));
    let file = file_of(at, at, "");
    for (arguments, says) in [
        (vec!["--svid", chain, bundle, bundle], "no private key"),
        (vec!["--svid", "/nowhere", key, bundle], "/nowhere: "),
        (foreign.arguments(), "the sides are alpha.com and beta.com"),
    ] {
        let output = doctor(&file, &arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}
