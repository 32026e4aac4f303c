//! Parts of sentences and commands of troubles.

use crate::admin::overview::FailureRow;
use crate::admin::plain::is_one_word;
use crate::outcome::Outcome;

pub(super) fn outcome_of(label: &str) -> Option<Outcome> {
    let all = Outcome::ALL.iter();
    all.copied().find(|outcome| outcome.label() == label)
}

/// The side that refused handshakes, if handshakes were refused.
pub(super) fn sides(failures: &[&FailureRow]) -> Option<String> {
    let refused = failures
        .iter()
        .filter(|failure| failure.outcome == Outcome::HandshakeRefused.label());
    let (mut downstream, mut all) = (0, 0);
    for failure in refused {
        all += 1;
        downstream += usize::from(failure.ended_by == "downstream");
    }
    match (downstream, all) {
        (_, 0) => None,
        (0, _) => Some("The endpoint refused the callers.".to_owned()),
        (some, all) if some == all => Some("The callers refused the endpoint.".to_owned()),
        (some, all) => Some(format!(
            "The callers refused the endpoint in {some} of {all} handshakes."
        )),
    }
}

/// The source groups of the callers, those with most failures first.
pub(super) fn callers(failures: &[&FailureRow]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for failure in failures {
        match counts.iter_mut().find(|(group, _)| *group == failure.group) {
            Some((_, count)) => *count += 1,
            None => counts.push((&failure.group, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let all = failures.len().max(1);
    let said = counts.iter().take(3).map(|(group, count)| {
        let percent = count * 100 / all;
        format!("{group} {percent} %")
    });
    let said: Vec<String> = said.collect();
    match said.is_empty() {
        true => String::new(),
        false => format!(" Callers: {}.", said.join(", ")),
    }
}

/// The command that explains a connection like a failed one.
pub(super) fn explain(newest: Option<&FailureRow>, route: &str) -> String {
    let name = newest.and_then(|failure| failure.server_name.as_deref());
    let Some(name) = name.filter(|name| is_one_word(name)) else {
        return command("strait connections", &[("--route", route)]);
    };
    let source = newest.and_then(|failure| failure.source);
    let source = source.map(|source| source.ip().to_canonical().to_string());
    command(
        "strait explain --live",
        &[
            ("--sni", name),
            ("--alpn", "istio"),
            ("--from", source.as_deref().unwrap_or_default()),
        ],
    )
}

/// A command with those of the options whose values are words that mean themselves.
pub(super) fn command(command: &str, options: &[(&str, &str)]) -> String {
    let mut words = vec![command.to_owned()];
    for (option, value) in options.iter().filter(|(_, value)| is_one_word(value)) {
        words.extend((!option.is_empty()).then(|| (*option).to_owned()));
        words.push((*value).to_owned());
    }
    words.join(" ")
}

/// The first of the last minutes that all had failures.
pub(super) fn since(failing_minutes: &[u32], minute_ends: &[String]) -> Option<String> {
    let failing = failing_minutes.iter().rev().take_while(|count| **count > 0);
    let place = minute_ends.len().checked_sub(failing.count().max(1))?;
    minute_ends
        .get(place)
        .cloned()
        .filter(|_| failing_minutes.last().is_some_and(|count| *count > 0))
}

/// The time of day of an RFC 3339 time.
pub(super) fn clock(at: &str) -> &str {
    at.get(11..19).unwrap_or(at)
}
