//! The tasks of the control thread that last as long as the gateway.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::change::Change;
use super::control::Control;
use super::overload::watch_memory;
use super::owner::Owner;
use super::takeover::TakeoverSocket;
use crate::admin::Judge;
use crate::admin::overview::history;
use crate::drain::DrainPhase;
use crate::metrics::TaskName;
use crate::proxy::{WorkerInbox, WorkerLoad};
use crate::supervise::{self, Restarts};
use crate::upstream::check;

/// The time between two looks at the workers.
const LOOK: Duration = Duration::from_secs(1);

/// Tasks that end when this is dropped. A task that fails is started again.
pub(super) struct Tasks {
    control: Arc<Control>,
    tasks: JoinSet<()>,
}

impl Tasks {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            tasks: JoinSet::new(),
        }
    }

    /// Runs a task without end, and starts it again when it fails.
    pub(super) fn keep<F>(
        &mut self,
        task: TaskName,
        make: impl Fn(&Arc<Control>) -> F + Send + 'static,
    ) where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let control = self.control.clone();
        let restarts = control.shared.metrics.task_restarts(task);
        let make = move || make(&control);
        self.tasks
            .spawn(supervise::keep(task.label(), restarts, make));
    }

    /// Runs the tasks that every gateway has, once it serves.
    pub(super) fn keep_all(&mut self, workers: impl Iterator<Item = WorkerInbox>, owner: Owner) {
        for worker in workers {
            let control = self.control.clone();
            self.tasks.spawn(async move {
                worker.ended().await;
                if control.drain.advance(DrainPhase::Stopped) {
                    tracing::error!("a worker thread has ended, so the process stops; this is a defect, please report it");
                }
            });
        }
        self.own(owner);
        self.keep(TaskName::Liveness, |control| judge(control.clone()));
        self.keep(TaskName::Memory, |control| {
            let watched = watch_memory(control.clone());
            async move {
                watched.await;
                Ok(())
            }
        });
        self.keep(TaskName::Checks, |control| {
            let snapshots = control.snapshots.clone();
            async move {
                check::run(move || snapshots.now().upstreams.clone()).await;
                Ok(())
            }
        });
        self.keep(TaskName::History, |control| note_traffic(control.clone()));
        self.keep(TaskName::Kubernetes, |control| revive(control.clone()));
    }

    /// Serves successors on `socket`, until one has taken over.
    pub(super) fn pass_on(&mut self, socket: TakeoverSocket) {
        let socket = Arc::new(socket);
        self.keep(TaskName::Takeover, move |control| {
            let (socket, control) = (socket.clone(), control.clone());
            async move { socket.serve(&control).await }
        });
    }

    /// Lets the owner of the state make changes. A change that fails leaves the state in force.
    fn own(&mut self, mut owner: Owner) {
        let task = TaskName::Changes;
        let restarts = self.control.shared.metrics.task_restarts(task);
        self.tasks.spawn(async move {
            let mut restarts = Restarts::new(task.label(), restarts);
            while !restarts.attempt(owner.run()).await {}
        });
    }
}

/// Starts the Kubernetes source again after it has broken down. Fails when it breaks down.
async fn revive(control: Arc<Control>) -> io::Result<()> {
    if control.mailbox.is_broken() {
        let made = control.change(Change::Broken).await;
        made.map_err(io::Error::other)?;
    }
    let why = control.mailbox.broken().await;
    Err(io::Error::other(why.to_string()))
}

/// Notes the traffic of each minute without end.
async fn note_traffic(control: Arc<Control>) -> io::Result<()> {
    let mut looks = tokio::time::interval(history::PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    looks.tick().await;
    loop {
        let now = looks.tick().await.into_std();
        let control = control.clone();
        // Reading the counters of many routes takes some milliseconds, and answers to probes must not wait.
        let look = move || {
            let upstreams = control.snapshots.now().upstreams.clone();
            let metrics = &control.shared.metrics;
            control.history.look(metrics, &upstreams, now);
            control
                .shared
                .recent
                .slow_connects
                .forget(SystemTime::now());
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.map_err(io::Error::other)?;
    }
}

/// Checks the workers without end: a worker that does no rounds counts as hung.
async fn judge(control: Arc<Control>) -> io::Result<()> {
    let mut judge = Judge::default();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = looks.tick().await;
        let rounds = control.shared.loads.iter().map(WorkerLoad::rounds);
        control
            .readiness
            .set_stalled(judge.look(now.into_std(), rounds));
    }
}
