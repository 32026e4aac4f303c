//! The limits: on connections, on file descriptors, on a worker's share.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::support::client::{connect, hello, open};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::process::{Folder, Process};
use crate::support::server::{Server, read_exactly, read_to_error, reset};
use crate::support::{SERVICE, wait_until};

/// Asserts that bytes go through `client` to an echo and back.
#[track_caller]
fn assert_works(client: &mut TcpStream) {
    client.write_all(b"still there?").unwrap();
    assert_eq!(read_exactly(client, 12), b"still there?");
}

/// A connection to an echo that has got its hello back: it is relayed.
#[track_caller]
fn relayed(gateway: SocketAddr) -> TcpStream {
    let (mut client, hello) = open(gateway);
    read_exactly(&mut client, hello);
    client
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once_and_the_others_work_on() {
    let server = Server::echo();
    let config = ConfigText::to(&[server.address]).top("limits: { connections: 3 }");
    let gateway = TestGateway::start(&config);
    assert_eq!(gateway.metric("strait_connections_limit", &[]), 3.0);
    let mut open: Vec<_> = (0..3).map(|_| relayed(gateway.address())).collect();
    for silent in [true, false] {
        let mut refused = connect(gateway.address());
        let source = refused.local_addr().unwrap();
        if !silent {
            // Fails when the close is there before.
            let _ = refused.write_all(&hello(SERVICE, &[]));
        }
        let (answer, _) = read_to_error(&mut refused);
        assert!(answer.is_empty(), "not even an alert: {answer:?}");
        let record = gateway.record_of(source);
        assert_eq!(record.outcome, "overloaded", "{record:?}");
        assert_eq!(record.hello_ms, None, "its hello was waited for");
        assert_eq!((record.attempts, record.server_name), (0, None));
        open.iter_mut().for_each(assert_works);
    }
    assert_eq!(gateway.closed("overloaded"), 2.0);
    assert_eq!(server.connections(), 3);

    let closed = open.pop().unwrap();
    let source = closed.local_addr().unwrap();
    drop(closed);
    assert_eq!(gateway.record_of(source).outcome, "ok");
    serves_again(gateway.address());
    open.iter_mut().for_each(assert_works);
}

/// Waits until a new connection is served: those who came before it may take its place for a while.
fn serves_again(gateway: SocketAddr) {
    let wire = hello(SERVICE, &[]);
    wait_until("a place is free again", || {
        let mut client = connect(gateway);
        // Fails when it was refused before.
        let _ = client.write_all(&wire);
        let mut reply = vec![0; wire.len()];
        client.read_exact(&mut reply).is_ok() && reply == wire
    });
}

#[test]
fn out_of_descriptors_accepting_pauses_without_spinning_and_goes_on() {
    /// Pauses to watch: each is a tenth of a second.
    const PAUSES: usize = 8;
    let server = Server::echo();
    let gateway = Process::start(&ConfigText::to(&[server.address]));
    // Opens what is opened once.
    assert_eq!(gateway.closed("ok"), 0.0);
    let mut open: Vec<_> = (0..3).map(|_| relayed(gateway.address)).collect();
    gateway.forbid_more_files();

    // More than what can still be opened.
    let waiting: Vec<_> = (0..6).map(|_| connect(gateway.address)).collect();
    let pauses = || gateway.said("strait pauses accepting");
    wait_until("accepting pauses", || pauses() > 0);
    let (start, before, first) = (Instant::now(), gateway.cpu_time(), pauses());
    wait_until("it has paused for a while", || pauses() >= first + PAUSES);
    let (took, used) = (start.elapsed(), gateway.cpu_time() - before);
    assert!(used < took / 4, "{used:?} of CPU in {took:?} of waiting");
    open.iter_mut().for_each(assert_works);

    drop(waiting);
    open.truncate(1);
    serves_again(gateway.address);
    open.iter_mut().for_each(assert_works);
    let labels = [("reason", "process_files")];
    let counted = gateway.metric("strait_accept_paused_total", &labels);
    assert!(counted >= (first + PAUSES) as f64, "{counted}");
}

#[test]
fn started_with_few_descriptors_it_outlives_a_flood_and_answers_operators() {
    const FLOOD: usize = 600;
    let server = Server::echo();
    // Less than the reserve for files that belong to no connection: so one connection fits.
    let gateway = Process::start_with_files(&ConfigText::to(&[server.address]), 64);
    assert_eq!(gateway.metric("strait_connections_limit", &[]), 1.0);
    let mut first = relayed(gateway.address);
    std::thread::scope(|scope| {
        let flood = || {
            for _ in 0..FLOOD / 200 {
                let clients: Vec<_> = (0..100).map(|_| connect(gateway.address)).collect();
                drop(clients);
            }
        };
        scope.spawn(flood);
        scope.spawn(flood);
        wait_until(
            "all are refused, and operators get answers meanwhile",
            || gateway.closed("overloaded") == FLOOD as f64,
        );
    });
    assert_works(&mut first);
    drop(first);
    serves_again(gateway.address);
}

/// Connections of each of two workers.
fn loads(gateway: &TestGateway) -> [f64; 2] {
    let samples = gateway.samples();
    ["0", "1"].map(|worker| {
        let name = "strait_worker_connections";
        strait::tools::scrape::total(&samples, name, &[("worker", worker)])
    })
}

#[track_caller]
fn assert_spread(gateway: &TestGateway, connections: usize) {
    let loads = loads(gateway);
    assert_eq!(loads.iter().sum::<f64>(), connections as f64, "{loads:?}");
    let most = connections as f64 / 2.0 + 1.0;
    assert!(loads.iter().all(|load| *load <= most), "{loads:?}");
}

/// Opens `count` connections before any of them is waited for.
fn burst(gateway: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut clients: Vec<_> = (0..count).map(|_| open(gateway)).collect();
    for (client, hello) in &mut clients {
        read_exactly(client, *hello);
    }
    clients.into_iter().map(|(client, _)| client).collect()
}

#[test]
fn long_connections_are_spread_over_the_workers() {
    const LONG: usize = 16;
    let server = Server::echo();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]).top("workers: 2"));
    let mut one_by_one = Vec::new();
    for opened in 1..=LONG {
        one_by_one.push(relayed(gateway.address()));
        assert_spread(&gateway, opened);
    }
    drop(one_by_one);
    for round in 0..5 {
        wait_until("all are closed", || loads(&gateway) == [0.0, 0.0]);
        let mut clients = burst(gateway.address(), LONG);
        assert_spread(&gateway, LONG);
        // Those that close leave a gap anywhere; what comes next fills it.
        clients.retain(|client| client.local_addr().unwrap().port() % 4 != round % 4);
        let left = clients.len();
        wait_until("some are closed", || {
            loads(&gateway).iter().sum::<f64>() == left as f64
        });
        clients.extend(burst(gateway.address(), LONG - left));
        clients.iter_mut().for_each(assert_works);
        assert_eq!(loads(&gateway).iter().sum::<f64>(), LONG as f64);
    }
}

