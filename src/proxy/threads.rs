//! Worker threads: each runs its connections from accept to close, with its own buffer and sockets.

mod accept;
mod placing;
mod surveys;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::hellos::HellosInProgress;
use super::listener::{Accepted, Listener};
use super::seats::{Requests, Seats};
use super::shared::Shared;
use super::survey::Survey;
use super::worker::{AlpnOfferCache, BUFFER, BulkQueue, Pipes, Worker};
use crate::drain::{DrainPhase, DrainWatcher};
use crate::limits::{LagMeter, OverloadStep};
use crate::metrics::OverloadAction;
use crate::open_connections::{ConnectionQuestion, ConnectionQuestions, questions};
use crate::socket;
use crate::supervise;

/// The time between two looks at the timeouts, and so the time that one may be late.
const SWEEP: Duration = Duration::from_millis(250);
/// Connections that may wait for the worker they are handed to. One that finds the queue full stays with the
/// worker that accepted it.
const HANDED_OVER: usize = 16 * 1024;

/// Listening sockets that may wait for a worker: a config has at most 64 listeners.
const SOCKETS: usize = 1024;

/// A socket to accept on, a member of the listener's group.
type Membership = (Arc<Listener>, Arc<OwnedFd>);

/// The queues of one worker, which others fill. Listening sockets have a queue of their own: a flood of
/// connections must not push one out.
#[derive(Debug)]
struct Inbox {
    connections: Receiver<Accepted>,
    sockets: Receiver<Membership>,
    questions: ConnectionQuestions,
}

/// A worker thread.
#[derive(Debug)]
pub struct WorkerHandle {
    sockets: Sender<Membership>,
    questions: Sender<ConnectionQuestion>,
    thread: JoinHandle<io::Result<()>>,
}

/// The queue of a worker's listening sockets.
#[derive(Debug, Clone)]
pub struct WorkerInbox(Sender<Membership>);

impl WorkerInbox {
    /// Makes the worker accept on `socket`.
    pub fn listen(&self, listener: Arc<Listener>, socket: Arc<OwnedFd>) {
        if self.0.try_send((listener, socket)).is_err() {
            tracing::error!(
                "a worker that has ended or hangs cannot accept on a new listening socket"
            );
        }
    }

    /// Waits until the worker has ended.
    pub async fn ended(&self) {
        self.0.closed().await;
    }
}

impl WorkerHandle {
    /// The queue of its listening sockets.
    pub fn inbox(&self) -> WorkerInbox {
        WorkerInbox(self.sockets.clone())
    }

    /// The queue of questions about its connections.
    pub fn questions(&self) -> Sender<ConnectionQuestion> {
        self.questions.clone()
    }

    /// Waits for the thread to end.
    ///
    /// # Errors
    /// The worker could not start, a task that carries it has ended, or it panicked outside of any
    /// connection.
    pub fn join(self) -> io::Result<()> {
        drop(self.sockets);
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
    let channel = |_| mpsc::channel(HANDED_OVER);
    let (peers, inboxes): (Vec<_>, Vec<_>) = shared.loads.iter().map(channel).unzip();
    let peers: Arc<[_]> = peers.into();
    inboxes
        .into_iter()
        .enumerate()
        .map(|(index, connections)| {
            let (sender, sockets) = mpsc::channel(SOCKETS);
            let (asker, questions) = questions();
            let inbox = Inbox {
                connections,
                sockets,
                questions,
            };
            let (shared, peers, drain) = (shared.clone(), peers.clone(), drain.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || run(index, shared, peers, inbox, drain))?;
            Ok(WorkerHandle {
                sockets: sender,
                questions: asker,
                thread,
            })
        })
        .collect()
}

fn run(
    index: usize,
    shared: Arc<Shared>,
    peers: Arc<[Sender<Accepted>]>,
    inbox: Inbox,
    drain: DrainWatcher,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())?;
    let worker = Rc::new(new_worker(index, shared, peers));
    let ended = runtime.block_on(serve_until_stopped(&worker, inbox, drain));
    worker.seats.mark_drained();
    // Drops every connection that still runs; each writes its record.
    drop(runtime);
    ended.map_err(|error| io::Error::other(format!("worker {index}: {error}")))
}

fn new_worker(index: usize, shared: Arc<Shared>, peers: Arc<[Sender<Accepted>]>) -> Worker {
    Worker {
        hellos: Rc::new(HellosInProgress::new(shared.hello_memory.clone(), index)),
        carry: RefCell::new(shared.carry_memory.reserve(shared.loads.len())),
        held_pipes: RefCell::new(shared.held_pipes.reserve(shared.loads.len())),
        shared,
        index,
        peers,
        seats: Seats::default(),
        survey: Survey::default(),
        source_book: RefCell::default(),
        buffer: RefCell::new(vec![0; BUFFER].into()),
        pipes: Pipes::default(),
        bulk_queue: BulkQueue::default(),
        alpn_offers: AlpnOfferCache::default(),
    }
}

/// Tasks without which a worker would look well and serve nobody.
type Carriers = JoinSet<io::Result<()>>;

/// Returns the result of a carrier. An accept loop ends without an error when its listener closes.
fn carried(ended: Result<io::Result<()>, JoinError>) -> io::Result<()> {
    let reason = match ended {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(error) => supervise::why(Err(error)),
    };
    let text = format!("a task that it cannot do without has ended: {reason}");
    Err(io::Error::other(text))
}

