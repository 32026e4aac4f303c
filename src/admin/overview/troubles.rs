//! The troubles: what is wrong, how urgent it is, and the command that shows more. A pure function of the numbers.

mod calls;
mod limits;
mod words;

use super::{
    EndpointRow, FailureRow, LimitRow, ListenerRow, LostLinesRow, OutcomeRow, OverviewCluster,
    OverviewConfiguration, OverviewKubernetes, OverviewProblem, OverviewState, OverviewTraffic,
    RouteRow, Trouble, TroubleLevel,
};
use crate::admin::numbers::count;
use crate::admin::plain::is_one_word;
use calls::{of_refusals, of_routes};
use limits::of_limit;
pub(in crate::admin) use limits::{limit_amount, limit_in_words};
use words::command;

/// Details of one trouble.
const DETAILS: usize = 10;

/// An upstream whose source does not answer.
#[derive(Debug, Clone, Default)]
pub(super) struct SilentSource {
    pub(super) upstream: String,
    pub(super) error: String,
    pub(super) since: Option<String>,
}

/// The numbers that are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct TroubleFacts<'a> {
    pub(super) configuration: &'a OverviewConfiguration,
    pub(super) state: &'a OverviewState,
    pub(super) traffic: &'a OverviewTraffic,
    pub(super) outcomes: &'a [OutcomeRow],
    pub(super) routes: &'a [RouteRow],
    pub(super) endpoints: &'a [EndpointRow],
    pub(super) silent_sources: &'a [SilentSource],
    pub(super) limits: &'a [LimitRow],
    pub(super) failures: &'a [FailureRow],
    pub(super) lost_log_lines: &'a [LostLinesRow],
    /// The ends of the minutes of the history, the oldest first.
    pub(super) minute_ends: &'a [String],
}

impl TroubleFacts<'_> {
    /// Whether the source of an upstream of this route does not answer, which is a trouble of its own.
    fn is_silent(&self, route: &RouteRow) -> bool {
        let mut silent = self.silent_sources.iter();
        silent.any(|source| route.upstreams.contains(&source.upstream))
    }
}

impl Trouble {
    fn new(level: TroubleLevel, title: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self {
            level,
            title: title.into(),
            sentence: sentence.into(),
            details: Vec::new(),
            lost_per_second: Some(0.0),
            since: None,
            command: None,
            search: None,
        }
    }

    fn command(self, command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..self
        }
    }

    fn details(self, details: impl IntoIterator<Item = String>) -> Self {
        let mut details: Vec<String> = details.into_iter().take(DETAILS + 1).collect();
        if details.len() > DETAILS {
            details.truncate(DETAILS);
            details.push("and more".to_owned());
        }
        Self { details, ..self }
    }
}

/// All troubles, the most urgent first.
pub(super) fn troubles(facts: &TroubleFacts<'_>) -> Vec<Trouble> {
    let mut troubles = of_process(facts.state);
    troubles.extend(of_listeners(facts));
    troubles.extend(of_routes(facts));
    troubles.extend(of_refusals(facts));
    troubles.extend(of_config(facts.configuration));
    troubles.extend(of_sources(facts));
    troubles.extend(
        facts
            .limits
            .iter()
            .filter_map(|limit| of_limit(limit, facts)),
    );
    troubles.extend(of_lost_lines(facts.lost_log_lines));
    if let Some(kubernetes) = &facts.configuration.kubernetes {
        troubles.extend(of_kubernetes(kubernetes));
        troubles.extend(kubernetes.clusters.iter().filter_map(of_cluster));
    }
    troubles.sort_by(|one, other| {
        let lost = |trouble: &Trouble| trouble.lost_per_second.unwrap_or(0.0);
        let by_loss = lost(other).total_cmp(&lost(one));
        let by_title = || one.title.cmp(&other.title);
        one.level
            .cmp(&other.level)
            .then(by_loss)
            .then_with(by_title)
    });
    troubles
}

