//! The bench of refusals: the CPU time and bytes that each refused connection of a stranger costs the
//! gateway.
//!
//! `cargo bench --bench refusals` prints the table of `docs/src/security.md`. The gateway has the first
//! CPU, the clients, one at a time, the second; the log keeps its default, so the cost includes the
//! lines that its rate allows. The test command makes ten connections of each kind.

#[path = "../peers/machine.rs"]
#[expect(dead_code, reason = "the other bench uses the rest of it")]
mod machine;

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use machine::{Cpus, Machine, Processes};
use strait::client_hello::vectors::HelloBuilder;

/// The number of rounds. The CPU time of a kind is their median.
const ROUNDS: usize = 5;
const DEADLINE: Duration = Duration::from_secs(20);

/// A kind of connection that is refused.
struct Kind {
    name: &'static str,
    listener: Listener,
    sent: Vec<u8>,
    /// The number of connections in one round.
    connections: usize,
    /// True if the client closes first. Nothing that it sent is refused by itself.
    closes: bool,
}

#[derive(Clone, Copy)]
enum Listener {
    Open,
    Denying,
    Limited,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, listener, sent: Vec<u8>, connections, closes| Kind {
        name,
        listener,
        sent,
        connections,
        closes,
    };
    let unknown = HelloBuilder::tls13()
        .server_name("unknown.example")
        .key_shares(&[(0x001d, 32)]);
    let hello = unknown.wire();
    let half = hello.get(..hello.len() / 2).unwrap_or(&hello).to_vec();
    let large = unknown.clone().padding(64_000);
    let http = b"GET / HTTP/1.1\r\nHost: svcb.apps\r\n\r\n".to_vec();
    let bad_name = HelloBuilder::tls13().server_name("../../etc/passwd");
    use Listener::{Denying, Limited, Open};
    vec![
        kind(
            "source denied (`deny_sources`)",
            Denying,
            hello.clone(),
            5000,
            false,
        ),
        kind(
            "over a limit (`limits_per_source`)",
            Limited,
            hello.clone(),
            5000,
            false,
        ),
        kind("connect and close (a probe)", Open, Vec::new(), 5000, true),
        kind("plain HTTP", Open, http, 5000, false),
        kind("half a hello, then FIN", Open, half, 5000, true),
        kind(
            "a name that is not valid",
            Open,
            bad_name.wire(),
            5000,
            false,
        ),
        kind("a name without a route", Open, hello, 5000, false),
        kind(
            "a 64 KiB hello without a route",
            Open,
            large.wire(),
            500,
            false,
        ),
        kind(
            "the same in records of 1 byte (384 KiB)",
            Open,
            large.wire_in_records_of(1),
            100,
            false,
        ),
    ]
}

/// A running `strait run`. Dropping it kills it.
struct Gateway {
    child: Child,
    listeners: [SocketAddr; 3],
}

impl Gateway {
    fn start(cpus: &Cpus, folder: &Path) -> io::Result<Self> {
        // Ports that were free a moment ago.
        let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
        let listeners = [free()?, free()?, free()?];
        let [open, denying, limited] = listeners;
        let config = format!(
            "\
listeners:
  - {{ name: open, bind: '{open}', routes: [{{ sni: a.example, alpn: any, upstream: nobody }}] }}
  - {{ name: denying, bind: '{denying}', deny_sources: [127.0.0.0/8] }}
  - {{ name: limited, bind: '{limited}', limits_per_source: {{ connections: 1 }} }}
upstreams: {{ nobody: {{ endpoints: ['127.0.0.1:9'] }} }}
workers: 1
drain: {{ readiness_delay: 0s, window: 0s }}
admin: off
status: off
metrics: off
log: {{ format: text }}
"
        );
        let file = folder.join("strait.yaml");
        fs::write(&file, config)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_strait"));
        command.arg("run").arg("--config").arg(file);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = cpus.start_gateway(|| command.spawn())?;
        let mut log = BufReader::new(child.stderr.take().ok_or(ErrorKind::BrokenPipe)?);
        let mut line = String::new();
        while !(line.contains("serving") && line.contains("listener=limited")) {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err(io::Error::other("strait did not start"));
            }
        }
        // The rest of its log must not fill the pipe.
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok(Self { child, listeners })
    }

    fn address(&self, listener: Listener) -> SocketAddr {
        let [open, denying, limited] = self.listeners;
        match listener {
            Listener::Open => open,
            Listener::Denying => denying,
            Listener::Limited => limited,
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes one connection and waits until the gateway has closed it. Returns the number of bytes that it
/// sent back.
fn connection(address: SocketAddr, kind: &Kind) -> io::Result<usize> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // A gateway that refuses early may close during the write.
    let written = stream.write_all(&kind.sent);
    if kind.closes && written.is_ok() {
        stream.shutdown(Shutdown::Write)?;
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(error)
        }
        // A close with unread bytes sends RST.
        _ => Ok(answer.len()),
    }
}

/// The median CPU time of a connection over the rounds, and the largest number of bytes sent back.
fn measure(gateway: &Gateway, kind: &Kind, rounds: usize) -> io::Result<(Duration, usize)> {
    let address = gateway.address(kind.listener);
    let processes = Processes::of(gateway.child.id());
    let mut answered = 0;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let before = processes.cpu_time();
        for _ in 0..kind.connections {
            answered = answered.max(connection(address, kind)?);
        }
        // The last record is written by now, or in a moment.
        std::thread::sleep(Duration::from_millis(50));
        let used = processes.cpu_time().saturating_sub(before);
        times.push(used / u32::try_from(kind.connections).unwrap_or(u32::MAX));
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok((median, answered))
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    if asked("--list") {
        // nextest asks every test program for its tests: this one has one, which is not ignored.
        if !asked("--ignored") {
            writeln!(io::stdout(), "every_kind_is_refused: test")?;
        }
        return Ok(());
    }
    // Only `cargo bench` passes `--bench`; the test command just checks that it runs.
    let test = !asked("--bench");
    let rounds = if test { 1 } else { ROUNDS };
    let folder = std::env::temp_dir().join(format!("strait-refusals-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    // Read before this thread is bound to one CPU.
    let machine = Machine::this();
    let cpus = Cpus::choose(1, test)?;
    cpus.enter_load()?;
    let gateway = Gateway::start(&cpus, &folder)?;
    // This connection holds the only place that the limit leaves.
    let _held = TcpStream::connect_timeout(&gateway.address(Listener::Limited), DEADLINE)?;
    let mut out = io::stdout().lock();
    let Machine {
        processor,
        cpus,
        kernel,
        congestion,
    } = machine;
    writeln!(
        out,
        "{processor}, {cpus} CPUs, Linux {kernel}, {congestion}; {rounds} rounds, medians\n"
    )?;
    writeln!(
        out,
        "| a connection that comes to nothing | client sends | strait sends | CPU |"
    )?;
    writeln!(out, "|---|---:|---:|---:|")?;
    for mut kind in kinds() {
        if test {
            kind.connections = 10;
        }
        let (cpu, answered) = measure(&gateway, &kind, rounds)?;
        let (name, sent) = (kind.name, kind.sent.len());
        let micros = cpu.as_secs_f64() * 1e6;
        writeln!(out, "| {name} | {sent} B | {answered} B | {micros:.0} µs |")?;
    }
    drop(gateway);
    fs::remove_dir_all(folder)?;
    if test {
        // Printed like a test program, for tools that add up tests.
        writeln!(out, "test result: ok. 1 passed; 0 failed; 0 ignored")?;
    }
    Ok(())
}
