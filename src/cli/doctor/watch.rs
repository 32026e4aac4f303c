//! `strait doctor --watch`: one run after another, a line for each change, and metrics for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_blocking};

use super::report::{DoctorReport, shown};
use crate::doctor::{DoctorCheck, DoctorState};
use crate::{clock, socket};

/// The key of a check among those of a run.
type CheckKey = (String, &'static str, String);

/// The checks of the last run that failed or warned.
#[derive(Debug, Default)]
pub(super) struct LastRun {
    wrong: Option<BTreeMap<CheckKey, DoctorCheck>>,
}

impl LastRun {
    /// A line for each check that fails or warns and did not so in the last run, or not for this cause, and for each that
    /// did and does no more, without newlines. Of the first run also one for the whole.
    pub(super) fn changes(&mut self, report: &DoctorReport, at: SystemTime) -> Vec<String> {
        let wrong = report.checks.iter().filter(|check| is_wrong(check));
        let key = |check: &DoctorCheck| (check.group.clone(), check.check, check.title.clone());
        let now: BTreeMap<CheckKey, DoctorCheck> =
            wrong.map(|check| (key(check), check.clone())).collect();
        let time = humantime::format_rfc3339_seconds(clock::writable(at));
        let mut lines = Vec::new();
        let before = self.wrong.take();
        let first = before.is_none();
        let before = before.unwrap_or_default();
        for (key, check) in &now {
            let same = |last: &DoctorCheck| last.state == check.state && last.cause == check.cause;
            if before.get(key).is_some_and(same) {
                continue;
            }
            let word = if check.state == DoctorState::Failed {
                "failed"
            } else {
                "warned"
            };
            lines.push(format!("{time} {word} {}", sentence(check)));
        }
        for (key, check) in before.iter().filter(|(key, _)| !now.contains_key(*key)) {
            // It may have become one that cannot be told.
            let judged = report
                .checks
                .iter()
                .find(|one| &(one.group.clone(), one.check, one.title.clone()) == key);
            let word = match judged.map(|one| one.state) {
                Some(DoctorState::Passed) => "passed",
                _ => "not told",
            };
            lines.push(format!(
                "{time} {word} {}: {} ({})",
                check.group, check.title, check.check
            ));
        }
        if first {
            lines.push(format!("{time} looked {}", report.summary()));
        }
        self.wrong = Some(now);
        lines.iter().map(|line| shown(line)).collect()
    }
}

/// Lines on their way to a standard output that may be a pipe which nobody reads: another thread waits for it.
#[derive(Debug, Default)]
pub(super) struct WatchPrinter {
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl WatchPrinter {
    /// Whether the lines before are written.
    pub(super) fn is_free(&self) -> bool {
        self.writing.is_none()
    }

    /// Starts to write lines. The writer is free.
    pub(super) fn start(&mut self, lines: Vec<String>, mut out: impl Write + Send + 'static) {
        if lines.is_empty() {
            return;
        }
        self.writing = Some(spawn_blocking(move || {
            for line in lines {
                writeln!(out, "{line}")?;
            }
            out.flush()
        }));
    }

    /// Waits for the lines that are on their way, and for ever if there are none. May be dropped before its end.
    ///
    /// # Errors
    /// Those of write(2).
    pub(super) async fn written(&mut self) -> io::Result<()> {
        let Some(writing) = &mut self.writing else {
            return std::future::pending().await;
        };
        let written = writing.await;
        self.writing = None;
        written.map_err(io::Error::other)?
    }
}

fn is_wrong(check: &DoctorCheck) -> bool {
    matches!(check.state, DoctorState::Failed | DoctorState::Warned)
}

fn sentence(check: &DoctorCheck) -> String {
    let finding = check.finding.as_deref().unwrap_or(&check.title);
    let remedy = check
        .remedy
        .as_deref()
        .map_or_else(String::new, |remedy| format!("; {remedy}"));
    let cause = check.cause.unwrap_or_default();
    format!(
        "{}: {finding}{remedy} ({} {cause})",
        check.group, check.check
    )
}

/// The metrics of a run, in Prometheus' text format.
pub(super) fn exposition(report: &DoctorReport, at: SystemTime) -> String {
    let mut text = String::from(
        "# HELP strait_doctor_checks The checks of the last run, by state.\n# TYPE strait_doctor_checks gauge\n",
    );
    for (state, word) in [
        (DoctorState::Passed, "passed"),
        (DoctorState::Warned, "warned"),
        (DoctorState::Failed, "failed"),
        (DoctorState::NotTold, "not_told"),
    ] {
        let count = report.count(state);
        let _ = writeln!(text, "strait_doctor_checks{{state=\"{word}\"}} {count}");
    }
    text += "# HELP strait_doctor_finding 1 for each check of the last run that failed or warned.\n# TYPE strait_doctor_finding gauge\n";
    let mut findings = BTreeMap::<(&str, &str, &str, &str), usize>::new();
    for check in report.checks.iter().filter(|check| is_wrong(check)) {
        let state = if check.state == DoctorState::Failed {
            "failed"
        } else {
            "warned"
        };
        let key = (
            &*check.group,
            check.check,
            check.cause.unwrap_or_default(),
            state,
        );
        *findings.entry(key).or_default() += 1;
    }
    for ((group, check, cause, state), count) in findings {
        let group = group
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = writeln!(
            text,
            "strait_doctor_finding{{group=\"{group}\",check=\"{check}\",cause=\"{cause}\",state=\"{state}\"}} {count}"
        );
    }
    let _ = writeln!(
        text,
        "# HELP strait_doctor_last_run_timestamp_seconds The end of the last run.
# TYPE strait_doctor_last_run_timestamp_seconds gauge
strait_doctor_last_run_timestamp_seconds {:.0}
# HELP strait_doctor_run_seconds The time that the last run took.
# TYPE strait_doctor_run_seconds gauge
strait_doctor_run_seconds {:.3}",
        clock::since_epoch(at),
        report.took.as_secs_f64(),
    );
    text
}

/// The metrics that a scrape gets.
#[derive(Debug, Clone, Default)]
pub(super) struct MetricsPage(Arc<Mutex<String>>);

impl MetricsPage {
    pub(super) fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn get(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Listens for scrapes.
///
/// # Errors
/// Those of bind(2) and listen(2).
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener: std::net::TcpListener = socket::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The one path of the metrics server.
pub(super) fn router(page: MetricsPage) -> Router {
    let metrics = async |State(page): State<MetricsPage>| {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page.get())
    };
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(page)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn check(title: &str, state: DoctorState, cause: Option<&'static str>) -> DoctorCheck {
        DoctorCheck {
            group: "alpha.com: \"it\"".to_owned(),
            check: "trust",
            title: title.to_owned(),
            state,
            cause,
            finding: cause.map(|_| "it is\nstale".to_owned()),
            remedy: cause.map(|_| "wait".to_owned()),
        }
    }

    fn report(checks: Vec<DoctorCheck>) -> DoctorReport {
        let took = Duration::from_millis(250);
        DoctorReport { checks, took }
    }

    #[test]
    fn only_a_change_is_a_line() {
        let mut last = LastRun::default();
        let at = SystemTime::UNIX_EPOCH;
        let well = || report(vec![check("a", DoctorState::Passed, None)]);
        let warned = || report(vec![check("a", DoctorState::Warned, Some("stale"))]);
        let failed = || report(vec![check("a", DoctorState::Failed, Some("stale"))]);
        let untold = || report(vec![check("a", DoctorState::NotTold, None)]);
        assert_eq!(
            last.changes(&warned(), at),
            [
                "1970-01-01T00:00:00Z warned alpha.com: \"it\": it is\\nstale; wait (trust stale)",
                "1970-01-01T00:00:00Z looked well: 0 passed, 1 warned, 0 failed, 0 not told, in 0.2 s",
            ]
        );
        assert_eq!(last.changes(&warned(), at), Vec::<String>::new());
        let lines = last.changes(&failed(), at);
        assert!(
            lines[0].contains(" failed alpha.com") && lines.len() == 1,
            "{lines:?}"
        );
        let lines = last.changes(&well(), at);
        assert_eq!(
            lines,
            ["1970-01-01T00:00:00Z passed alpha.com: \"it\": a (trust)"]
        );
        assert_eq!(last.changes(&untold(), at), Vec::<String>::new());
        last.changes(&failed(), at);
        let lines = last.changes(&untold(), at);
        assert!(lines[0].contains(" not told alpha.com"), "{lines:?}");
    }

    #[test]
    fn a_finding_is_a_series_and_its_label_is_escaped() {
        let one = check("a", DoctorState::Failed, Some("stale"));
        let text = exposition(&report(vec![one.clone(), one]), SystemTime::UNIX_EPOCH);
        for line in [
            "strait_doctor_checks{state=\"failed\"} 2\n",
            "strait_doctor_checks{state=\"passed\"} 0\n",
            "strait_doctor_finding{group=\"alpha.com: \\\"it\\\"\",check=\"trust\",cause=\"stale\",state=\"failed\"} 2\n",
            "strait_doctor_run_seconds 0.250\n",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_nobody_up() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                // Until the test has dropped the other end.
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (read, stuck) = std::sync::mpsc::channel();
        let mut writer = WatchPrinter::default();
        writer.start(Vec::new(), io::sink());
        assert!(writer.is_free());
        writer.start(vec!["a line".to_owned()], Stuck(stuck));
        let early = timeout(Duration::from_millis(20), writer.written()).await;
        assert!(early.is_err() && !writer.is_free());
        drop(read);
        let written = writer.written().await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(writer.is_free());
    }
}
