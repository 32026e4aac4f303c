//! The bench of a call between two clusters: from svca's sidecar to svcb's, mTLS and HTTP/1.1 between
//! real Envoys, through strait, through Envoy as SNI gateway, and through no gateway.
//!
//! ```text
//! tests/run --envoy && cargo bench --bench federation            # a minute and a half
//! cargo bench --bench federation -- --quick                      # one short round
//! cargo bench --bench federation -- --congestion bbr             # another congestion control than cubic
//! ```
//!
//! The test command runs one short round too, so that it stays runnable.
//!
//! Every round runs each way once, so that a disturbance of the machine affects all of them. Each way
//! has its own sidecar of svca; one sidecar of svcb serves all. The bench runs in a network namespace of its own, where every
//! socket has the same congestion control; the short round runs where it is started. Nothing is pinned: on two cores the
//! sidecars and the callers are most of the work, so calls per second differ less than the CPU time of
//! the gateways, which is shown beside them.

#[expect(dead_code, reason = "the bench uses a part of what the tests share")]
#[path = "../tests/support/federation/mod.rs"]
mod federation;
#[expect(
    dead_code,
    reason = "the bench uses a part of what the peers' bench has"
)]
#[path = "peers/net.rs"]
mod net;
#[expect(dead_code, reason = "the bench uses a part of what the tests share")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use federation::SERVICE_ROUTE;
use federation::app::App;
use federation::envoy::Envoy;
use federation::http::HttpClient;
use federation::sidecar::{Sidecar, sni_gateway, svca, svcb};
use net::{Net, USUAL_CONGESTION};
use support::OUTBOUND;
use support::config_text::ConfigText;
use support::mtls::Pki;
use support::process::Process;

/// The number of parallel callers when calls per second are counted.
const CALLERS: usize = 16;
const ROUNDS: usize = 7;
const MEASURED: Duration = Duration::from_secs(2);
const QUICK: Duration = Duration::from_millis(300);

/// The gateway between the sidecars.
enum Gateway {
    Nothing,
    Strait(Process),
    Envoy(Envoy),
}

impl Gateway {
    fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "no gateway",
            Self::Strait(_) => "strait",
            Self::Envoy(_) => "Envoy",
        }
    }

    fn cpu_time(&self) -> Duration {
        match self {
            Self::Nothing => Duration::ZERO,
            Self::Strait(process) => process.cpu_time(),
            Self::Envoy(envoy) => envoy.cpu_time(),
        }
    }
}

/// One run through one gateway.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The calls per second of [`CALLERS`] callers.
    rate: f64,
    /// The CPU time of the gateway for each of those calls, in microseconds.
    cpu: f64,
    /// The latency of a single caller, in microseconds.
    p50: f64,
    p99: f64,
}

