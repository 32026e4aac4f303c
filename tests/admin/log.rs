//! strait's own log: what reaches it, in one line each, and how its level changes.

use std::io::{self, Write};
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::Value;
use strait::config::{LogFilter, LogFormat};
use strait::log::{LogError, to_writer};
use strait::metrics::Metrics;
use tracing::subscriber::with_default;

use crate::operator::{self, Capture, dropped, log_config};

#[test]
fn a_json_event_is_one_object() {
    let capture = Capture::default();
    let config = log_config(LogFormat::Auto);
    let (subscriber, _control, guard) = to_writer(&config, None, capture.clone()).unwrap();
    with_default(subscriber, || {
        tracing::info!(listener = "east-west", port = 15443, "bound");
        tracing::warn!(name = %"a\nb \x1b[31m", "hostile");
    });
    drop(guard);
    let text = capture.whole();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["message"], "bound");
    assert_eq!(lines[0]["listener"], "east-west");
    assert_eq!(lines[0]["port"], 15443);
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[1]["name"], "a\nb \x1b[31m");
}

#[test]
fn a_text_event_is_one_line_without_commands_for_a_terminal() {
    let capture = Capture::default();
    let config = log_config(LogFormat::Text);
    let (subscriber, _control, guard) = to_writer(&config, None, capture.clone()).unwrap();
    with_default(subscriber, || {
        let hostile = "a\r\n1970-01-01T00:00:00Z ERROR forged \x1b[31m";
        tracing::info!(displayed = %hostile, debugged = ?hostile, plain = hostile, "{hostile}");
        tracing::info!("next");
    });
    drop(guard);
    let text = capture.whole();
    assert_eq!(text.lines().count(), 2, "{text:?}");
    assert!(!text.contains(['\x1b', '\r']), "{text:?}");
    assert_eq!(text.matches("forged").count(), 4, "nothing is left out");
}

#[test]
fn a_flood_from_one_place_hides_no_other_and_is_summed_up() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let capture = Capture::default();
        let config = log_config(format);
        let (subscriber, _control, guard) = to_writer(&config, None, capture.clone()).unwrap();
        with_default(subscriber, || {
            for number in 0..2000 {
                tracing::warn!(number, "a flood");
                if number % 100 == 0 {
                    tracing::warn!("a rare one");
                }
            }
        });
        drop(guard);
        let text = capture.whole();
        assert_eq!(text.matches("a rare one").count(), 20, "{text}");
        let summaries: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("more lines like this one were left out"))
            .collect();
        assert!(!summaries.is_empty(), "{text}");
        assert!(summaries[0].contains("a flood number="), "{text}");
        let left_out = |line: &str| -> usize {
            let (_, rest) = line.split_once("suppressed").unwrap();
            let rest = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
            rest[..end].parse().unwrap()
        };
        let written =
            text.lines().filter(|line| line.contains("a flood")).count() - summaries.len();
        let left_out: usize = summaries.iter().map(|line| left_out(line)).sum();
        assert_eq!(written + left_out, 2000);
    }
}

#[test]
fn the_level_changes_while_it_runs() {
    let capture = Capture::default();
    let config = log_config(LogFormat::Text);
    let (subscriber, control, guard) = to_writer(&config, None, capture.clone()).unwrap();
    with_default(subscriber, || {
        assert_eq!(control.current(), "info");
        let log = |number: u32| {
            tracing::debug!("debug {number}");
            tracing::error!("error {number}");
        };
        log(1);
        control.set("debug").unwrap();
        log(2);
        control.set("off").unwrap();
        log(3);
        assert!(matches!(control.set("nonsense"), Err(LogError::Filter(_))));
        assert_eq!(control.current(), "off");
        control.clone().set("warn,admin::log=trace").unwrap();
        log(4);
        assert_eq!(control.current(), "warn,admin::log=trace");
    });
    drop(guard);
    let text = capture.whole();
    let messages: Vec<&str> = text
        .lines()
        .map(|line| line.split_once("admin::log: ").unwrap().1)
        .collect();
    let expected = ["error 1", "debug 2", "error 2", "debug 4", "error 4"];
    assert_eq!(messages, expected);
}

#[test]
fn a_level_that_is_none_is_refused_at_the_start() {
    let error = LogFilter::parse("verbose").unwrap_err().to_string();
    assert!(error.contains("`verbose` is not a level"), "{error}");
}

/// stderr whose reader has stopped, until it is let go.
struct Blocked(SyncSender<()>, Receiver<()>);

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        let _ = self.1.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_blocked_stderr_delays_nobody_and_is_counted() {
    let metrics = Metrics::new().unwrap();
    let (entered, has_entered) = sync_channel(1024);
    let (release, released) = sync_channel(0);
    let writer = Blocked(entered, released);
    let config = strait::config::LogConfig {
        level: LogFilter::parse("debug").unwrap(),
        format: LogFormat::Text,
    };
    let (subscriber, _control, guard) = to_writer(&config, Some(&metrics), writer).unwrap();
    // An eighth of the queue is left to what is more important than `debug`.
    let places = 4096 - 4096 / 8;
    with_default(subscriber, || {
        tracing::info!("taken by the writer");
        has_entered.recv_timeout(operator::PATIENCE).unwrap();
        (0..places + 11).for_each(|number| tracing::debug!(number, "queued"));
        tracing::warn!("has a place");
    });
    assert_eq!(dropped(&metrics, "own", "queue_full"), 11);
    drop(release);
    drop(guard);
    assert_eq!(dropped(&metrics, "own", "write_failed"), 0);
}

/// In a process of its own, since it is about the process's one log.
#[test]
#[ignore = "the child of the_process_has_one_log"]
fn child_sets_up_the_log() {
    let config = log_config(LogFormat::Json);
    let (control, guard) = strait::log::init(&config, None).unwrap();
    let again = strait::log::init(&config, None).map(|_| ()).unwrap_err();
    assert!(matches!(again, LogError::AlreadySet));
    tracing::info!("on stderr");
    tracing::debug!("not yet");
    control.set("debug").unwrap();
    std::thread::spawn(|| tracing::debug!("from any thread"))
        .join()
        .unwrap();
    drop(guard);
}

#[test]
fn the_process_has_one_log() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "log::child_sets_up_the_log",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let messages: Vec<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(messages, ["on stderr", "from any thread"], "{text}");
}
