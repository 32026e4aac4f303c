//! Traffic never waits for the access log, and every line that is not written is counted.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use strait::access_log::{AccessLog, Entry};
use strait::config::{AccessLogConfig, LineFormat};
use strait::metrics::Metrics;
use strait::outcome::Outcome;

use crate::operator::{self, Capture, access_log_config, dropped, entry, eventually};

const JSON: Option<LineFormat> = Some(LineFormat::Json);

/// Blocks in every write until it is let go: stdout whose reader has stopped.
struct Blocked {
    entered: SyncSender<()>,
    released: Receiver<()>,
    capture: Capture,
}

fn blocked() -> (Blocked, Receiver<()>, SyncSender<()>, Capture) {
    let (entered, has_entered) = sync_channel(1024);
    let (release, released) = sync_channel(0);
    let capture = Capture::default();
    let writer = Blocked {
        entered,
        released,
        capture: capture.clone(),
    };
    (writer, has_entered, release, capture)
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        // Once the test has dropped its end, nothing blocks any more.
        let _ = self.released.recv();
        self.capture.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of a log that has ended.
fn lines(capture: &Capture) -> Vec<Value> {
    let text = capture.whole();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Lines of connections that ended so.
fn count(capture: &Capture, outcome: &str) -> usize {
    let lines = lines(capture);
    let of = |line: &&Value| line["outcome"] == outcome && line["suppressed"].is_null();
    lines.iter().filter(of).count()
}

/// Number of lines that the summaries report as left out, by source group and outcome.
fn suppressed(capture: &Capture) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::<String, u64>::new();
    for line in lines(capture) {
        if let Some(count) = line["suppressed"].as_u64() {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            assert_eq!(text("sample"), "10.2.3.4:5678");
            *sums
                .entry(format!("{} {}", text("source_group"), text("outcome")))
                .or_default() += count;
        }
    }
    sums.into_iter().collect()
}

#[test]
fn a_flood_of_one_outcome_or_source_group_hides_no_other() {
    let metrics = Metrics::new().unwrap();
    let capture = Capture::default();
    let config = AccessLogConfig {
        refused_per_second: 100,
        ..access_log_config(JSON)
    };
    let (log, guard) = AccessLog::to_writer(&config, &metrics, capture.clone());
    let start = Instant::now();
    for number in 0..46_520 {
        log.write(&entry(Outcome::NotTls));
        if number % 1604 == 0 {
            log.write(&entry(Outcome::NoRoute));
            log.write(&Entry {
                source_group: "beta",
                ..entry(Outcome::NotTls)
            });
        }
    }
    let most = 29 + 100 * (2 + start.elapsed().as_secs());
    drop((log, guard));
    assert_eq!(count(&capture, "no_route"), 29 + 1);
    let written = count(&capture, "not_tls");
    assert!((130..=most).contains(&(written as u64)), "{written}");
    let of_beta = |line: &Value| line["source_group"] == "beta";
    assert_eq!(
        lines(&capture).iter().filter(|line| of_beta(line)).count(),
        30
    );
    let left_out = 46_520 + 30 - written as u64;
    assert_eq!(
        suppressed(&capture),
        [("alpha not_tls".to_owned(), left_out)]
    );
    assert_eq!(dropped(&metrics, "access", "rate_limit"), left_out);
}

#[test]
fn a_blocked_writer_delays_nobody_and_the_lines_that_do_not_fit_are_counted() {
    let metrics = Metrics::new().unwrap();
    let (writer, entered, release, capture) = blocked();
    let config = AccessLogConfig {
        queue: 100,
        ..access_log_config(JSON)
    };
    let (log, guard) = AccessLog::to_writer(&config, &metrics, writer);
    log.write(&entry(Outcome::Ok));
    entered
        .recv_timeout(operator::PATIENCE)
        .expect("the writer has the first line");

    let start = Instant::now();
    for _ in 0..100 + 37 {
        log.write(&entry(Outcome::Ok));
    }
    // A blocked write would last for ever.
    assert!(start.elapsed() < operator::PATIENCE);
    // An eighth of the queue is left to other outcomes.
    let lost = 37 + 12;
    assert_eq!(dropped(&metrics, "access", "queue_full"), lost);
    for _ in 0..12 {
        log.write(&entry(Outcome::UpstreamReset));
    }
    assert_eq!(dropped(&metrics, "access", "queue_full"), lost);

    drop(release);
    drop((log, guard));
    assert_eq!(count(&capture, "ok"), 101 - 12);
    assert_eq!(count(&capture, "upstream_reset"), 12);
    assert_eq!(suppressed(&capture), [("alpha ok".to_owned(), lost)]);
    assert_eq!(dropped(&metrics, "access", "queue_full"), lost);
}

#[test]
fn the_guard_gives_up_on_a_blocked_writer_after_a_second() {
    for queued in [1, 200] {
        let metrics = Metrics::new().unwrap();
        let (writer, entered, _release, _capture) = blocked();
        let config = AccessLogConfig {
            queue: 100,
            ..access_log_config(JSON)
        };
        let (log, guard) = AccessLog::to_writer(&config, &metrics, writer);
        log.write(&entry(Outcome::Ok));
        entered.recv_timeout(operator::PATIENCE).unwrap();
        (0..queued).for_each(|_| log.write(&entry(Outcome::Ok)));
        let start = Instant::now();
        drop(guard);
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(900), "{waited:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");
    }
}