fn main() -> ExitCode {
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    if asked("--list") {
        // nextest asks every test program for its tests: this one has one, which is not ignored.
        if !asked("--ignored") {
            println!("one_short_round: test");
        }
        return ExitCode::SUCCESS;
    }
    // Only `cargo bench` passes `--bench`.
    if asked("--quick") || !asked("--bench") {
        compare(1, QUICK);
        return ExitCode::SUCCESS;
    }
    let mut arguments = std::env::args().skip_while(|one| one != "--congestion");
    let congestion = arguments.nth(1);
    let congestion = congestion.as_deref().unwrap_or(USUAL_CONGESTION);
    match in_namespace(congestion) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("federation: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Compares in a network namespace of its own, whose sockets have that congestion control.
fn in_namespace(congestion: &str) -> io::Result<()> {
    if Net::isolate(congestion)? {
        return Ok(());
    }
    Net::loopback(congestion)?;
    println!("{congestion}:\n");
    compare(ROUNDS, MEASURED);
    Ok(())
}

fn compare(rounds: usize, measured: Duration) {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let config = ConfigText::to(&[b.address]).routes(SERVICE_ROUTE);
    // The same number of workers as the Envoys have.
    let strait = Process::start(&config.top("workers: 1"));
    let (envoy, envoy_address) = sni_gateway(OUTBOUND, b.address);
    let gateways = [
        (b.address, Gateway::Nothing),
        (strait.address, Gateway::Strait(strait)),
        (envoy_address, Gateway::Envoy(envoy)),
    ];
    let ways: Vec<(Gateway, Sidecar)> = gateways
        .into_iter()
        .map(|(address, gateway)| (gateway, svca(&pki, address)))
        .collect();
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        for offset in 0..ways.len() {
            // Each gateway is first in some rounds.
            let index = (round + offset) % ways.len();
            let (gateway, sidecar) = &ways[index];
            let run = measure(gateway, sidecar.address, measured);
            eprintln!("round {round}, {}: {run:.0?}", gateway.name());
            runs[index].push(run);
        }
    }
    report(&ways, &runs);
}

fn measure(gateway: &Gateway, sidecar: SocketAddr, measured: Duration) -> Run {
    // Every caller's connection, and the handshakes behind it, exist before anything is counted.
    call_for(sidecar, CALLERS, measured / 4);
    let before = gateway.cpu_time();
    let start = Instant::now();
    let calls = call_for(sidecar, CALLERS, measured).len();
    let (took, used) = (start.elapsed(), gateway.cpu_time() - before);
    let alone = call_for(sidecar, 1, measured);
    Run {
        rate: calls as f64 / took.as_secs_f64(),
        cpu: micros(used) / calls as f64,
        p50: micros(alone[alone.len() / 2]),
        p99: micros(alone[alone.len() * 99 / 100]),
    }
}

/// Runs `callers` for `time`. Returns the duration of each call, shortest first.
fn call_for(sidecar: SocketAddr, callers: usize, time: Duration) -> Vec<Duration> {
    let end = Instant::now() + time;
    let callers: Vec<_> = (0..callers)
        .map(|_| std::thread::spawn(move || call_until(sidecar, end)))
        .collect();
    let calls = callers.into_iter().map(|caller| caller.join().unwrap());
    let mut calls: Vec<Duration> = calls.flatten().collect();
    calls.sort_unstable();
    calls
}

fn call_until(sidecar: SocketAddr, end: Instant) -> Vec<Duration> {
    let mut client = HttpClient::connect(sidecar).unwrap();
    let mut calls = Vec::new();
    loop {
        let start = Instant::now();
        let answer = client.get("/").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        calls.push(start.elapsed());
        if Instant::now() >= end {
            return calls;
        }
    }
}

fn report(ways: &[(Gateway, Sidecar)], runs: &[Vec<Run>]) {
    println!(
        "| | calls/s, {CALLERS} callers | gateway's CPU us a call | p50 us, 1 caller | p99 us | added p50 us |"
    );
    println!("|---|---|---|---|---|---|");
    for ((gateway, _), of) in ways.iter().zip(runs) {
        let of_round = |value: fn(&Run) -> f64| of.iter().map(value).collect::<Vec<_>>();
        let added = of
            .iter()
            .zip(&runs[0])
            .map(|(run, none)| run.p50 - none.p50);
        println!(
            "| {} | {:.0} | {:.1} | {:.0} | {:.0} | {} |",
            gateway.name(),
            median(of_round(|run| run.rate)),
            median(of_round(|run| run.cpu)),
            median(of_round(|run| run.p50)),
            median(of_round(|run| run.p99)),
            spread(added.collect(), 0),
        );
    }
    let [_, strait, envoy] = runs else {
        return;
    };
    for (what, value) in [
        ("calls/s", (|run| run.rate) as fn(&Run) -> f64),
        ("CPU a call", |run| run.cpu),
        ("p50", |run| run.p50),
        ("p99", |run| run.p99),
    ] {
        let ratios = strait
            .iter()
            .zip(envoy)
            .map(|(one, other)| value(one) / value(other));
        println!("strait / Envoy, {what}: {}", spread(ratios.collect(), 2));
    }
}

/// The median, with the lowest and the highest.
fn spread(mut values: Vec<f64>, decimals: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (lowest, highest) = (values[0], values[values.len() - 1]);
    let median = median(values);
    format!("{median:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
