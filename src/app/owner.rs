//! The task that owns the state in force, and makes one change after the other.
//!
//! ```text
//!      a config file, a publication, a source that broke down, a port that is tried again
//!                                  |
//!                                  v
//!   +--------> settled ------> planning ------> waiting ------> committing ------> forgetting ---+
//!   |                              |    for the first answers                                    |
//!   |                              |    of upstreams that are new                                |
//!   |                              v                                                             |
//!   |                           refused: nothing has changed                                     |
//!   +------------------------------+-------------------------------------------------------------+
//! ```
//!
//! *Planning* ([`Plan::new`]) does everything that can fail and changes nothing that is in force.
//! *Waiting* ([`Plan::resolve`]) is for DNS: a route in force whose upstream has no endpoint yet would
//! refuse connections that the previous route took. At the start nothing serves yet, so nothing waits.
//! *Committing* ([`Plan::commit`]) cannot fail and does not wait.
//! *Forgetting* removes the metrics and the memory of what was in force before.
//!
//! The [`Builder`](super::builder::Builder) plans and forgets what is large, while the control thread answers probes.
//!
//! A publication may arrive while a change is planned or waits. If only its endpoints differ, the
//! upstreams in force get them immediately ([`meanwhile`]). In any case it is held as the next change, and
//! a newer one replaces it.
//!
//! The owner does not pause between changes. The Kubernetes source does: its pause between two
//! publications follows from the time that each keeps the owner busy.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::change::{Change, NewFile};
use super::file_report::FileInForce;
use super::plan::Plan;
use super::state::State;
use super::{AppError, discovery, file_report};
use crate::config::Config;
use crate::source::kubernetes::Publication;

/// The owner of the state in force.
pub(super) struct Owner {
    state: State,
    inbox: mpsc::Receiver<Change>,
    /// The publication that came while another change was made.
    held: Option<Publication>,
}

/// The time that a change took.
#[derive(Clone, Copy)]
struct Times {
    /// The part of it that kept the owner busy.
    busy: Duration,
    whole: Duration,
}

impl Owner {
    pub(super) fn new(state: State, inbox: mpsc::Receiver<Change>) -> Self {
        Self {
            state,
            inbox,
            held: None,
        }
    }

    /// Makes changes, for ever.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        loop {
            let change = self.next().await;
            Box::pin(self.make(change)).await;
        }
    }

    async fn next(&mut self) -> Change {
        if let Some(held) = self.held.take() {
            return Change::Found(Arc::new(held));
        }
        tokio::select! {
            Some(change) = self.inbox.recv() => change,
            found = self.state.control.mailbox.take() => Change::Found(Arc::new(found)),
            () = self.state.retry_due() => Change::Retry,
        }
    }

    /// Makes one change, or refuses it.
    pub(super) async fn make(&mut self, change: Change) {
        let state = &self.state;
        let begun = Instant::now();
        let mut planning = Duration::ZERO;
        let plan = async {
            let started = Instant::now();
            let plan = Plan::new(state, &change).await;
            planning = started.elapsed();
            let mut plan = plan?;
            plan.resolve(state).await;
            Ok(plan)
        };
        let plan: Result<Plan, AppError> = meanwhile(state, &mut self.held, plan).await;
        let before = self.state.file.clone();
        let started = Instant::now();
        let made = plan.map(|plan| plan.commit(&mut self.state));
        let committing = started.elapsed();
        let whole = begun.elapsed();
        let (made, forgotten) = match made {
            Ok(forgotten) => (Ok(()), forgotten),
            Err(error) => {
                // A source that it has started is gone.
                self.state.control.mailbox.forget_next();
                (Err(error), None)
            }
        };
        let started = Instant::now();
        if let Some(forgotten) = forgotten {
            // The tables that are in force now were made without them.
            if let Some(held) = &self.held {
                self.state.give_if_routed(held);
            }
            let forget = forgotten.forget(&self.state.control);
            meanwhile(&self.state, &mut self.held, forget).await;
        }
        let times = Times {
            busy: planning + committing + started.elapsed(),
            whole,
        };
        let report = report(&self.state, change, made, before, times);
        meanwhile(&self.state, &mut self.held, report).await;
    }
}

/// Reports the result of a change: to the caller who asked for it, to the Kubernetes source, and to the log. `before` is
/// the file's config before it.
async fn report(
    state: &State,
    change: Change,
    made: Result<(), AppError>,
    before: Arc<Config>,
    times: Times,
) {
    let control = &state.control;
    match change {
        Change::File(NewFile { config, source }, answer) => {
            let source = source.as_ref();
            match &made {
                Ok(()) => {
                    let in_force = FileInForce {
                        before,
                        config,
                        started: state.started.clone(),
                        source,
                        took: times.whole,
                    };
                    in_force.report(control).await;
                }
                Err(error) => file_report::impossible(control, error, source),
            }
            // The channel is closed if the process ends.
            let _ = answer.send(made);
        }
        Change::Found(_) => {
            control.mailbox.spend(times.busy);
            // Only a defect leads here: the listeners of the file are bound, and one that a Gateway
            // asks for is left out if it cannot be.
            if let Err(error) = made {
                tracing::error!(%error, "strait cannot apply the newest discovery; the previous routes stay in force; this is a defect, please report it");
            }
        }
        Change::Broken(answer) => {
            let _ = answer.send(made);
        }
        Change::Retry => {
            if let Err(error) = made {
                tracing::error!(%error, "strait cannot open a port that was not free before; everything else stays in force");
            }
        }
    }
}

/// Waits for `work`. Puts endpoints that are found during the wait into force at once.
async fn meanwhile<T>(
    state: &State,
    held: &mut Option<Publication>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            mut found = state.control.mailbox.take() => {
                if state.give_if_routed(&found) {
                    discovery::observe(&std::mem::take(&mut found.arrivals), &state.control.shared.metrics);
                }
                if let Some(before) = held.take() {
                    found.replace(before);
                }
                *held = Some(found);
            }
        }
    }
}

#[cfg(test)]
mod tests;