#[test]
fn the_guard_writes_what_is_queued() {
    let metrics = Metrics::new().unwrap();
    let capture = Capture::default();
    let (log, guard) = AccessLog::to_writer(&access_log_config(JSON), &metrics, capture.clone());
    // As many as one kind of line may have places in the queue.
    (0..896).for_each(|_| log.write(&entry(Outcome::Ok)));
    let start = Instant::now();
    drop(guard);
    let is_written = || capture.text().lines().count() == 896;
    // A machine that stands still uses up the second that the guard waits.
    assert!(is_written() || start.elapsed() >= Duration::from_secs(1));
    eventually("every line", is_written);

    // Later lines, of connections that are cut, are not lost by rule either.
    log.write(&entry(Outcome::Drained));
    eventually("a late line", || capture.text().contains("drained"));
}

/// A disk that is full.
struct Failing(ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    for kind in [ErrorKind::StorageFull, ErrorKind::BrokenPipe] {
        let metrics = Metrics::new().unwrap();
        let (log, guard) = AccessLog::to_writer(&access_log_config(JSON), &metrics, Failing(kind));
        (0..5).for_each(|_| log.write(&entry(Outcome::Ok)));
        drop(guard);
        eventually("each line is counted", || {
            dropped(&metrics, "access", "write_failed") == 5
        });
        assert_eq!(dropped(&metrics, "access", "queue_full"), 0);
    }
}

#[test]
fn a_full_disk_is_counted() {
    let metrics = Metrics::new().unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (log, guard) = AccessLog::to_writer(&access_log_config(JSON), &metrics, full);
    (0..5).for_each(|_| log.write(&entry(Outcome::Ok)));
    drop(guard);
    eventually("each line is counted", || {
        dropped(&metrics, "access", "write_failed") == 5
    });
}

#[test]
fn refused_connections_are_limited_and_the_rest_counted() {
    let metrics = Metrics::new().unwrap();
    let capture = Capture::default();
    let config = AccessLogConfig {
        refused_per_second: 10,
        queue: 100_000,
        ..access_log_config(JSON)
    };
    let (log, guard) = AccessLog::to_writer(&config, &metrics, capture.clone());
    let start = Instant::now();
    for _ in 0..5000 {
        log.write(&entry(Outcome::NoRoute));
        log.write(&entry(Outcome::ConnectRefused));
        log.write(&entry(Outcome::Probe));
        log.write(&entry(Outcome::UpstreamReset));
    }
    // The content of the bucket, and the tokens that have come in meanwhile.
    let most = 20 + 10 * usize::try_from(start.elapsed().as_secs()).unwrap();
    drop((log, guard));
    let lines = |outcome: &str| count(&capture, outcome);
    for limited in ["no_route", "connect_refused"] {
        assert!((10..=most).contains(&lines(limited)), "{}", lines(limited));
    }
    assert_eq!(lines("upstream_reset"), 5000);
    assert_eq!(lines("probe"), 0);
    let suppressed = 10_000 - lines("no_route") - lines("connect_refused");
    assert_eq!(dropped(&metrics, "access", "rate_limit"), suppressed as u64);
}

