//! `strait run` whose standard output or standard error nobody takes: traffic goes on, what is lost
//! is counted, and the process can still be ended.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::open;
use crate::support::config_text::{ConfigText, TEXT_LOG};
use crate::support::process::{Folder, Process, command};
use crate::support::server::{Server, read_exactly};
use crate::support::wait_until;

/// Far more than the second that each log waits for its last lines.
const IN_BOUND: Duration = Duration::from_secs(10);

/// A pipe holds this much (pipe(7)).
const PIPE: usize = 64 * 1024;

fn config(echo: &Server) -> ConfigText {
    ConfigText::to(&[echo.address])
        .top("drain: { readiness_delay: 0s, window: 1s }")
        .top("access_log: { queue: 8 }")
}

fn call(process: &Process) {
    let (mut client, length) = open(process.address);
    read_exactly(&mut client, length);
}

#[track_caller]
fn ends_in_bound(process: &mut Process) {
    let asked = Instant::now();
    process.signal(Signal::TERM);
    assert!(process.wait_end().success());
    assert!(asked.elapsed() < IN_BOUND, "{:?}", asked.elapsed());
}

/// Calls until a line of the access log is counted as lost for this reason.
fn call_until_lost(process: &Process, reason: &str) {
    let labels = [("log", "access"), ("reason", reason)];
    wait_until("a line is counted as lost", || {
        (0..50).for_each(|_| call(process));
        process.metric("strait_log_lines_dropped_total", &labels) > 0.0
    });
    call(process);
}

#[test]
fn standard_output_that_nobody_reads_holds_up_nothing() {
    let echo = Server::echo();
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &config(&echo).text());
    let (mut process, unread) = Process::with_stdout(&path);
    call_until_lost(&process, "queue_full");
    ends_in_bound(&mut process);
    drop(unread);
}

#[test]
fn standard_output_that_is_closed_holds_up_nothing() {
    let echo = Server::echo();
    let folder = Folder::create();
    let path = folder.file("strait.yaml", &config(&echo).text());
    let (mut process, closed) = Process::with_stdout(&path);
    drop(closed);
    call_until_lost(&process, "write_failed");
    ends_in_bound(&mut process);
}

#[test]
fn standard_error_that_nobody_reads_holds_up_nothing() {
    let echo = Server::echo();
    // Makes the effective config long, so that a few reloads fill a pipe.
    let cidrs = vec!["192.0.2.0/24"; 1000].join(", ");
    let sources = format!("sources: [{{ name: many, cidrs: [{cidrs}] }}]");
    let config = config(&echo)
        .top(&sources)
        .top("log: { level: debug, format: text }");
    let mut process = Process::start(&config);
    let effective = process.wait_for("effective config").len();
    process.leave_stderr_unread();
    // Each reload tells the effective config.
    let enough = 2 * PIPE / effective;
    wait_until("there is more to say than a pipe holds", || {
        process.signal(Signal::HUP);
        process.metric("strait_config_loads_total", &[]) > enough as f64
    });
    call(&process);
    ends_in_bound(&mut process);
    assert_eq!(process.said("stopped"), 0, "it was not read");
}

#[test]
fn by_default_standard_error_has_one_json_object_a_line_where_it_is_no_terminal() {
    let config = config(&Server::echo()).text().replace(TEXT_LOG, "");
    let folder = Folder::create();
    let mut child = command(&folder.file("strait.yaml", &config))
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut serves = false;
    for line in lines.map_while(Result::ok) {
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        assert!(
            event["level"].is_string() && event["message"].is_string(),
            "{line}"
        );
        if event["server"] == "metrics" {
            serves = true;
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(serves, "it has ended before it served");
}
