//! Gateways, and both sides as a whole.

use std::collections::BTreeSet;

use super::world::{World, finds};
use crate::doctor::checks::DoctorState;
use crate::doctor::seen::{BundleAnswer, GatewayReach, GatewayView, TlsAnswer};

#[test]
fn two_sides_that_are_well_get_no_cross_and_nothing_is_untold() {
    let world = finds("all is well", |_| {}, &[]);
    for check in world.judged() {
        assert_eq!(check.state, DoctorState::Passed, "{check:#?}");
    }
    // A gateway that closes where it has no route is well too.
    let closing = |world: &mut World| {
        for side in &mut world.seen {
            (side.control, side.mesh_control) = (TlsAnswer::Closed, TlsAnswer::Closed);
            side.services[0].open = TlsAnswer::Closed;
        }
    };
    finds("gateways that close", closing, &[]);
}

#[test]
fn a_gateway_that_is_not_reached_is_named_and_nothing_else_of_it() {
    for reach in [
        Ok(vec![(
            "192.0.2.1:15443".parse().unwrap(),
            GatewayReach::Refused,
        )]),
        Ok(vec![(
            "192.0.2.1:15443".parse().unwrap(),
            GatewayReach::Timeout,
        )]),
        Err("no such name".to_owned()),
    ] {
        let cause = if reach.is_ok() { "unreached" } else { "dns" };
        let fault = format!("gateway-reached {cause}");
        let unreached = |world: &mut World| {
            let beta = world.beta();
            beta.reach = reach;
            beta.bundle = TlsAnswer::NotAsked;
            beta.document = BundleAnswer::NotAsked;
            beta.large = TlsAnswer::NotAsked;
            beta.services[0].mesh = TlsAnswer::NotAsked;
            beta.services[0].open = TlsAnswer::NotAsked;
        };
        finds("no gateway", unreached, &[("beta.com", &fault)]);
    }
    let one_of_two = |world: &mut World| {
        let other = ("192.0.2.2:15443".parse().unwrap(), GatewayReach::Timeout);
        world.beta().reach.as_mut().unwrap().push(other);
    };
    let world = finds(
        "one address",
        one_of_two,
        &[("beta.com", "gateway-reached some_addresses")],
    );
    assert!(
        world
            .finding("gateway-reached")
            .contains("192.0.2.2:15443 (timeout)")
    );
}

#[test]
fn large_hellos_that_are_lost_are_told_from_those_that_are_refused() {
    for (answer, cause) in [
        (TlsAnswer::Silent, "lost"),
        (TlsAnswer::Alert(40), "refused"),
        (TlsAnswer::Closed, "refused"),
    ] {
        let change = |world: &mut World| world.beta().large = answer;
        finds(
            "large hellos",
            change,
            &[("beta.com", &format!("large-hello {cause}"))],
        );
    }
}

/// `--watch` knows a check by its group, name and title: of two that share them it would lose the changes of one.
#[test]
fn two_gateways_of_a_side_have_checks_of_their_own() {
    let silent = || GatewayView {
        troubles: Vec::new(),
        failures: Vec::new(),
    };
    let change = |world: &mut World| {
        let places = ["192.0.2.1:15000", "192.0.2.2:15000"];
        world.beta().views = places
            .map(|place| (place.to_owned(), Ok(silent())))
            .to_vec();
    };
    let judged = finds("two admin addresses", change, &[]).judged();
    let second = "beta.com: the gateway whose admin address is 192.0.2.2:15000";
    let of_second = judged.iter().filter(|check| check.group == second);
    assert_eq!(of_second.count(), 2);
    let mut keys = BTreeSet::new();
    for check in &judged {
        let key = (&check.group, check.check, &check.title);
        assert!(keys.insert(key), "two checks are {key:?}");
    }
}

/// Each check has its place in the page, and each finding stays printable.
#[test]
fn every_check_has_its_heading_in_the_page() {
    let page = include_str!("../../../../docs/src/operate/doctor.md");
    let mut world = World::healthy();
    world.seen[0].services[0].open = TlsAnswer::Silent;
    for check in world.judged() {
        let heading = format!("\n### {}\n", check.check);
        assert!(page.contains(&heading), "the page lacks {heading:?}");
    }
}
