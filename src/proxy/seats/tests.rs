use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::super::listener::ListenerPolicy;
use super::super::seat::{Attention, BUSY, LOOK_WHILE_BUSY, Stage};
use super::super::sockets::Sockets;
use super::*;
use crate::config::{
    AlpnPolicy, ConnectionLimits, Origin, RouteConfig, RouteMatch, RouteTimeouts, SniPattern,
    SourceGroups, TargetConfigs, UpstreamSource, UpstreamTimeouts, samples,
};
use crate::limits::Scopes;
use crate::metrics::Metrics;
use crate::route::{RouteTable, Target};
use crate::server_name::ServerName;
use crate::upstream::Upstream;

/// A sweep that asks relays for nothing.
const NONE: Requests = Requests {
    lines: None,
    reviews: false,
};
const TICK: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_secs(60);
const HALF_CLOSED: Duration = Duration::from_secs(10);
const MAX_AGE: Duration = Duration::from_secs(100_000);

/// `count` seats of a listener with the timeouts above. Their last bytes flowed at `start`.
fn seats(count: usize, stage: Stage, start: Instant) -> (Seats, Vec<Rc<Seat>>) {
    let mut config = samples::listener();
    config.timeouts.idle = IDLE;
    config.timeouts.half_closed = HALF_CLOSED;
    config.timeouts.max_age = Some(MAX_AGE);
    let (metrics, scopes) = (Metrics::new().unwrap(), Scopes::default());
    let sources = Arc::new(SourceGroups::default());
    let policy = Arc::new(ListenerPolicy::new(&config, &sources, &metrics, &scopes));
    let seats = Seats::default();
    let taken = (0..count).map(|_| {
        let seat = Rc::new(Seat::new(policy.clone(), Instant::now()));
        seat.enter(stage);
        seat.active(start);
        seats.insert(seat.clone());
        seat
    });
    let taken = taken.collect();
    (seats, taken)
}

fn cut(seats: &[Rc<Seat>]) -> usize {
    let cut = |seat: &&Rc<Seat>| seat.cut_reason().is_some();
    seats.iter().filter(cut).count()
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_sweep_over_many_connections_lets_the_worker_do_other_work_between_its_parts() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(2 * PART + 1, Stage::Relaying, start);
    let requests = Requests {
        reviews: true,
        ..NONE
    };
    // Each relay has its review in one of the sweeps.
    let mut reviewed = 0;
    for _ in 0..REVIEW {
        let mut sweep = seats.begin_sweep(start, requests);
        loop {
            let goes_on = seats.sweep_on(&mut sweep);
            let asked = taken.iter().filter(|seat| seat.take_review()).count();
            assert!(asked <= PART.div_ceil(REVIEW as usize), "{asked} in a part");
            reviewed += asked;
            if !goes_on {
                break;
            }
        }
    }
    assert_eq!(reviewed, taken.len());
    let mut sweep = seats.begin_sweep(start + IDLE, NONE);
    let mut parts = 0;
    while seats.sweep_on(&mut sweep) {
        parts += 1;
        assert_eq!(cut(&taken), (parts * PART).min(taken.len()));
    }
    assert!(parts >= 2, "{parts}");
    assert_eq!(cut(&taken), taken.len());
}

#[test]
fn a_timeout_cuts_a_connection_when_it_has_run_out_and_not_before() {
    let start = Instant::now() + Duration::from_secs(1);
    let early = Duration::from_millis(1);
    for (stage, timeout, reason) in [
        (Stage::Relaying, IDLE, Outcome::IdleTimeout),
        (Stage::HalfClosed, HALF_CLOSED, Outcome::HalfClosedTimeout),
    ] {
        let (seats, taken) = seats(1, stage, start);
        seats.sweep(start + timeout - early, NONE);
        assert_eq!(taken[0].cut_reason(), None, "{stage:?}");
        seats.sweep(start + timeout, NONE);
        assert_eq!(taken[0].cut_reason(), Some(reason), "{stage:?}");
    }
    for stage in [Stage::Opening, Stage::Closing] {
        let (seats, taken) = seats(1, stage, start);
        seats.sweep(start + IDLE * 2, NONE);
        assert_eq!(
            taken[0].cut_reason(),
            None,
            "{stage:?} has its own deadline"
        );
    }
}

