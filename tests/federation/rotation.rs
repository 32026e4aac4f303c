//! Identities and authorities change while calls go on, with real sidecars on both sides.

use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use strait::tools::spiffe::TrustDomain;

use crate::federation::app::{App, Seen};
use crate::federation::gateway;
use crate::federation::http::{HttpClient, get};
use crate::federation::sidecar::{Inbound, Outbound, Sidecar, svca, svcb};
use crate::support::mtls::Pki;
use crate::support::wait_until;

/// A request that is under way, on a connection of its own, until the application is released.
struct Pending(JoinHandle<(u16, String)>);

impl Pending {
    fn begin(a: &Sidecar) -> Self {
        let under_way = || a.envoy.stat(".upstream_rq_active");
        let before = under_way();
        let at = a.address;
        let answer = std::thread::spawn(move || {
            let mut client = HttpClient::connect(at).unwrap();
            let answer = client.get("/?hold=true").unwrap();
            (answer.status, answer.body)
        });
        wait_until("the request is under way", || under_way() > before);
        Self(answer)
    }

    /// Asserts that the request succeeds; returns the serial number of the certificate that its
    /// caller had shown.
    fn finish(self) -> String {
        let (status, body) = self.0.join().unwrap();
        assert_eq!(status, 200, "{body}");
        serial(&body)
    }
}

fn serial(body: &str) -> String {
    Seen::parse(body).headers["x-sidecar-peer-serial"].clone()
}

/// A call that must succeed; the serial number that the caller showed.
#[track_caller]
fn call(a: &Sidecar) -> String {
    let answer = get(a.address);
    assert_eq!(answer.status, 200, "{answer:?}");
    serial(&answer.body)
}

#[test]
fn an_svid_is_replaced_before_it_expires_and_nobody_notices() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let gateway = gateway(&[b.address]);
    let a = svca(&pki, gateway.address());
    let pending = Pending::begin(&a);
    a.rotate_identity(&pki.alpha.issue("apps", "svca").unwrap());
    b.rotate_identity(&pki.beta.issue("apps", "svcb").unwrap());
    // The old connection is busy, so this one is new.
    let new = call(&a);
    app.release();
    assert_ne!(pending.finish(), new, "it shows the new SVID");
    assert_eq!(gateway.metric("strait_connections_active", &[]), 2.0);
}

#[test]
fn calls_fail_while_an_svid_is_expired_and_work_once_it_is_replaced() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let past = SystemTime::now() - Duration::from_secs(60);
    let expired = pki.beta.sign_until(&pki.svcb.id, past).unwrap();
    let b = Inbound::to(app.address).start(&expired, &pki.bundles());
    let gateway = gateway(&[b.address]);
    let expired = pki.alpha.sign_until(&pki.svca.id, past).unwrap();
    let a = Outbound::to(gateway.address()).start(&expired, &pki.bundles());
    assert_eq!(get(a.address).status, 503, "both are expired");
    b.rotate_identity(&pki.svcb);
    assert_eq!(get(a.address).status, 503, "svca's is");
    a.rotate_identity(&pki.svca);
    call(&a);
}

/// Old and new root in the bundles, then SVIDs of the new one, then the old root goes: the order in
/// which SPIRE does it.
#[test]
fn a_ca_is_replaced_while_connections_live() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let gateway = gateway(&[b.address]);
    let a = svca(&pki, gateway.address());
    // Each on a connection of its own, since those before it are busy.
    let first = Pending::begin(&a);

    let next = TrustDomain::create("alpha.com").unwrap();
    let both = [pki.alpha.bundle(), next.bundle(), pki.beta.bundle()];
    // The foreign cluster must know the new root before anybody shows an SVID of it.
    b.rotate_trust(&both);
    a.rotate_trust(&both);
    let second = Pending::begin(&a);

    a.rotate_identity(&next.issue("apps", "svca").unwrap());
    let third = Pending::begin(&a);

    let new_only = [next.bundle(), pki.beta.bundle()];
    b.rotate_trust(&new_only);
    a.rotate_trust(&new_only);
    let fourth = Pending::begin(&a);
    // Certificates that the old root signed are worth nothing now.
    let late = Outbound::to(gateway.address()).start(&pki.svca, &new_only);
    assert_eq!(get(late.address).status, 503);
    assert_eq!(gateway.record().outcome, "handshake_refused");

    // Nobody's connection was cut for any of it.
    assert_eq!(gateway.metric("strait_connections_active", &[]), 4.0);
    app.release();
    let old = first.finish();
    assert_eq!(second.finish(), old);
    let new = third.finish();
    assert_ne!(new, old);
    assert_eq!(fourth.finish(), new);
}
