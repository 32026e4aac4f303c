use super::*;
use crate::tools::spiffe::TrustDomain;
use rustls::{ClientConnection, ServerConnection};

struct World {
    alpha: TrustDomain,
    beta: TrustDomain,
    svca: Svid,
    svcb: Svid,
}

fn world() -> World {
    let alpha = TrustDomain::create("alpha.com").unwrap();
    let beta = TrustDomain::create("beta.com").unwrap();
    World {
        svca: alpha.issue("apps", "svca").unwrap(),
        svcb: beta.issue("apps", "svcb").unwrap(),
        alpha,
        beta,
    }
}

/// Runs a handshake in memory. Returns each end's verified view of the other, or the first refusal.
fn handshake(
    client: ClientConfig,
    server: ServerConfig,
) -> Result<(SpiffeId, SpiffeId), rustls::Error> {
    let name = ServerName::try_from("outbound_.80_._.svcb.apps.svc.cluster.local").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    let server_id = verified_peer(&client).unwrap();
    Ok((server_id, verified_peer(&server).unwrap()))
}

fn cause(error: &rustls::Error) -> &PeerError {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref().unwrap()
        }
        other => panic!("not a refusal of ours: {other}"),
    }
}

#[test]
fn each_side_verifies_the_other_in_both_versions() {
    let w = world();
    for versions in [TLS12, TLS13] {
        let mut end = TlsEnd::new(&w.svca, ISTIO_HTTP);
        end.versions = versions;
        let client = end.client(&w.beta.bundle(), &w.svcb.id).unwrap();
        let server = TlsEnd::new(&w.svcb, &["istio"])
            .server(&[w.beta.bundle(), w.alpha.bundle()])
            .unwrap();
        let seen = handshake(client, server).unwrap();
        assert_eq!(seen, (w.svcb.id.clone(), w.svca.id.clone()));
    }
}

#[test]
fn a_client_refuses_another_workload_of_the_right_trust_domain() {
    let w = world();
    let other = w.beta.issue("apps", "other").unwrap();
    let client = TlsEnd::new(&w.svca, &[]);
    let client = client.client(&w.beta.bundle(), &w.svcb.id).unwrap();
    let server = TlsEnd::new(&other, &[]);
    let error = handshake(client, server.server(&[w.alpha.bundle()]).unwrap()).unwrap_err();
    let expected = w.svcb.id.clone();
    let presented = other.id;
    assert_eq!(
        cause(&error),
        &PeerError::OtherPeer {
            expected,
            presented
        }
    );
}

#[test]
fn one_trust_domains_ca_cannot_vouch_for_another() {
    let w = world();
    // Alpha's CA signs an identity of beta for itself, and beta's CA one of alpha.
    let false_svcb = w.alpha.sign(&w.svcb.id).unwrap();
    let false_svca = w.beta.sign(&w.svca.id).unwrap();
    let both = [w.alpha.bundle(), w.beta.bundle()];
    let client = TlsEnd::new(&w.svca, &[]);
    let client = client.client(&w.beta.bundle(), &w.svcb.id).unwrap();
    let server = TlsEnd::new(&false_svcb, &[]).server(&both).unwrap();
    let error = handshake(client, server).unwrap_err();
    assert!(matches!(cause(&error), PeerError::Chain { id, .. } if *id == w.svcb.id));

    // The server has both bundles. So only the rule that pairs name and root can refuse the client.
    let client = TlsEnd::new(&false_svca, &[]);
    let client = client.client(&w.beta.bundle(), &w.svcb.id).unwrap();
    let server = TlsEnd::new(&w.svcb, &[]).server(&both).unwrap();
    let error = handshake(client, server).unwrap_err();
    assert!(matches!(cause(&error), PeerError::Chain { id, .. } if *id == w.svca.id));
}

#[test]
fn a_trust_domain_without_a_bundle_proves_nothing() {
    let w = world();
    let gamma = TrustDomain::create("gamma.com").unwrap();
    let stranger = gamma.issue("apps", "svca").unwrap();
    let client = TlsEnd::new(&stranger, &[]);
    let client = client.client(&w.beta.bundle(), &w.svcb.id).unwrap();
    let server = TlsEnd::new(&w.svcb, &[]);
    let server = server.server(&[w.alpha.bundle(), w.beta.bundle()]).unwrap();
    let error = handshake(client, server).unwrap_err();
    let id = stranger.id;
    assert_eq!(cause(&error), &PeerError::ForeignTrustDomain { id });
}
