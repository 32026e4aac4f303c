//! The export of the access log to a collector of OpenTelemetry. OpenTelemetry's own message types (PyPI's
//! opentelemetry-proto, which `tests/run` installs) read what it sends.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use strait::access_log::AccessLog;
use strait::config::{AccessLogConfig, Config, LineFormat};
use strait::metrics::{DroppedLine, LogName, Metrics};
use strait::outcome::Outcome;

use crate::operator::{access_log_config, entry, eventually};
use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::process::{Folder, Process, command};
use crate::support::server::{Server, read_exactly};

/// A collector: it takes requests, and answers each with the next of its answers, or 200.
struct Collector {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// The head and the body of each request.
    requests: Vec<(String, String)>,
    answers: VecDeque<&'static str>,
}

const TAKEN: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad";
const PARTLY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 46\r\n\r\n{\"partialSuccess\":{\"rejectedLogRecords\":\"2\"}}\n";

impl Collector {
    fn start(answers: &[&'static str]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answers)
    }

    fn on(listener: TcpListener, answers: &[&'static str]) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen {
            answers: answers.iter().copied().collect(),
            ..Seen::default()
        }));
        let shared = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, seen }
    }

    fn requests(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// The lines whose records have come.
    fn records(&self) -> Vec<Value> {
        let requests = self.requests();
        let records = requests.iter().flat_map(|(_, body)| {
            let body: Value = serde_json::from_str(body).unwrap();
            let records = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
            records.as_array().unwrap().clone()
        });
        records.collect()
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Seen>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let mut seen = seen.lock().unwrap();
        let answer = seen.answers.pop_front().unwrap_or(TAKEN);
        seen.requests.push((head, String::from_utf8(body).unwrap()));
        drop(seen);
        let mut stream = stream;
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn config(format: Option<LineFormat>, keys: &str) -> AccessLogConfig {
    let text = format!(
        "listeners: [{{ name: l, bind: '127.0.0.1:0' }}]\naccess_log: {{ otlp: {{ {keys} }} }}\n"
    );
    AccessLogConfig {
        otlp: Config::parse(&text, "a test").unwrap().access_log.otlp,
        ..access_log_config(format)
    }
}

fn lost(metrics: &Metrics, reason: DroppedLine) -> u64 {
    metrics.log_lines_dropped(LogName::Otlp, reason).get()
}

/// The folder with OpenTelemetry's messages for Python.
fn messages() -> PathBuf {
    if let Some(folder) = std::env::var_os("STRAIT_OTLP") {
        return folder.into();
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache
        .unwrap_or_else(home)
        .join("strait-tools/otlp-proto-1.45.2")
}

const READ: &str = "
import sys
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
request = json_format.Parse(sys.stdin.read(), ExportLogsServiceRequest())
value = lambda one: getattr(one, one.WhichOneof('value'))
for resource in request.resource_logs:
    for one in resource.resource.attributes:
        print('resource', one.key, value(one.value))
    for scope in resource.scope_logs:
        for record in scope.log_records:
            print('record', record.time_unix_nano > 10**18, record.severity_text, value(record.body))
            for one in record.attributes:
                print('attribute', one.key, one.value.WhichOneof('value'), value(one.value))
";

/// A request as OpenTelemetry's own types understand it.
fn understood(body: &str) -> String {
    let python = messages().join("bin/python");
    let mut child = Command::new(&python)
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; `tests/run --otlp` installs it",
                python.display()
            )
        });
    child
        .stdin
        .take()
        .unwrap()
        .write_all(body.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "it is no OTLP: {body}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_line_of_a_connection_is_a_record_that_opentelemetry_understands() {
    let (collector, echo) = (Collector::start(&[]), Server::echo());
    let text = ConfigText::to(&[echo.address]).top(&format!(
        "access_log: {{ format: off, otlp: {{ endpoint: 'http://{}' }} }}",
        collector.address
    ));
    let folder = Folder::create();
    let mut command = command(&folder.file("strait.yaml", &text.text()));
    command.env("STRAIT_POD_NAME", "strait-1");
    command.env("STRAIT_POD_NAMESPACE", "edge");
    let process = Process::of_command(command);
    let (mut client, length) = open(process.address);
    read_exactly(&mut client, length);
    let source = client.local_addr().unwrap();
    drop(client);
    eventually("the record has come", || !collector.records().is_empty());
    let (head, body) = collector.requests().swap_remove(0);
    assert!(head.starts_with("POST /v1/logs HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    let said = understood(&body);
    for line in [
        "resource service.name strait\n".to_owned(),
        "resource k8s.pod.name strait-1\n".to_owned(),
        "resource k8s.namespace.name edge\n".to_owned(),
        format!("attribute strait.source string_value {source}\n"),
        format!("attribute strait.endpoint string_value {}\n", echo.address),
        "attribute strait.outcome string_value ok\n".to_owned(),
        "attribute strait.connection int_value ".to_owned(),
        "attribute strait.duration_ms double_value ".to_owned(),
        "record True INFO ok ".to_owned(),
    ] {
        assert!(said.contains(&line), "{line:?} is not in:\n{said}");
    }
}

#[test]
fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let collector = Collector::start(&[BUSY, TAKEN, REFUSED, PARTLY]);
    let metrics = Metrics::new().unwrap();
    let keys = format!(
        "endpoint: 'http://{}/otel/v1/logs', timeout: 10s",
        collector.address
    );
    let (log, _guard) = AccessLog::to_writer(
        &config(Some(LineFormat::Json), &keys),
        &metrics,
        std::io::sink(),
    );
    let write = |requests| {
        log.write(&entry(Outcome::NoRoute));
        eventually("the collector has it", || {
            collector.requests().len() == requests
        });
    };
    // The same request twice.
    write(2);
    let requests = collector.requests();
    assert_eq!(requests[0].1, requests[1].1);
    assert!(requests[0].0.starts_with("POST /otel/v1/logs "));
    assert_eq!(lost(&metrics, DroppedLine::WriteFailed), 0);
    write(3);
    eventually("a refused line is counted", || {
        lost(&metrics, DroppedLine::WriteFailed) == 1
    });
    // It says that it has rejected two of one.
    write(4);
    eventually("rejected records are counted", || {
        lost(&metrics, DroppedLine::WriteFailed) == 2
    });
}

#[test]
fn a_collector_that_is_away_or_silent_delays_nobody_and_lost_lines_are_counted() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = Metrics::new().unwrap();
    let keys = format!(
        "endpoint: 'http://{}', timeout: 300ms, queue: 4",
        silent.local_addr().unwrap()
    );
    let (log, _guard) = AccessLog::to_writer(&config(None, &keys), &metrics, std::io::sink());
    let began = Instant::now();
    (0..1000).for_each(|_| log.write(&entry(Outcome::Ok)));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(lost(&metrics, DroppedLine::QueueFull) > 900);
    eventually("what was not taken is counted", || {
        lost(&metrics, DroppedLine::QueueFull) + lost(&metrics, DroppedLine::WriteFailed) == 1000
    });
    // The address is free for a collector that works.
    let address = silent.local_addr().unwrap();
    drop(silent);
    let collector = Collector::on(TcpListener::bind(address).unwrap(), &[]);
    eventually("lines come again", || {
        log.write(&entry(Outcome::Ok));
        thread::sleep(Duration::from_millis(20));
        !collector.records().is_empty()
    });
}

#[test]
fn lines_that_were_left_out_are_summed_up_for_the_collector_too() {
    let collector = Collector::start(&[]);
    let metrics = Metrics::new().unwrap();
    let keys = format!("endpoint: 'http://{}'", collector.address);
    let few = AccessLogConfig {
        refused_per_second: 1,
        ..config(Some(LineFormat::Text), &keys)
    };
    let (log, _guard) = AccessLog::to_writer(&few, &metrics, std::io::sink());
    (0..50).for_each(|_| log.write(&entry(Outcome::NotTls)));
    eventually("the sum has come", || {
        let records = collector.records();
        records.iter().any(|record| {
            let attributes = record["attributes"].to_string();
            attributes.contains("\"strait.suppressed\"")
        })
    });
    let of_lines = collector.records();
    assert!(of_lines.iter().any(|record| {
        record["attributes"]
            .to_string()
            .contains("strait.connection")
    }));
}
