//! Calls that succeed leave a line that says so: the clients and servers of `pairs.txt`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Mutex;

use super::capture::Capture;
use super::data::BODY;
use super::pair_list::{Pair, Pairs, Program, Variant};
use super::programs::Running;
use super::rustls_peer;
use super::world::{GATEWAY, World, domain};
use crate::support::gateway::TestGateway;
use crate::support::namespace::in_namespace;
use crate::support::server::with_deadlines;

/// Calls of a client to a server in each variant.
const CALLS: usize = 12;

/// The server name of a pair's calls in a variant: no two have the same.
pub fn server_name(pair: &Pair, variant: &Variant) -> String {
    let domain = domain(&pair.server, &variant.kind);
    format!("{}-{}.{domain}", variant.label(), pair.client)
}

/// The calls of one server name: how many succeeded, and the last error of the others.
type Results = BTreeMap<String, (usize, String)>;

/// Does a client's calls, in all variants to all of its servers.
fn call_all(world: &World, pairs: &Pairs, client: &Program) -> Results {
    let mut results = Results::new();
    let mut driver = (client.how == "batch").then(|| Driver::start(world, client));
    for pair in pairs.pairs.iter().filter(|pair| pair.client == client.name) {
        for variant in pairs.variants_of(client) {
            let name = server_name(pair, variant);
            let result = match (&mut driver, &*client.how) {
                (Some(driver), _) => driver.call(&name, variant),
                (None, "here") => rustls_peer::call(GATEWAY, &world.root, &name, variant, CALLS),
                (None, "each") => repeat(|| call_process(world, client, &name, variant)),
                (None, "proxy") => repeat(|| call_proxy(client, &name, variant)),
                _ => panic!("pairs.txt: client {} {}", client.name, client.how),
            };
            results.insert(name, result);
        }
    }
    results
}

fn repeat(call: impl Fn() -> Result<(), String>) -> (usize, String) {
    let (mut done, mut problem) = (0, String::new());
    for _ in 0..CALLS {
        match call() {
            Ok(()) => done += 1,
            Err(error) => problem = error,
        }
    }
    (done, problem)
}

/// A process that takes lines.
struct Driver {
    process: Running,
    answers: BufReader<std::process::ChildStdout>,
}

