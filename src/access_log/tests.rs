use super::*;
use std::sync::Mutex;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const HOSTILE: [&str; 7] = [
    "a\r\n{\"outcome\":\"ok\"}",
    "a\" outcome=\"ok",
    "a outcome=ok",
    "\u{1b}[31mred\u{1b}[0m",
    "line\u{2028}separator \u{202e}reversed",
    "tab\tnul\0",
    "back\\slash",
];

fn entry() -> Entry<'static> {
    Entry {
        ended: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        connection: 7,
        listener: "east-west",
        source: ([10, 0, 0, 1], 4711).into(),
        source_group: "alpha",
        server_name: Some("svcb.apps.svc.cluster.local"),
        alpn: Some("istio,h2"),
        route: None,
        upstream: None,
        endpoint: None,
        attempts: 0,
        outcome: Outcome::NoRoute,
        detail: None,
        ended_by: Some("gateway"),
        to_upstream: 0,
        to_downstream: 0,
        hello: Some(Duration::from_micros(1500)),
        connect: None,
        duration: Duration::from_millis(2),
    }
}

fn config(format: LogFormat, refused_per_second: u32) -> AccessLogConfig {
    AccessLogConfig {
        format: Some(format),
        refused_per_second,
        queue: 1000,
    }
}

fn written(config: &AccessLogConfig, metrics: &Metrics, entries: &[Entry<'_>]) -> String {
    let memory = Memory::default();
    let (log, guard) = AccessLog::start(config, metrics, memory.clone()).unwrap();
    for entry in entries {
        log.write(entry);
    }
    drop(guard);
    let bytes = memory.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn formatted(entry: &Entry<'_>, format: LogFormat) -> String {
    let mut line = Vec::new();
    entry.format(format, &mut line).unwrap();
    String::from_utf8(line).unwrap()
}

#[test]
fn text_lines_read_as_key_and_value() {
    assert_eq!(
        formatted(&entry(), LogFormat::Text),
        "time=2023-11-14T22:13:20.123Z connection=7 outcome=no_route flags=NR ended_by=gateway \
         listener=east-west source=10.0.0.1:4711 source_group=alpha \
         server_name=svcb.apps.svc.cluster.local alpn=istio,h2 attempts=0 to_upstream=0 \
         to_downstream=0 hello_ms=1.500 duration_ms=2.000\n"
    );
}

#[test]
fn hostile_text_stays_in_its_field() {
    for hostile in HOSTILE {
        let entry = Entry {
            alpn: Some(hostile),
            detail: Some(hostile),
            ..entry()
        };
        let json = formatted(&entry, LogFormat::Json);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["outcome"], "no_route");
        let text = formatted(&entry, LogFormat::Text);
        for line in [&json, &text] {
            let body = line.strip_suffix('\n').unwrap();
            assert!(
                body.bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' '),
                "{body:?}"
            );
        }
        // Outside of quotes the only `outcome=` is ours.
        let mut quoted = false;
        let bare: String = text
            .replace("\\\\", "")
            .replace("\\\"", "")
            .chars()
            .filter(|character| {
                quoted ^= *character == '"';
                !quoted
            })
            .collect();
        assert_eq!(bare.matches("outcome=").count(), 1, "{text}");
    }
}

#[test]
fn plain_values_come_back_from_json_as_they_were() {
    let parsed: serde_json::Value =
        serde_json::from_str(&formatted(&entry(), LogFormat::Json)).unwrap();
    assert_eq!(parsed["server_name"], "svcb.apps.svc.cluster.local");
    assert_eq!(parsed["source"], "10.0.0.1:4711");
    assert_eq!(parsed["duration_ms"], 2.0);
    assert!(parsed.get("route").is_none());
}

#[test]
fn refusals_beyond_the_rate_are_counted_instead() {
    let metrics = Metrics::new().unwrap();
    let refusals = vec![entry(); 50];
    let lines = written(&config(LogFormat::Json, 10), &metrics, &refusals);
    let lines = lines.lines().count();
    // The second may turn once while this runs.
    assert!((10..=20).contains(&lines), "{lines}");
    let counted = metrics.log_lines_dropped("access", "rate_limit").get();
    assert_eq!(counted as usize + lines, 50);

    let served = Entry {
        outcome: Outcome::Ok,
        ..entry()
    };
    let lines = written(&config(LogFormat::Json, 0), &metrics, &[served; 50]);
    assert_eq!(lines.lines().count(), 50, "what was served has no limit");
}

#[test]
fn probes_leave_no_line_and_off_is_off() {
    let metrics = Metrics::new().unwrap();
    let probe = Entry {
        outcome: Outcome::Probe,
        ..entry()
    };
    assert_eq!(written(&config(LogFormat::Json, 9), &metrics, &[probe]), "");
    let off = AccessLogConfig {
        format: None,
        ..config(LogFormat::Json, 9)
    };
    assert_eq!(written(&off, &metrics, &[entry()]), "");
}
