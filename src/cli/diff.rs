//! `strait diff`: who gains and who loses reach from one config to the next, in words.

mod reach;
mod sources;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::client::{self, AdminArguments};
use super::config_file::ConfigText;
use super::decision::Decider;
use super::{ANSWER_IS_NO, failed};
use crate::config::{Config, ConfigError, ListenerConfig, UpstreamSource};
use crate::names::{ListenerName, UpstreamName};
use crate::upstream::Upstreams;

#[derive(Debug, clap::Args)]
pub(super) struct DiffArguments {
    /// The config in force, and the one that is to replace it; one of the two may be `-`, standard input.
    /// With --live, NEW alone
    #[arg(value_names = ["OLD", "NEW"], num_args = 1..=2, required = true)]
    files: Vec<PathBuf>,
    /// Compare with the config in force of a running gateway
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

impl DiffArguments {
    /// The two configs.
    fn configs(&self) -> Result<(Arc<Config>, Arc<Config>), Box<dyn Error>> {
        match (&self.files[..], self.live) {
            ([old, new], false) => Ok((load(old)?, load(new)?)),
            ([new], true) => {
                let bytes = client::config_in_force(&self.admin)?;
                let origin = "the config in force".to_owned();
                let old = ConfigText { origin, bytes }.load()?.config;
                Ok((old, load(new)?))
            }
            (_, false) => Err("name two configs, OLD and NEW, or say --live".into()),
            (_, true) => Err("name one config: with --live OLD is the one in force".into()),
        }
    }
}

pub(super) fn diff(arguments: &DiffArguments) -> ExitCode {
    let lines = match arguments.configs() {
        Ok((old, new)) => differences(&old, &new),
        Err(error) => return failed(&error),
    };
    let mut out = io::stdout().lock();
    let written = match lines.is_empty() {
        true => writeln!(out, "no client gains or loses reach"),
        false => lines.iter().try_for_each(|line| writeln!(out, "{line}")),
    };
    match written {
        Ok(()) if lines.is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(ANSWER_IS_NO),
        Err(error) => failed(&error),
    }
}

fn load(path: &Path) -> Result<Arc<Config>, ConfigError> {
    ConfigText::read(path)?.load().map(|loaded| loaded.config)
}

/// Two states of something: the old one and the new one.
#[derive(Debug, Clone, Copy)]
struct Pair<T> {
    old: T,
    new: T,
}

fn differences(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let upstreams = Pair {
        old: Upstreams::default().prepare(old),
        new: Upstreams::default().prepare(new),
    };
    for name in names(old, new) {
        let find = |config: &'_ Config| {
            let mut listeners = config.listeners.iter();
            listeners.find(|one| one.name == name).cloned()
        };
        let listener = Pair {
            old: find(old),
            new: find(new),
        };
        let listener = Pair {
            old: listener.old.as_deref(),
            new: listener.new.as_deref(),
        };
        let deciders = Pair {
            old: listener
                .old
                .map(|one| Decider::new(old, one, &upstreams.old)),
            new: listener
                .new
                .map(|one| Decider::new(new, one, &upstreams.new)),
        };
        let groups = Pair {
            old: &*old.sources,
            new: &*new.sources,
        };
        let policies = Pair {
            old: listener.old.map(|one| &one.source_policy),
            new: listener.new.map(|one| &one.source_policy),
        };
        let found = bind(listener)
            .into_iter()
            .chain(sources::changes(policies, groups))
            .chain(reach::changes(deciders.old.as_ref(), deciders.new.as_ref()));
        lines.extend(found.map(|line| format!("listener {name}: {line}")));
    }
    lines.extend(of_upstreams(old, new));
    lines.extend(of_kubernetes(old, new));
    lines
}

/// The names of all listeners, those of the new config first.
fn names(old: &Config, new: &Config) -> Vec<ListenerName> {
    let mut seen = BTreeSet::new();
    let all = new.listeners.iter().chain(&old.listeners);
    let first = all.filter(|one| seen.insert(one.name.clone()));
    first.map(|one| one.name.clone()).collect()
}

fn bind(listener: Pair<Option<&ListenerConfig>>) -> Option<String> {
    match (listener.old, listener.new) {
        (None, Some(new)) => Some(format!("is new, on {}", new.bind)),
        (Some(old), None) => Some(format!("is gone; it was on {}", old.bind)),
        (Some(old), Some(new)) if old.bind != new.bind => {
            Some(format!("is on {} now, before on {}", new.bind, old.bind))
        }
        _ => None,
    }
}

/// The upstreams of both configs whose endpoints come from somewhere else now.
fn of_upstreams(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, after) in new.upstreams.iter() {
        if let Some(before) = old.upstreams.get(name) {
            lines.extend(of_source(name, &before.source, &after.source));
        }
    }
    lines
}

fn of_source(name: &UpstreamName, old: &UpstreamSource, new: &UpstreamSource) -> Vec<String> {
    if let (UpstreamSource::Static(old), UpstreamSource::Static(new)) = (old, new) {
        let addresses = |specs: &[crate::config::EndpointSpec]| -> BTreeSet<_> {
            specs.iter().map(|spec| spec.address).collect()
        };
        let (old, new) = (addresses(old), addresses(new));
        let line = |address: &_, what| format!("upstream {name}: endpoint {address} is {what}");
        let added = new.difference(&old).map(|address| line(address, "new"));
        let removed = old.difference(&new).map(|address| line(address, "gone"));
        return added.chain(removed).collect();
    }
    let (before, after) = (origin(old), origin(new));
    match before == after {
        true => Vec::new(),
        false => vec![format!(
            "upstream {name}: its endpoints are {after} now, before {before}"
        )],
    }
}

fn origin(source: &UpstreamSource) -> String {
    match source {
        UpstreamSource::Static(specs) => {
            let addresses = specs.iter().map(|spec| spec.address.to_string());
            addresses.collect::<Vec<_>>().join(", ")
        }
        UpstreamSource::Dns(dns) => format!("those of {}", dns.query),
        UpstreamSource::Kubernetes(port) => format!("the pods of {port:?}"),
    }
}

/// The keys of `kubernetes` that differ. The routes that they make are not known from a file.
fn of_kubernetes(old: &Config, new: &Config) -> Option<String> {
    let section = |config: &Config| serde_json::to_value(&config.kubernetes).unwrap_or_default();
    let (old, new) = (section(old), section(new));
    if old == new {
        return None;
    }
    let keys = |value: &serde_json::Value| -> BTreeSet<String> {
        let keys = value.as_object().into_iter().flatten();
        keys.map(|(key, _)| key.clone()).collect()
    };
    let all: BTreeSet<_> = keys(&old).union(&keys(&new)).cloned().collect();
    let differ = all.into_iter().filter(|key| old.get(key) != new.get(key));
    let differ = differ.collect::<Vec<_>>().join(", ");
    Some(format!(
        "kubernetes: the routes that strait finds there may differ, which these files do not show: {differ}"
    ))
}
