//! Calls to services that nothing is wrong with: short and long ones, small and large ones. All must succeed.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::report::Report;
use super::world::{FROM_DNS, MTLS, PARTLY, SLOW, STEADY, World, letter};
use crate::support::server::{ANSWER, with_deadlines};
use crate::support::{DEADLINE, mtls, noise};

/// A connection with nothing sent yet.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    with_deadlines(&stream);
    Ok(stream)
}

/// Reads these bytes.
pub(super) fn expect(stream: &mut TcpStream, expected: &[u8]) -> io::Result<()> {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes)?;
    match bytes == expected {
        true => Ok(()),
        false => Err(io::Error::other("other bytes came back")),
    }
}

/// Takes the answer to a hello off, which must be the service's.
pub(super) fn answered(stream: &mut TcpStream, letter: u8) -> io::Result<()> {
    expect(stream, &[&ANSWER[..], &[letter]].concat())
}

/// A connection to a service, which has answered.
pub(super) fn open(world: &World, service: &'static str) -> io::Result<TcpStream> {
    let mut stream = connect(world.gateway)?;
    stream.write_all(&world.hellos[service])?;
    answered(&mut stream, letter(service))?;
    Ok(stream)
}

/// Makes calls one after another, with pauses of up to `pause`, until the report says stop.
pub(super) fn call_on(world: &World, report: &Report, pause: Duration, caller: u64) {
    let mut random = Rng::with_seed(caller);
    while report.goes_on() {
        let (kind, result) = one(world, &mut random);
        report.call(kind, result);
        sleep(pause.mul_f64(random.f64()));
    }
}

fn one(world: &World, random: &mut Rng) -> (&'static str, io::Result<()>) {
    let service = random.choice([STEADY, STEADY, FROM_DNS, PARTLY]).unwrap();
    match random.u32(0..100) {
        0..55 => ("short", short(world, service, random)),
        55..65 => ("hello in pieces", in_pieces(world, service, random)),
        65..75 => ("many small messages", small_messages(world, service)),
        75..85 => ("mutual TLS", mutual_tls(world)),
        85..92 => ("bulk", bulk(world, service, random, Duration::ZERO)),
        92..95 => {
            let pause = Duration::from_millis(50);
            ("bulk, read slowly", bulk(world, service, random, pause))
        }
        95..98 => ("upload, then half-closed", half_closed(world, service)),
        _ => ("slow answer", slow_answer(world)),
    }
}

/// Sends bytes on a connection, takes them back, and closes.
fn exchange(mut stream: TcpStream, payload: &[u8]) -> io::Result<()> {
    stream.write_all(payload)?;
    expect(&mut stream, payload)?;
    close(stream)
}

fn close(stream: TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    closed(stream)
}

/// The server has closed as well.
fn closed(mut stream: TcpStream) -> io::Result<()> {
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("more bytes than were sent")),
    }
}

fn short(world: &World, service: &'static str, random: &mut Rng) -> io::Result<()> {
    let payload = noise(random.usize(1..5000), random.u64(..));
    exchange(open(world, service)?, &payload)
}

fn in_pieces(world: &World, service: &'static str, random: &mut Rng) -> io::Result<()> {
    let hello = &world.hellos[service];
    let (begin, end) = hello.split_at(random.usize(1..hello.len()));
    let mut stream = connect(world.gateway)?;
    stream.write_all(begin)?;
    sleep(Duration::from_millis(20));
    stream.write_all(end)?;
    answered(&mut stream, letter(service))?;
    exchange(stream, b"ping")
}

fn small_messages(world: &World, service: &'static str) -> io::Result<()> {
    let mut stream = open(world, service)?;
    for number in 0..50_u64 {
        let message = number.to_be_bytes();
        stream.write_all(&message)?;
        expect(&mut stream, &message)?;
    }
    close(stream)
}

fn mutual_tls(world: &World) -> io::Result<()> {
    let payload = noise(2000, 1);
    let mut stream = mtls::dial(world.gateway, world.tls.clone(), MTLS);
    stream.write_all(&payload)?;
    let mut back = vec![0; payload.len()];
    stream.read_exact(&mut back)?;
    if back != payload {
        return Err(io::Error::other("other bytes came back"));
    }
    stream.conn.send_close_notify();
    stream.flush()
}

/// Megabytes there and back, with pauses before the client reads on.
fn bulk(world: &World, service: &'static str, random: &mut Rng, pause: Duration) -> io::Result<()> {
    let payload = noise(random.usize(100_000..2_000_000), random.u64(..));
    let mut stream = open(world, service)?;
    let mut writer = stream.try_clone()?;
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| writer.write_all(&payload));
        let back = payload.chunks(64 * 1024).try_for_each(|chunk| {
            sleep(pause);
            expect(&mut stream, chunk)
        });
        sent.join().unwrap()?;
        back
    })?;
    close(stream)
}

/// The client has closed its side before the answer comes.
fn half_closed(world: &World, service: &'static str) -> io::Result<()> {
    // No more than the sockets on the way hold: the client does not read while it writes.
    let payload = noise(50_000, 2);
    let mut stream = open(world, service)?;
    stream.write_all(&payload)?;
    stream.shutdown(Shutdown::Write)?;
    expect(&mut stream, &payload)?;
    closed(stream)
}

fn slow_answer(world: &World) -> io::Result<()> {
    exchange(open(world, SLOW)?, b"ping")
}

/// A connection that is kept open.
struct Kept {
    stream: TcpStream,
    /// Messages until its end.
    left: u32,
    last: Instant,
}

/// Keeps connections open, with a message on each in turn; each lives for a while and is replaced.
pub(super) fn keep_open(world: &World, report: &Report, pause: Duration) {
    const KEPT: usize = 20;
    let mut random = Rng::with_seed(99);
    let mut kept: VecDeque<Kept> = VecDeque::new();
    while report.goes_on() {
        if kept.len() < KEPT {
            match open(world, random.choice([STEADY, FROM_DNS, PARTLY]).unwrap()) {
                Ok(stream) => kept.push_back(Kept {
                    stream,
                    left: random.u32(5..100),
                    last: Instant::now(),
                }),
                Err(error) => report.call("long-lived", Err(error)),
            }
        }
        if let Some(mut next) = kept.pop_front() {
            // A server of these tests gives up on a client that is silent for longer, as on a machine that stood still.
            if next.last.elapsed() > DEADLINE / 2 {
                continue;
            }
            let message = random.u64(..).to_be_bytes();
            let answer = next.stream.write_all(&message);
            let answer = answer.and_then(|()| expect(&mut next.stream, &message));
            next.left -= 1;
            next.last = Instant::now();
            if answer.is_err() || next.left == 0 {
                report.call("long-lived", answer.and_then(|()| close(next.stream)));
            } else {
                kept.push_back(next);
            }
        }
        sleep(pause);
    }
    for last in kept {
        if last.last.elapsed() < DEADLINE / 2 {
            report.call("long-lived", close(last.stream));
        }
    }
}
