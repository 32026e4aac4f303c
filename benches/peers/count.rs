//! Counts: the system calls and the instructions of a short connection, which a busy machine does not change.
//!
//! strace counts the calls of the threads that carry traffic. callgrind counts the instructions of all threads of the gateway
//! outside of the kernel. Both count while a known number of connections comes and goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{Connects, Load};
use crate::machine::Thread;
use crate::measure::Bench;
use crate::options::Options;
use crate::peer::{Gateway, Place, Route, Running, Wrapper, interrupt};
use crate::report::markdown;

/// The number of connections that are open at a time. It is small because strace slows strait down: with more, a
/// connection would still be open at strait's sweep, which makes further system calls for it.
const AT_A_TIME: usize = 8;
/// The number of connections before the counted ones.
const WARM_UP: usize = 128;
/// The number of counted connections.
const COUNTED: usize = 512;
/// The time limit for a number of connections to come and go, and for strace to attach.
const PATIENCE: Duration = Duration::from_secs(300);
/// The time for a gateway to close the last connections.
const SETTLE: Duration = Duration::from_millis(300);

/// Calls of each name, and those of them that failed.
type Calls = BTreeMap<String, (u64, u64)>;

/// The counts of one gateway.
struct Counted {
    peer: String,
    calls: Calls,
    instructions: Option<u64>,
}

/// Counts for every gateway but Envoy, whose start under callgrind takes minutes, and prints a table.
///
/// # Errors
/// strace or valgrind is missing, or a gateway fails.
pub fn run(
    options: &Options,
    bench: &Bench,
    place: &Place<'_>,
    gateways: &[(String, Gateway)],
) -> io::Result<()> {
    let mut all = Vec::new();
    fs::create_dir_all(&options.out)?;
    let out = std::path::absolute(&options.out)?;
    for (peer, gateway) in gateways {
        let callgrind = match gateway {
            Gateway::Direct => continue,
            Gateway::Envoy(_) => false,
            Gateway::Strait(_) | Gateway::Haproxy { .. } | Gateway::Nginx(_) => true,
        };
        let _ = writeln!(io::stderr(), "counting {peer}");
        let start = |wrapper| {
            let backends = bench.backends()?;
            Running::start_in(wrapper, peer, gateway, place, backends, options.workers)
        };
        let calls = calls(bench, &start(Wrapper::None)?, place.folder)?;
        let instructions = match callgrind {
            true => {
                // They stay: `callgrind_annotate` names the functions of the second dump.
                let counts = out.join(format!("callgrind-{peer}"));
                let running = start(Wrapper::Callgrind(&counts))?;
                Some(instructions(bench, &running, &counts)?)
            }
            false => None,
        };
        all.push(Counted {
            peer: peer.clone(),
            calls,
            instructions,
        });
    }
    let table = table(&all);
    fs::write(out.join("counts.txt"), &table)?;
    io::stdout().write_all(table.as_bytes())
}

/// Lets `count` connections come and go.
fn connections(bench: &Bench, gateway: &Running, count: usize) -> io::Result<()> {
    let work = Connects::ending(count - AT_A_TIME)?;
    let mut load: Load<Connects> = bench.load(work, gateway, Route::Main)?;
    load.start(AT_A_TIME)?;
    let give_up = Instant::now() + PATIENCE;
    while !load.is_over() {
        load.run_until(Instant::now() + Duration::from_millis(20))?;
        load.failed.check()?;
        if Instant::now() > give_up {
            return Err(io::Error::other("the connections do not end"));
        }
    }
    std::thread::sleep(SETTLE);
    Ok(())
}

fn calls(bench: &Bench, gateway: &Running, folder: &Path) -> io::Result<Calls> {
    connections(bench, gateway, WARM_UP)?;
    let file = folder.join("strace");
    let processes = gateway.processes().unwrap_or_default();
    let mut strace = Command::new("strace");
    strace.args(["-c", "-U", "calls,errors,name", "-o"]);
    strace.arg(&file);
    let carriers = processes.carriers();
    for thread in &carriers {
        strace.args(["-p", &thread.id.to_string()]);
    }
    let mut strace = strace.stderr(Stdio::null()).spawn()?;
    let counted = wait_for(&mut strace, || carriers.iter().all(Thread::is_traced))
        .and_then(|()| connections(bench, gateway, COUNTED));
    interrupt(&strace)?;
    strace.wait()?;
    counted?;
    Ok(parse_calls(&fs::read_to_string(file)?))
}

