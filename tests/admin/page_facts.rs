//! Facts that the page has in each of its forms: slow connects, failures that are alike, lost log lines, limits of the
//! machine.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use strait::limits::LimitUse;
use strait::metrics::{DroppedLine, LogName};
use strait::recent_connections::SlowConnect;

use crate::operator::http::get;
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

#[tokio::test]
async fn slow_connects_are_there_with_their_probable_cause() {
    let gateway = troubled(2);
    for (millis, port) in [(3, 1), (1040, 2), (41, 3)] {
        let took = Duration::from_millis(millis);
        gateway.recent.slow_connects.note(took, || SlowConnect {
            at: SystemTime::now(),
            took,
            upstream: "svcb".into(),
            endpoint: SocketAddr::from(([10, 1, 3, 44], 50_050 + port)),
            source: SocketAddr::from(([10, 0, 12, 7], 41_822)),
        });
    }
    let forms = forms(serve(&gateway).await).await;
    all_have(
        &forms,
        ["Slowest connects", "SLOWEST CONNECTS", "slow_connects"],
    );
    let slow = "a SYN was lost, or the queue of the endpoint was full";
    all_have(&forms, [slow, slow, slow]);
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
        "memory of the pod: 900 MiB of 1.0 GiB are used",
        "open files: 1,000 of 1,024 are used",
    ] {
        all_have(&forms, [said, said, said]);
    }
}
