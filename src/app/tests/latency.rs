//! The time from an event to its route beside a worker that keeps the CPU busy. `benches/events` prints it for 25,000
//! Services. This test looks only at whether each event comes into force.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::AsyncReadExt;

use super::events::{Feed, event_of_a_service, server_name};
use crate::proxy::Shared;

/// The numbers of Services.
const SERVICES: &str = "STRAIT_EVENT_SERVICES";
/// Events that are measured.
const EVENTS: usize = 1000;
/// The longest wait for an event. Only a stall explains it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two events, so that each comes to a control thread that sleeps.
const PAUSE: Duration = Duration::from_millis(20);

/// The first CPU that this process may use, and the last one.
fn cpus() -> [CpuSet; 2] {
    let all = sched_getaffinity(None).unwrap();
    let may: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| all.is_set(*cpu))
        .collect();
    [may[0], may[may.len() - 1]].map(|cpu| {
        let mut one = CpuSet::new();
        one.set(cpu);
        one
    })
}

/// Applies events as they come, each a byte, on the CPU that a busy thread of a worker's priority has too.
fn control(services: usize, nice: i32, events: UnixStream, ready: &mpsc::Sender<Arc<Shared>>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    runtime.block_on(async {
        let mut feed = Box::pin(Feed::new(services)).await;
        let thread = rustix::thread::gettid();
        rustix::process::setpriority_process(Some(thread), nice).unwrap();
        sched_setaffinity(None, &cpus()[0]).unwrap();
        events.set_nonblocking(true).unwrap();
        let mut inbox = tokio::net::UnixStream::from_std(events).unwrap();
        ready.send(feed.shared()).unwrap();
        for turn in 0.. {
            if inbox.read_u8().await.is_err() {
                return;
            }
            feed.event(vec![event_of_a_service(services, turn)]).await;
        }
    });
}

/// The times from an event to its route, sorted.
fn latencies(services: usize, nice: i32, events: usize) -> Vec<Duration> {
    let (mut feed, fed) = UnixStream::pair().unwrap();
    let (tell, ready) = mpsc::channel();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let control = scope.spawn(move || control(services, nice, fed, &tell));
        let shared = ready.recv().unwrap();
        let busy = scope.spawn(|| {
            sched_setaffinity(None, &cpus()[0]).unwrap();
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let looking = scope.spawn(move || {
            sched_setaffinity(None, &cpus()[1]).unwrap();
            let mut all = Vec::new();
            for turn in 0..events {
                thread::sleep(PAUSE);
                let (name, there) = (server_name(services, turn), turn % 2 == 0);
                let start = Instant::now();
                feed.write_all(&[0]).unwrap();
                let listeners = shared.listeners.all();
                let state = || listeners[0].state();
                while state().routes.find(&name).is_some() != there {
                    assert!(start.elapsed() < PATIENCE, "event {turn} is not in force");
                    thread::sleep(Duration::from_micros(20));
                }
                all.push(start.elapsed());
            }
            drop(feed);
            all.sort();
            all
        });
        let all = looking.join();
        stop.store(true, Ordering::Relaxed);
        busy.join().unwrap();
        control.join().unwrap();
        all.unwrap()
    })
}

#[test]
fn an_event_comes_into_force_beside_a_worker_that_is_never_idle() {
    let asked = std::env::var(SERVICES).ok();
    let Some(asked) = asked else {
        assert_eq!(latencies(20, 0, 6).len(), 6);
        return;
    };
    for services in asked.split(' ').map(|size| size.parse::<usize>().unwrap()) {
        for nice in [0, 10] {
            let all = latencies(services, nice, EVENTS);
            let at = |permille: usize| all[(all.len() - 1) * permille / 1000];
            println!(
                "{services:>6} Services, event to route beside a busy worker, control at nice {nice:>2}: p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
                at(500),
                at(990),
                at(1000)
            );
        }
    }
}