#[test]
fn an_old_connection_ends_when_nobody_waits_for_an_answer() {
    let start = Instant::now() + Duration::from_secs(1);
    let second = Duration::from_secs(1);
    let (seats, taken) = seats(3, Stage::Relaying, start);
    let [quiet, waits, flows] = &taken[..] else {
        panic!("three seats")
    };
    let young = start + MAX_AGE * 79 / 100;
    waits.moved(young, true);
    quiet.moved(young, false);
    flows.moved(young, false);
    seats.sweep(young + second, NONE);
    assert_eq!(cut(&taken), 0);
    // Every life is over its own share at this time, and none is at its longest.
    let old = start + MAX_AGE - second * 50;
    waits.moved(old - second, true);
    quiet.moved(old - second, false);
    flows.moved(old, false);
    seats.sweep(old, NONE);
    let reasons = || taken.iter().map(|seat| seat.cut_reason());
    assert!(reasons().eq([Some(Outcome::MaxAge), None, None]));
    flows.moved(start + MAX_AGE + second, false);
    seats.sweep(start + MAX_AGE + second, NONE);
    assert!(reasons().eq([Some(Outcome::MaxAge); 3]));
}

/// The target of a route with `of_route`, whose upstream has `of_upstream`.
fn target(of_route: RouteTimeouts, of_upstream: UpstreamTimeouts) -> Arc<Target> {
    let mut upstream = samples::upstream(UpstreamSource::Static(Vec::new()));
    upstream.timeouts = of_upstream;
    let upstream = Arc::new(Upstream::new(Arc::new(upstream), None, None));
    let mut listener = samples::listener();
    let route = RouteConfig {
        name: "r".into(),
        matches: RouteMatch::Sni(SniPattern::Any),
        alpn: AlpnPolicy::Any,
        targets: TargetConfigs::only("u".into()),
        limits: ConnectionLimits::OFF,
        timeouts: of_route,
        origin: Origin::File,
        dry_run: None,
    };
    listener.routes = [Arc::new(route)].into_iter().collect();
    let (sources, scopes) = (SourceGroups::default(), Scopes::default());
    let table = RouteTable::build(&listener, &sources, &scopes, |_| Some(upstream.clone()));
    let route = table.find(&ServerName::parse(b"x.example").unwrap());
    route.unwrap().targets.choose().clone()
}

async fn sockets() -> Rc<Sockets> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || tokio::net::TcpStream::connect(address);
    Rc::new(Sockets {
        downstream: connect().await.unwrap(),
        upstream: connect().await.unwrap(),
    })
}

#[tokio::test]
async fn of_the_bounds_of_listener_route_and_upstream_the_smaller_counts() {
    let start = Instant::now() + Duration::from_secs(1);
    let seconds = |count| Some(Duration::from_secs(count));
    let (idle, age) = (Outcome::IdleTimeout, Outcome::MaxAge);
    for (of_route, upstream_idle, upstream_age, after, reason) in [
        (None, None, None, 59, None),
        (None, seconds(20), None, 19, None),
        (None, seconds(20), None, 20, Some(idle)),
        (None, seconds(90), None, 59, None),
        (None, seconds(90), None, 60, Some(idle)),
        (seconds(300), seconds(90), None, 89, None),
        (seconds(300), seconds(90), None, 90, Some(idle)),
        (seconds(30), seconds(90), None, 30, Some(idle)),
        (None, None, seconds(50), 38, None),
        (None, None, seconds(50), 51, Some(age)),
        (seconds(300_000), None, seconds(200_000), 78_000, None),
        (seconds(300_000), None, seconds(200_000), 100_001, Some(age)),
    ] {
        let (seats, taken) = seats(1, Stage::Relaying, start);
        let of_route = RouteTimeouts {
            idle: of_route,
            ..RouteTimeouts::default()
        };
        let of_upstream = UpstreamTimeouts {
            idle: upstream_idle,
            max_age: upstream_age,
        };
        taken[0].look_after(sockets().await, target(of_route, of_upstream));
        seats.sweep(start + Duration::from_secs(after), NONE);
        let case = (of_route, of_upstream, after);
        assert_eq!(taken[0].cut_reason(), reason, "{case:?}");
    }
}

#[test]
fn bytes_put_the_timeout_off() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(1, Stage::Relaying, start);
    taken[0].active(start + IDLE / 2);
    seats.sweep(start + IDLE, NONE);
    assert_eq!(cut(&taken), 0);
    seats.sweep(start + IDLE / 2 + IDLE, NONE);
    assert_eq!(cut(&taken), 1);
}

