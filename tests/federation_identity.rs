//! Both identities stay end to end through the gateway, whatever protocol and version: real
//! sidecars on both sides.

mod federation;
mod support;

use federation::app::{App, Seen};
use federation::gateway;
use federation::http::get;
use federation::sidecar::{svca, svcb};
use support::OUTBOUND;
use support::mtls::Pki;

#[test]
fn svcb_sees_alphas_identity_and_not_the_gateways() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let gateway = gateway(&[b.address]);
    let a = svca(&pki, gateway.address());
    let answer = get(a.address);
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = Seen::parse(&answer.body);
    assert_eq!(seen.peer("URI"), pki.svca.id.as_str());
    assert_eq!(seen.peer("By"), pki.svcb.id.as_str());
    assert_eq!(seen.headers["x-sidecar-sni"], OUTBOUND);
}
