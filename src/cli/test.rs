//! `strait test`: expected decisions, held against a config.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::config_file::{ConfigArgument, ConfigText};
use super::decision::{AskedConnection, Decider, Decision};
use super::{ANSWER_IS_NO, count, failed};
use crate::config::{Config, ConfigError, Expected, RouteCase, offers_in_words, parse_cases};
use crate::upstream::Upstreams;

#[derive(Debug, clap::Args)]
pub(super) struct TestArguments {
    /// The file with the cases: a YAML list
    #[arg(value_name = "CASES")]
    cases: PathBuf,
    #[command(flatten)]
    file: ConfigArgument,
}

pub(super) fn test(arguments: &TestArguments) -> ExitCode {
    let origin = arguments.cases.display().to_string();
    let (cases, config) = match read(arguments) {
        Ok(read) => read,
        Err(error) => return failed(&error),
    };
    let wrong = match differences(&cases, &config, &origin) {
        Ok(wrong) => wrong,
        Err(error) => return failed(&error),
    };
    let written = match wrong.is_empty() {
        true => writeln!(
            io::stdout(),
            "{origin}: {}: good",
            count(cases.len(), "case")
        ),
        false => write!(io::stderr(), "{wrong}"),
    };
    match written {
        Ok(()) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(ANSWER_IS_NO),
        Err(error) => failed(&error),
    }
}

fn read(
    arguments: &TestArguments,
) -> Result<(Vec<RouteCase>, std::sync::Arc<Config>), ConfigError> {
    let text = ConfigText::read(&arguments.cases)?;
    let cases = parse_cases(&text.bytes, &text.origin)?;
    let config = arguments.file.read()?.load()?.config;
    Ok((cases, config))
}

/// A line for each case that a listener decides otherwise.
fn differences(cases: &[RouteCase], config: &Config, origin: &str) -> Result<String, String> {
    let upstreams = Upstreams::default().prepare(config);
    let listeners = config.listeners.iter();
    let deciders: Vec<_> = listeners
        .map(|listener| Decider::new(config, listener, &upstreams))
        .collect();
    let mut text = String::new();
    for case in cases {
        let asked = |decider: &&Decider<'_>| {
            let name = case.listener.as_ref();
            name.is_none_or(|name| *name == decider.listener.name)
        };
        let mut asked = deciders.iter().filter(asked).peekable();
        if asked.peek().is_none() {
            let name = case.listener.as_deref().unwrap_or("any");
            return Err(format!(
                "{origin}:{}: there is no listener {name}",
                case.line
            ));
        }
        for decider in asked {
            let alpn = offers_in_words(&case.alpn);
            let attempt = AskedConnection {
                from: case.from,
                sni: case.sni.as_deref(),
                alpn: &alpn,
            };
            let decision = decider.decide(&attempt);
            if holds(&case.expected, &decision) {
                continue;
            }
            let (line, listener) = (case.line, &decider.listener.name);
            let (expected, found) = (Words(&case.expected), words(&decision));
            let connection = connection(case);
            let _ = writeln!(
                text,
                "{origin}:{line}: {connection} at listener {listener}: expected {expected}, found {found}"
            );
        }
    }
    Ok(text)
}

fn holds(expected: &Expected, decision: &Decision<'_>) -> bool {
    match (expected, decision) {
        (Expected::Route(name), Decision::Routed(route)) => *name == route.name,
        (Expected::Upstream(name), Decision::Routed(route)) => {
            let mut targets = route.targets.iter();
            targets.all(|target| target.name == *name)
        }
        (Expected::Refusal(outcome), Decision::Refused(found, _)) => outcome == found,
        (Expected::Route(_) | Expected::Upstream(_), Decision::Refused(..))
        | (Expected::Refusal(_), Decision::Routed(_)) => false,
    }
}

/// The connection of a case in words.
fn connection(case: &RouteCase) -> String {
    let mut text = match &case.sni {
        Some(name) => format!("sni {name:?}"),
        None => "no_sni".to_owned(),
    };
    if !case.alpn.is_empty() {
        text += &format!(", alpn {}", case.alpn.join(", "));
    }
    if let Some(from) = case.from {
        text += &format!(", from {from}");
    }
    text
}

struct Words<'a>(&'a Expected);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Expected::Route(name) => write!(f, "route {name}"),
            Expected::Upstream(name) => write!(f, "upstream {name}"),
            Expected::Refusal(outcome) => f.write_str(outcome.label()),
        }
    }
}

fn words(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Routed(route) => {
            let targets = route.targets.iter();
            let targets: Vec<&str> = targets.map(|target| &*target.name).collect();
            format!("route {} to upstream {}", route.name, targets.join(", "))
        }
        Decision::Refused(outcome, None) => outcome.label().to_owned(),
        Decision::Refused(outcome, Some(detail)) => format!("{} ({detail})", outcome.label()),
    }
}
