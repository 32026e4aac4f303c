//! Identities and authorities change while calls go on. SPIRE's own code signs, renews and delivers, with
//! real sidecars on both sides.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::federation::app::Seen;
use crate::federation::http::{HttpClient, get};
use crate::federation::load::Load;
use crate::federation::sidecar::{Connections, Sidecar};
use crate::federation::spire::{AN_HOUR, RENEWED_SOON};
use crate::federation::world::{Side, World, assert_refused};
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

/// The sidecars of one direction of calls.
struct Direction {
    caller: Sidecar,
    server: Sidecar,
}

impl Direction {
    fn start(world: &World, from: &Side, to: &Side, connections: Connections) -> Self {
        Self {
            server: world.serve(to),
            caller: world.caller(from, connections),
        }
    }
}

/// Replaces the authority of `of` in SPIRE's order: the other cluster fetches its bundle before an authority signs, and
/// before the old one goes. Waits for each sidecar to have taken what changes for it.
fn replace_authority(of: &Side, at: &Side, its_sidecar: &Sidecar, others_sidecar: &Sidecar) {
    let fetch = || at.spire.refresh(&of.spire).unwrap();
    others_sidecar.until_taken(|| {
        its_sidecar.until_taken(|| of.spire.tell("prepare"));
        fetch();
    });
    of.spire.tell("activate");
    fetch();
    its_sidecar.until_taken(|| of.spire.tell("taint"));
    fetch();
    others_sidecar.until_taken(|| {
        its_sidecar.until_taken(|| of.spire.tell("revoke"));
        fetch();
    });
    assert_eq!(at.spire.known(&of.spire).len(), 1);
}

#[test]
fn both_authorities_are_replaced_under_calls_and_none_fails() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let way = Direction::start(&world, alpha, beta, Connections::Resumed);
    let (a, b) = (&way.caller, &way.server);
    let held = Pending::begin(a);
    let load = Load::start(&[a.address], 2);
    let until_answered = |more| {
        let before = load.answered_by("svcb");
        wait_until("calls are answered", || {
            load.answered_by("svcb") >= before + more
        });
    };
    until_answered(10);
    replace_authority(beta, alpha, b, a);
    until_answered(10);
    replace_authority(alpha, beta, a, b);
    until_answered(10);
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
    let now = call(a);
    beta.app.release();
    assert_ne!(held.finish(), now, "svca has another SVID now");
    assert_eq!(beta.gateway.closed("handshake_refused"), 0.0);
    wait_until("the connections of the calls are counted", || {
        beta.gateway.closed("ok") >= 30.0
    });
}

/// The wrong order, and the only way out of it.
#[test]
fn an_authority_that_is_tainted_before_the_others_poll_ends_the_federation_until_its_bundle_is_set_by_hand()
 {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let there = Direction::start(&world, alpha, beta, Connections::Fresh);
    let back = Direction::start(&world, beta, alpha, Connections::Fresh);
    let socket = world.workload(alpha, "pooled", AN_HOUR);
    let pooled = world.outbound(alpha, Connections::Pooled);
    let pooled = pooled.start_by_agent(&socket);
    for (sidecar, side) in [(&there.caller, beta), (&back.caller, alpha)] {
        call(sidecar);
        assert_eq!(side.call_line().outcome, "ok");
    }
    call(&pooled);

    let taken = |step| {
        there.server.until_taken(|| {
            back.caller.until_taken(|| beta.spire.tell(step));
        });
    };
    taken("prepare");
    beta.spire.tell("activate");
    taken("taint");
    // The endpoint's own SVID is of an authority that alpha does not know, at every poll.
    for _ in 0..2 {
        let error = alpha.spire.refresh(&beta.spire).unwrap_err();
        assert!(error.contains("unknown authority"), "{error}");
        assert_refused(&beta.bundle_line(), "downstream");
    }
    // Beta's certificate is what both refuse: once it is the server's, once the client's.
    assert_eq!(get(there.caller.address).status, 503);
    assert_refused(&beta.call_line(), "downstream");
    assert_eq!(get(back.caller.address).status, 503);
    assert_refused(&alpha.call_line(), "upstream");
    // Nobody cuts what is open.
    call(&pooled);

    there.caller.until_taken(|| {
        back.server
            .until_taken(|| alpha.spire.set_bundle_of(&beta.spire));
    });
    alpha.spire.refresh(&beta.spire).unwrap();
    for (way, side) in [(&there, beta), (&back, alpha)] {
        call(&way.caller);
        assert_eq!(side.call_line().outcome, "ok");
    }
}

