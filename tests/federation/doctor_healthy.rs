//! Worlds in which all is well, with SPIRE's own code and real sidecars: none gets a cross or a warning by
//! `strait doctor`. A rotation, step by step, is in [`super::doctor_spire`].

use std::time::Duration;

use crate::doctor_between::web;
use crate::doctor_spire::{file_of, finds, serve_both};
use crate::federation::load::Load;
use crate::federation::sidecar::{Connections, Inbound, Protocol, Sidecar};
use crate::federation::spire::RENEWED_SOON;
use crate::federation::world::{Side, World};
use crate::support::{wait_until, wait_within};

/// The longest that two renewals may take, each with a look in its midst. The machine of the tests may be busy.
const RENEWALS: Duration = Duration::from_secs(60);

/// Both sidecars, changed in the same way.
fn serve_changed(world: &World, change: impl Fn(Inbound) -> Inbound) -> [Sidecar; 2] {
    [&world.alpha, &world.beta].map(|side| {
        let socket = world.workload(side, "server", "1h");
        change(world.inbound(side)).start_by_agent(&socket)
    })
}

#[test]
fn sidecars_of_every_protocol_and_version() {
    let world = World::start();
    let file = file_of(&world);
    for newest_tls in ["TLSv1_2", "TLSv1_3"] {
        for protocol in [Protocol::Http1, Protocol::Tcp] {
            let _sidecars = serve_changed(&world, |inbound| Inbound {
                newest_tls,
                protocol,
                ..inbound
            });
            finds(&format!("{newest_tls} {protocol:?}"), &file, &[]);
        }
    }
}

#[test]
fn an_endpoint_with_a_certificate_of_the_web_where_the_objects_say_so() {
    let arguments = ["-web", "spire.bundles.beta.com"];
    let world = World::planned("beta.com", &[], &arguments, str::to_owned);
    world.join();
    let _sidecars = serve_both(&world);
    finds("https_web", &web(&file_of(&world)), &[]);
}

#[test]
fn a_gateway_that_refuses_without_an_alert() {
    let world = World::altered(|config| {
        let bind = "    bind: 127.0.0.1:0\n";
        config.replacen(bind, &format!("{bind}    refuse: close\n"), 1)
    });
    world.join();
    let _sidecars = serve_both(&world);
    finds("refuse: close", &file_of(&world), &[]);
}

/// The doctor looks at nothing that the file does not say.
#[test]
fn a_federation_of_which_one_side_is_given_in_part() {
    let world = World::start();
    let _sidecars = serve_both(&world);
    let file = file_of(&world);
    let without = |key: &str| {
        let (alpha, beta) = file.split_once("  - trust_domain: beta.com").unwrap();
        let kept = alpha.lines().filter(|line| match key {
            "services" => !line.contains("services:") && !line.contains("host:"),
            _ => !line.contains(key),
        });
        let kept: Vec<&str> = kept.collect();
        format!("{}\n  - trust_domain: beta.com{beta}", kept.join("\n"))
    };
    finds("no services of alpha", &without("services"), &[]);
    finds("no endpoint of alpha", &without("bundle_endpoint"), &[]);
    let gateways = |side: &Side| {
        format!(
            "  - {{ trust_domain: {}, gateway: '{}' }}\n",
            side.spire.trust_domain,
            side.gateway.address()
        )
    };
    let file = format!(
        "sides:\n{}{}",
        gateways(&world.alpha),
        gateways(&world.beta)
    );
    finds("gateways alone", &file, &[]);
}

/// Calls both ways on resumed sessions, SVIDs that are renewed every few seconds, restarts: the doctor looks in the middle
/// of all of it, and no call fails.
#[test]
fn calls_renewals_and_restarts_while_it_looks() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let sidecars = [alpha, beta].map(|side| world.serve_with(side, RENEWED_SOON));
    let callers = [alpha, beta].map(|side| {
        let socket = world.workload(side, "caller", RENEWED_SOON);
        world
            .outbound(side, Connections::Resumed)
            .start_by_agent(&socket)
    });
    let file = file_of(&world);
    let load = Load::start(&callers.each_ref().map(|one| one.address), 1);
    let before = sidecars.each_ref().map(Sidecar::secret_updates);
    let renewed = || {
        let now = sidecars.each_ref().map(Sidecar::secret_updates);
        now.iter()
            .zip(before)
            .all(|(now, before)| *now > before + 1)
    };
    wait_within(RENEWALS, "both SVIDs are renewed twice", || {
        finds("calls and renewals", &file, &[]);
        renewed()
    });
    wait_until("both are called", || {
        ["svca", "svcb"]
            .iter()
            .all(|pod| load.answered_by(pod) > 20)
    });
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);

    // Just after a restart of both pods.
    drop(callers);
    drop(sidecars);
    let _sidecars = serve_both(&world);
    finds("just restarted", &file, &[]);
}
