//! The content of a line of the access log. Nothing that a client sends changes how the line reads.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use strait::access_log::{AccessLog, Entry, LineEnd, LineEvent};
use strait::config::{
    AccessLogConfig, ENVOY_OPERATORS, LINE_FIELDS, LineFormat, LinePattern, SampleShare,
};
use strait::metrics::Metrics;
use strait::outcome::{EndedBy, Outcome};
use strait::verdict::{Confidence, FlightWatch, Flights, Side};

use crate::operator::{Capture, access_log_config, entry};

fn written(format: LineFormat, entries: &[Entry<'_>]) -> String {
    written_as(&access_log_config(Some(format)), entries)
}

/// The lines in a format of the operator's own.
fn in_pattern(pattern: &str, entries: &[Entry<'_>]) -> String {
    let pattern = LinePattern::parse(pattern).unwrap();
    let config = AccessLogConfig {
        format: Some(LineFormat::Pattern(pattern)),
        ..access_log_config(None)
    };
    written_as(&config, entries)
}

fn written_as(config: &AccessLogConfig, entries: &[Entry<'_>]) -> String {
    let metrics = Metrics::new().unwrap();
    let capture = Capture::default();
    let (log, guard) = AccessLog::to_writer(config, &metrics, capture.clone());
    entries.iter().for_each(|entry| log.write(entry));
    drop((log, guard));
    capture.whole()
}

/// A handshake in which the server asks for a second hello, and then resumes a session.
fn flights() -> Flights {
    let mut watch = FlightWatch::new();
    // RFC 8446 sections 4.1.3 and 5.1: a ServerHello whose extensions are the version, the group of an empty
    // key share, and the pre-shared key.
    let extensions = [
        0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0x11, 0xec, 0, 41, 0, 2, 0, 0,
    ];
    let body = [&[3, 3][..], &[7; 32], &[0, 0x13, 2, 0, 0, 18], &extensions].concat();
    let message = [&[2, 0, 0, 58][..], &body].concat();
    watch.passed(Side::Downstream, &[22, 3, 1, 0, 1, 1]);
    watch.passed(Side::Upstream, &[&[22, 3, 3, 0, 62][..], &message].concat());
    watch.flights(false)
}

fn full() -> Entry<'static> {
    Entry {
        event: LineEvent::End(LineEnd {
            outcome: Outcome::Ok,
            ended_by: EndedBy::Upstream,
            confidence: Confidence::Inferred,
        }),
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_007),
        server_name: Some("outbound_.80_._.svcb.apps.svc.cluster.local"),
        alpn: Some("istio-http/1.1,istio"),
        flights: Some(flights()),
        route: Some("svcb"),
        upstream: Some("svcb"),
        endpoint: Some(([10, 1, 0, 7], 8443).into()),
        pod: Some(("apps", "svcb-7f9c-x2")),
        zone: Some("eu-1a"),
        downstream_local: Some(([10, 2, 0, 1], 15_443).into()),
        upstream_local: Some(([10, 1, 9, 9], 40_112).into()),
        stale_since: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_699_999_999)),
        attempts: 2,
        detail: Some("first endpoint refused"),
        to_upstream: 517,
        to_downstream: 1 << 40,
        hello: Some(Duration::from_nanos(1_234_999)),
        connect: Some(Duration::ZERO),
        duration: Duration::from_secs(3600),
        ..entry(Outcome::Ok)
    }
}