fn of_process(state: &OverviewState) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if let Some(drain) = &state.drain {
        let left = match (drain.left_ms, drain.listeners_closed) {
            (Some(left), _) => format!("{} s until those that are left are cut.", left / 1000),
            (None, true) => "Those that are left are cut now.".to_owned(),
            (None, false) => format!(
                "Listeners close after {} s, so that load balancers move away first; then connections have {} s.",
                state.readiness_delay_ms / 1000,
                state.drain_window_ms / 1000
            ),
        };
        let title = format!("Draining: {} connections are open", drain.connections_left);
        let trouble = Trouble::new(TroubleLevel::Draining, title, left);
        troubles.push(trouble.command("strait connections --sort age"));
    } else if !state.ready {
        let trouble = Trouble::new(
            TroubleLevel::Failing,
            "Not ready: load balancers send no connection here",
            state.reasons.first().cloned().unwrap_or_default() + ".",
        );
        let names = state.reasons.iter().skip(1).cloned();
        troubles.push(Trouble {
            lost_per_second: None,
            ..trouble.details(names).command("strait status")
        });
    }
    for problem in &state.process {
        let trouble = Trouble::new(
            TroubleLevel::Failing,
            problem.clone(),
            "The process itself is in need of something.",
        );
        troubles.push(Trouble {
            lost_per_second: None,
            ..trouble.command("strait status")
        });
    }
    troubles
}

/// Listeners that are not bound, once the others are: a Gateway may ask for an address that is not free.
fn of_listeners(facts: &TroubleFacts<'_>) -> Option<Trouble> {
    let listeners = facts.configuration.listeners.iter();
    let unbound = listeners.filter(|listener| facts.state.ready && listener.bound.is_none());
    let unbound: Vec<_> = unbound.collect();
    let first = unbound.first()?;
    let title = match unbound.len() {
        1 => format!("Listener {} is not bound", first.name),
        many => format!("{many} listeners are not bound"),
    };
    let said = |listener: &&ListenerRow| format!("{} on {}", listener.name, listener.configured);
    let sentence = "Nobody reaches its routes; the log says why. strait tries again.";
    let trouble = Trouble::new(TroubleLevel::Failing, title, sentence);
    Some(Trouble {
        lost_per_second: None,
        ..trouble
            .details(unbound.iter().map(said))
            .command("strait status")
    })
}

fn of_config(configuration: &OverviewConfiguration) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if let Some(refused) = &configuration.refused {
        let serves = match configuration.generation {
            Some(generation) => format!("generation {generation} serves"),
            None => "the one before serves".to_owned(),
        };
        let problems = match refused.problem_count {
            0 => "the log has its problems".to_owned(),
            1 => "1 problem".to_owned(),
            many => format!("{many} problems"),
        };
        let trouble = Trouble::new(
            TroubleLevel::Refused,
            format!("The newest config file is refused, and {serves}"),
            format!(
                "Traffic is as before. A pod that starts now with this file does not start: {problems}."
            ),
        );
        let file = configuration
            .file
            .as_deref()
            .filter(|file| is_one_word(file));
        troubles.push(Trouble {
            since: refused.at.clone(),
            ..trouble
                .details(refused.problems.iter().map(problem))
                .command(format!("strait check {}", file.unwrap_or_default()).trim_end())
        });
    }
    if configuration.restart_pending > 0 {
        let keys = configuration.restart_keys.join(", ");
        let named = match keys.is_empty() {
            true => "The log names them.".to_owned(),
            false => format!("Until then the old values are in force: {keys}."),
        };
        let title = match configuration.restart_pending {
            1 => "1 changed key of the config needs a restart".to_owned(),
            many => format!("{many} changed keys of the config need a restart"),
        };
        let trouble = Trouble::new(TroubleLevel::Note, title, named);
        troubles.push(trouble.command("strait status"));
    }
    troubles
}

fn problem(problem: &OverviewProblem) -> String {
    let place = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        (Some(line), None) => format!("line {line}: "),
        (None, _) => String::new(),
    };
    let key = problem.key.as_deref().unwrap_or_default();
    let key = if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    };
    format!("{place}{key}{}", problem.message)
}

/// Upstreams whose source does not answer.
fn of_sources(facts: &TroubleFacts<'_>) -> Option<Trouble> {
    let first = facts.silent_sources.first()?;
    let title = match facts.silent_sources.len() {
        1 => format!("The source of {} does not answer", first.upstream),
        many => format!("The sources of {many} upstreams do not answer"),
    };
    let sentence = "Endpoints of an earlier answer serve, if there was one.";
    let said = |source: &SilentSource| format!("{}: {}", source.upstream, source.error);
    let since = facts
        .silent_sources
        .iter()
        .filter_map(|source| source.since.clone());
    let since = since.min();
    let trouble = Trouble::new(TroubleLevel::Contained, title, sentence);
    Some(Trouble {
        since,
        search: Some(first.upstream.clone()),
        ..trouble
            .details(facts.silent_sources.iter().map(said))
            .command(command("strait upstreams", &[("", &first.upstream)]))
    })
}

