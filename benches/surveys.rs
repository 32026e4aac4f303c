//! The cost of an operator's question about 100,000 open connections: what a worker does between two turns of its
//! traffic, what it does in all, and what the admin server does with the answers.
//!
//! `cargo bench --bench surveys` prints the table. The connections are made up, since most machines allow fewer open
//! files: `benches/admin` asks a gateway with real ones. The test command runs a small part.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use strait::open_connections::{
    ConnectionAct, ConnectionAsker, ConnectionFacts, ConnectionFilter, ConnectionList,
    ConnectionOrder, ConnectionQuery, ConnectionQuestion, OpenConnection, Selection, questions,
};

/// Connections that a worker asks between two turns (`proxy::survey`).
const SLICE: usize = 64;
const WORKERS: usize = 2;

/// The texts of a connection that its facts borrow.
struct Texts {
    server_name: String,
    route: String,
    source: SocketAddr,
    endpoint: SocketAddr,
}

fn texts(number: usize, upstreams: usize) -> Texts {
    let service = number % upstreams;
    let bytes = |number: usize| u32::try_from(number).unwrap_or(0).to_be_bytes();
    let [_, high, middle, low] = bytes(number);
    let [.., of_256, last] = bytes(service);
    Texts {
        server_name: format!("outbound_.80_._.service-{service}.namespace.svc.cluster.local"),
        route: format!("service-{service}.namespace.svc.cluster.local:80"),
        source: SocketAddr::from(([10, high, middle, low], 40_000)),
        endpoint: SocketAddr::from(([10, 200, of_256, last], 8443)),
    }
}

fn facts<'a>(number: usize, texts: &'a Texts, start: Instant) -> ConnectionFacts<'a> {
    let number = u64::try_from(number).unwrap_or(0);
    ConnectionFacts {
        id: number,
        listener: "east-west",
        source: texts.source,
        proxy: None,
        source_net: texts.source.ip().into(),
        source_group: "alpha",
        server_name: Some(&texts.server_name),
        alpn: Some("istio-peer-exchange,istio"),
        route: Some(&texts.route),
        upstream: Some(&texts.route),
        endpoint: Some(texts.endpoint),
        attempts: 1,
        state: "relaying",
        handshake: Some("established"),
        accepted: start,
        idle: Duration::from_millis(number % 1000),
        // No order that would make the choice of the first ones easy.
        to_upstream: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20,
        to_downstream: number % 97,
    }
}

/// The answer of one worker, and the times of its slices.
fn answer(
    query: &Arc<ConnectionQuery>,
    of_worker: &[(usize, &Texts)],
    start: Instant,
) -> (ConnectionList, Vec<Duration>) {
    let mut selection = Selection::new(query.clone());
    let mut times = Vec::with_capacity(of_worker.len() / SLICE + 1);
    for slice in of_worker.chunks(SLICE) {
        let began = cpu_time();
        for (number, texts) in slice {
            let facts = facts(*number, texts, start);
            selection.look(&facts, || OpenConnection::new(&facts, 0, None, None));
        }
        times.push(cpu_time().saturating_sub(began));
    }
    (selection.list(), times)
}

/// The time of the admin server for the answers of all workers: it sorts them into one.
fn collected(query: &ConnectionQuery, lists: Vec<ConnectionList>) -> io::Result<(Duration, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let (senders, receivers): (Vec<_>, Vec<_>) = lists.iter().map(|_| questions()).unzip();
        let asker = ConnectionAsker::new(senders);
        for (mut asked, list) in receivers.into_iter().zip(lists) {
            tokio::spawn(async move {
                if let Some(ConnectionQuestion { answer, .. }) = asked.recv().await {
                    let _ = answer.send(list);
                }
            });
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let began = cpu_time();
        let list = asker.ask(query.clone(), deadline).await;
        let took = cpu_time().saturating_sub(began);
        let json = serde_json::to_vec(&list).map_err(io::Error::other)?;
        Ok((took, json.len()))
    })
}

/// The CPU time of this thread: what others do on the machine does not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() -> io::Result<()> {
    let is_test = std::env::args().all(|argument| argument != "--bench");
    let (connections, upstreams) = if is_test {
        (1_000, 100)
    } else {
        (100_000, 10_000)
    };
    let start = Instant::now();
    let all: Vec<Texts> = (0..connections)
        .map(|number| texts(number, upstreams))
        .collect();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{connections} connections, {upstreams} upstreams, {WORKERS} workers; CPU times in microseconds"
    )?;
    writeln!(
        out,
        "{:<34}{:>12}{:>12}{:>14}{:>12}{:>12}",
        "question", "slice p50", "slice most", "one worker", "collector", "JSON bytes"
    )?;
    let of_route = ConnectionFilter {
        route: Some(texts(7, upstreams).route),
        ..ConnectionFilter::default()
    };
    for (name, filter, limit, sources) in [
        (
            "50 by bytes (the status page)",
            ConnectionFilter::default(),
            50,
            false,
        ),
        (
            "1,000 by bytes (strait top)",
            ConnectionFilter::default(),
            1_000,
            false,
        ),
        (
            "10,000 by bytes (the most)",
            ConnectionFilter::default(),
            10_000,
            false,
        ),
        ("those of one route", of_route, 1_000, false),
        ("sources", ConnectionFilter::default(), 0, true),
    ] {
        let query = Arc::new(ConnectionQuery {
            filter,
            order: ConnectionOrder::Bytes,
            limit,
            act: ConnectionAct::Show,
            sources,
            at: Instant::now(),
        });
        let (mut lists, mut slices, mut most) = (Vec::new(), Vec::new(), Duration::ZERO);
        let mut of_one = Duration::ZERO;
        for worker in 0..WORKERS {
            let own = all.iter().enumerate().skip(worker).step_by(WORKERS);
            let own: Vec<(usize, &Texts)> = own.collect();
            let (list, times) = answer(&query, &own, start);
            of_one = of_one.max(times.iter().sum());
            most = most.max(times.iter().max().copied().unwrap_or_default());
            slices.extend(times);
            lists.push(list);
        }
        let (collector, length) = collected(&query, lists)?;
        let [slice, most, one, collector] =
            [median(&mut slices), most, of_one, collector].map(|time| time.as_micros());
        writeln!(
            out,
            "{name:<34}{slice:>12}{most:>12}{one:>14}{collector:>12}{length:>12}"
        )?;
    }
    Ok(())
}
