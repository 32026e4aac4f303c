//! The reports about a config file: that it is in force, or that it was refused.

use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use super::control::Control;
use crate::admin::{ConfigInForce, RefusedConfig};
use crate::clock;
use crate::config::{Config, ConfigError, ConfigSource, Problem};
use crate::metrics::gauge_value;
use crate::source::kubernetes::PodReporter;

/// The number of problems of a refused file that the log has, a line for each. The admin server has all.
const LOGGED: usize = 20;
/// The number of them that the Event about the pod has.
const NOTED: usize = 3;
/// The reason of that Event.
const REFUSED: &str = "ConfigRefused";

/// A config that has come into force.
pub(super) struct FileInForce<'a> {
    /// The file's config before it.
    pub(super) before: Arc<Config>,
    pub(super) config: Arc<Config>,
    /// The config that the process has started with.
    pub(super) started: Arc<Config>,
    pub(super) source: Option<&'a ConfigSource>,
    pub(super) took: Duration,
}

impl FileInForce<'_> {
    /// Tells the log, the metrics and the admin server.
    pub(super) async fn report(self, control: &Control) {
        let generation = control.config_reports.generation() + 1;
        let is_first = generation == 1;
        let compare = move || {
            let before = (!is_first).then_some(&*self.before);
            let changes = self.config.changes_since(before);
            (changes, self.config.needs_restart(&self.started))
        };
        // A failure is in the log, and the report then lacks the changes.
        let compared = control.builder.run(compare).await;
        let (changes, restart_pending) = compared.unwrap_or_default();
        let in_words = match &changes[..] {
            [] => "nothing".to_owned(),
            changes => changes.join(", "),
        };
        let sha256 = self.source.map(ConfigSource::short_hash);
        let file = self.source.map(|source| &*source.origin);
        let took = self.took;
        match is_first {
            true => tracing::info!(
                generation, file, sha256, config = %in_words, ?took, "config in force"
            ),
            false => tracing::info!(
                generation, file, sha256, changed = %in_words, ?took, "config reloaded"
            ),
        }
        for key in &restart_pending {
            tracing::warn!(
                key,
                "a change of this key needs a restart; strait keeps the old value until then"
            );
        }
        let metrics = &control.shared.metrics;
        metrics.config_loaded(true);
        metrics.config_current.set(1);
        metrics.config_refused_problems.set(0);
        metrics.config_last_success.set(clock::seconds());
        metrics
            .config_restart_pending
            .set(gauge_value(restart_pending.len()));
        control.config_reports.in_force(ConfigInForce {
            generation,
            path: self.source.map(|source| source.origin.clone()),
            sha256: self.source.map(|source| source.sha256.clone()),
            loaded: clock::now(),
            took,
            changes,
            restart_pending,
            source: self.source.cloned(),
        });
    }
}

/// Tells the log, the metrics and the admin server that a file was refused for its content. `source` is
/// `None` if it could not be read.
pub(super) fn unusable(control: &Control, error: &ConfigError, source: Option<&ConfigSource>) {
    let origin = Arc::from(&*error.origin);
    refused(control, Some(origin), source, error.problems.clone());
}

/// As [`unusable`], of a valid config that could not be brought into force.
pub(super) fn impossible(control: &Control, error: &AppError, source: Option<&ConfigSource>) {
    let origin = source.map(|source| source.origin.clone());
    let problem = Problem::of_change(error.to_string());
    refused(control, origin, source, vec![problem]);
}

/// The text of the Event about a refused file: the first problems, as the log has them.
fn note(path: Option<&str>, problems: &[Problem]) -> String {
    let path = path.unwrap_or("the config");
    let first = problems.iter().take(NOTED);
    let lines: Vec<String> = first.map(|one| one.display(path).to_string()).collect();
    let more = match problems.len().saturating_sub(NOTED) {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    format!(
        "strait goes on with the config that it has; a container that starts now would not start\n{}{more}",
        lines.join("\n")
    )
}

fn refused(
    control: &Control,
    path: Option<Arc<str>>,
    source: Option<&ConfigSource>,
    problems: Vec<Problem>,
) {
    let file = path.as_deref();
    let sha256 = source.map(ConfigSource::short_hash);
    let count = problems.len();
    tracing::error!(
        file,
        sha256,
        problems = count,
        "config refused, strait goes on with the one that it has"
    );
    for problem in problems.iter().take(LOGGED) {
        let Problem { line, column, .. } = problem;
        let at = (*line > 0).then_some((*line, *column));
        let key = (!problem.key.is_empty()).then_some(&*problem.key);
        tracing::error!(
            file,
            line = at.map(|at| at.0),
            column = at.map(|at| at.1),
            key,
            problem = problem.message,
            remedy = problem.remedy,
            "a problem of the refused config"
        );
    }
    if let Some(more) = count.checked_sub(LOGGED).filter(|more| *more > 0) {
        let all = "GET /config_dump of the admin server, or strait check";
        tracing::error!(more, all, "the refused config has more problems");
    }
    let metrics = &control.shared.metrics;
    metrics.config_loaded(false);
    metrics.config_current.set(0);
    metrics.config_refused_problems.set(gauge_value(count));
    if let Some(reporter) = control.pod_reporter.load_full() {
        tokio::spawn(PodReporter::clone(&reporter).warn(REFUSED, note(path.as_deref(), &problems)));
    }
    control.config_reports.refused(RefusedConfig {
        at: clock::now(),
        path,
        sha256: source.map(|source| source.sha256.clone()),
        problems,
    });
}
