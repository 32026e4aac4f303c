//! A large config: its memory, and the effect of its change on traffic.
//!
//! The worker and the control thread share the gateway's one CPU here, as in a pod with one CPU.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::load::{Latencies, Ping, SMALL, Work, hello};
use crate::measure::{Bench, Values};
use crate::peer::{Backends, Job, Place, Route, Running, free_port, own};

/// The number of routes.
const ROUTES: usize = 100_000;
/// The number of upstreams, and of the endpoints of each.
const UPSTREAMS: usize = 10_000;
const ENDPOINTS: usize = 10;
/// The number of connections that carry small messages meanwhile.
const CONNECTIONS: usize = 16;
/// The time limit of a swap.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause between two looks of a client that waits for the new config.
const LOOK: Duration = Duration::from_millis(10);
/// The time within which a refusal comes. For a routed name the backend stays silent.
const REFUSAL: Duration = Duration::from_millis(30);
/// The name that only the new config routes.
const NEW: &str = "new.apps.svc.cluster.local";

/// Measures everything with a gateway of its own.
pub fn run(program: &Path, bench: &Bench, place: &Place<'_>, workers: usize) -> io::Result<Values> {
    let folder = place.folder_of("scale")?;
    let ip = place.net.gateway();
    let job = Job {
        listen: SocketAddr::new(ip, free_port()?),
        backends: bench.backends()?,
        workers,
        folder: &folder,
    };
    let metrics = SocketAddr::new(ip, free_port()?);
    let mut values = Values::new();
    // One after the other, since they listen on the same port.
    let few = {
        let (_, gateway) = started(program, &job, place, &config(&job, metrics, 0, 0, false))?;
        resident(&gateway)
    };
    {
        let text = config(&job, metrics, ROUTES, 0, false);
        let (time, gateway) = started(program, &job, place, &text)?;
        values.insert("start_ms".to_owned(), milliseconds(time));
        let grown = resident(&gateway).saturating_sub(few);
        values.insert("route_bytes".to_owned(), grown as f64 / ROUTES as f64);
    }
    let (_, gateway) = started(
        program,
        &job,
        place,
        &config(&job, metrics, ROUTES, UPSTREAMS, false),
    )?;
    values.insert(
        "rest_mib".to_owned(),
        resident(&gateway) as f64 / f64::from(1 << 20),
    );
    let file = folder.join("strait.yaml");
    let next = config(&job, metrics, ROUTES, UPSTREAMS, true);
    swap(bench, &gateway, &file, &next, &mut values)?;
    let (time, size) = scrape(metrics)?;
    values.insert("scrape_ms".to_owned(), milliseconds(time));
    values.insert("scrape_mib".to_owned(), size as f64 / f64::from(1 << 20));
    Ok(values)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn resident(gateway: &Running) -> u64 {
    gateway
        .processes()
        .map_or(0, |processes| processes.resident())
}

/// Starts strait with that config. Also returns the time that it took.
fn started(
    program: &Path,
    job: &Job<'_>,
    place: &Place<'_>,
    config: &str,
) -> io::Result<(Duration, Running)> {
    let file: PathBuf = job.folder.join("strait.yaml");
    fs::write(&file, config)?;
    let start = Instant::now();
    let running = Running::launch("scale", &own::run(program, &file), job, place)?;
    Ok((start.elapsed(), running))
}

fn config(
    job: &Job<'_>,
    metrics: SocketAddr,
    routes: usize,
    upstreams: usize,
    new: bool,
) -> String {
    let Backends { main, aside } = job.backends;
    let mut text = own::head(job, metrics) + "\n    routes:\n";
    let mut route = |name: &str, upstream: &str| {
        let _ = writeln!(
            text,
            "    - {{ sni: {name}, alpn: any, upstream: {upstream} }}"
        );
    };
    route(Route::Main.name(), "main");
    if new {
        route(NEW, "aside");
    }
    for number in 0..routes {
        let name = format!(
            "service-{number}.namespace-{}.svc.cluster.local",
            number % 100
        );
        match upstreams {
            0 => route(&name, "main"),
            _ => route(&name, &format!("u{}", number % upstreams)),
        }
    }
    let _ = write!(
        text,
        "upstreams:\n  main: {{ endpoints: ['{main}'] }}\n  aside: {{ endpoints: ['{aside}'] }}\n"
    );
    for upstream in 0..upstreams {
        // In the new config every upstream has one new endpoint.
        let first = usize::from(new);
        let endpoints = (first..first + ENDPOINTS).map(|endpoint| {
            let (high, low) = (upstream / 256, upstream % 256);
            format!("10.{high}.{low}.{}:80", endpoint + 1)
        });
        let endpoints: Vec<String> = endpoints.collect();
        let _ = writeln!(
            text,
            "  u{upstream}: {{ endpoints: [{}] }}",
            quoted(&endpoints)
        );
    }
    text
}

fn quoted(all: &[String]) -> String {
    let quoted: Vec<String> = all.iter().map(|one| format!("'{one}'")).collect();
    quoted.join(", ")
}

/// Sends small messages all the time, and changes the config in between.
fn swap(
    bench: &Bench,
    gateway: &Running,
    file: &Path,
    next: &str,
    values: &mut Values,
) -> io::Result<()> {
    let mut load = bench.load(Ping::new(&[SMALL])?, gateway, Route::Main)?;
    load.open(CONNECTIONS, CONNECTIONS)?;
    // Work that is left from the start is done first.
    load.run_until(Instant::now() + bench.measured)?;
    load.work.reset();
    load.run_until(Instant::now() + bench.measured)?;
    let before = p99(&load.work.latencies[0]);
    values.insert("before_p99_us".to_owned(), before);
    load.work.reset();
    // Written beside the file and then moved: the gateway also looks at the file by itself.
    let beside = file.with_extension("next");
    fs::write(&beside, next)?;
    fs::rename(&beside, file)?;
    let start = Instant::now();
    gateway.reload()?;
    let serves = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        // On a thread of its own: it waits for refusals, and the messages must not wait.
        let looking = scope.spawn(|| {
            let found = look_for(NEW, gateway.address(Route::Aside), start + PATIENCE);
            serves.store(true, Ordering::Relaxed);
            found.map(|at| at - start)
        });
        while !serves.load(Ordering::Relaxed) {
            load.run_until(Instant::now() + LOOK)?;
        }
        let found = looking.join();
        found.map_err(|_| io::Error::other("the looking thread panicked"))?
    })?;
    values.insert("swap_ms".to_owned(), milliseconds(took));
    let during = p99(&load.work.latencies[0]);
    values.insert("during_p99_us".to_owned(), during);
    values.insert("p99_growth".to_owned(), during / before);
    load.failed.check()
}

/// Asks for `name` again and again until it is routed. Returns the time when it was.
fn look_for(name: &str, gateway: SocketAddr, give_up: Instant) -> io::Result<Instant> {
    let hello = hello(name);
    while Instant::now() < give_up {
        let at = Instant::now();
        let mut stream = TcpStream::connect(gateway)?;
        stream.set_read_timeout(Some(REFUSAL))?;
        stream.write_all(&hello)?;
        // A refusal is an alert. A backend that does not accept sends nothing.
        match stream.read(&mut [0; 16]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(at),
            _ => std::thread::sleep(LOOK),
        }
    }
    Err(io::Error::other("the new config never served"))
}

/// Fetches all metrics. Returns the duration and the number of bytes.
fn scrape(metrics: SocketAddr) -> io::Result<(Duration, usize)> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(metrics)?;
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: {metrics}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    match answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200") {
        true => Ok((start.elapsed(), answer.len())),
        false => Err(io::Error::other("the scrape was refused")),
    }
}

fn p99(latencies: &Latencies) -> f64 {
    latencies.value_at_quantile(0.99) as f64 / 1e3
}