fn wait_for(tool: &mut Child, done: impl Fn() -> bool) -> io::Result<()> {
    let give_up = Instant::now() + PATIENCE;
    while !done() {
        if let Some(status) = tool.try_wait()? {
            return Err(io::Error::other(format!("strace ended with {status}")));
        }
        if Instant::now() > give_up {
            return Err(io::Error::other("strace does not attach"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Reads lines of `calls errors name`, whose errors may be missing.
fn parse_calls(text: &str) -> Calls {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (calls, errors, name) = match words[..] {
            [calls, name] => (calls, "0", name),
            [calls, errors, name] => (calls, errors, name),
            _ => return None,
        };
        let counts = (calls.parse().ok()?, errors.parse().ok()?);
        (name != "total").then(|| (name.to_owned(), counts))
    };
    text.lines().filter_map(line).collect()
}

fn instructions(bench: &Bench, gateway: &Running, counts: &Path) -> io::Result<u64> {
    let dump = |number: u32| {
        let process = gateway.processes().unwrap_or_default();
        let process = process.ids().first().map(u32::to_string);
        let mut control = Command::new("callgrind_control");
        control.arg("--dump").arg(process.unwrap_or_default());
        let done = control.stdout(Stdio::null()).stderr(Stdio::null());
        match done.status()?.success() {
            true => fs::read_to_string(format!("{}.{number}", counts.display())),
            false => Err(io::Error::other("callgrind_control failed")),
        }
    };
    connections(bench, gateway, WARM_UP)?;
    dump(1)?;
    connections(bench, gateway, COUNTED)?;
    // Each dump sets the counts to zero, so the second one has only the counted connections.
    let text = dump(2)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    total.ok_or_else(|| io::Error::other("callgrind wrote no total"))
}

fn table(all: &[Counted]) -> String {
    let each = |count: u64| format!("{:.2}", count as f64 / COUNTED as f64);
    let head: Vec<String> = [String::new()]
        .into_iter()
        .chain(all.iter().map(|counted| counted.peer.clone()))
        .collect();
    let names: BTreeSet<&String> = all.iter().flat_map(|one| one.calls.keys()).collect();
    // Timers make some calls too: fewer than one in 100 connections.
    let matters = |name: &&&String| {
        let most = all.iter().filter_map(|one| one.calls.get(**name));
        most.map(|(calls, _)| *calls).max() >= Some(COUNTED as u64 / 100)
    };
    let call = |name: &String| {
        let cell = |one: &Counted| match one.calls.get(name) {
            None => String::new(),
            Some((calls, 0)) => each(*calls),
            Some((calls, failed)) => format!("{}, {} in vain", each(*calls), each(*failed)),
        };
        [vec![name.clone()], all.iter().map(cell).collect()].concat()
    };
    let calls = names.iter().filter(matters).map(|name| call(name));
    let sum = |one: &Counted| each(one.calls.values().map(|(calls, _)| calls).sum());
    let sums = [
        vec!["all system calls".to_owned()],
        all.iter().map(sum).collect(),
    ];
    let instructions = |one: &Counted| {
        let whole = one.instructions.map(|all| all / COUNTED as u64);
        whole.map_or(String::new(), |each| each.to_string())
    };
    let instructions = [
        vec!["instructions outside of the kernel".to_owned()],
        all.iter().map(instructions).collect(),
    ];
    let rows = calls.chain([sums.concat(), instructions.concat()]);
    format!(
        "One connection of {COUNTED}, {AT_A_TIME} at a time: connect, hello, an answer of 1,200 bytes, close.\n\n{}",
        markdown(&head, rows)
    )
}
