//! mTLS between two trust domains passes through untouched: what each side verifies of the other,
//! what it refuses, and every byte between them.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::channel;

use rustls::{AlertDescription, Error};
use sha2::{Digest, Sha256};
use strait::tools::spiffe::tls::{
    BOTH_VERSIONS, ISTIO_HTTP, ISTIO_TCP, PeerError, TLS12, TLS13, TlsEnd, peer_error,
};
use strait::tools::spiffe::{Svid, TrustDomain};

use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::mtls::{ClientStream, Pki, ServerStream, caller_of, dial, pod, server_of};
use crate::support::server::Server;
use crate::support::{DEADLINE, OUTBOUND, SERVICE, noise};

const ISTIO_ROUTE: &str =
    "[{ service: 'svcb.apps.svc.cluster.local:80', alpn: istio, upstream: svcb }]";

fn gateway_to(pod: &Server) -> TestGateway {
    TestGateway::start(&ConfigText::to(&[pod.address]).routes(ISTIO_ROUTE))
}

/// Answers each line with the identity of the peer and the name that it asked for.
fn answers_with_the_peer_it_sees(mut stream: ServerStream) {
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        if byte[0] == b'\n' {
            let name = stream.conn.server_name().unwrap_or("nobody").to_owned();
            let answer = format!("{} asks for {name}\n", caller_of(&stream));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn ask(stream: &mut ClientStream) -> std::io::Result<String> {
    stream.write_all(b"who am I?\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok(String::from_utf8(answer).unwrap().trim_end().to_owned())
}

/// Closes as TLS does, and waits for the other side to do so.
fn close(mut stream: ClientStream) {
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.sock.read_to_end(&mut rest).unwrap();
}

#[test]
fn both_spellings_and_both_versions_carry_both_identities() {
    let pki = Pki::create();
    let pod = pod(pki.pod(), answers_with_the_peer_it_sees, |error| {
        panic!("{error}")
    });
    let gateway = gateway_to(&pod);
    for versions in [TLS12, TLS13] {
        for name in [SERVICE, OUTBOUND] {
            let tls = pki.caller(&pki.svca, versions);
            let mut stream = dial(gateway.address(), tls, name);
            let source = stream.sock.local_addr().unwrap();
            // Several requests on one connection, as HTTP keep-alive does.
            for _ in 0..3 {
                let answer = ask(&mut stream).unwrap();
                assert_eq!(answer, format!("{} asks for {name}", pki.svca.id));
            }
            assert_eq!(server_of(&stream), pki.svcb.id);
            assert_eq!(
                stream.conn.protocol_version(),
                Some(versions[0].version),
                "{name}"
            );
            let cipher = stream.conn.negotiated_cipher_suite().unwrap().suite();
            let cipher = format!("{cipher:?}").replace("TLS13_", "TLS_");
            let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
            close(stream);
            let record = gateway.record_of(source);
            assert_eq!(record.outcome, "ok");
            // The parameters that the two have agreed on, as far as they are in the clear.
            let is_tls13 = versions == TLS13;
            let version = if is_tls13 { "1.3" } else { "1.2" };
            assert_eq!(record.tls_version.as_deref(), Some(version));
            assert_eq!(record.tls_cipher, Some(cipher));
            let group = is_tls13.then(|| format!("{group:?}").to_lowercase());
            assert_eq!(record.tls_group, group);
            assert_eq!(record.server_name.as_deref(), Some(name));
            assert_eq!(record.alpn.as_deref(), Some(&*ISTIO_HTTP.join(",")));
            assert_eq!(record.route.as_deref(), Some(&*format!("{SERVICE}:80")));
            assert_eq!(record.endpoint, Some(pod.address));
        }
    }
    assert_eq!(gateway.closed("ok"), 4.0);
}

#[test]
fn a_tcp_service_with_istios_peer_exchange_alpn_passes_too() {
    let pki = Pki::create();
    let server = TlsEnd::new(&pki.svcb, ISTIO_TCP)
        .server(&[pki.alpha.bundle()])
        .unwrap();
    let pod = pod(server, answers_with_the_peer_it_sees, |error| {
        panic!("{error}")
    });
    let gateway = gateway_to(&pod);
    let tls = TlsEnd::new(&pki.svca, ISTIO_TCP);
    let tls = tls.client(&pki.beta.bundle(), &pki.svcb.id).unwrap();
    let mut stream = dial(gateway.address(), tls, OUTBOUND);
    ask(&mut stream).unwrap();
    assert_eq!(
        stream.conn.alpn_protocol(),
        Some(&b"istio-peer-exchange"[..])
    );
    close(stream);
    assert_eq!(gateway.record().outcome, "ok");
}

/// The caller's error when the pod refuses its SVID, and the pod's reason.
fn refused_by_pod(pki: &Pki, svid: &Svid) -> (Error, PeerError) {
    let (tell, refused) = channel();
    let tell = std::sync::Mutex::new(tell);
    let pod = pod(
        pki.pod(),
        |stream| panic!("let in: {}", caller_of(&stream)),
        move |error| {
            let cause = peer_error(&error).expect("refused for the certificate");
            tell.lock().unwrap().send(cause.clone()).unwrap();
        },
    );
    let gateway = gateway_to(&pod);
    let tls = pki.caller(svid, BOTH_VERSIONS);
    let mut stream = dial(gateway.address(), tls, OUTBOUND);
    let error = ask(&mut stream).unwrap_err();
    let error = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    let error = error.expect("an error of TLS, not a reset").clone();
    drop(stream);
    let record = gateway.record();
    // The gateway has carried the bytes of both sides. Identities are not its business.
    assert!(record.to_upstream > 0 && record.to_downstream > 0);
    assert_eq!(record.endpoint, Some(pod.address));
    // But it can tell who ended it.
    assert_eq!(record.outcome, "handshake_refused", "{record:?}");
    assert_eq!(record.ended_by.as_deref(), Some("upstream"));
    (error, refused.recv_timeout(DEADLINE).unwrap())
}

#[test]
fn the_pod_refuses_a_namesake_from_a_trust_domain_without_federation() {
    let pki = Pki::create();
    let gamma = TrustDomain::create("gamma.com").unwrap();
    let namesake = gamma.issue("apps", "svca").unwrap();
    let (error, cause) = refused_by_pod(&pki, &namesake);
    assert_eq!(
        error,
        Error::AlertReceived(AlertDescription::CertificateUnknown)
    );
    assert_eq!(cause, PeerError::ForeignTrustDomain { id: namesake.id });
}

#[test]
fn the_pod_refuses_a_name_of_alpha_that_betas_own_ca_signed() {
    let pki = Pki::create();
    let forged = pki.beta.sign(&pki.svca.id).unwrap();
    let (error, cause) = refused_by_pod(&pki, &forged);
    assert_eq!(
        error,
        Error::AlertReceived(AlertDescription::CertificateUnknown)
    );
    assert!(matches!(cause, PeerError::Chain { id, .. } if id == pki.svca.id));
}

#[test]
fn the_caller_refuses_a_pod_that_is_not_the_one_it_expects() {
    let pki = Pki::create();
    let other = pki.beta.issue("apps", "other").unwrap();
    let forged = pki.alpha.sign(&pki.svcb.id).unwrap();
    for impostor in [other, forged] {
        let server = TlsEnd::new(&impostor, ISTIO_HTTP);
        let server = server.server(&[pki.alpha.bundle()]).unwrap();
        let pod = pod(server, |_| {}, |_| {});
        let gateway = gateway_to(&pod);
        let mut stream = dial(gateway.address(), pki.svca(), OUTBOUND);
        let error = ask(&mut stream).unwrap_err();
        assert!(
            matches!(
                peer_error(&error),
                Some(PeerError::OtherPeer { .. } | PeerError::Chain { .. })
            ),
            "{error}"
        );
        drop(stream);
        let record = gateway.record();
        assert!(record.to_downstream > 0);
        assert_eq!(record.outcome, "handshake_refused", "{record:?}");
        assert_eq!(record.ended_by.as_deref(), Some("downstream"));
    }
}

/// In TLS 1.2 both certificates are in the clear.
#[test]
fn the_certificates_of_a_refused_handshake_in_tls_1_2_are_told() {
    let pki = Pki::create();
    let stranger = pki.beta.issue("apps", "other").unwrap();
    let server = TlsEnd::new(&pki.svcb, ISTIO_HTTP);
    let server = server.server(&[pki.alpha.bundle()]).unwrap();
    let pod = pod(server, |_| panic!("let in"), |_| {});
    let gateway = gateway_to(&pod);
    let mut stream = dial(gateway.address(), pki.caller(&stranger, TLS12), OUTBOUND);
    ask(&mut stream).unwrap_err();
    drop(stream);
    let record = gateway.record();
    assert_eq!(record.outcome, "handshake_refused", "{record:?}");
    for (told, id) in [
        (record.downstream_certificate_unauthenticated, &stranger.id),
        (record.upstream_certificate_unauthenticated, &pki.svcb.id),
    ] {
        let (told, id) = (told.unwrap(), id.to_string());
        let (shown, expiry) = told.split_once(" until ").unwrap();
        assert!(id.starts_with(shown.trim_end_matches("...")), "{told}");
        assert!(shown.len() > "spiffe://".len(), "{told}");
        assert!(expiry.ends_with('Z'), "{told}");
    }
}

#[test]
fn a_pod_without_a_tls_version_in_common_refuses_the_hello() {
    let pki = Pki::create();
    let mut end = TlsEnd::new(&pki.svcb, ISTIO_HTTP);
    end.versions = TLS13;
    let server = end.server(&[pki.alpha.bundle()]).unwrap();
    let pod = pod(server, |_| panic!("let in"), |_| {});
    let gateway = gateway_to(&pod);
    let mut stream = dial(gateway.address(), pki.caller(&pki.svca, TLS12), OUTBOUND);
    ask(&mut stream).unwrap_err();
    drop(stream);
    let record = gateway.record();
    assert_eq!(record.outcome, "handshake_refused", "{record:?}");
    assert_eq!(record.ended_by.as_deref(), Some("upstream"));
    let detail = record.detail.unwrap();
    assert!(detail.contains("share no TLS version"), "{detail}");
    assert_eq!(record.alert.as_deref(), Some("protocol_version"));
    assert_eq!(record.alert_by.as_deref(), Some("upstream"));
}

#[test]
fn megabytes_arrive_as_they_were_sent_both_ways() {
    const MEGABYTES: usize = 32;
    let pki = Pki::create();
    let upload: Vec<u8> = noise(1 << 20, 1);
    let download: Vec<u8> = noise(1 << 20, 2);
    let answer = download.clone();
    let serve = move |mut stream: ServerStream| {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        for _ in 0..MEGABYTES << 4 {
            stream.read_exact(&mut buffer).unwrap();
            hash.update(&buffer);
        }
        for _ in 0..MEGABYTES {
            stream.write_all(&answer).unwrap();
        }
        stream.write_all(&hash.finalize()).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        let _ = stream.sock.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut stream.sock, &mut std::io::sink());
    };
    let pod = pod(pki.pod(), serve, |error| panic!("{error}"));
    let gateway = gateway_to(&pod);
    // Two at once, so that one's download meets the other's upload on the same worker.
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = dial(gateway.address(), pki.svca(), OUTBOUND);
            let (upload, download) = (upload.clone(), download.clone());
            std::thread::spawn(move || {
                for _ in 0..MEGABYTES {
                    stream.write_all(&upload).unwrap();
                }
                let mut buffer = vec![0; 1 << 20];
                for _ in 0..MEGABYTES {
                    stream.read_exact(&mut buffer).unwrap();
                    assert!(buffer == download, "the download differs");
                }
                let mut seen_by_pod = [0; 32];
                stream.read_exact(&mut seen_by_pod).unwrap();
                let mut hash = Sha256::new();
                (0..MEGABYTES).for_each(|_| hash.update(&upload));
                assert_eq!(seen_by_pod, hash.finalize()[..], "the upload differs");
                close(stream);
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    for _ in 0..2 {
        let record = gateway.record();
        assert_eq!(record.outcome, "ok");
        assert!(record.to_upstream > (MEGABYTES << 20) as u64);
        assert!(record.to_downstream > (MEGABYTES << 20) as u64);
    }
}

#[test]
fn a_certificate_chain_of_several_records_passes() {
    let pki = Pki::create();
    // Certificates that lead nowhere: they only make the caller's message long.
    let mut svid = pki.svca.clone();
    while svid.chain.iter().map(|c| c.len()).sum::<usize>() < 40_000 {
        svid.chain
            .push(pki.alpha.issue("apps", "padding").unwrap().chain.remove(0));
    }
    let pod = pod(pki.pod(), answers_with_the_peer_it_sees, |error| {
        panic!("{error}")
    });
    let gateway = gateway_to(&pod);
    let mut stream = dial(gateway.address(), pki.caller(&svid, TLS13), OUTBOUND);
    assert!(ask(&mut stream).unwrap().starts_with(pki.svca.id.as_str()));
    close(stream);
    assert!(gateway.record().to_upstream > 40_000);
}
