//! Two clusters with SPIRE's own servers and agents, Envoys as sidecars and two gateways each: whatever happens to any of
//! them while calls go on, in the order that the documents give, fails no call.
//!
//! `tests/run --spire-long` builds SPIRE, sets `STRAIT_SPIRE_SERVERS` to the folder of its programs, and runs this.

mod cluster;
mod side;

use std::path::Path;
use std::time::{Duration, Instant};

use self::cluster::{PATIENCE, SVID_SECONDS, Spire};
use self::side::Side;
use crate::doctor::{Said, doctor};
use crate::federation::http::get;
use crate::federation::load::Load;
use crate::federation::sidecar::Sidecar;
use crate::support::wait_within;

/// Between two calls of a caller, of which there are six.
const PAUSE: Duration = Duration::from_millis(40);
/// The calls that each service answers in a step at least.
const LEAST: usize = 40;
/// Renewals of each SVID in the step that waits for them.
const RENEWALS: u64 = 4;

/// Everything that runs.
struct World {
    sides: [Side; 2],
}

impl World {
    /// As an operator sets it up: the first bundles by hand, then the entries that federate.
    fn start(programs: &Path) -> Self {
        let [alpha, beta] = ["alpha.com", "beta.com"].map(|name| Spire::new(programs, name));
        let mut sides = [Side::start(alpha, "svca"), Side::start(beta, "svcb")];
        let [a, b] = &mut sides;
        a.spire.configure(&b.spire, b.gateway.address);
        b.spire.configure(&a.spire, a.gateway.address);
        for side in [&mut *a, &mut *b] {
            side.spire.start_server();
        }
        a.spire.set_bundle_of(&b.spire);
        b.spire.set_bundle_of(&a.spire);
        for (one, other) in [(0, 1), (1, 0)] {
            sides[one].spire.join_agent();
            let [one, other] = [&sides[one], &sides[other]];
            one.spire.refresh(&other.spire);
            one.spire.register(one.service, &other.spire);
        }
        let [a, b] = &mut sides;
        a.start_sidecars(b);
        b.start_sidecars(a);
        Self { sides }
    }

    /// `strait doctor` gives no cross.
    fn examine(&self, when: &str) {
        let [a, b] = &self.sides;
        let file = format!("sides:\n{}{}", a.described(), b.described());
        let said = Said::of(&doctor(&file, &["-o", "json"]));
        let mut faults = said.faults();
        // Warnings have a mark.
        faults.retain(|name, _| !name.contains('?'));
        assert!(faults.is_empty(), "{when}: {faults:#?}");
        let report = &said.report;
        assert_eq!(report["healthy"], true, "{when}: {report:#}");
        assert!(
            report["passed"].as_u64().unwrap() > 20,
            "{when}: {report:#}"
        );
    }

    /// Replaces the authority of one side in the order that `config/federation/README.md` has.
    fn rotate(&self, of: usize) {
        let (side, other) = (&self.sides[of], &self.sides[1 - of]);
        let (spire, name) = (&side.spire, side.spire.trust_domain);
        let fetch = || other.spire.refresh(spire);
        let until_roots = |number| {
            for side in &self.sides {
                side.until_roots(name, number);
            }
        };
        let old = spire.authority("Active");
        spire.rotate("prepare", "");
        let next = spire.authority("Prepared");
        self.examine("prepared");
        fetch();
        until_roots(2);
        self.examine("prepared and fetched");
        spire.rotate("activate", &next);
        fetch();
        self.examine("activated");
        spire.rotate("taint", &old);
        side.until_signed_by(&next);
        fetch();
        self.examine("tainted");
        spire.rotate("revoke", &old);
        fetch();
        until_roots(1);
        self.examine("revoked");
    }
}

/// A run with calls in the background.
struct Run {
    world: World,
    load: Load,
    begun: Instant,
}

impl Run {
    fn answered(&self) -> [usize; 2] {
        ["svca", "svcb"].map(|pod| self.load.answered_by(pod))
    }

    /// Does one thing, and lets calls go on for a while. None may fail.
    fn step(&mut self, what: &str, act: impl FnOnce(&mut World)) {
        let (start, before) = (Instant::now(), self.answered());
        act(&mut self.world);
        let done = self.answered();
        wait_within(PATIENCE, "both services answer", || {
            let now = self.answered();
            now.iter().zip(done).all(|(now, done)| *now >= done + LEAST)
        });
        let tally = self.load.tally();
        let calls: usize = self
            .answered()
            .iter()
            .zip(before)
            .map(|(now, before)| now - before)
            .sum();
        println!(
            "{:>6.1} s  {what}: {:.1} s, {calls} calls, {} failed so far",
            self.begun.elapsed().as_secs_f64(),
            start.elapsed().as_secs_f64(),
            tally.failed.len()
        );
        let lines = || self.world.sides.each_ref().map(Side::outcomes);
        assert!(
            tally.failed.is_empty(),
            "{what}: {:?}, lines of the gateways: {:?}",
            tally.failed,
            lines()
        );
        self.world.examine(what);
    }
}