#[test]
fn a_reload_changes_format_and_rate() {
    let metrics = Metrics::new().unwrap();
    let capture = Capture::default();
    let mut config = access_log_config(None);
    let (log, _guard) = AccessLog::to_writer(&config, &metrics, capture.clone());
    log.write(&entry(Outcome::Ok));
    config.format = Some(LineFormat::Json);
    log.reconfigure(&config);
    log.clone().write(&entry(Outcome::IdleTimeout));
    config.format = Some(LineFormat::Text);
    config.refused_per_second = 0;
    log.reconfigure(&config);
    log.write(&entry(Outcome::NoSni));
    log.write(&entry(Outcome::Drained));
    // The summary comes about once a second, maybe before the last line.
    for part in ["outcome=drained flags", "outcome=no_sni suppressed=1 "] {
        eventually(part, || capture.text().contains(part));
    }
    let text = capture.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("\"outcome\":\"idle_timeout\""), "{text}");
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(dropped(&metrics, "access", "rate_limit"), 1);
}

#[test]
fn switched_off_nothing_is_written_or_counted() {
    let log = AccessLog::off();
    log.reconfigure(&access_log_config(JSON));
    log.write(&entry(Outcome::Ok));
    let metrics = Metrics::new().unwrap();
    let capture = Capture::default();
    let (log, guard) = AccessLog::to_writer(&access_log_config(None), &metrics, capture.clone());
    log.write(&entry(Outcome::Ok));
    drop((log, guard));
    assert_eq!(capture.whole(), "");
    for reason in ["queue_full", "write_failed", "rate_limit"] {
        assert_eq!(dropped(&metrics, "access", reason), 0);
    }
}

/// Set for a child that goes on until its log has ended: the guard waits for a second at most, which is not enough while
/// the machine stands still.
const TO_THE_END: &str = "STRAIT_LOG_TO_THE_END";

/// Run by the next tests in a process of its own, since it is about the real stdout.
#[test]
#[ignore = "the child of stdout_* tests"]
fn child_writes_to_stdout() {
    // Until the parent has arranged its end of stdout.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    let metrics = Metrics::new().unwrap();
    let config = AccessLogConfig {
        queue: 100_000,
        ..access_log_config(JSON)
    };
    let (log, guard) = AccessLog::start(&config, &metrics);
    (0..5000).for_each(|_| log.write(&entry(Outcome::Ok)));
    drop((log, guard));
    let is_writer = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name == "access-log\n")
    };
    if std::env::var_os(TO_THE_END).is_some() {
        eventually("the log has ended", || {
            let mut tasks = fs::read_dir("/proc/self/task").unwrap();
            !tasks.any(|task| is_writer(task.unwrap()))
        });
    }
    eprintln!(
        "write_failed={}",
        dropped(&metrics, "access", "write_failed")
    );
}

fn child() -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "access_log_loss::child_writes_to_stdout",
            "--ignored",
        ])
        .args(["--nocapture", "--quiet"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    child
}

#[test]
fn stdout_takes_whole_lines() {
    let mut child = child();
    let output = child.env(TO_THE_END, "1").stdin(Stdio::null()).output();
    let output = output.unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("{\"time\""));
    assert_eq!(lines.filter(|line| line.ends_with('}')).count(), 5000);
}

#[test]
fn stdout_that_nobody_reads_any_more_is_counted_and_harmless() {
    let mut child = child();
    let child = child.env(TO_THE_END, "1").stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    // The harness of the child says first, and needs a reader for it, what it is about to run.
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("running 1 test") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0);
    }
    drop(stdout);
    drop(child.stdin.take());
    let mut text = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    assert!(text.contains("write_failed=5000"), "{text}");
    assert!(!text.contains("panicked at src"), "{text}");
}

#[test]
fn stdout_that_is_blocked_does_not_hold_up_the_exit() {
    // Larger than any pipe's buffer, read by nobody as long as the child lives.
    let mut child = child().stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take());
    let mut text = String::new();
    let start = Instant::now();
    let mut stderr = child.stderr.take().unwrap();
    let mut byte = [0];
    while !text.contains("write_failed=") {
        assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{text}");
        text.push(char::from(byte[0]));
    }
    assert!(start.elapsed() < operator::PATIENCE);
    // The test harness of the child has its own line for stdout, which needs a reader.
    drop(child.stdout.take());
    child.wait().unwrap();
}
