//! Facts that the page has in each of its forms: slow connects, failures that are alike, lost log lines, limits of the
//! machine.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use strait::limits::LimitUse;
use strait::metrics::{DroppedLine, LimitKind, LimitScope, LogName};
use strait::recent_connections::SlowConnect;

use crate::operator::http::{Gateway, get};
use crate::page_world::{serve, troubled};

/// The page as HTML, as text with one blank between words, and as JSON.
async fn forms(address: SocketAddr) -> [String; 3] {
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    [
        words(get(address, "/?format=html").await.body),
        words(get(address, "/?format=text").await.body),
        get(address, "/status").await.body,
    ]
}

#[track_caller]
fn all_have(forms: &[String; 3], texts: [&str; 3]) {
    for (form, text) in forms.iter().zip(texts) {
        assert!(form.contains(text), "{text:?} is not in:\n{form}");
    }
}

fn slow_connect(gateway: &Gateway, millis: u64, port: u16, starttls: bool) {
    let took = Duration::from_millis(millis);
    gateway.recent.slow_connects.note(took, || SlowConnect {
        at: SystemTime::now(),
        took,
        upstream: "svcb".into(),
        endpoint: SocketAddr::from(([10, 1, 3, 44], 50_050 + port)),
        source: SocketAddr::from(([10, 0, 12, 7], 41_822)),
        starttls,
    });
}

#[tokio::test]
async fn slow_connects_are_there_with_their_probable_cause() {
    let gateway = troubled(2);
    for (millis, port) in [(3, 1), (1040, 2), (41, 3)] {
        slow_connect(&gateway, millis, port, false);
    }
    let forms = forms(serve(&gateway).await).await;
    all_have(
        &forms,
        ["Slowest connects", "SLOWEST CONNECTS", "slow_connects"],
    );
    let slow = "a SYN was lost, or the queue of the endpoint was full";
    all_have(&forms, [slow; 3]);
    for form in &forms {
        let at = |port: &str| {
            form.find(port)
                .unwrap_or_else(|| panic!("{port} is not in:\n{form}"))
        };
        let [first, second, third] =
            ["10.1.3.44:50052", "10.1.3.44:50053", "10.1.3.44:50051"].map(at);
        assert!(
            first < second && second < third,
            "the slowest first:\n{form}"
        );
    }
}

#[tokio::test]
async fn a_slow_connect_with_starttls_may_have_waited_for_the_endpoints_answer() {
    let gateway = troubled(2);
    let cause = "the endpoint was late to answer the request for TLS";
    slow_connect(&gateway, 1040, 1, false);
    let without = forms(serve(&gateway).await).await;
    assert!(without.iter().all(|form| !form.contains(cause)));
    slow_connect(&gateway, 1050, 2, true);
    all_have(&forms(serve(&gateway).await).await, [cause; 3]);
}

#[tokio::test]
async fn a_heading_says_how_many_rows_are_below_it() {
    let gateway = troubled(2);
    (0..11).for_each(|port| slow_connect(&gateway, 50, port, false));
    let limits = (0..20).map(|number| {
        let limit = LimitUse::new(LimitScope::SourceGroup, LimitKind::Connections, 100, 1);
        (format!("group-{number}"), limit)
    });
    gateway.limits.lock().unwrap().extend(limits);
    let [html, text, json] = forms(serve(&gateway).await).await;
    let count = |part: &str, row: &str| part.matches(row).count();
    let slow = html.split("id=\"slow\"").nth(1).unwrap();
    let slow = slow.split("</table>").next().unwrap();
    assert!(slow.contains("1 to 10 of 15"), "{slow}");
    assert_eq!(count(slow, "data-l=\"took\""), 10, "{slow}");
    let heading = "SLOWEST CONNECTS of the last 10 minutes, 1 to 10 of 15";
    assert!(text.contains(heading), "{text}");
    let limits = html.split("id=\"limits\"").nth(1).unwrap();
    let limits = limits.split("</table>").next().unwrap();
    assert!(limits.contains("1 to 16 of 23"), "{limits}");
    assert_eq!(count(limits, "<th scope=\"row\">"), 16, "{limits}");
    assert!(text.contains("LIMITS, 1 to 20 of 23"), "{text}");
    assert_eq!(count(&json, "\"took_ms\""), 15, "{json}");
}

#[tokio::test]
async fn failures_that_are_alike_are_one_row_with_their_number() {
    let gateway = troubled(2);
    let forms = forms(serve(&gateway).await).await;
    // Of 40 that the world has, 32 are kept.
    all_have(&forms, ["32 alike", ", 32 alike", "\"alike\": 32"]);
}

#[tokio::test]
async fn lost_log_lines_and_limits_of_the_machine_are_troubles() {
    let gateway = troubled(2);
    gateway
        .metrics
        .log_lines_dropped(LogName::Access, DroppedLine::QueueFull)
        .inc_by(7);
    gateway.limits.lock().unwrap().extend([
        (
            String::new(),
            LimitUse::of_process("open_files", 1024, 1000),
        ),
        (
            String::new(),
            LimitUse::of_process("memory_bytes", 1 << 30, 900 << 20),
        ),
    ]);
    let forms = forms(serve(&gateway).await).await;
    for said in [
        "Log lines are lost: 7 in the last minutes",
        "memory of the cgroup: 900 MiB of 1.0 GiB are used",
        "open files: 1,000 of 1,024 are used",
    ] {
        all_have(&forms, [said; 3]);
    }
}
