//! Bulk goes through pipes: what splice(2) does not promise must not show, and a pipe that cannot be
//! had must not be missed.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockRef;
use strait::tools::scrape::total;

use crate::support::client::{hello, open, open_narrow};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::process::Process;
use crate::support::server::{
    Server, answer_hello, read_exactly, read_to_eof, read_to_error, write_beside, write_until_stuck,
};
use crate::support::{self, DEADLINE, SERVICE, assert_same_bytes, noise, wait_until};

/// Enough of it that a direction counts as bulk, whatever the machine is busy with.
const BULK: usize = 8 << 20;
/// More than all socket buffers on the way hold.
const STUCK: usize = 32 << 20;

/// A connection through `gateway`: the client's end and the server's, its hello taken off.
fn carried(
    gateway: std::net::SocketAddr,
    accepted: &std::sync::mpsc::Receiver<TcpStream>,
) -> (TcpStream, TcpStream) {
    let (mut client, hello) = open(gateway);
    let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
    answer_hello(&mut upstream, &mut client, hello);
    (client, upstream)
}

fn connected() -> (TestGateway, TcpStream, TcpStream) {
    let (server, accepted) = Server::handing_over();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]).top("workers: 1"));
    let (client, upstream) = carried(gateway.address(), &accepted);
    (gateway, client, upstream)
}

/// Sends `bytes` one way and asserts that they arrive.
#[track_caller]
fn passes(sender: &TcpStream, receiver: &mut TcpStream, bytes: &[u8]) {
    let writer = write_beside(sender, bytes.to_vec());
    assert_same_bytes(&read_exactly(receiver, bytes.len()), bytes);
    writer.join().unwrap();
}

#[test]
fn bulk_takes_pipes_small_messages_do_not_and_few_serve_many() {
    let (server, accepted) = Server::handing_over();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]).top("workers: 1"));
    let mut streams: Vec<_> = (0..16)
        .map(|_| carried(gateway.address(), &accepted))
        .collect();
    for (client, upstream) in &mut streams {
        for _ in 0..100 {
            passes(client, upstream, b"small");
            passes(upstream, client, b"small");
        }
    }
    assert_eq!(gateway.metric("strait_pipes", &[]), 0.0);
    let bytes = noise(BULK, 20);
    for (client, upstream) in &mut streams {
        passes(upstream, client, &bytes);
        passes(client, upstream, &bytes);
    }
    let pipes = gateway.metric("strait_pipes", &[]);
    assert!((1.0..=8.0).contains(&pipes), "{pipes} pipes");
    drop(streams);
    wait_until("no pipe is held", || {
        gateway.metric("strait_pipes_held", &[]) == 0.0
    });
}

#[test]
fn fragments_of_every_size_pass_a_slow_reader() {
    // Writes that fill a pipe by its slots and not by its bytes. EAGAIN can mean either.
    for fragment in [1, 1447, 4096] {
        let (server, accepted) = Server::handing_over();
        let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
        let (mut client, hello) = open_narrow(gateway.address(), 4096);
        let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
        answer_hello(&mut upstream, &mut client, hello);
        let warm = noise(BULK, 21);
        passes(&upstream, &mut client, &warm);
        let bytes = noise(20_000 * fragment.min(100), 22);
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || {
            for fragment in sent.chunks(fragment) {
                upstream.write_all(fragment).unwrap();
            }
            upstream.shutdown(Shutdown::Write).unwrap();
            upstream
        });
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            let piece = (bytes.len() - got.len()).min(50_021);
            got.extend(read_exactly(&mut client, piece));
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_same_bytes(&got, &bytes);
        assert_eq!(read_to_eof(&mut client), b"");
        drop((client, writer.join().unwrap()));
        assert_eq!(gateway.record().outcome, "ok");
    }
}

