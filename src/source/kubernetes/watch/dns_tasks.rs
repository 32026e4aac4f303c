//! The tasks that ask DNS for the names of workloads, one a name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc::WeakSender;
use tokio::task::JoinHandle;

use super::input::DriverInput;
use crate::config::ResolverConfig;
use crate::metrics::{Metrics, NameState, TaskName};
use crate::server_name::ServerName;
use crate::source::dns::{NameWatch, Resolver};
use crate::source::kubernetes::translate::WantedName;
use crate::supervise;

/// The largest number of names that are asked for. Each is a question every 10 s at most.
const MAX_NAMES: usize = 256;

/// The number of names that a namespace may have, as long as others want places: a few that nobody can take from
/// it, then a quarter of all, then the rest.
const SHARES: [usize; 3] = [MAX_NAMES / 32, MAX_NAMES / 4, MAX_NAMES];

/// The running tasks.
#[derive(Debug)]
pub(super) struct DnsTasks {
    inputs: WeakSender<DriverInput>,
    metrics: Arc<Metrics>,
    /// Made when a name is first asked for.
    resolver: Option<Resolver>,
    tasks: BTreeMap<Arc<str>, NameTask>,
    /// The trouble that was last logged.
    said: NameTrouble,
}

/// The names that are not asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct NameTrouble {
    /// The number of names without a place.
    left_out: usize,
    /// The number of names that no question can hold, or for which there is no resolver.
    unaskable: usize,
    /// The first of the latter, and its problem.
    first: Option<(Arc<str>, String)>,
}

impl NameTrouble {
    fn add(&mut self, name: &Arc<str>, problem: String) {
        self.unaskable += 1;
        self.first.get_or_insert_with(|| (name.clone(), problem));
    }
}

/// A task that ends when it is dropped.
#[derive(Debug)]
struct NameTask(JoinHandle<()>);

impl Drop for NameTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl DnsTasks {
    pub(super) fn new(inputs: WeakSender<DriverInput>, metrics: Arc<Metrics>) -> Self {
        Self {
            inputs,
            metrics,
            resolver: None,
            tasks: BTreeMap::new(),
            said: NameTrouble::default(),
        }
    }

    /// Whether a name is asked for.
    pub(super) fn asks_for(&self, name: &str) -> bool {
        self.tasks.contains_key(name)
    }

    /// Asks for these names and no others, or for some of them if they are too many.
    pub(super) fn want(&mut self, names: &[WantedName], config: &ResolverConfig) {
        let mut trouble = NameTrouble::default();
        let mut askable = Vec::with_capacity(names.len());
        for wanted in names {
            match ServerName::parse(wanted.name.as_bytes()) {
                Ok(question) => askable.push((wanted, question)),
                Err(error) => trouble.add(&wanted.name, error.to_string()),
            }
        }
        let candidates: Vec<&WantedName> = askable.iter().map(|(wanted, _)| *wanted).collect();
        let chosen = choose(&candidates, |name| self.asks_for(name));
        trouble.left_out = askable.len() - chosen.len();
        let gauge = self.metrics.kubernetes.names(NameState::LeftOut);
        gauge.set(i64::try_from(trouble.left_out).unwrap_or(i64::MAX));
        self.tasks.retain(|name, _| chosen.contains(&**name));
        for (WantedName { name, .. }, question) in askable {
            if self.asks_for(name) || !chosen.contains(&**name) {
                continue;
            }
            match self.ask(name, question, config) {
                Ok(task) => drop(self.tasks.insert(name.clone(), task)),
                Err(problem) => trouble.add(name, problem),
            }
        }
        let gauge = self.metrics.kubernetes.names(NameState::Asked);
        gauge.set(i64::try_from(self.tasks.len()).unwrap_or(i64::MAX));
        self.complain(trouble);
    }

    /// Logs what has changed.
    fn complain(&mut self, trouble: NameTrouble) {
        if trouble.left_out > 0 && trouble.left_out != self.said.left_out {
            tracing::warn!(
                left_out = trouble.left_out,
                most = MAX_NAMES,
                "ServiceEntries and WorkloadEntries have more DNS names than strait asks for; those left out, of the \
                 namespaces with the most names first, have no address"
            );
        }
        if let Some((name, problem)) = &trouble.first
            && (trouble.unaskable, &trouble.first) != (self.said.unaskable, &self.said.first)
        {
            tracing::warn!(
                %name,
                problem,
                names = trouble.unaskable,
                "strait cannot ask DNS for names of ServiceEntries or WorkloadEntries, of which this is the first"
            );
        }
        self.said = trouble;
    }

