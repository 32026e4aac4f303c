//! Worker threads: each runs its connections from accept to close, with its own buffer and sockets.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, MissedTickBehavior};

use super::listener::{self, Accepted, Listener};
use super::preread::HellosInProgress;
use super::seat::{Seats, Ticket};
use super::shared::{Shared, WorkerLoad};
use crate::drain::{DrainPhase, DrainWatcher};
use crate::socket;

/// The largest read, and the largest hello that can be peeked whole.
pub(super) const BUFFER: usize = 256 * 1024;
/// How often timeouts are looked at, which is also how late they may be.
const SWEEP: Duration = Duration::from_millis(250);
/// A connection moves to another worker when its own has this many more than the least loaded one
/// (`kernel-notes.md` 12: moving costs 4 us).
const IMBALANCE: usize = 2;

/// Commands that may wait for a worker; a connection that finds no room stays where it was accepted.
const INBOX: usize = 16 * 1024;

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve a connection that another worker accepted.
    Serve(Accepted),
    /// Accept on this socket, a member of the listener's group.
    Listen(Arc<Listener>, OwnedFd),
}

/// What everything on one worker thread shares.
#[derive(Debug)]
pub(super) struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    index: usize,
    peers: Arc<[Sender<Command>]>,
    seats: Rc<Seats>,
    /// The one buffer of this thread: filled and emptied between two awaits.
    pub buffer: RefCell<Box<[u8]>>,
    /// Hellos that did not come in one piece.
    pub hellos: HellosInProgress,
}

impl Worker {
    /// Serves a connection that this worker accepted, or hands it to the least loaded worker when
    /// its own share is over.
    pub(super) fn place(self: &Rc<Self>, accepted: Accepted) {
        let loads = &self.shared.loads;
        let own = loads.get(self.index).map_or(0, WorkerLoad::connections);
        let least = (0..loads.len()).min_by_key(|worker| loads[*worker].connections());
        let target = match least {
            Some(least) if own >= loads[least].connections() + IMBALANCE => least,
            _ => self.index,
        };
        match self.peers.get(target).filter(|_| target != self.index) {
            None => self.serve_own(accepted),
            Some(peer) => {
                // Counted now, not when it arrives: a burst would all go to one worker otherwise.
                loads[target].add();
                if let Err(refused) = peer.try_send(Command::Serve(accepted)) {
                    loads[target].remove();
                    if let Command::Serve(accepted) = refused.into_inner() {
                        self.serve_own(accepted);
                    }
                }
            }
        }
    }

    fn serve_own(self: &Rc<Self>, accepted: Accepted) {
        if let Some(load) = self.shared.loads.get(self.index) {
            load.add();
        }
        self.serve(accepted);
    }

    /// Serves a connection whose load is counted already.
    fn serve(self: &Rc<Self>, accepted: Accepted) {
        let state = accepted.listener.state();
        let connection = self.shared.connections.take(1);
        let over_limit = connection.is_none();
        let connection = connection.unwrap_or_else(|| self.shared.connections.force(1));
        let ticket = self
            .seats
            .take(&self.shared, self.index, state.policy.clone(), connection);
        let seat = ticket.seat().clone();
        let serve = super::serve_connection(self.clone(), ticket, accepted, state, over_limit);
        let task = tokio::task::spawn_local(serve);
        Ticket::seated(&seat, task.abort_handle());
    }
}

/// A worker thread.
#[derive(Debug)]
pub struct WorkerHandle {
    commands: Sender<Command>,
    thread: JoinHandle<io::Result<()>>,
}

impl WorkerHandle {
    /// Makes the worker accept on `socket`. Returns whether it still runs.
    pub fn listen(&self, listener: Arc<Listener>, socket: OwnedFd) -> bool {
        self.commands
            .try_send(Command::Listen(listener, socket))
            .is_ok()
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread to end.
    ///
    /// # Errors
    /// The worker could not start, or it panicked outside of any connection.
    pub fn join(self) -> io::Result<()> {
        drop(self.commands);
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("a worker thread panicked")),
        }
    }
}

/// Starts one worker thread for each load in `shared`. They run until `drain` says stopped.
///
/// # Errors
/// A thread that cannot be made.
pub fn start(shared: &Arc<Shared>, drain: &DrainWatcher) -> io::Result<Vec<WorkerHandle>> {
    let channels: Vec<_> = shared.loads.iter().map(|_| mpsc::channel(INBOX)).collect();
    let peers: Arc<[_]> = channels.iter().map(|(sender, _)| sender.clone()).collect();
    channels
        .into_iter()
        .enumerate()
        .map(|(index, (commands, inbox))| {
            let (shared, peers, drain) = (shared.clone(), peers.clone(), drain.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || run(index, shared, peers, inbox, drain))?;
            Ok(WorkerHandle { commands, thread })
        })
        .collect()
}

fn run(
    index: usize,
    shared: Arc<Shared>,
    peers: Arc<[Sender<Command>]>,
    inbox: Receiver<Command>,
    drain: DrainWatcher,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())?;
    let worker = Rc::new(Worker {
        shared,
        index,
        peers,
        seats: Rc::default(),
        buffer: RefCell::new(vec![0; BUFFER].into()),
        hellos: HellosInProgress::default(),
    });
    runtime.block_on(obey(&worker, inbox, drain));
    worker.seats.mark_drained();
    // Drops every connection that still runs; each writes its record.
    drop(runtime);
    Ok(())
}

/// Does as commanded, and looks after the seats, until the process stops.
async fn obey(worker: &Rc<Worker>, mut inbox: Receiver<Command>, drain: DrainWatcher) {
    let mut stopped = drain.clone();
    let stopped = stopped.stopped();
    tokio::pin!(stopped);
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => return,
            _ = sweep.tick() => {
                worker.seats.cut_overdue();
                if let DrainPhase::Draining { deadline, .. } = drain.phase() {
                    let left = deadline.saturating_duration_since(Instant::now());
                    worker.seats.cut_quiet(SWEEP, left);
                }
            }
            command = inbox.recv() => match command {
                Some(Command::Serve(accepted)) => worker.serve(accepted),
                Some(Command::Listen(listener, socket)) => {
                    listen(worker, listener, socket, drain.clone());
                }
                None => return,
            },
        }
    }
}

fn listen(worker: &Rc<Worker>, listener: Arc<Listener>, socket: OwnedFd, drain: DrainWatcher) {
    match socket::register_listener(socket) {
        Ok(socket) => {
            tokio::task::spawn_local(listener::run(worker.clone(), listener, socket, drain));
        }
        Err(error) => tracing::error!(%error, "cannot register a listening socket"),
    }
}