#[test]
fn an_urgent_byte_in_bulk_neither_ends_nor_stops_the_stream() {
    let (gateway, mut client, mut upstream) = connected();
    let warm = noise(BULK, 23);
    passes(&upstream, &mut client, &warm);
    for round in 0..20 {
        let bytes = noise(300_000, 24 + round);
        let (before, after) = bytes.split_at(100_000 + 1000 * usize::try_from(round).unwrap());
        let (before, after) = (before.to_vec(), after.to_vec());
        let mut sender = upstream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            sender.write_all(&before).unwrap();
            // TCP takes it out of the stream (RFC 6093 section 3.2): splice(2) stops before it, read(2)
            // steps over it.
            SockRef::from(&sender).send_out_of_band(b"!").unwrap();
            sender.write_all(&after).unwrap();
        });
        assert_same_bytes(&read_exactly(&mut client, bytes.len()), &bytes);
        writer.join().unwrap();
    }
    // With FIN right behind, splice(2) says 0 while bytes are left.
    let last = noise(500_000, 50);
    let sent = last.clone();
    let writer = std::thread::spawn(move || {
        upstream.write_all(&sent[..250_000]).unwrap();
        SockRef::from(&upstream).send_out_of_band(b"!").unwrap();
        upstream.write_all(&sent[250_000..]).unwrap();
        upstream.shutdown(Shutdown::Write).unwrap();
        upstream
    });
    assert_same_bytes(&read_to_eof(&mut client), &last);
    drop((client, writer.join().unwrap()));
    assert_eq!(gateway.record().outcome, "ok");
}

#[test]
fn stuck_streams_hold_half_of_the_pipes_and_get_every_byte_later() {
    const STREAMS: usize = 6;
    let (server, accepted) = Server::handing_over();
    // Enough for four pipes.
    let config = ConfigText::to(&[server.address])
        .top("limits: { connections: 64 }")
        .top("workers: 2");
    let gateway = TestGateway::start(&config);
    let warm = noise(BULK, 60);
    let bytes = noise(STUCK, 61);
    let mut streams: Vec<_> = (0..STREAMS)
        .map(|_| {
            let (mut client, mut upstream) = carried(gateway.address(), &accepted);
            passes(&upstream, &mut client, &warm[..BULK / 8]);
            let gone = write_until_stuck(&mut upstream, &bytes);
            assert!(gone < bytes.len(), "nothing held the sender back");
            let writer = write_beside(&upstream, bytes[gone..].to_vec());
            (client, upstream, writer)
        })
        .collect();
    let samples = gateway.samples();
    let held = total(&samples, "strait_pipes_held", &[]);
    assert_eq!(held, 2.0, "half of them, all in use");
    assert!(total(&samples, "strait_pipes", &[]) <= 4.0);
    let carried_bytes = total(&samples, "strait_carry_memory_bytes", &[]);
    assert!(carried_bytes > 0.0, "the others hold theirs on the heap");
    for (client, _, writer) in streams.drain(..) {
        let mut client = client;
        assert_same_bytes(&read_exactly(&mut client, bytes.len()), &bytes);
        writer.join().unwrap();
    }
    wait_until("nothing is held any more", || {
        let samples = gateway.samples();
        ["strait_pipes_held", "strait_carry_memory_bytes"]
            .iter()
            .all(|name| total(&samples, name, &[]) == 0.0)
    });
}

#[test]
fn a_stuck_stream_that_is_reset_leaves_no_byte_to_the_next() {
    let (server, accepted) = Server::handing_over();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]).top("workers: 1"));
    for round in 0..10 {
        let (mut client, mut upstream) = carried(gateway.address(), &accepted);
        let warm = noise(BULK / 8, 70 + round);
        passes(&upstream, &mut client, &warm);
        write_until_stuck(&mut upstream, &noise(STUCK, 80 + round));
        support::server::reset(client);
        let (_, error) = read_to_error(&mut upstream);
        assert!(error.is_some(), "the reset is passed on");
        wait_until("what was stuck is let go", || {
            gateway.metric("strait_pipes_held", &[]) == 0.0
        });
    }
    let (mut client, upstream) = carried(gateway.address(), &accepted);
    passes(&upstream, &mut client, &noise(BULK, 90));
}

#[test]
fn bulk_is_copied_where_no_pipe_can_be_made() {
    let (server, accepted) = Server::handing_over();
    let gateway = Process::start(&ConfigText::to(&[server.address]).top("workers: 1"));
    let (mut client, mut upstream) = carried(gateway.address, &accepted);
    // A scrape needs a descriptor itself: one before, and the next when there are some again.
    assert_eq!(gateway.metric("strait_pipes", &[]), 0.0);
    let files = gateway.files();
    gateway.forbid_more_files();
    let bytes = noise(BULK, 91);
    passes(&upstream, &mut client, &bytes);
    passes(&client, &mut upstream, &bytes);
    // Fewer once the scrape's is closed, which is one: a pipe takes two.
    assert!(gateway.files() <= files, "a pipe was made");
    gateway.allow_more_files();
    wait_until("pipes are tried again", || {
        passes(&upstream, &mut client, &bytes);
        gateway.metric("strait_pipes", &[]) > 0.0
    });
}

