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
        "process" if what == "memory" => return "memory of the pod".to_owned(),
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
            "Without a free descriptor strait pauses accepting. It takes as many connections as the limit of open \
             files allows, so another program of the pod, or a leak, has the others.",
        ),
        "memory_bytes" => Some(
            "From limits.memory_percent on new connections end overloaded, and the kernel kills the process at the \
             limit. Raise the memory limit of the pod, or lower limits.connections.",
        ),
        _ => None,
    }
}

fn title(limit: &LimitRow) -> String {
    let amount: fn(u64) -> String = match limit.limit.ends_with("_bytes") {
        true => size,
        false => count,
    };
    let (used, most) = (amount(limit.used), amount(limit.most));
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