/// Looks after the seats, for ever. It is a task of its own: other tasks of the worker run between two parts of a sweep,
/// so that the sweep of a busy worker with many connections takes long, and nothing is to wait for that, nor to take it
/// for lag.
async fn look_after_seats(worker: &Worker, drain: &DrainWatcher) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let requests = Requests {
            lines: worker.shared.access_log.interval(),
            reviews: worker.shared.listeners.ends_disallowed(),
        };
        let mut sweep = worker.seats.begin_sweep(now.into(), requests);
        while worker.seats.sweep_on(&mut sweep) {
            tokio::task::yield_now().await;
        }
        let now = Instant::now();
        if let Some(cause) = worker.overload(OverloadStep::EndQuiet) {
            let ended = worker.seats.end_quietest(now.into());
            let metrics = &worker.shared.metrics.overload;
            metrics
                .connections(cause, OverloadAction::Ended)
                .inc_by(ended);
        }
        if let DrainPhase::Draining { deadline } = drain.phase() {
            let left = deadline.saturating_duration_since(now);
            worker.seats.cut_quiet(now.into(), SWEEP, left);
        }
    }
}

/// Serves the queues, and looks after the seats, until the process stops or a carrier fails.
async fn serve_until_stopped(
    worker: &Rc<Worker>,
    inbox: Inbox,
    drain: DrainWatcher,
) -> io::Result<()> {
    let Inbox {
        mut connections,
        mut sockets,
        questions,
    } = inbox;
    let mut carriers = Carriers::new();
    let answering = worker.clone();
    carriers.spawn_local(async move {
        surveys::run(answering, questions).await;
        Ok(())
    });
    let caller = worker.clone();
    carriers.spawn_local(async move {
        caller.bulk_queue.run().await;
        Err(io::Error::other("the queue of bulk transfers"))
    });
    let (caller, phases) = (worker.clone(), drain.clone());
    carriers.spawn_local(async move {
        look_after_seats(&caller, &phases).await;
        Err(io::Error::other("the sweep over the connections"))
    });
    let mut stopped = drain.clone();
    let stopped = stopped.stopped();
    tokio::pin!(stopped);
    let give_way = worker.hellos.give_way();
    tokio::pin!(give_way);
    let mut rounds = tokio::time::interval(SWEEP);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lag = LagMeter::default();
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(()),
            Some(ended) = carriers.join_next() => carried(ended)?,
            () = &mut give_way => {}
            _ = rounds.tick() => {
                worker.load().round(lag.round(Instant::now().into(), SWEEP));
            }
            Some(accepted) = connections.recv() => placing::serve_here(worker, accepted),
            socket = sockets.recv() => match socket {
                Some((listener, socket)) => {
                    let socket = socket::register_listener(socket).map_err(|error| {
                        io::Error::other(format!("cannot wait for a listening socket: {error}"))
                    })?;
                    let worker = worker.clone();
                    carriers.spawn_local(accept::run(worker, listener, socket, drain.clone()));
                }
                // The handle of this worker is gone, so the process stops.
                None => return Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::listener::ListenerPolicy;
    use super::super::seat::Seat;
    use super::*;
    use crate::access_log::AccessLog;
    use crate::config::{Config, SourceGroups, samples};
    use crate::limits::Scopes;
    use crate::metrics::Metrics;

    #[test]
    fn a_sweep_between_whose_parts_others_run_is_no_lag() {
        /// The time for which others run between two parts.
        const TURN: Duration = Duration::from_millis(80);
        let text = "listeners: [{ name: l, bind: '127.0.0.1:0' }]";
        let limits = Config::parse(text, "test").unwrap().limits;
        let metrics = Arc::new(Metrics::new().unwrap());
        let shared = Shared::new(metrics.clone(), AccessLog::off(), 1, 10, &limits);
        let (peer, connections) = mpsc::channel(1);
        let (_sockets, sockets) = mpsc::channel(1);
        let (_asker, questions) = questions();
        let inbox = Inbox {
            connections,
            sockets,
            questions,
        };
        let worker = Rc::new(new_worker(0, Arc::new(shared), [peer].into()));
        let (sources, scopes) = (Arc::new(SourceGroups::default()), Scopes::default());
        let policy = ListenerPolicy::new(&samples::listener(), &sources, &metrics, &scopes);
        let policy = Arc::new(policy);
        for _ in 0..12 * 1024 {
            worker
                .seats
                .insert(Rc::new(Seat::new(policy.clone(), Instant::now().into())));
        }
        let (_trigger, drain) = crate::drain::channel();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build_local(LocalOptions::default())
            .unwrap();
        let others = async {
            while worker.load().rounds() < 5 {
                std::thread::sleep(TURN);
                tokio::task::yield_now().await;
            }
        };
        runtime.block_on(async {
            tokio::select! {
                ended = serve_until_stopped(&worker, inbox, drain) => panic!("{ended:?}"),
                () = others => {}
            }
        });
        let lag = worker.load().lag();
        assert!(lag < TURN * 4, "{lag:?}");
    }

    #[test]
    fn a_carrier_that_ends_is_told_apart_from_one_that_is_done() {
        let runtime = Builder::new_current_thread()
            .build_local(LocalOptions::default())
            .unwrap();
        let ended = |carrier: fn() -> io::Result<()>| {
            runtime.block_on(async {
                let mut carriers = Carriers::new();
                carriers.spawn_local(async move { carrier() });
                carried(carriers.join_next().await.unwrap())
            })
        };
        assert!(ended(|| Ok(())).is_ok());
        for (carrier, says) in [
            (
                (|| panic!("a defect, on purpose")) as fn() -> io::Result<()>,
                "a defect, on purpose",
            ),
            (|| Err(io::Error::other("the socket is gone")), "is gone"),
        ] {
            let error = ended(carrier).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.contains("cannot do without"), "{error}");
        }
    }
}
