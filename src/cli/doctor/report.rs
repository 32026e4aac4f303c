//! The checks of `strait doctor` for a person and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::clock;
use crate::doctor::{DoctorCheck, DoctorState, PAGE};
use crate::terminal::is_obeyed;

/// All checks of one run.
#[derive(Debug)]
pub(super) struct DoctorReport {
    pub(super) checks: Vec<DoctorCheck>,
    pub(super) took: Duration,
}

#[derive(Serialize)]
struct DoctorDocument<'a> {
    healthy: bool,
    passed: usize,
    warned: usize,
    failed: usize,
    not_told: usize,
    took_ms: u64,
    checks: &'a [DoctorCheck],
}

impl DoctorReport {
    pub(super) fn has_failed(&self) -> bool {
        self.count(DoctorState::Failed) > 0
    }

    pub(super) fn count(&self, state: DoctorState) -> usize {
        self.checks
            .iter()
            .filter(|check| check.state == state)
            .count()
    }

    /// The verdict and the counts, in a line.
    pub(super) fn summary(&self) -> String {
        format!(
            "{}: {} passed, {} warned, {} failed, {} not told, in {:.1} s",
            if self.has_failed() {
                "not well"
            } else {
                "well"
            },
            self.count(DoctorState::Passed),
            self.count(DoctorState::Warned),
            self.count(DoctorState::Failed),
            self.count(DoctorState::NotTold),
            self.took.as_secs_f64(),
        )
    }

    /// # Errors
    /// None that these types can have.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&DoctorDocument {
            healthy: !self.has_failed(),
            passed: self.count(DoctorState::Passed),
            warned: self.count(DoctorState::Warned),
            failed: self.count(DoctorState::Failed),
            not_told: self.count(DoctorState::NotTold),
            took_ms: clock::millis(self.took),
            checks: &self.checks,
        })
    }

    /// The checks in groups, each with a mark, and of those that did not pass the finding, what to do, and the place in
    /// the documentation.
    pub(super) fn text(&self, colours: bool) -> String {
        let mut text = String::new();
        let mut group = "";
        for check in &self.checks {
            if check.group != group {
                group = &check.group;
                let gap = if text.is_empty() { "" } else { "\n" };
                let line = "-".repeat(group.chars().count());
                let _ = writeln!(text, "{gap}{}\n{line}", shown(group));
            }
            let mark = mark(check.state, colours);
            let _ = writeln!(text, "{mark} {}", shown(&check.title));
            if let Some(finding) = &check.finding {
                let lead = if check.state == DoctorState::NotTold {
                    "not told: "
                } else {
                    ""
                };
                let _ = writeln!(text, "    {lead}{}", shown(finding));
            }
            if let Some(remedy) = &check.remedy {
                let _ = writeln!(text, "    {}", shown(remedy));
                let _ = writeln!(text, "    see {PAGE}#{}", check.check);
            }
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text
    }
}

fn mark(state: DoctorState, colours: bool) -> String {
    let (mark, code) = match state {
        DoctorState::Passed => ("\u{221a}", "32"),
        DoctorState::Warned => ("\u{203c}", "33"),
        DoctorState::Failed => ("\u{d7}", "31"),
        DoctorState::NotTold => ("?", "2"),
    };
    match colours {
        true => format!("\x1b[{code}m{mark}\x1b[0m"),
        false => mark.to_owned(),
    }
}

/// Text without what a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_obeyed(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: DoctorState, finding: Option<&str>) -> DoctorCheck {
        DoctorCheck {
            group: "alpha.com: the gateway".to_owned(),
            check: "clock",
            title: "its clock agrees".to_owned(),
            state,
            cause: finding.map(|_| "skew"),
            finding: finding.map(str::to_owned),
            remedy: finding.map(|_| "set it".to_owned()),
        }
    }

    fn report(checks: Vec<DoctorCheck>) -> DoctorReport {
        let took = Duration::from_millis(1_240);
        DoctorReport { checks, took }
    }

    #[test]
    fn a_fault_has_its_finding_the_next_step_and_its_page() {
        let report = report(vec![
            check(DoctorState::Passed, None),
            check(DoctorState::Failed, Some("it is \x1b[31m late")),
        ]);
        let expected = "alpha.com: the gateway
----------------------
\u{221a} its clock agrees
\u{d7} its clock agrees
    it is \\u{1b}[31m late
    set it
    see docs/src/operate/doctor.md#clock

not well: 1 passed, 0 warned, 1 failed, 0 not told, in 1.2 s
";
        assert_eq!(report.text(false), expected);
        assert!(
            report
                .text(true)
                .contains("\x1b[31m\u{d7}\x1b[0m its clock")
        );
        assert!(report.has_failed());
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["healthy"], false);
        assert_eq!(json["checks"][1]["cause"], "skew");
        assert_eq!(json["checks"][0].get("cause"), None);
    }

    #[test]
    fn warnings_and_checks_that_cannot_be_told_are_no_failure() {
        let report = report(vec![
            check(DoctorState::Warned, Some("soon")),
            check(DoctorState::NotTold, Some("nobody asked")),
        ]);
        assert!(!report.has_failed());
        assert!(
            report
                .text(false)
                .contains("? its clock agrees\n    not told: nobody asked")
        );
    }
}