#[test]
fn json_has_every_key_in_order() {
    assert_eq!(
        written(LineFormat::Json, &[full()]),
        concat!(
            r#"{"time":"2023-11-14T22:13:20.007Z","start":"2023-11-14T21:13:20.007Z","connection":7,"listener":"east-west","#,
            r#""source":"10.2.3.4:5678","source_group":"alpha","#,
            r#""server_name":"outbound_.80_._.svcb.apps.svc.cluster.local","#,
            r#""alpn":"istio-http/1.1,istio","tls_version":"1.3","#,
            r#""tls_cipher":"TLS_AES_256_GCM_SHA384","tls_group":"X25519MLKEM768","resumes":"yes","#,
            r#""route":"svcb","upstream":"svcb","#,
            r#""endpoint":"10.1.0.7:8443","pod":"svcb-7f9c-x2","namespace":"apps","zone":"eu-1a","upstream_local":"10.1.9.9:40112","stale_since":"2023-11-14T22:13:19.000Z","attempts":2,"outcome":"ok","flags":"-","#,
            r#""detail":"first endpoint refused","ended_by":"upstream","confidence":"inferred","#,
            r#""to_upstream_bytes":517,"to_downstream_bytes":1099511627776,"#,
            r#""hello_ms":1.234,"connect_ms":0.000,"duration_ms":3600000.000}"#,
            "\n"
        )
    );
}

#[test]
fn text_has_every_key_in_order() {
    assert_eq!(
        written(LineFormat::Text, &[full()]),
        concat!(
            "time=2023-11-14T22:13:20.007Z start=2023-11-14T21:13:20.007Z connection=7 listener=east-west ",
            "source=10.2.3.4:5678 source_group=alpha ",
            "server_name=outbound_.80_._.svcb.apps.svc.cluster.local ",
            "alpn=istio-http/1.1,istio tls_version=1.3 tls_cipher=TLS_AES_256_GCM_SHA384 ",
            "tls_group=X25519MLKEM768 resumes=yes route=svcb upstream=svcb endpoint=10.1.0.7:8443 pod=svcb-7f9c-x2 namespace=apps zone=eu-1a upstream_local=10.1.9.9:40112 ",
            "stale_since=2023-11-14T22:13:19.000Z ",
            "attempts=2 outcome=ok flags=- detail=\"first endpoint refused\" ended_by=upstream ",
            "confidence=inferred ",
            "to_upstream_bytes=517 to_downstream_bytes=1099511627776 ",
            "hello_ms=1.234 connect_ms=0.000 duration_ms=3600000.000\n"
        )
    );
}

#[test]
fn every_key_of_a_line_is_in_the_list_of_fields_in_order() {
    let rare = Entry {
        proxy: Some(([10, 2, 0, 9], 4711).into()),
        ja4: Some("t13d1516h2_8daaf6152771_b186095e22b6"),
        ..full()
    };
    let open = Entry {
        event: LineEvent::Interval,
        ..full()
    };
    let sample = AccessLogConfig {
        sample_ok: SampleShare::millionths(999_999).unwrap(),
        ..access_log_config(Some(LineFormat::Text))
    };
    let mut seen = Vec::new();
    for line in written_as(&sample, &[rare, open, hostile_entry("x")]).lines() {
        let keys: Vec<_> = parse_text(line).into_iter().map(|(key, _)| key).collect();
        let place = |key: &String| {
            let place = LINE_FIELDS.iter().position(|field| field.key == key);
            place.unwrap_or_else(|| panic!("{key} is no field"))
        };
        assert!(keys.iter().map(place).is_sorted(), "{line}");
        seen.extend(keys);
    }
    for key in [
        "event",
        "sampled",
        "proxy",
        "ja4",
        "pod",
        "namespace",
        "zone",
    ] {
        assert!(seen.iter().any(|seen| seen == key), "{key}");
    }
}

#[test]
fn a_line_of_an_open_connection_has_no_end() {
    for (event, word) in [(LineEvent::Open, "open"), (LineEvent::Interval, "interval")] {
        let entry = Entry { event, ..full() };
        let line: Value = serde_json::from_str(&written(LineFormat::Json, &[entry])).unwrap();
        assert_eq!(line["event"], word);
        assert_eq!(line["to_upstream_bytes"], 517);
        for key in ["outcome", "flags", "ended_by", "confidence"] {
            assert_eq!(line.get(key), None, "{line}");
        }
    }
}