#[test]
fn resets_in_the_backlog_do_not_end_the_accept_loop() {
    const RESETS: usize = 100;
    let server = Server::echo();
    let gateway = Process::start(&ConfigText::to(&[server.address]));
    assert_eq!(gateway.closed("probe"), 0.0);
    let files = gateway.files();
    gateway.freeze();
    let hello = hello(SERVICE, &[]);
    for number in 0..RESETS {
        let mut client = connect(gateway.address);
        // Some with a hello in the queue: it can still be read, and the answer still cannot be sent.
        if number % 2 == 0 {
            client.write_all(&hello).unwrap();
        }
        reset(client);
    }
    let (mut good, length) = open(gateway.address);
    gateway.thaw();
    read_exactly(&mut good, length);
    assert_works(&mut good);
    wait_until("every one is accounted for", || {
        gateway.metric("strait_connections_closed_total", &[]) == RESETS as f64
    });
    drop(good);
    wait_until("their descriptors are closed", || gateway.files() <= files);
    assert_works(&mut relayed(gateway.address));
    assert_eq!(gateway.closed("internal_error"), 0.0);
}

#[test]
fn quick_resets_leave_no_descriptor_behind() {
    const RESETS: usize = 500;
    let server = Server::echo();
    let gateway = Process::start(&ConfigText::to(&[server.address]));
    drop(relayed(gateway.address));
    wait_until("one connection has come and gone", || {
        gateway.closed("ok") == 1.0
    });
    let files = gateway.files();
    let hello = hello(SERVICE, &[]);
    for number in 0..RESETS {
        let mut client = connect(gateway.address);
        // Reset before the hello, in its middle, while connecting, and in the relay.
        let sent = [0, hello.len() / 2, hello.len(), hello.len()][number % 4];
        client.write_all(&hello[..sent]).unwrap();
        if number % 4 == 3 {
            read_exactly(&mut client, 10);
        }
        reset(client);
    }
    wait_until("every one is accounted for", || {
        gateway.metric("strait_connections_closed_total", &[]) == 1.0 + RESETS as f64
    });
    wait_until("their descriptors are closed", || gateway.files() <= files);
    // The last thing that a connection gives back, after its descriptors.
    wait_until("no worker has one", || {
        gateway.metric("strait_worker_connections", &[]) == 0.0
    });
    assert_eq!(gateway.metric("strait_connections_active", &[]), 0.0);
    let samples = gateway.samples();
    let of = |outcome| {
        let labels = [("outcome", outcome)];
        strait::tools::scrape::total(&samples, "strait_connections_closed_total", &labels)
    };
    let quarter = (RESETS / 4) as f64;
    assert_eq!(of("internal_error"), 0.0);
    assert!(of("probe") >= quarter, "{samples:?}");
    assert!(of("downstream_reset") >= quarter, "{samples:?}");
}

