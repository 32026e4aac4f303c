//! The TLS of the called pod, as its PeerAuthentication or its Sidecar makes it: the words of `strait doctor`, and of
//! the gateway's line about a call. SPIRE's own code signs, and the sidecars are real.

use std::io::{Read, Write};

use crate::doctor_spire::{examine, file_of, finds};
use crate::federation::http::get;
use crate::federation::sidecar::{Connections, Inbound, PodTls, Protocol, Sidecar};
use crate::federation::world::World;
use crate::support::server::Server;

/// Both sidecars; that of beta's pod as a test has changed it.
fn serve(world: &World, change: impl FnOnce(Inbound) -> Inbound) -> [Sidecar; 2] {
    let socket = world.workload(&world.beta, "server", "1h");
    let inbound = change(world.inbound(&world.beta));
    [world.serve(&world.alpha), inbound.start_by_agent(&socket)]
}

fn as_declared(tls: PodTls) -> impl FnOnce(Inbound) -> Inbound {
    move |inbound| Inbound { tls, ..inbound }
}

/// `PERMISSIVE` cannot be told from outside: who offers Istio's ALPN must show a certificate there too, and the gateway
/// lets nobody else through.
#[test]
fn a_permissive_sidecar_asks_mesh_clients_for_a_certificate_as_a_strict_one_does() {
    let world = World::start();
    let _sidecars = serve(&world, as_declared(PodTls::Permissive));
    finds("PERMISSIVE", &file_of(&world), &[]);
    let a = world.caller(&world.alpha, Connections::Fresh);
    assert_eq!(get(a.address).status, 200);
}

/// The reason why `alpn: istio` is a boundary: the application answers whoever does not offer it.
#[test]
fn a_permissive_sidecar_behind_a_route_for_any_client_is_a_danger() {
    let greeting = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"220 ready\r\n");
    });
    let world = World::altered(|config| config.replace("alpn: istio", "alpn: any"));
    world.join();
    let app = greeting.address;
    let _sidecars = serve(&world, |inbound| Inbound {
        tls: PodTls::Permissive,
        protocol: Protocol::Tcp,
        app,
        ..inbound
    });
    finds(
        "PERMISSIVE behind any",
        &file_of(&world),
        &["beta.com service-alpn open"],
    );
}

#[test]
fn a_pod_whose_port_has_tls_without_a_demand_for_certificates() {
    let world = World::start();
    let _sidecars = serve(&world, as_declared(PodTls::Simple));
    let file = file_of(&world);
    finds("SIMPLE", &file, &["beta.com service-mtls no_request"]);
    let words = &examine(&file).faults()["beta.com service-mtls no_request"];
    assert!(words.contains("SIMPLE"), "{words}");
}

/// Such a sidecar takes no TLS at all, and closes.
#[test]
fn a_pod_without_mutual_tls_closes_at_a_hello() {
    let world = World::start();
    let _sidecars = serve(&world, as_declared(PodTls::Disabled));
    let a = world.caller(&world.alpha, Connections::Fresh);
    assert_eq!(get(a.address).status, 503);
    let line = world.beta.call_line();
    assert_eq!(line.endpoint, Some(world.beta.pod), "{line:?}");
    assert_eq!(line.ended_by.as_deref(), Some("upstream"), "{line:?}");

    let file = file_of(&world);
    finds("DISABLE", &file, &["beta.com service-route connect"]);
    let words = &examine(&file).faults()["beta.com service-route connect"];
    assert!(words.contains("DISABLE"), "{words}");
}