#[test]
fn a_line_of_ones_own_has_what_its_operators_say() {
    for (pattern, line) in [
        (
            "[%START_TIME%] \"%REQUESTED_SERVER_NAME:8%\" %RESPONSE_FLAGS% 100%%",
            "[2023-11-14T21:13:20.007Z] \"outbound\" - 100%",
        ),
        (
            "%START_TIME(%Y/%m/%d %H:%M:%S)% %EMIT_TIME(%s.%3f)% %START_TIME(%f %z)% %DURATION%",
            "2023/11/14 21:13:20 1700000000.007 007000000 +0000 3600000",
        ),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%",
            "10.2.3.4:5678 5678 10.2.3.4 10.2.0.1:15443",
        ),
        (
            "%UPSTREAM_HOST% %UPSTREAM_LOCAL_PORT% %UPSTREAM_CLUSTER% %ROUTE_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
            "10.1.0.7:8443 40112 svcb svcb 2",
        ),
        (
            "%BYTES_RECEIVED%/%BYTES_SENT% %CONNECTION_ID% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %TLS_JA4_FINGERPRINT%",
            "517/1099511627776 7 TLSv1.3 TLS_AES_256_GCM_SHA384 -",
        ),
        (
            "%CONNECTION_TERMINATION_DETAILS% %STRAIT(outcome)% %STRAIT(pod)% %STRAIT(proxy)% %STRAIT(alpn)%",
            "first_endpoint_refused ok svcb-7f9c-x2 - istio-http/1.1,istio",
        ),
        (
            "%ACCESS_LOG_TYPE%\t%STRAIT(duration_ms)%\n",
            "TcpConnectionEnd\t3600000.000",
        ),
    ] {
        assert_eq!(
            in_pattern(pattern, &[full()]),
            format!("{line}\n"),
            "{pattern}"
        );
    }
    let open = Entry {
        event: LineEvent::Open,
        ..full()
    };
    let pattern = "%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% %STRAIT(outcome)%";
    assert_eq!(in_pattern(pattern, &[open]), "TcpUpstreamConnected - -\n");
}

#[test]
fn hostile_text_stays_one_word_of_a_line_of_ones_own() {
    let all: Vec<String> = ENVOY_OPERATORS
        .iter()
        .filter(|known| known.name != "STRAIT")
        .map(|known| format!("%{}%", known.name))
        .collect();
    for hostile in HOSTILE {
        let line = in_pattern(&all.join(" "), &[hostile_entry(hostile)]);
        assert_one_printable_line(&line, hostile);
        assert_eq!(line.split(' ').count(), all.len(), "{line}");
        let quoted = in_pattern(
            r#"{"name":"%REQUESTED_SERVER_NAME:7%","why":"%CONNECTION_TERMINATION_DETAILS%"}"#,
            &[hostile_entry(hostile)],
        );
        let value: Value = serde_json::from_str(&quoted).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 2, "{quoted}");
    }
}

#[test]
fn absent_values_have_no_key() {
    let text = written(LineFormat::Text, &[entry(Outcome::NoSni)]);
    assert_eq!(
        text,
        concat!(
            "time=1970-01-01T00:00:00.000Z start=1970-01-01T00:00:00.000Z connection=7 listener=east-west ",
            "source=10.2.3.4:5678 source_group=alpha attempts=0 outcome=no_sni flags=NR ",
            "ended_by=gateway to_upstream_bytes=0 to_downstream_bytes=0 duration_ms=0.000\n"
        )
    );
}

#[test]
fn every_outcome_but_probe_is_written_with_its_flag() {
    let entries: Vec<Entry<'_>> = Outcome::ALL.iter().copied().map(entry).collect();
    let text = written(LineFormat::Json, &entries);
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let logged = Outcome::ALL.iter().filter(|o| **o != Outcome::Probe);
    let expected: Vec<(&str, &str)> = logged.map(|o| (o.label(), o.envoy_flag())).collect();
    let seen: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap();
            (text("outcome"), text("flags"))
        })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_clock_out_of_range_breaks_nothing() {
    let year_10000 = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    for at in [year_10000, before] {
        let entry = Entry {
            at,
            ..entry(Outcome::Ok)
        };
        let line = written(LineFormat::Json, &[entry]);
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["outcome"], "ok");
    }
}

