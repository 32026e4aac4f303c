//! A soak: load, changes and faults at the same time. Calls to services that nothing is wrong with all succeed, and
//! the process keeps its size.
//!
//! `tests/run --soak [MINUTES]` is the long run, of which `docs/src/operate/soak.md` has the figures.

mod calls;
mod changes;
mod faults;
mod report;
mod samples;
mod slope;
mod world;

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::alone;
use crate::support::process::Process;
use crate::support::{DEADLINE, wait_until, wait_within};
use report::Report;
use samples::{Sample, Samples};
use world::{SLOW_ANSWER, World};

/// `drain.window` of the config.
const DRAIN_WINDOW: Duration = Duration::from_secs(8);

/// The length of the load, and the pace of what goes on meanwhile.
struct Size {
    load: Duration,
    /// Between two samples.
    sampling: Duration,
    /// Between two changes of the config.
    change: Duration,
    /// The longest pause of a caller between two calls.
    pause: Duration,
    long: bool,
}

impl Size {
    fn of_this_run() -> Self {
        let Ok(minutes) = std::env::var("STRAIT_SOAK") else {
            return Self {
                load: Duration::from_secs(8),
                sampling: Duration::from_millis(200),
                change: Duration::from_millis(400),
                pause: Duration::from_millis(60),
                long: false,
            };
        };
        Self {
            load: Duration::from_secs_f64(60.0 * minutes.parse::<f64>().unwrap()),
            sampling: Duration::from_secs(5),
            change: Duration::from_secs(3),
            pause: Duration::from_millis(150),
            long: true,
        }
    }
}

#[test]
fn load_changes_and_faults_lose_no_call_and_leave_nothing_behind() {
    let _alone = alone();
    let size = Size::of_this_run();
    let world = World::create();
    let report = Report::begin();
    let first = world.start();
    let process = successor(&world, first, &report);
    let idle = Sample::idle(&process, &report);
    let samples = load(&size, &world, &process, &report);
    report.tell(&samples, &process);
    samples.write();

    changes::undo(&world, &report, &process);
    quiet(&process, &idle);
    assert_nothing_odd(&process);
    take_over_and_stop(&world, process, &report);
    report.assert_no_call_lost();
    samples.assert_spliced();
    // Seconds of a process that has just started show how it warms up.
    if size.long {
        samples.assert_no_growth();
    }
}

/// A second process that has taken over from the first one.
fn successor(world: &World, mut predecessor: Process, report: &Report) -> Process {
    let process = world.start();
    predecessor.wait_for("another process of strait has taken over");
    let asked = Instant::now();
    assert!(predecessor.wait_end().success());
    assert!(asked.elapsed() < DRAIN_WINDOW + DEADLINE);
    report.change("takeover");
    process
}

/// The load, until its time is over. Returns what was measured meanwhile.
fn load(size: &Size, world: &World, process: &Process, report: &Report) -> Samples {
    let mut samples = Samples::default();
    std::thread::scope(|scope| {
        let _stop = report.go_on();
        for caller in 0..5 {
            scope.spawn(move || calls::call_on(world, report, size.pause, caller));
        }
        scope.spawn(|| calls::keep_open(world, report, size.pause / 4));
        for seed in 0..6 {
            scope.spawn(move || faults::cause(world, report, 2 * size.pause, process, seed));
        }
        scope.spawn(|| faults::vary_dns(world, report, 3 * size.change));
        scope.spawn(|| changes::make(world, report, size.change, process));
        let (begun, mut told) = (Instant::now(), Instant::now());
        while begun.elapsed() < size.load || !samples.suffice() {
            sleep(size.sampling);
            samples.add(Sample::of(process, report));
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                report.tell(&samples, process);
            }
        }
    });
    samples
}

/// Asserts that nothing is left of the load but spare pipes.
fn quiet(process: &Process, idle: &Sample) {
    let gauges = [
        "strait_connections_active",
        "strait_worker_connections",
        "strait_pipes_held",
        "strait_hello_memory_bytes",
        "strait_carry_memory_bytes",
    ];
    for gauge in gauges {
        // The longest of the timeouts in the config is 30 s.
        wait_within(Duration::from_secs(60), &format!("{gauge} is 0"), || {
            process.metric(gauge, &[]) == 0.0
        });
    }
    let begun = Instant::now();
    loop {
        let (files, threads) = samples::held(process);
        // A thread that has read a file or written a scrape stays for some seconds.
        if files <= idle.files_but_pipes() && threads <= idle.threads + 2.0 {
            break;
        }
        assert!(
            begun.elapsed() < DEADLINE,
            "{files} descriptors but pipes and {threads} threads, at the start {idle:?}: {:?}",
            process.descriptor_targets()
        );
        sleep(Duration::from_millis(50));
    }
    let spare = process.metric("strait_pipes", &[]);
    assert!(
        spare <= 16.0,
        "two workers keep 8 spare pipes each, not {spare}"
    );
}

/// Asserts that no connection ended for a reason that nobody gave cause for.
fn assert_nothing_odd(process: &Process) {
    for outcome in [
        "internal_error",
        "no_endpoint",
        "no_local_port",
        "over_limit",
        "overloaded",
        "drained",
    ] {
        assert_eq!(process.closed(outcome), 0.0, "{outcome}");
    }
    assert_eq!(process.metric("strait_task_restarts_total", &[]), 0.0);
    assert_eq!(process.said("panicked"), 0);
}

/// A new process takes over while clients call; it drains with connections that are idle and one that waits.
fn take_over_and_stop(world: &World, process: Process, report: &Report) {
    let mut last = std::thread::scope(|scope| {
        let _stop = report.go_on();
        for caller in 0..5 {
            scope.spawn(move || calls::call_on(world, report, Duration::from_millis(50), caller));
        }
        let last = successor(world, process, report);
        wait_until("the new process carries calls", || {
            last.closed("ok") >= 20.0
        });
        last
    });
    let idle: Vec<_> = (0..20)
        .map(|_| calls::open(world, world::STEADY).unwrap())
        .collect();
    let mut waiting = calls::open(world, world::SLOW).unwrap();
    let asked = Instant::now();
    waiting.write_all(b"ping").unwrap();
    last.signal(Signal::TERM);
    calls::expect(&mut waiting, b"ping").unwrap();
    assert!(
        asked.elapsed() >= SLOW_ANSWER,
        "it had begun to wait before"
    );
    drop(waiting);
    assert!(last.wait_end().success());
    let took = asked.elapsed();
    println!("drain: 20 idle connections and one that waited, {took:.1?}");
    assert!(took < DRAIN_WINDOW + DEADLINE, "{took:?}");
    drop(idle);
}