/// The files of a host with a cgroup, for a gateway that runs in it.
struct Host(Folder);

impl Host {
    /// A cgroup of its own below one of `pod` bytes.
    fn with_cgroup(limit: usize, used: usize, pod: usize) -> Self {
        let host = Self(Folder::create());
        host.0.file("proc/self/cgroup", "0::/pod/own\n");
        host.0.file("proc/meminfo", "MemTotal: 16000000 kB\n");
        host.0
            .file("sys/fs/cgroup/pod/memory.max", &format!("{pod}\n"));
        host.0.file("sys/fs/cgroup/pod/memory.current", "1\n");
        host.own("memory.max", limit);
        host.own("memory.current", used);
        host
    }

    fn own(&self, name: &str, bytes: usize) {
        let file = format!("sys/fs/cgroup/pod/own/{name}");
        // So that nobody reads half of it.
        let new = self.0.file(&format!("{file}.new"), &format!("{bytes}\n"));
        std::fs::rename(new, self.0.path(&file)).unwrap();
    }

    fn gateway(&self, config: &ConfigText) -> TestGateway {
        TestGateway::start_on(config, Some(self.0.path("")))
    }
}

#[test]
fn the_connection_limit_follows_from_the_memory_limit() {
    const MIB: usize = 1 << 20;

    let server = Server::echo();
    let config = ConfigText::to(&[server.address]).top("workers: 2");
    let host = Host::with_cgroup(900 * MIB, MIB, 72 * MIB);
    let gateway = host.gateway(&config);
    let limit = || gateway.metric("strait_connections_limit", &[]);
    wait_until("the memory limit is shown", || {
        gateway.metric("strait_memory_limit_bytes", &[]) == (72 * MIB) as f64
    });
    let small = limit();
    assert!((100.0..2000.0).contains(&small), "{small}");

    // In-place resize of the pod (Kubernetes 1.33) changes the limit of a running container.
    host.0
        .file("sys/fs/cgroup/pod/memory.max", &format!("{}\n", 900 * MIB));
    wait_until("the limit has grown", || limit() > small);
}

