//! The micro bench: the cost of a new connection in our own code, for the hello, the route, the
//! endpoint and the record.
//!
//! `cargo bench --bench micro` gives times, by criterion. Times of 100 ns say little on a machine that
//! others use too: `benches/instructions` counts instructions and allocations instead, of the same
//! operations, and compares them with `benches/micro/baseline.txt`.

mod operations;

use std::process::ExitCode;

use criterion::Criterion;
use operations::OPERATIONS;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--names"] => names(),
        ["--repeat", name, times] => return repeat(name, times),
        _ => measure(),
    }
    ExitCode::SUCCESS
}

fn measure() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, prepare) in OPERATIONS {
        // Prepared only when it is used: a hundred thousand routes take a moment.
        let mut operation = None;
        criterion.bench_function(name, |bencher| {
            bencher.iter(operation.get_or_insert_with(prepare));
        });
    }
    criterion.final_summary();
}

fn names() {
    for (name, _) in OPERATIONS {
        println!("{name}");
    }
}

/// Runs one operation `times` times and nothing else, for a tool that counts.
fn repeat(name: &str, times: &str) -> ExitCode {
    let found = OPERATIONS.iter().find(|(one, _)| *one == name);
    let (Some((_, prepare)), Ok(times)) = (found, times.parse::<u32>()) else {
        eprintln!("micro: --repeat takes a name of --names, and a number");
        return ExitCode::FAILURE;
    };
    let mut operation = prepare();
    for _ in 0..times {
        operation();
    }
    ExitCode::SUCCESS
}
