use super::*;

const LIMIT: usize = 1000;

fn workers(count: usize) -> Vec<Rc<HellosInProgress>> {
    let gauge = || IntGauge::new("g", "g").unwrap();
    let memory = Arc::new(HelloMemory::new(LIMIT, count, gauge(), gauge()));
    let worker = |index| Rc::new(HellosInProgress::new(memory.clone(), index));
    (0..count).map(worker).collect()
}

/// A hello of `worker` that holds `bytes`.
fn held(worker: &Rc<HellosInProgress>, bytes: usize) -> Hello {
    let hello = worker.enter();
    assert_eq!(hello.reserve(bytes, Instant::now()), Reservation::Yes);
    hello.append(&vec![7; bytes]);
    hello
}

fn used(worker: &HellosInProgress) -> usize {
    let own = worker.own.borrow();
    let capacity: usize = own
        .hellos
        .iter()
        .map(|(_, held)| held.wire.capacity())
        .sum();
    assert!(worker.memory.budget.used() >= capacity);
    worker.memory.budget.used()
}

#[test]
fn the_largest_gives_way_at_once_to_one_that_wants_less() {
    let [worker] = &workers(1)[..] else { panic!() };
    let (small, large) = (held(worker, 300), held(worker, 600));
    let next = held(worker, 200);
    assert_eq!((small.len(), large.len(), next.len()), (300, 0, 200));
    assert_eq!(used(worker), 500);
    // Nothing is larger than what this one would be.
    assert_eq!(worker.enter().reserve(600, Instant::now()), Reservation::No);
    drop((small, large, next));
    assert_eq!(used(worker), 0);
}

#[test]
fn one_that_gives_way_is_asked_once_and_then_the_next() {
    let [worker] = &workers(1)[..] else { panic!() };
    let large = [held(worker, 330), held(worker, 330), held(worker, 330)];
    let small: Vec<Hello> = (0..9).map(|_| held(worker, 100)).collect();
    assert!(used(worker) <= LIMIT);
    let kept = |hellos: &[Hello]| hellos.iter().filter(|hello| hello.len() > 0).count();
    assert_eq!((kept(&large), kept(&small)), (0, 9));
}

#[test]
fn what_waits_long_for_its_upstream_goes_first_and_what_does_not_stays() {
    let [worker] = &workers(1)[..] else { panic!() };
    let start = Instant::now();
    let waiting: Vec<Hello> = (0..10).map(|_| held(worker, 100)).collect();
    for (hello, millis) in waiting.iter().zip(0..) {
        hello.waits(start + Duration::from_millis(millis));
    }
    let next = worker.enter();
    assert_eq!(next.reserve(200, start), Reservation::No);
    let later = start + LONG_WAIT + Duration::from_millis(1);
    assert_eq!(next.reserve(200, later), Reservation::Yes);
    assert_eq!((waiting[0].len(), waiting[1].len()), (0, 0));
    assert_eq!(waiting[2].len(), 100);
    assert_eq!(used(worker), LIMIT);
}

#[test]
fn another_workers_hello_gives_way_when_asked() {
    let [first, second] = &workers(2)[..] else {
        panic!()
    };
    let large = held(first, 900);
    let next = second.enter();
    assert_eq!(next.reserve(200, Instant::now()), Reservation::Asked);
    assert_eq!((large.len(), used(second)), (900, 900));
    let asked = first.memory.loads[0].asked.swap(0, Ordering::Relaxed);
    first.free(asked, Instant::now());
    assert_eq!(large.len(), 0);
    assert_eq!(next.reserve(200, Instant::now()), Reservation::Yes);
}

#[test]
fn growing_goes_ahead_while_there_is_memory_and_counts_what_is_allocated() {
    let [worker] = &workers(1)[..] else { panic!() };
    let hello = held(worker, 400);
    assert_eq!(hello.reserve(1, Instant::now()), Reservation::Yes);
    assert_eq!(used(worker), 800);
    hello.append(&[7; 400]);
    assert_eq!(hello.reserve(1, Instant::now()), Reservation::Yes);
    assert_eq!(used(worker), 801);
    let (bytes, share) = hello.leave();
    assert_eq!((bytes.len(), used(worker)), (800, 801));
    drop(share);
    assert_eq!(used(worker), 0);
}

#[test]
fn the_budget_holds_whatever_happens() {
    let workers = workers(3);
    let mut random = fastrand::Rng::with_seed(12);
    let mut hellos: Vec<Hello> = Vec::new();
    let mut now = Instant::now();
    for _ in 0..20_000 {
        now += Duration::from_millis(random.u64(0..50));
        let worker = &workers[random.usize(0..3)];
        match random.u8(0..6) {
            0 => hellos.push(worker.enter()),
            1 if !hellos.is_empty() => drop(hellos.swap_remove(random.usize(0..hellos.len()))),
            2 if !hellos.is_empty() => hellos[random.usize(0..hellos.len())].waits(now),
            3 => worker.free(random.usize(0..300), now),
            _ if !hellos.is_empty() => {
                let hello = &hellos[random.usize(0..hellos.len())];
                let more = random.usize(1..200);
                if hello.reserve(more, now) == Reservation::Yes {
                    hello.append(&vec![7; more]);
                }
            }
            _ => {}
        }
        assert!(workers.iter().map(|worker| used(worker)).max() <= Some(LIMIT));
    }
    assert!(workers[0].memory.budget.peak() <= LIMIT);
    drop(hellos);
    assert_eq!(used(&workers[0]), 0);
}