#[test]
#[ignore = "tests/run --spire-long builds SPIRE's programs for it"]
fn whatever_happens_to_spire_or_a_gateway_fails_no_call() {
    let programs = std::env::var_os("STRAIT_SPIRE_SERVERS");
    let programs = programs.expect("STRAIT_SPIRE_SERVERS is set, as tests/run --spire-long does");
    let begun = Instant::now();
    let world = World::start(Path::new(&programs));
    world.examine("set up");
    let callers: Vec<_> = world
        .sides
        .iter()
        .flat_map(|side| side.callers.iter().map(|caller| caller.address))
        .collect();
    let load = Load::start_paced(&callers, 1, PAUSE);
    let mut run = Run { world, load, begun };
    run.step("calls both ways: new, resumed, pooled", |_| {});
    run.step("SVIDs of 60 s are renewed", |world| {
        let updates = |world: &World| -> Vec<u64> {
            let sidecars = world.sides.iter().flat_map(Side::sidecars);
            sidecars.map(Sidecar::secret_updates).collect()
        };
        let before = updates(world);
        let longest = Duration::from_secs(u64::from(SVID_SECONDS) * (RENEWALS + 2));
        wait_within(longest, "each sidecar has new SVIDs", || {
            let now = updates(world);
            now.iter()
                .zip(&before)
                .all(|(now, before)| *now >= before + RENEWALS)
        });
    });
    run.step(
        "alpha.com's authority: prepare, activate, taint, revoke",
        |world| world.rotate(0),
    );
    run.step(
        "beta.com's authority: prepare, activate, taint, revoke",
        |world| world.rotate(1),
    );
    run.step("both agents are restarted", |world| {
        for side in &mut world.sides {
            side.spire.stop_agent();
            side.spire.start_agent();
        }
    });
    run.step("both servers are restarted", |world| {
        for side in &mut world.sides {
            side.spire.stop_server();
            side.spire.start_server();
        }
        let [a, b] = &world.sides;
        a.spire.refresh(&b.spire);
        b.spire.refresh(&a.spire);
    });
    run.step("each gateway is reloaded five times", |world| {
        for replica in world.sides.iter().flat_map(|side| &side.replicas) {
            (0..5).for_each(|_| replica.reload());
        }
    });
    run.step("each gateway is taken over by another process", |world| {
        for replica in world.sides.iter_mut().flat_map(|side| &mut side.replicas) {
            replica.take_over();
        }
    });
    run.step("each gateway is replaced behind the balancer", |world| {
        for replica in world.sides.iter_mut().flat_map(|side| &mut side.replicas) {
            replica.replace();
        }
    });
    let Run { world, load, begun } = run;
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
    let calls: usize = tally.answered.values().sum();
    for side in &world.sides {
        println!(
            "lines of {}'s gateways: {:?}",
            side.spire.trust_domain,
            side.outcomes()
        );
    }
    withdraw(&world);
    println!(
        "{calls} calls, 0 failed, in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
}

/// Trust that is taken back ends new calls at once, and calls go again when it is given back.
fn withdraw(world: &World) {
    let [a, b] = &world.sides;
    let status = || get(a.callers[0].address).status;
    assert_eq!(status(), 200);
    let id = a.spire.id();
    let flags = ["-id", &id, "-mode", "dissociate"];
    b.spire.tell(&["bundle", "delete"], &flags);
    b.until_roots(a.spire.trust_domain, 0);
    assert_eq!(status(), 503);
    let refused = |outcomes: Vec<(String, usize)>| {
        let mut outcomes = outcomes.into_iter();
        outcomes.any(|(outcome, _)| outcome == "handshake_refused")
    };
    wait_within(PATIENCE, "the refusal has its line", || {
        refused(b.outcomes())
    });
    b.spire.set_bundle_of(&a.spire);
    b.spire.federate_again(b.service, &a.spire);
    b.until_roots(a.spire.trust_domain, 1);
    wait_within(PATIENCE, "calls go again", || status() == 200);
    println!("trust was taken back and given back: calls ended and went again");
}
