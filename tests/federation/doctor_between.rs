//! Mistakes between two clusters and in their clocks, with SPIRE's own code and real sidecars on both sides: `strait
//! doctor` must name each and no other.

use std::net::SocketAddr;

use crate::doctor::front;
use crate::doctor_spire::{file_of, finds, serve_both};
use crate::federation::world::World;
use crate::support::server::{BlackHole, refusing_address};

/// The federation file with beta's gateway at another address, in its bundle endpoint's URL too.
fn at(world: &World, address: SocketAddr) -> String {
    let file = file_of(world);
    let real = world.beta.gateway.address();
    let url = world.beta.bundle_url();
    let moved = url.replace(&real.port().to_string(), &address.port().to_string());
    file.replace(&real.to_string(), &address.to_string())
        .replace(&url, &moved)
}

#[test]
fn a_gateway_that_nothing_reaches() {
    let world = World::start();
    let _sidecars = serve_both(&world);
    const EXPECTED: &[&str] = &["beta.com gateway-reached unreached"];
    finds("refused", &at(&world, refusing_address()), EXPECTED);
    let hole = BlackHole::dig();
    finds("swallowed", &at(&world, hole.address), EXPECTED);
    let nowhere = file_of(&world).replace(
        &format!("gateway: '{}'", world.beta.gateway.address()),
        &format!(
            "gateway: 'east-west.invalid:{}'",
            world.beta.gateway.address().port()
        ),
    );
    finds("no address", &nowhere, &["beta.com gateway-reached dns"]);
}

#[test]
fn large_hellos_that_do_not_arrive() {
    let world = World::start();
    let _sidecars = serve_both(&world);
    let front = front(world.beta.gateway.address());
    finds(
        "lost on the way",
        &at(&world, front.address),
        &["beta.com large-hello lost"],
    );

    let world = World::altered(|config| {
        let bind = "    bind: 127.0.0.1:0\n";
        config.replacen(
            bind,
            &format!("{bind}    client_hello: {{ max_size: 1KiB }}\n"),
            1,
        )
    });
    world.join();
    let _sidecars = serve_both(&world);
    finds(
        "larger than the gateway takes",
        &file_of(&world),
        &["beta.com large-hello refused"],
    );
}

/// SPIRE signs by a clock that is ahead. The date of its endpoint's answers is Go's, so [`super::doctor`] has that one.
#[test]
fn a_cluster_whose_clock_is_ahead() {
    let world = World::planned("beta.com", &[], &["-ahead", "5m"], str::to_owned);
    world.join();
    let _sidecars = serve_both(&world);
    finds(
        "ahead",
        &file_of(&world),
        &[
            "beta.com bundle-certificate not_yet_valid",
            "beta.com service-expiry not_yet_valid",
        ],
    );
}

#[test]
fn polls_that_are_too_seldom_for_the_life_of_a_root() {
    let arguments = ["-ca-ttl", "24h", "-hint", "20h"];
    let world = World::planned("beta.com", &[], &arguments, str::to_owned);
    world.join();
    let _sidecars = serve_both(&world);
    finds(
        "seldom",
        &file_of(&world),
        &["beta.com root-lifetime? slow_polls"],
    );
}

#[test]
fn a_certificate_of_the_web_for_another_name() {
    let arguments = ["-web", "spire.other.com"];
    let world = World::planned("beta.com", &[], &arguments, str::to_owned);
    world.join();
    let _sidecars = serve_both(&world);
    finds(
        "another name",
        &web(&file_of(&world)),
        &["beta.com bundle-identity dns_name"],
    );
}

/// The federation file with beta's bundle endpoint as one of the profile `https_web`.
pub fn web(file: &str) -> String {
    let (alpha, beta) = file.split_once("trust_domain: beta.com").unwrap();
    format!(
        "{alpha}trust_domain: beta.com{}",
        beta.replacen("https_spiffe", "https_web", 1)
    )
}