#[test]
fn withdrawn_trust_ends_new_connections_at_once_and_open_ones_with_their_lifetime() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let way = Direction::start(&world, alpha, beta, Connections::Pooled);
    let resumed = world.outbound(alpha, Connections::Resumed);
    let resumed = resumed.start_by_agent(&world.workload(alpha, "resumed", AN_HOUR));
    call(&way.caller);
    call(&resumed);
    assert_eq!(beta.call_line().outcome, "ok");

    way.server
        .until_taken(|| beta.spire.tell("forget alpha.com"));
    // A server whose trust has changed takes no ticket from before.
    assert_eq!(get(resumed.address).status, 503);
    assert_refused(&beta.call_line(), "upstream");
    call(&way.caller);
}

#[test]
fn svids_of_a_short_life_are_renewed_under_calls_and_none_fails() {
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let b = world.serve_with(beta, RENEWED_SOON);
    let socket = world.workload(alpha, "caller", AN_HOUR);
    let a = world.outbound(alpha, Connections::Resumed);
    let a = a.start_by_agent(&socket);
    let held = Pending::begin(&a);
    let first = call(&a);
    // Not before: the call shows the SVID of the request that is held.
    a.until_taken(|| world.workload(alpha, "caller", RENEWED_SOON));
    let load = Load::start(&[a.address], 2);
    let before = [&a, &b].map(Sidecar::secret_updates);
    wait_until("both have renewed their SVIDs three times", || {
        let now = [&a, &b].map(Sidecar::secret_updates);
        now.iter()
            .zip(before)
            .all(|(now, before)| *now >= before + 3)
    });
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
    assert_ne!(call(&a), first);
    beta.app.release();
    assert_eq!(held.finish(), first);
    assert_eq!(beta.gateway.closed("handshake_refused"), 0.0);
}

#[test]
fn calls_fail_while_an_svid_is_expired_and_work_once_it_is_replaced() {
    const EXPIRED: &str = "-60s";
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let b = world.serve_with(beta, EXPIRED);
    let socket = world.workload(alpha, "caller", EXPIRED);
    let a = world.outbound(alpha, Connections::Fresh);
    let a = a.start_by_agent(&socket);
    // The client checks first.
    assert_eq!(get(a.address).status, 503);
    assert_refused(&beta.call_line(), "downstream");
    b.until_taken(|| world.workload(beta, "server", AN_HOUR));
    assert_eq!(get(a.address).status, 503);
    assert_refused(&beta.call_line(), "upstream");
    a.until_taken(|| world.workload(alpha, "caller", AN_HOUR));
    call(&a);
    assert_eq!(beta.call_line().outcome, "ok");
}

/// An agent that does not renew looks like a service that fails now and then: some calls resume a session from
/// before, and those pass.
#[test]
fn an_expired_svid_still_passes_on_resumed_sessions_until_the_servers_secrets_change() {
    const LIFE: Duration = Duration::from_secs(6);
    let world = World::start();
    let (alpha, beta) = (&world.alpha, &world.beta);
    let b = world.serve(beta);
    // Both are up before the SVID is made.
    let socket = world.workload(alpha, "caller", AN_HOUR);
    let sidecars = [Connections::Resumed, Connections::Fresh]
        .map(|connections| world.outbound(alpha, connections).start_by_agent(&socket));
    let [resumed, fresh] = &sidecars;
    let ttl = format!("once:{}s", LIFE.as_secs());
    let made = Instant::now();
    resumed.until_taken(|| fresh.until_taken(|| world.workload(alpha, "caller", &ttl)));
    call(resumed);
    call(fresh);
    for _ in 0..2 {
        assert_eq!(beta.call_line().outcome, "ok");
    }
    let left = (LIFE + Duration::from_secs(1)).saturating_sub(made.elapsed());
    std::thread::sleep(left);

    assert_eq!(get(fresh.address).status, 503);
    let line = beta.call_line();
    assert_refused(&line, "upstream");
    assert_ne!(line.resumes.as_deref(), Some("yes"), "{line:?}");
    call(resumed);
    let line = beta.call_line();
    assert_eq!(line.outcome, "ok", "{line:?}");
    assert_eq!(line.resumes.as_deref(), Some("yes"), "{line:?}");

    b.until_taken(|| world.workload(beta, "server", AN_HOUR));
    assert_eq!(get(resumed.address).status, 503);
    assert_refused(&beta.call_line(), "upstream");
}
