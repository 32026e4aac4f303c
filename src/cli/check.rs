//! `strait check`: the problems and warnings of a config file.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::StreamExt;

use super::config_file::ConfigArgument;
use super::{ANSWER_IS_NO, FAILED, failed, runtime};
use crate::config::{Config, DnsConfig, Loaded, Problem, UpstreamConfig, UpstreamSource};
use crate::names::UpstreamName;
use crate::source::dns::{self, OwnAddresses, Resolver};

/// Questions of `check --dns` to DNS at a time.
const ASKED_AT_ONCE: usize = 16;

pub(super) fn check(file: &ConfigArgument, ask_dns: bool) -> ExitCode {
    let text = match file.read() {
        Ok(text) => text,
        Err(error) => return failed(&error),
    };
    let origin = &text.origin;
    let (problems, code) = match text.load() {
        Ok(Loaded { config, warnings }) => {
            if writeln!(io::stdout(), "{origin}: good: {}", summary(&config)).is_err() {
                return ExitCode::from(FAILED);
            }
            let warn = |one: &Problem| format!("warning: {}\n", one.display(origin));
            let warnings: String = warnings.iter().map(warn).collect();
            match unresolved(&config, ask_dns) {
                Ok(names) if names.is_empty() => (warnings, ExitCode::SUCCESS),
                Ok(names) => (warnings + &names, ExitCode::from(ANSWER_IS_NO)),
                Err(error) => return failed(&*error),
            }
        }
        Err(error) => (format!("{error}\n"), ExitCode::from(ANSWER_IS_NO)),
    };
    match write!(io::stderr(), "{problems}") {
        Ok(()) => code,
        Err(_) => ExitCode::from(FAILED),
    }
}

/// A line for each upstream to which DNS gives no endpoint.
fn unresolved(config: &Config, ask_dns: bool) -> Result<String, Box<dyn Error>> {
    let question = |(name, upstream): (&UpstreamName, &Arc<UpstreamConfig>)| match &upstream.source
    {
        UpstreamSource::Dns(dns) if ask_dns => Some((name.clone(), dns.clone())),
        _ => None,
    };
    let questions: Vec<_> = config.upstreams.iter().filter_map(question).collect();
    if questions.is_empty() {
        return Ok(String::new());
    }
    let own = OwnAddresses::new(config.listeners.iter().map(|one| one.bind).collect());
    let resolver = Resolver::new(&config.resolver)?;
    let ask = async |(name, dns): (UpstreamName, DnsConfig)| {
        let problem = match dns::resolve(&resolver, &dns, &own).await {
            Ok(answer) if !answer.endpoints.is_empty() => return String::new(),
            Ok(answer) => answer.problem,
            Err(error) => Some(error),
        };
        let why = problem.map_or_else(|| "no address".to_owned(), |error| error.to_string());
        format!("upstreams.{name}.dns: {}: {why}\n", dns.query)
    };
    let answers = futures_util::stream::iter(questions).map(ask);
    let lines = answers.buffered(ASKED_AT_ONCE).collect::<Vec<String>>();
    Ok(runtime()?.block_on(lines).concat())
}

fn summary(config: &Config) -> String {
    let routes: usize = config.listeners.iter().map(|one| one.routes.len()).sum();
    let listeners = count(config.listeners.len(), "listener");
    let upstreams = count(config.upstreams.len(), "upstream");
    format!("{listeners}, {}, {upstreams}", count(routes, "route"))
}

fn count(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
