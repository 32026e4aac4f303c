//! The troubles of limits that are nearly used up.

use super::words::command;
use super::{Trouble, TroubleFacts};
use crate::admin::numbers::{count, size};
use crate::admin::overview::history::float;
use crate::admin::overview::judge::NEAR;
use crate::admin::overview::{LimitRow, TroubleLevel};
use crate::outcome::Outcome;

/// The name of a limit in words.
pub(in crate::admin) fn limit_in_words(limit: &LimitRow) -> String {
    let what = limit.limit.trim_end_matches("_bytes").replace('_', " ");
    let scope = match &*limit.scope {
        "process" if what == "memory" => return "memory of the cgroup".to_owned(),
        "process" => return what,
        "source" => "one source on listener".to_owned(),
        "endpoint" => "one endpoint of".to_owned(),
        scope => scope.replace('_', " "),
    };
    format!("{what} of {scope} {}", limit.name)
}

/// The end of a limit that the machine sets, in a sentence.
fn of_machine(limit: &str) -> Option<&'static str> {
    match limit {
        "open_files" => Some(
            "These are the files of this process alone: two for each connection, and some for pipes and logs. Without a \
             free descriptor strait pauses accepting. Raise the limit of open files; if the connections do not explain \
             their number, files leak.",
        ),
        "memory_bytes" => Some(
            "Use and limit are those of the cgroup that is nearest to its limit: the own one, in Kubernetes that of the \
             container, or one above it. From limits.memory_percent on new connections end overloaded. At \
             memory.high the kernel slows the cgroup down, at memory.max it kills a process of it. Raise that limit, or lower limits.connections.",
        ),
        _ => None,
    }
}

/// An amount of what a limit counts, in words.
pub(in crate::admin) fn limit_amount(limit: &LimitRow, amount: u64) -> String {
    match limit.limit.ends_with("_bytes") {
        true => size(amount),
        false => count(amount),
    }
}

fn title(limit: &LimitRow) -> String {
    let [used, most] = [limit.used, limit.most].map(|amount| limit_amount(limit, amount));
    format!("{}: {used} of {most} are used", limit_in_words(limit))
}

pub(super) fn of_limit(limit: &LimitRow, facts: &TroubleFacts<'_>) -> Option<Trouble> {
    if limit.share < NEAR {
        return None;
    }
    let is_full = limit.used >= limit.most;
    if let ("process", Some(sentence)) = (&*limit.scope, of_machine(&limit.limit)) {
        let trouble = Trouble::new(TroubleLevel::NearLimit, title(limit), sentence);
        return Some(trouble.command("strait connections"));
    }
    let outcome = match &*limit.scope {
        "process" => Outcome::Overloaded,
        _ => Outcome::OverLimit,
    };
    let refused = facts
        .outcomes
        .iter()
        .find(|row| row.outcome == outcome.label());
    let refused = refused.map_or(0, |row| row.now);
    let level = match is_full && refused > 0 {
        true => TroubleLevel::Failing,
        false => TroubleLevel::NearLimit,
    };
    let sentence = match is_full {
        true => format!(
            "What exceeds it ends {}: {refused} in the last minutes.",
            outcome.label()
        ),
        false => format!("What exceeds it ends {}.", outcome.label()),
    };
    let lost = is_full.then(|| float(refused) / facts.traffic.now_seconds.max(1.0));
    let command = match &*limit.scope {
        "source_group" => command("strait connections", &[("--group", &limit.name)]),
        "upstream" | "endpoint" => command("strait upstreams", &[("", &limit.name)]),
        _ => "strait connections".to_owned(),
    };
    Some(Trouble {
        lost_per_second: Some(lost.unwrap_or(0.0)),
        search: (!limit.name.is_empty()).then(|| limit.name.clone()),
        ..Trouble::new(level, title(limit), sentence).command(command)
    })
}
