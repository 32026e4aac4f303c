//! Faults: clients that misbehave or vanish, calls to broken servers, readers of metrics that do not read, DNS that fails.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hickory_proto::op::ResponseCode;
use rustix::process::Signal;

use super::calls::{connect, open};
use super::report::Report;
use super::world::{BROKEN, DNS_NAME, STEADY, World};
use crate::dns_server::Reply;
use crate::support::client::hello;
use crate::support::faults::stop_answering;
use crate::support::noise;
use crate::support::process::Process;
use crate::support::server::reset;

/// The longest time that a client waits for a broken server.
const PATIENCE: Duration = Duration::from_secs(3);

/// A fault, which may fail in any way that it likes.
type Fault = fn(&World, &mut Rng) -> io::Result<()>;

const FAULTS: [(&str, Fault); 15] = [
    ("client: closes without a byte", |world, _| {
        connect(world.gateway).map(drop)
    }),
    ("client: half a hello, then close", |world, random| {
        half_a_hello(world, random).map(drop)
    }),
    ("client: half a hello, then reset", |world, random| {
        half_a_hello(world, random).map(reset)
    }),
    ("client: half a hello, then silence", |world, random| {
        let mut stream = half_a_hello(world, random)?;
        stream.read(&mut [0; 16]).map(drop)
    }),
    ("client: a byte at a time", |world, _| {
        let mut stream = connect(world.gateway)?;
        for byte in world.hellos[STEADY].chunks(1) {
            stream.write_all(byte)?;
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }),
    ("client: garbage", |world, random| {
        let mut stream = connect(world.gateway)?;
        stream.write_all(&noise(random.usize(1..3000), random.u64(..)))?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    }),
    ("client: plain HTTP", |world, _| {
        let mut stream = connect(world.gateway)?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    }),
    ("client: a name that is not routed", |world, random| {
        let mut stream = connect(world.gateway)?;
        stream.write_all(&hello(&format!("x{}.example", random.u32(..)), &[]))?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    }),
    ("client: reset after the hello", |world, _| {
        let mut stream = connect(world.gateway)?;
        stream.write_all(&world.hellos[STEADY])?;
        reset(stream);
        Ok(())
    }),
    ("client: reset in the middle", |world, random| {
        let mut stream = open(world, STEADY)?;
        stream.write_all(&noise(random.usize(1..200_000), 3))?;
        let read = stream.read(&mut [0; 1000]).map(drop);
        reset(stream);
        read
    }),
    ("client: close in the middle", |world, random| {
        let mut stream = open(world, STEADY)?;
        stream.write_all(&noise(random.usize(1..200_000), 4))?;
        stream.shutdown(Shutdown::Both)
    }),
    ("client: reads nothing, then reset", |world, _| {
        let mut stream = open(world, STEADY)?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let written = stream.write_all(&noise(20_000_000, 5));
        reset(stream);
        written
    }),
    ("client: vanishes", |world, random| {
        let mut stream = open(world, STEADY)?;
        stop_answering(&stream);
        stream.write_all(b"ping")?;
        // The gateway finds out by the user timeout, or by this close if that comes first.
        sleep(Duration::from_secs(random.u64(3..7)));
        Ok(())
    }),
    ("server: broken", broken_server),
    ("scraper: reads nothing", |world, _| {
        let mut stream = connect(world.servers[2])?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")?;
        sleep(Duration::from_millis(500));
        Ok(())
    }),
];

fn half_a_hello(world: &World, random: &mut Rng) -> io::Result<std::net::TcpStream> {
    let hello = &world.hellos[STEADY];
    let mut stream = connect(world.gateway)?;
    stream.write_all(&hello[..random.usize(1..hello.len())])?;
    Ok(stream)
}

/// A call to a broken server ends, or the client has had enough.
fn broken_server(world: &World, _: &mut Rng) -> io::Result<()> {
    let mut stream = connect(world.gateway)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&world.hellos[BROKEN])?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

/// Causes one fault after another until the report says stop. A vanished client takes longer than others, and
/// so it is rare.
pub(super) fn cause(world: &World, report: &Report, pause: Duration, process: &Process, seed: u64) {
    let mut random = Rng::with_seed(1000 + seed);
    while report.goes_on() {
        let (kind, fault) = random.choice(FAULTS).unwrap();
        if kind == "client: vanishes" && random.u32(0..4) > 0 {
            continue;
        }
        let _ = fault(world, &mut random);
        report.fault(kind);
        if random.u32(0..50) == 0 {
            (0..random.u32(1..20)).for_each(|_| process.signal(Signal::HUP));
            report.fault("SIGHUP, many at once");
        }
        sleep(pause.mul_f64(random.f64()));
    }
}

/// Has DNS fail in one way after another, with an answer between.
pub(super) fn vary_dns(world: &World, report: &Report, period: Duration) {
    let failures = [
        ("DNS: silence", Reply::Silence),
        ("DNS: SERVFAIL", Reply::Code(ResponseCode::ServFail)),
        ("DNS: NXDOMAIN", Reply::Code(ResponseCode::NXDomain)),
        ("DNS: no records", Reply::Records(Vec::new())),
        ("DNS: refused", Reply::Code(ResponseCode::Refused)),
    ];
    for (kind, failure) in failures.iter().cycle() {
        world.dns.fail(failure.clone());
        report.fault(kind);
        report.wait(period);
        world.dns.recover();
        // The other addresses are of the same server, and one is nobody's.
        world
            .dns
            .set_addresses(DNS_NAME, 1, &["127.0.0.1", "169.254.169.254"]);
        report.wait(period);
        if !report.goes_on() {
            return;
        }
    }
}
