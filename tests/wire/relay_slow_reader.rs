//! A side that reads slowly, late, or byte by byte: the other one is held back, and nothing is lost,
//! doubled or reordered.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::support::client::{connect, hello, open, open_narrow};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::process::Process;
use crate::support::server::{
    Server, answer_hello, read_exactly, read_to_eof, write_beside, write_until_stuck,
};
use crate::support::{self, DEADLINE, SERVICE, assert_same_bytes, noise};

/// More than all socket buffers on the way hold.
const STUCK: usize = 32 << 20;

fn connected() -> (TestGateway, TcpStream, TcpStream) {
    let (server, accepted) = Server::handing_over();
    let gateway = TestGateway::start(&ConfigText::to(&[server.address]));
    let (mut client, hello) = open(gateway.address());
    let mut upstream = accepted.recv_timeout(DEADLINE).unwrap();
    answer_hello(&mut upstream, &mut client, hello);
    (gateway, client, upstream)
}

#[test]
fn a_shut_window_holds_the_sender_back_and_then_gets_every_byte() {
    for server_sends in [true, false] {
        let (gateway, client, upstream) = connected();
        let (mut sender, mut receiver) = match server_sends {
            true => (upstream, client),
            false => (client, upstream),
        };
        let bytes = noise(STUCK, 7);
        let accepted = write_until_stuck(&mut sender, &bytes);
        assert!(accepted < STUCK, "nothing held the sender back");
        let held = gateway.metric("strait_carry_memory_bytes", &[]);
        assert!(held <= 256.0 * 1024.0, "{held} bytes held for one stream");
        // The other direction goes on meanwhile.
        receiver.write_all(b"patience").unwrap();
        assert_eq!(read_exactly(&mut sender, 8), b"patience");
        let writer = write_beside(&sender, bytes[accepted..].to_vec());
        assert_same_bytes(&read_exactly(&mut receiver, STUCK), &bytes);
        writer.join().unwrap();
        drop((sender, receiver));
        assert_eq!(gateway.record().outcome, "ok");
    }
}

#[test]
fn clients_that_do_not_read_never_overdraw_the_budget_and_lose_no_byte() {
    const CLIENTS: usize = 64;
    const BUDGET: f64 = 256.0 * 1024.0;
    const SENT: usize = 4 << 20;
    let bytes = noise(SENT, 3);
    let flood = {
        let bytes = bytes.clone();
        Server::start(move |mut stream| {
            read_exactly(&mut stream, hello(SERVICE, &[]).len());
            // A client that does not read ends this with an error.
            drop(stream.write_all(&bytes));
        })
    };
    // Few pipes, so that most streams are copied.
    let gateway = TestGateway::start(
        &ConfigText::to(&[flood.address])
            .top("limits: { carry_memory: 256KiB, connections: 64 }")
            .top("workers: 2"),
    );
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let (mut client, _) = open_narrow(gateway.address(), 4096);
            assert_eq!(read_exactly(&mut client, 1), bytes[..1]);
            client
        })
        .collect();
    let held = || gateway.metric("strait_carry_memory_bytes", &[]);
    let (mut before, mut same) = (0.0, 0);
    support::wait_until("all streams are stuck", || {
        std::thread::sleep(Duration::from_millis(40));
        let now = gateway.metric("strait_bytes_total", &[]);
        // Several looks: a machine that stands still has one of them.
        same = if now == before { same + 1 } else { 0 };
        before = now;
        same == 5
    });
    // Used up, or nearly: otherwise this would not show what happens then.
    assert!(held() > BUDGET / 3.0, "{} bytes held", held());
    let peak = gateway.metric("strait_carry_memory_peak_bytes", &[]);
    assert!(peak <= BUDGET, "{peak} bytes at one moment");
    // Streams for which nothing was left go on as soon as their clients read.
    for client in clients.iter_mut().rev().take(CLIENTS / 8) {
        assert_same_bytes(&read_exactly(client, SENT - 1), &bytes[1..]);
    }
    assert!(gateway.metric("strait_carry_memory_peak_bytes", &[]) <= BUDGET);
    drop(clients);
    support::wait_until("what was held is free again", || held() == 0.0);
}