#[test]
fn bulk_is_copied_where_others_have_used_up_the_users_pipes() {
    // The soft limit is one user's, whatever the process, and root has none.
    let user = support::process::SomeUser::with_all_pipes_used();
    let (server, accepted) = Server::handing_over();
    let config = ConfigText::to(&[server.address]).top("workers: 1");
    let gateway = Process::start_as(&config, &user);
    let (mut client, mut upstream) = carried(gateway.address, &accepted);
    let bytes = noise(BULK, 92);
    passes(&upstream, &mut client, &bytes);
    passes(&client, &mut upstream, &bytes);
    assert_eq!(gateway.metric("strait_pipes", &[]), 0.0);
    user.give_back();
    wait_until("pipes are tried again", || {
        passes(&upstream, &mut client, &bytes);
        gateway.metric("strait_pipes", &[]) > 0.0
    });
}

#[test]
fn an_endpoint_that_is_killed_takes_only_its_own_streams() {
    const STREAMS: usize = 100;
    let echo = Server::echo();
    // An endpoint that is a process: another gateway, with an echo behind it.
    let endpoint = Process::start(&ConfigText::to(&[echo.address]));
    let config = ConfigText::verbatim(&format!(
        "listeners: [{{ name: l, bind: '127.0.0.1:0', routes: [\
         {{ sni: '{SERVICE}', alpn: any, upstream: killed }}, \
         {{ sni: spared.test, alpn: any, upstream: spared }}] }}]\n\
         upstreams: {{ killed: {{ endpoints: ['{}'] }}, spared: {{ endpoints: ['{}'] }} }}",
        endpoint.address, echo.address
    ));
    let gateway = TestGateway::start(&config);
    let relayed = |name: &str| {
        let mut client = support::client::connect(gateway.address());
        let hello = hello(name, &[]);
        client.write_all(&hello).unwrap();
        read_exactly(&mut client, hello.len());
        client
    };
    let killed: Vec<_> = (0..STREAMS).map(|_| relayed(SERVICE)).collect();
    let mut spared: Vec<_> = (0..STREAMS).map(|_| relayed("spared.test")).collect();
    endpoint.signal(Signal::KILL);
    for mut client in killed {
        let (rest, _) = read_to_error(&mut client);
        assert_eq!(rest, b"");
    }
    for client in &mut spared {
        client.write_all(b"still there?").unwrap();
        assert_eq!(read_exactly(client, 12), b"still there?");
    }
    wait_until("the others are gone", || {
        gateway.metric("strait_connections_active", &[]) == STREAMS as f64
    });
}

/// The gateway's socket to that client. The gateway runs in this process.
fn socket_of_the_gateway(client: &TcpStream) -> std::os::fd::OwnedFd {
    let process = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let copies = numbers.filter_map(|number: i32| {
        let flags = rustix::process::PidfdGetfdFlags::empty();
        rustix::process::pidfd_getfd(&process, number, flags).ok()
    });
    let ours = |copy: &std::os::fd::OwnedFd| {
        let (socket, asked) = (SockRef::from(copy), SockRef::from(client));
        let address = |address: std::io::Result<socket2::SockAddr>| address.ok()?.as_socket();
        address(socket.peer_addr()).is_some()
            && address(socket.peer_addr()) == address(asked.local_addr())
            && address(socket.local_addr()) == address(asked.peer_addr())
    };
    copies.into_iter().find(ours).expect("the gateway has one")
}

#[test]
fn bytes_are_copied_where_splice_fills_a_pipe_and_does_not_empty_it() {
    let (gateway, mut client, upstream) = connected();
    passes(&upstream, &mut client, &noise(BULK, 93));
    // splice(2) refuses files that are open for appending, with EINVAL.
    let socket = socket_of_the_gateway(&client);
    let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
    rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::APPEND).unwrap();
    // Else the gateway's close would not be one.
    drop(socket);
    passes(&upstream, &mut client, &noise(BULK, 94));
    drop((client, upstream));
    assert_eq!(gateway.record().outcome, "ok");
}
