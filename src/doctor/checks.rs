//! The result of a check, for a person and for programs.

use serde::Serialize;

/// The state of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DoctorState {
    /// As it should be.
    Passed,
    /// Calls go now, and something is not as it should be.
    Warned,
    /// Calls fail, will fail soon, or reach what they should not.
    Failed,
    /// It cannot be told, for the reason that the finding gives.
    NotTold,
}

/// One check with its finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DoctorCheck {
    /// The checks that belong together: a gateway, an endpoint, a service.
    pub(crate) group: String,
    /// The check's name, which is its anchor in the documentation.
    pub(crate) check: &'static str,
    /// The sentence that is true if the check passes.
    pub(crate) title: String,
    pub(crate) state: DoctorState,
    /// The fault of a check that failed or warned, of a closed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'static str>,
    /// The finding, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finding: Option<String>,
    /// The next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

/// A fault, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) cause: &'static str,
    pub(super) finding: String,
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(
        cause: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            cause,
            finding: finding.into(),
            remedy: remedy.into(),
        }
    }
}

/// The checks of one group.
#[derive(Debug)]
pub(super) struct CheckGroup<'a> {
    pub(super) name: String,
    pub(super) checks: &'a mut Vec<DoctorCheck>,
}

impl CheckGroup<'_> {
    /// A check that passed.
    pub(super) fn pass(&mut self, check: &'static str, title: impl Into<String>) {
        self.push(check, title.into(), DoctorState::Passed, None);
    }

    pub(super) fn fail(&mut self, check: &'static str, title: impl Into<String>, fault: Fault) {
        self.push(check, title.into(), DoctorState::Failed, Some(fault));
    }

    pub(super) fn warn(&mut self, check: &'static str, title: impl Into<String>, fault: Fault) {
        self.push(check, title.into(), DoctorState::Warned, Some(fault));
    }

    /// Passed without a fault, failed with one.
    pub(super) fn judged(
        &mut self,
        check: &'static str,
        title: impl Into<String>,
        fault: Option<Fault>,
    ) {
        match fault {
            None => self.pass(check, title),
            Some(fault) => self.fail(check, title, fault),
        }
    }

    /// Passed without a fault, warned with one.
    pub(super) fn warned(
        &mut self,
        check: &'static str,
        title: impl Into<String>,
        fault: Option<Fault>,
    ) {
        match fault {
            None => self.pass(check, title),
            Some(fault) => self.warn(check, title, fault),
        }
    }

    /// As [`Self::judged`], or not told for a reason.
    pub(super) fn found(
        &mut self,
        check: &'static str,
        title: impl Into<String>,
        found: Result<Option<Fault>, impl Into<String>>,
    ) {
        match found {
            Ok(fault) => self.judged(check, title, fault),
            Err(reason) => self.untold(check, title, reason),
        }
    }

    /// A check that cannot be told for this reason.
    pub(super) fn untold(
        &mut self,
        check: &'static str,
        title: impl Into<String>,
        reason: impl Into<String>,
    ) {
        self.checks.push(DoctorCheck {
            group: self.name.clone(),
            check,
            title: title.into(),
            state: DoctorState::NotTold,
            cause: None,
            finding: Some(reason.into()),
            remedy: None,
        });
    }

    fn push(
        &mut self,
        check: &'static str,
        title: String,
        state: DoctorState,
        fault: Option<Fault>,
    ) {
        let (cause, finding, remedy) = match fault {
            None => (None, None, None),
            Some(fault) => (Some(fault.cause), Some(fault.finding), Some(fault.remedy)),
        };
        self.checks.push(DoctorCheck {
            group: self.name.clone(),
            check,
            title,
            state,
            cause,
            finding,
            remedy,
        });
    }
}