#[test]
fn one_byte_at_a_time_arrives_in_order_both_ways() {
    let (gateway, mut client, mut upstream) = connected();
    let (up, down) = (noise(20_000, 8), noise(20_000, 9));
    let byte_by_byte = |stream: &TcpStream, bytes: Vec<u8>| {
        let mut stream = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            for byte in bytes {
                stream.write_all(&[byte]).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
        })
    };
    let writers = [
        byte_by_byte(&client, up.clone()),
        byte_by_byte(&upstream, down.clone()),
    ];
    let reader = {
        let mut upstream = upstream.try_clone().unwrap();
        std::thread::spawn(move || read_to_eof(&mut upstream))
    };
    // Odd sizes, so that reads and writes never line up.
    let mut got = Vec::new();
    let mut buffer = [0; 1447];
    loop {
        match client.read(&mut buffer).unwrap() {
            0 => break,
            length => got.extend_from_slice(&buffer[..length]),
        }
    }
    assert_same_bytes(&got, &down);
    assert_same_bytes(&reader.join().unwrap(), &up);
    for writer in writers {
        writer.join().unwrap();
    }
    upstream.flush().unwrap();
    assert_eq!(gateway.record().outcome, "ok");
}

#[test]
fn both_directions_run_full_at_once() {
    let (gateway, mut client, mut upstream) = connected();
    let (up, down) = (noise(16 << 20, 10), noise(16 << 20, 11));
    let writers = [
        write_beside(&client, up.clone()),
        write_beside(&upstream, down.clone()),
    ];
    let length = up.len();
    let reader = std::thread::spawn(move || read_exactly(&mut upstream, length));
    assert_same_bytes(&read_exactly(&mut client, down.len()), &down);
    assert_same_bytes(&reader.join().unwrap(), &up);
    for writer in writers {
        writer.join().unwrap();
    }
    drop(client);
    assert_eq!(gateway.record().outcome, "ok");
}

#[test]
fn an_urgent_byte_neither_hangs_nor_shifts_the_stream() {
    let (gateway, mut client, mut upstream) = connected();
    let bytes = noise(200_000, 12);
    let (before, after) = bytes.split_at(100_000);
    client.write_all(before).unwrap();
    // TCP takes it out of the stream where nobody asks for it in line (RFC 6093 section 3.2).
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(after).unwrap();
    assert_same_bytes(&read_exactly(&mut upstream, bytes.len()), &bytes);
    upstream.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut client, 10), b"still here");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut upstream), b"");
    drop(upstream);
    assert_eq!(gateway.record().outcome, "ok");
}

#[test]
fn bytes_behind_an_urgent_one_do_not_wait_for_more() {
    let (server, pods) = Server::handing_over();
    let gateway = Process::start(&ConfigText::to(&[server.address]));
    let (mut client, hello) = open(gateway.address);
    let mut pod = pods.recv_timeout(DEADLINE).unwrap();
    answer_hello(&mut pod, &mut client, hello);
    let bytes = noise(2_000, 13);
    let (before, after) = bytes.split_at(1_000);
    for (from, to) in [(&client, &pod), (&pod, &client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        // All of it is there when the gateway reads, and nothing comes after it.
        gateway.freeze();
        from.write_all(before).unwrap();
        SockRef::from(&from).send_out_of_band(b"!").unwrap();
        from.write_all(after).unwrap();
        gateway.thaw();
        assert_same_bytes(&read_exactly(&mut to, bytes.len()), &bytes);
    }
}

#[test]
fn an_urgent_byte_in_the_middle_of_the_hello_is_survived() {
    let echo = Server::echo();
    let gateway = TestGateway::start(&ConfigText::to(&[echo.address]));
    let mut client = connect(gateway.address());
    let hello = hello(SERVICE, &[]);
    let (before, after) = hello.split_at(100);
    client.write_all(before).unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(after).unwrap();
    assert_same_bytes(&read_exactly(&mut client, hello.len()), &hello);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_eof(&mut client), b"");
    assert_eq!(gateway.record().outcome, "ok");
}
