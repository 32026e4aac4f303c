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
use crate::supervise;

/// The largest number of names that are asked for. Each is a question every 10 s at most.
const MAX_NAMES: usize = 256;

/// The running tasks.
#[derive(Debug)]
pub(super) struct DnsTasks {
    inputs: WeakSender<DriverInput>,
    metrics: Arc<Metrics>,
    /// Made when a name is first asked for.
    resolver: Option<Resolver>,
    tasks: BTreeMap<Arc<str>, NameTask>,
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
        }
    }

    /// Asks for these names and no others, the first ones if they are too many.
    pub(super) fn want(&mut self, names: &[Arc<str>], config: &ResolverConfig) {
        let left_out = names.len().saturating_sub(MAX_NAMES);
        if left_out > 0 {
            tracing::warn!(
                left_out,
                most = MAX_NAMES,
                "ServiceEntries and WorkloadEntries have more DNS names than strait asks for; those that come last by \
                 name have no address"
            );
        }
        let gauge = self.metrics.kubernetes.names(NameState::LeftOut);
        gauge.set(i64::try_from(left_out).unwrap_or(i64::MAX));
        let wanted: BTreeSet<&Arc<str>> = names.iter().take(MAX_NAMES).collect();
        self.tasks.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if self.tasks.contains_key(name) {
                continue;
            }
            match self.ask(name, config) {
                Ok(task) => drop(self.tasks.insert(name.clone(), task)),
                Err(problem) => tracing::warn!(
                    %name,
                    problem,
                    "strait cannot ask DNS for a name of a ServiceEntry or WorkloadEntry"
                ),
            }
        }
        let gauge = self.metrics.kubernetes.names(NameState::Asked);
        gauge.set(i64::try_from(self.tasks.len()).unwrap_or(i64::MAX));
    }

    fn ask(&mut self, name: &Arc<str>, config: &ResolverConfig) -> Result<NameTask, String> {
        let question = ServerName::parse(name.as_bytes()).map_err(|error| error.to_string())?;
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