/// Text that has broken somebody's log.
const HOSTILE: &[&str] = &[
    "a\nb",
    "a\r\nconnection=1 outcome=ok",
    "x\" outcome=\"ok",
    "x\",\"outcome\":\"ok",
    "x outcome=ok",
    "x=y",
    "back\\slash\\",
    "\\\"",
    "\x1b[2J\x1b]0;owned\x07",
    "\u{9b}31m",
    "\u{7f}\0\t\u{8}",
    "line\u{2028}separator\u{2029}next\u{85}line",
    "\u{202e}moc.live",
    "ünïcödé.example",
    "\u{1f980}.example",
    "",
    " ",
    "'single' <b>&amp;</b>",
    "$(reboot) `reboot` %s%n {{.}}",
    "null",
    "-",
];

#[test]
fn hostile_text_comes_back_from_json_as_it_was() {
    for hostile in HOSTILE {
        let line = written(LineFormat::Json, &[hostile_entry(hostile)]);
        assert_one_printable_line(&line, hostile);
        let value: Value = serde_json::from_str(&line).unwrap();
        for key in ["server_name", "alpn", "detail"] {
            assert_eq!(value[key], *hostile, "{key}");
        }
        assert_eq!(value["outcome"], "no_route");
        assert_eq!(value.as_object().unwrap().len(), 16, "{line}");
    }
}

#[test]
fn hostile_text_stays_one_value_of_a_text_line() {
    for hostile in HOSTILE {
        let line = written(LineFormat::Text, &[hostile_entry(hostile)]);
        assert_one_printable_line(&line, hostile);
        let pairs = parse_text(line.trim_end_matches('\n'));
        assert_eq!(pairs.len(), 16, "{line}");
        for (key, value) in &pairs {
            match key.as_str() {
                "server_name" | "alpn" | "detail" => assert_eq!(value, hostile, "{line}"),
                "outcome" => assert_eq!(value, "no_route"),
                _ => {}
            }
        }
    }
}

#[test]
fn long_client_text_is_cut() {
    // Four bytes a character: the cut must not fall into one.
    for (text, kept) in [("x".repeat(65_535), 512), ("\u{1f980}".repeat(20_000), 512)] {
        let line = written(LineFormat::Json, &[hostile_entry(&text)]);
        let value: Value = serde_json::from_str(&line).unwrap();
        let name = value["server_name"].as_str().unwrap();
        assert_eq!(name, format!("{}...", &text[..kept]));
        assert!(line.len() < 6 * 3 * 512 + 1024, "{}", line.len());
    }
}

fn hostile_entry(text: &str) -> Entry<'_> {
    Entry {
        server_name: Some(text),
        alpn: Some(text),
        detail: Some(text),
        ..entry(Outcome::NoRoute)
    }
}

fn assert_one_printable_line(line: &str, hostile: &str) {
    let text = line.strip_suffix('\n').expect("a line ends");
    assert!(
        text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{hostile:?} gave {line:?}"
    );
}

/// Reads `key=value` pairs as the documentation says them: a value is bare, or a JSON string.
fn parse_text(mut rest: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').expect("a key");
        assert!(
            key.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        );
        let value = if after.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = values.next().unwrap().unwrap();
            rest = &after[values.byte_offset()..];
            value
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            rest = &after[end..];
            assert!(end > 0, "a bare value is not empty");
            after[..end].to_owned()
        };
        pairs.push((key.to_owned(), value));
        if !rest.is_empty() {
            rest = rest.strip_prefix(' ').expect("one space between pairs");
        }
    }
    pairs
}