#[test]
fn a_reload_that_changes_the_limit_changes_its_gauge() {
    let server = Server::echo();
    let config = ConfigText::to(&[server.address]);
    let limited = |number: u32| {
        let limits = format!("limits: {{ connections: {number} }}");
        config.clone().top(&limits)
    };
    let gateway = TestGateway::start(&limited(3));
    let limit = || gateway.metric("strait_connections_limit", &[]);
    assert_eq!(limit(), 3.0);
    gateway.reload(&limited(70)).unwrap();
    assert_eq!(limit(), 70.0);
    let _held: Vec<_> = (0..4).map(|_| relayed(gateway.address())).collect();
}

#[test]
fn new_connections_are_refused_before_memory_is_used_up() {
    const MIB: usize = 1 << 20;

    let server = Server::echo();
    let config = ConfigText::to(&[server.address]);
    let host = Host::with_cgroup(100 * MIB, 50 * MIB, 900 * MIB);
    let gateway = host.gateway(&config);
    let is_full = |full: f64| {
        wait_until("the use of memory is judged", || {
            gateway.metric("strait_memory_full", &[]) == full
        });
    };
    let mut held = relayed(gateway.address());
    is_full(0.0);
    host.own("memory.current", 91 * MIB);
    is_full(1.0);
    let mut refused = connect(gateway.address());
    let source = refused.local_addr().unwrap();
    let _ = refused.write_all(&hello(SERVICE, &[]));
    let (answer, _) = read_to_error(&mut refused);
    assert!(answer.is_empty(), "not even an alert: {answer:?}");
    let record = gateway.record_of(source);
    assert_eq!(record.outcome, "overloaded", "{record:?}");
    assert_works(&mut held);

    // Page cache that can be dropped is no reason.
    host.0.file(
        "sys/fs/cgroup/pod/own/memory.stat",
        &format!("inactive_file {}\n", 30 * MIB),
    );
    is_full(0.0);
    serves_again(gateway.address());
}

#[test]
fn those_that_are_quiet_longest_end_before_memory_is_used_up() {
    const MIB: usize = 1 << 20;
    const QUIET: usize = 30;

    let server = Server::echo();
    let config = ConfigText::to(&[server.address]).top("workers: 1");
    let host = Host::with_cgroup(100 * MIB, 50 * MIB, 900 * MIB);
    let gateway = host.gateway(&config);
    let quiet: Vec<_> = (0..QUIET).map(|_| relayed(gateway.address())).collect();
    let mut active = relayed(gateway.address());
    let active_source = active.local_addr().unwrap();
    let step = || gateway.metric("strait_overload_step", &[("cause", "memory")]);
    let ended = || -> usize {
        let labels = [("cause", "memory"), ("action", "ended")];
        let ended = gateway.metric("strait_overload_connections_total", &labels);
        ended.to_string().parse().unwrap()
    };
    // As a kernel does: what is open takes memory, and what has ended gives it back.
    let account = || host.own("memory.current", (90 + QUIET / 2 - ended()) * MIB);
    account();
    wait_until("those that are quiet longest end", || {
        active.write_all(b"active").unwrap();
        assert_eq!(read_exactly(&mut active, 6), b"active");
        account();
        ended() > 0 && step() == 1.0
    });
    let ended = ended();
    assert!(
        (15..QUIET).contains(&ended),
        "{ended}: until use is 5% lower"
    );
    let text = gateway.admin_text("/");
    assert!(
        text.contains("Overloaded (memory): new connections are refused"),
        "{text}"
    );
    let first = gateway.record();
    assert_eq!(first.outcome, "overloaded", "{first:?}");
    assert_eq!(first.source, quiet[0].local_addr().unwrap());
    let detail = first.detail.unwrap();
    assert!(detail.contains("no byte had flowed for"), "{detail}");
    for _ in 1..ended {
        assert_ne!(gateway.record().source, active_source, "it is active");
    }
    host.own("memory.current", 50 * MIB);
    wait_until("all is well again", || step() == 0.0);
    serves_again(gateway.address());
}