#[test]
fn a_cut_wakes_the_relay() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(1, Stage::Relaying, start);
    let wakes = Arc::new(Wakes::default());
    taken[0].wakes(&wakes.clone().into());
    seats.sweep(start, NONE);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    seats.sweep(start + IDLE, NONE);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_drain_closes_quiet_connections_spread_over_its_time() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(10, Stage::Relaying, start);
    let mut closed = Vec::new();
    for tick in 0..4 {
        seats.cut_quiet(start + QUIET + TICK * tick, TICK, TICK * (4 - tick));
        closed.push(cut(&taken));
    }
    assert_eq!(closed, [2, 5, 7, 10]);
    assert_eq!(taken[0].cut_reason(), Some(Outcome::Drained));
}

#[test]
fn the_pace_of_a_drain_spreads_few_connections_over_it() {
    for (count, expected) in [(1, &[2][..]), (2, &[1, 3]), (3, &[1, 2, 3]), (0, &[])] {
        let pace = DrainPace::default();
        let mut quiet = count;
        let mut ended = Vec::new();
        for tick in 0..4 {
            for _ in 0..pace.due(quiet, TICK, TICK * (4 - tick)) {
                quiet -= 1;
                ended.push(tick);
            }
        }
        assert_eq!(ended, expected, "{count} connections");
    }
}

#[test]
fn a_drain_closes_those_first_that_have_been_quiet_longest_and_leaves_busy_ones() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(3, Stage::Relaying, start);
    taken[0].active(start + QUIET);
    taken[1].active(start + Duration::from_millis(1));
    let now = start + QUIET + Duration::from_millis(1);
    seats.cut_quiet(now, TICK, TICK * 2);
    let cut: Vec<_> = taken.iter().map(|seat| seat.cut_reason()).collect();
    assert_eq!(cut, [None, None, Some(Outcome::Drained)]);
    seats.cut_quiet(now, TICK, Duration::ZERO);
    assert_eq!(taken[0].cut_reason(), None, "bytes have just flowed");
    assert_eq!(taken[1].cut_reason(), Some(Outcome::Drained));
}

#[test]
fn a_drain_waits_for_answers_and_closes_what_may_hold_calls_late() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(4, Stage::Relaying, start);
    taken[0].moved(start, true);
    taken[1].note_multiplexed();
    taken[2].moved(start, true);
    taken[2].moved(start, false);
    let reasons = || taken.iter().map(|seat| seat.cut_reason().is_some());
    let now = start + IDLE;
    seats.cut_quiet(now, TICK, TICK * 2);
    assert!(reasons().eq([false, false, false, true]) || reasons().eq([false, false, true, false]));
    seats.cut_quiet(now, TICK, TICK * 2);
    assert!(reasons().eq([false, false, true, true]), "HTTP/2 last");
    seats.cut_quiet(now, TICK, TICK);
    assert!(reasons().eq([false, true, true, true]), "who waits is left");
    taken[0].moved(now, false);
    seats.cut_quiet(now + QUIET, TICK, TICK);
    assert!(reasons().eq([true; 4]), "its answer has come");
}

#[test]
fn a_connection_that_opens_or_closes_is_not_cut_as_quiet() {
    let start = Instant::now() + Duration::from_secs(1);
    for stage in [Stage::Opening, Stage::Closing] {
        let (seats, taken) = seats(2, stage, start);
        seats.cut_quiet(start + IDLE, TICK, Duration::ZERO);
        assert_eq!(cut(&taken), 0, "{stage:?}");
    }
}

#[test]
fn the_end_of_a_drain_keeps_an_earlier_reason() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(2, Stage::Relaying, start);
    taken[1].active(start + IDLE);
    seats.sweep(start + IDLE, NONE);
    seats.mark_drained();
    let reasons = taken.iter().map(|seat| seat.cut_reason());
    let expected = [Outcome::IdleTimeout, Outcome::Drained].map(Some);
    assert!(reasons.eq(expected), "{taken:?}");
}

#[test]
fn a_seat_that_was_given_back_is_left_alone() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(2, Stage::Relaying, start);
    seats.remove(0);
    seats.remove(0);
    seats.sweep(start + IDLE, NONE);
    assert_eq!(taken[0].cut_reason(), None);
    assert_eq!(taken[1].cut_reason(), Some(Outcome::IdleTimeout));
}