/// Lines of the logs that are lost now. The metrics and this page still count what they would tell.
fn of_lost_lines(rows: &[LostLinesRow]) -> Option<Trouble> {
    let now: Vec<&LostLinesRow> = rows.iter().filter(|row| row.now > 0).collect();
    if now.is_empty() {
        return None;
    }
    let lost: u64 = now.iter().map(|row| row.now).sum();
    let said = |row: &&LostLinesRow| {
        let (log, why) = match (&*row.log, &*row.reason) {
            ("own", why) => ("strait's own log, on stderr", why),
            ("otlp", why) => ("the access log's export, to access_log.otlp", why),
            (_, why) => ("the access log, on stdout", why),
        };
        let why = match why {
            "queue_full" => "the reader is slower than the lines come",
            _ => "they could not be written",
        };
        format!("{} of {log}: {why}", count(row.now))
    };
    let trouble = Trouble::new(
        TroubleLevel::Contained,
        format!("Log lines are lost: {} in the last minutes", count(lost)),
        "Counters and this page have what the lines would have told. A full disk, a pipe that nobody reads or a \
         slow collector is the usual cause.",
    );
    Some(
        trouble
            .details(now.iter().map(said))
            .command("strait status"),
    )
}

fn of_kubernetes(kubernetes: &OverviewKubernetes) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if let Some(since) = &kubernetes.stale_since {
        let trouble = Trouble::new(
            TroubleLevel::Contained,
            "The Kubernetes API does not tell changes",
            "Routes and endpoints are as they were. New pods get no connection, and those of pods that are gone fail.",
        );
        troubles.push(Trouble {
            since: Some(since.clone()),
            ..trouble
                .details(kubernetes.stale_because.clone())
                .command("strait status")
        });
    }
    if !kubernetes.saved_kinds.is_empty() {
        let kinds = kubernetes.saved_kinds.join(", ");
        let sentence = format!("The API has not listed these kinds since the start: {kinds}.");
        let title = "Routes and endpoints come from the saved state";
        let trouble = Trouble::new(TroubleLevel::Contained, title, sentence);
        troubles.push(Trouble {
            since: kubernetes.saved_confirmed.clone(),
            ..trouble.command("strait status")
        });
    }
    for kind in &kubernetes.not_watched {
        let title = format!("{} is not watched", kind.kind);
        let trouble = Trouble::new(TroubleLevel::Note, title, format!("{}.", kind.reason));
        troubles.push(Trouble {
            lost_per_second: None,
            ..trouble.command("strait status")
        });
    }
    let objects = [
        (
            kubernetes.unreadable.len(),
            "objects of the cluster cannot be read",
        ),
        (
            kubernetes.skipped_names,
            "names get no route because of a limit",
        ),
    ];
    for (count, what) in objects.into_iter().filter(|(count, _)| *count > 0) {
        let trouble = Trouble::new(
            TroubleLevel::Note,
            format!("{count} {what}"),
            "What they stand for is not reachable.",
        );
        let details = kubernetes.unreadable.iter().cloned();
        troubles.push(match what.starts_with("objects") {
            true => trouble.details(details).command("strait status"),
            false => trouble.command("strait status"),
        });
    }
    troubles
}

/// The trouble of another cluster of the mesh.
fn of_cluster(cluster: &OverviewCluster) -> Option<Trouble> {
    let name = &cluster.name;
    let kinds = cluster.not_watched.iter();
    let kinds = kinds.map(|kind| format!("{}: {}", kind.kind, kind.reason));
    let trouble = match (&cluster.stale_since, kinds.len()) {
        (Some(_), _) => Trouble::new(
            TroubleLevel::Contained,
            format!("The API of cluster {name} does not tell changes"),
            "Its endpoints are as they were: its new pods get no connection, and those of pods that are gone fail. \
             The others serve.",
        ),
        (None, 0) => return None,
        (None, _) => Trouble {
            lost_per_second: None,
            ..Trouble::new(
                TroubleLevel::Note,
                format!("Cluster {name} is not watched in full"),
                "What is not watched there has no part in the endpoints.",
            )
        },
    };
    Some(Trouble {
        since: cluster.stale_since.clone(),
        ..trouble
            .details(cluster.stale_because.iter().cloned().chain(kinds))
            .command("strait status")
    })
}

#[cfg(test)]
mod tests;