impl Driver {
    fn start(world: &World, client: &Program) -> Self {
        let mut command = world.workshop.shell(&client.command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let log = world.workshop.path(&format!("{}.log", client.name));
        let mut process = Running::start(command, log);
        let answers = BufReader::new(process.child.stdout.take().unwrap());
        Self { process, answers }
    }

    fn call(&mut self, name: &str, variant: &Variant) -> (usize, String) {
        let word = |yes: bool| if yes { "yes" } else { "no" };
        let (resume, notify) = (word(variant.resumed), word(variant.notify));
        let first = if variant.server_first {
            "server"
        } else {
            "client"
        };
        let path = variant.path();
        let stdin = self.process.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{name} {path} {resume} {notify} {first} {CALLS}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let (done, problem) = answer.trim().split_once(' ').unwrap_or((answer.trim(), ""));
        (done.parse().unwrap_or(0), problem.to_owned())
    }
}

/// Starts the client once.
fn call_process(
    world: &World,
    client: &Program,
    name: &str,
    variant: &Variant,
) -> Result<(), String> {
    let connection = if variant.server_first {
        "close"
    } else {
        "keep-alive"
    };
    let path = variant.path();
    let output = world
        .workshop
        .shell(&client.command)
        .env("NAME", name)
        .env("WHERE", path)
        .env("URL", format!("https://{name}:{}{path}", GATEWAY.port()))
        .env("CONNECTION", connection)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // A check of the handshake alone asks for nothing.
    let answered = text.contains(BODY.trim_end()) || text.contains("Verify return code: 0 (ok)");
    if output.status.success() && answered {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {text}{errors}", output.status))
}

/// Asks a proxy that calls over TLS.
fn call_proxy(client: &Program, name: &str, variant: &Variant) -> Result<(), String> {
    let ports: Vec<&str> = client.command.split(' ').collect();
    let port = ports[usize::from(variant.server_first)].parse().unwrap();
    let ask = || {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        with_deadlines(&stream);
        let path = variant.path();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.contains(BODY) => Ok(()),
        Ok(answer) => Err(answer),
        Err(error) => Err(std::io::Error::to_string(&error)),
    }
}

/// The lines that a gateway wrote: for each server name the endings, with their number.
type Endings = BTreeMap<String, BTreeMap<String, usize>>;

fn endings(gateway: TestGateway, results: &Results, capture: &mut Option<Capture>) -> Endings {
    let mut endings = Endings::new();
    let mut awaited: usize = results.values().map(|(done, _)| done).sum();
    let mut note = |record: strait::tools::records::LogLine| {
        let detail = record.detail.as_deref().unwrap_or_default();
        let by = record.ended_by.as_deref().unwrap_or_default();
        let ending = format!("{} ({by}) {detail}", record.outcome);
        let name = record.server_name.clone().unwrap_or_default();
        if let Some(capture) = capture {
            let (file, about) = about(&name);
            capture.note(file, about, record);
        }
        let seen = endings.entry(name.clone()).or_default();
        let before: usize = seen.values().sum();
        *seen.entry(ending).or_default() += 1;
        results.get(&name).is_some_and(|(done, _)| before < *done)
    };
    while awaited > 0 {
        awaited -= usize::from(note(gateway.record()));
    }
    gateway.drain();
    for record in gateway.wait_finished() {
        note(record);
    }
    endings
}

/// The client in a server name, and who calls whom and how.
fn about(name: &str) -> (&str, String) {
    let (call, domain) = name.split_once('.').unwrap_or((name, ""));
    let mut words = call.splitn(4, '-');
    let mut word = || words.next().unwrap_or_default();
    let (session, end, first, client) = (word(), word(), word(), word());
    let server = domain.split('.').next().unwrap_or_default();
    let about = format!("{client} calls {server}: {session}, {end}, {first} first");
    (client, about)
}

#[test]
fn a_call_that_succeeds_is_told_as_ok() {
    in_namespace("pairs::a_call_that_succeeds_is_told_as_ok", || {
        // tests/run --field-long asks for the other one.
        let tier = std::env::var("STRAIT_FIELD_TIER").unwrap_or_else(|_| "light".to_owned());
        run(&Pairs::of_tier(&tier));
    });
}

fn run(pairs: &Pairs) {
    let start = std::time::Instant::now();
    let (world, gateway) = World::start(pairs);
    let mut capture = Capture::start([GATEWAY.port()]);
    let ready = start.elapsed();
    let (waiting, results) = (Mutex::new(pairs.clients.iter()), Mutex::new(Results::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(client) = waiting.lock().unwrap().next() else {
                        return;
                    };
                    let begun = std::time::Instant::now();
                    let own = call_all(&world, pairs, client);
                    println!(
                        "{}: {} variants, {:.1?}",
                        client.name,
                        own.len(),
                        begun.elapsed()
                    );
                    results.lock().unwrap().extend(own);
                }
            });
        }
    });
    let called = start.elapsed();
    let results = results.into_inner().unwrap();
    let endings = endings(gateway, &results, &mut capture);
    let mut wrong = Vec::new();
    for (name, (done, problem)) in &results {
        if *done != CALLS {
            wrong.push(format!(
                "{name}: {done} of {CALLS} calls succeeded: {problem}"
            ));
        }
        for (ending, times) in &endings[name] {
            if !ending.starts_with("ok ") {
                wrong.push(format!("{name}: {times} of {CALLS} told as {ending}"));
            }
        }
    }
    println!(
        "{} names, {} calls; ready after {ready:.1?}, called after {called:.1?}, judged after {:.1?}",
        results.len(),
        results.len() * CALLS,
        start.elapsed()
    );
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    if let Some(capture) = capture {
        capture.write();
    }
}