#[test]
fn overload_ends_a_part_of_those_that_are_quiet_longest_and_no_active_one() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(130, Stage::Relaying, start);
    let now = start + IDLE / 2;
    for seat in &taken[..120] {
        seat.active(now);
    }
    for (later, seat) in (0..).zip(&taken[120..]) {
        seat.moved(start + Duration::from_secs(later), later == 0);
    }
    let ended = || {
        let count = seats.end_quietest(now);
        let ended = (0..taken.len()).filter(|index| taken[*index].cut_reason().is_some());
        (count, ended.collect::<Vec<_>>())
    };
    assert_eq!(ended(), (3, vec![121, 122, 123]), "the client of one waits");
    assert_eq!(ended().0, 3);
    assert_eq!(ended(), (3, (121..130).collect()));
    assert_eq!(ended(), (1, (120..130).collect()), "and then it ends too");
    assert_eq!(
        ended(),
        (0, (120..130).collect()),
        "bytes flow over the others"
    );
    assert_eq!(taken[125].cut_reason(), Some(Outcome::Overloaded));
}

#[test]
fn a_review_asks_a_part_of_the_relays_at_a_time_and_all_in_the_end() {
    let start = Instant::now() + Duration::from_secs(1);
    let (seats, taken) = seats(100, Stage::Relaying, start);
    taken[7].enter(Stage::Closing);
    let asked = |all| {
        let requests = Requests {
            reviews: all,
            ..NONE
        };
        seats.sweep(start, requests);
        taken.iter().filter(|seat| seat.take_review()).count()
    };
    let counts: Vec<_> = (0..REVIEW).map(|_| asked(true)).collect();
    assert!(
        counts.iter().all(|count| (4..=5).contains(count)),
        "{counts:?}"
    );
    assert_eq!(counts.iter().sum::<usize>(), 99, "one closes already");
    assert_eq!(
        (0..REVIEW).map(|_| asked(false)).sum::<usize>(),
        0,
        "it is off"
    );
}

#[test]
fn an_open_connection_has_one_line_in_each_interval_and_not_all_at_once() {
    let interval = Duration::from_secs(20);
    let requests = Requests {
        lines: Some(interval),
        ..NONE
    };
    let (seats, taken) = seats(400, Stage::Relaying, Instant::now());
    taken[7].enter(Stage::Closing);
    // A second more, since a seat knows the second in which it was taken.
    let start = Instant::now() + interval + Duration::from_secs(1);
    let asked = |sweep: u32| {
        let now = start + TICK * sweep;
        seats.sweep(now, requests);
        taken.iter().filter(|seat| seat.take_line()).count()
    };
    assert_eq!(asked(0), 0, "there was no sweep before");
    for lap in 0..2 {
        let counts: Vec<_> = (1..=80).map(|sweep| asked(lap * 80 + sweep)).collect();
        assert_eq!(counts.iter().sum::<usize>(), 399, "one closes already");
        assert!(counts.iter().all(|count| *count <= 15), "{counts:?}");
    }
    let (seats, taken) = self::seats(400, Stage::Relaying, Instant::now());
    for sweep in 0..76 {
        let now = Instant::now() + TICK * sweep;
        seats.sweep(now, requests);
    }
    let early = taken.iter().filter(|seat| seat.take_line()).count();
    assert_eq!(early, 0, "they are younger than the interval");
}

#[test]
fn peers_are_looked_at_seldom_while_bytes_flow_and_never_when_nothing_waits() {
    let start = Instant::now() + Duration::from_secs(1);
    let (_seats, taken) = seats(1, Stage::Relaying, start);
    let [seat] = &taken[..] else { panic!() };
    let looks = |now: Instant| {
        let wanted = |turn: &u32| seat.wants_look(*turn, Moment::of(now));
        (0..LOOK_WHILE_BUSY).filter(wanted).count()
    };
    assert_eq!(looks(start), 1);
    assert_eq!(looks(start + BUSY), 4);
    seat.set_attention(Attention::Urgent);
    assert_eq!(looks(start), 4);
    seat.set_attention(Attention::Needless);
    assert_eq!(looks(start + BUSY), 0);
    seat.active(start + BUSY);
    assert_eq!(looks(start + BUSY * 2), 4, "bytes may wait again");
    seat.enter(Stage::Closing);
    assert_eq!(looks(start + BUSY * 3), 0);
}