    fn ask(
        &mut self,
        name: &Arc<str>,
        question: ServerName,
        config: &ResolverConfig,
    ) -> Result<NameTask, String> {
        let resolver = match &self.resolver {
            Some(resolver) => resolver.clone(),
            None => {
                let made = Resolver::new(config).map_err(|error| error.to_string())?;
                self.resolver.insert(made).clone()
            }
        };
        let (inputs, name) = (self.inputs.clone(), name.clone());
        let restarts = self.metrics.task_restarts(TaskName::Dns);
        let start = move || {
            let watch = NameWatch::new(resolver.clone(), question.clone());
            let (inputs, name) = (inputs.clone(), name.clone());
            async move {
                follow(watch, &name, &inputs).await;
                Ok(())
            }
        };
        let task = supervise::keep(TaskName::Dns.label(), restarts, start);
        Ok(NameTask(tokio::spawn(task)))
    }
}

/// The names that get a place. Within each share those that are asked for already come first, and then those that
/// come first by name; a name counts for the namespace that has the fewest places among its own.
fn choose<'n>(names: &[&'n WantedName], is_running: impl Fn(&str) -> bool) -> BTreeSet<&'n str> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut chosen = BTreeSet::new();
    let (running, new): (Vec<&'n WantedName>, Vec<&'n WantedName>) =
        names.iter().partition(|one| is_running(&one.name));
    for share in SHARES {
        for wanted in running.iter().chain(&new) {
            if chosen.len() == MAX_NAMES {
                return chosen;
            }
            let taken = |namespace: &&'n Arc<str>| places.get(&***namespace).copied().unwrap_or(0);
            let least = wanted.namespaces.iter().min_by_key(taken);
            let Some(namespace) = least.filter(|namespace| taken(namespace) < share) else {
                continue;
            };
            if chosen.insert(&*wanted.name) {
                *places.entry(namespace).or_default() += 1;
            }
        }
    }
    chosen
}

/// Reports each change of the addresses of a name, until the driver is gone.
async fn follow(mut watch: NameWatch, name: &Arc<str>, inputs: &WeakSender<DriverInput>) {
    loop {
        match watch.next().await {
            Ok(addresses) => {
                let input = DriverInput::Resolved {
                    name: name.clone(),
                    addresses: addresses.into(),
                };
                let Some(inputs) = inputs.upgrade() else {
                    return;
                };
                if inputs.send(input).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(
                %name,
                %error,
                "DNS does not answer in full for a name of a ServiceEntry or WorkloadEntry; strait keeps the addresses that it has"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(namespace: &str, count: usize) -> Vec<WantedName> {
        let of = |number: usize| WantedName {
            name: format!("{namespace}-{number:03}.example").into(),
            namespaces: [Arc::from(namespace)].into(),
        };
        (0..count).map(of).collect()
    }

    /// The number of names of each namespace among those chosen.
    fn places<'n>(names: &'n [WantedName], running: &BTreeSet<&str>) -> BTreeMap<&'n str, usize> {
        let names: Vec<&WantedName> = names.iter().collect();
        let mut places = BTreeMap::new();
        for name in choose(&names, |name| running.contains(name)) {
            let namespace = name.split('-').next().unwrap();
            *places.entry(namespace).or_default() += 1;
        }
        places
    }

    #[test]
    fn a_namespace_with_many_names_leaves_places_to_the_others() {
        let many = wanted("a", 1000);
        let none = BTreeSet::new();
        assert_eq!(places(&many, &none), [("a", MAX_NAMES)].into());
        // Even if it came first.
        let running: BTreeSet<&str> = many.iter().take(MAX_NAMES).map(|one| &*one.name).collect();
        let mut all = many.clone();
        all.extend(wanted("b", 3));
        all.extend(wanted("c", 60));
        let shared = [("a", MAX_NAMES - 63), ("b", 3), ("c", 60)].into();
        assert_eq!(places(&all, &running), shared);
        // A few come in even where others fill all places with names that were there before.
        let full: Vec<WantedName> = ["a", "b", "c", "d"]
            .into_iter()
            .flat_map(|namespace| wanted(namespace, 64))
            .collect();
        let running: BTreeSet<&str> = full.iter().map(|one| &*one.name).collect();
        let mut all = full.clone();
        all.extend(wanted("e", 64));
        let found = places(&all, &running);
        assert_eq!(found["e"], 8, "{found:?}");
        assert_eq!(found.values().sum::<usize>(), MAX_NAMES);
    }

    #[test]
    fn a_name_that_others_have_too_is_not_lost_by_them() {
        let mut all = wanted("a", 1000);
        for one in &mut all[900..] {
            one.namespaces.insert("z".into());
        }
        let found: Vec<&WantedName> = all.iter().collect();
        let chosen = choose(&found, |_| false);
        let shared = all[900..].iter().filter(|one| chosen.contains(&*one.name));
        assert!(shared.count() >= MAX_NAMES / 4);
    }
}
