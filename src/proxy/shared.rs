//! The state that all workers share: limits, budgets, counters of load, metrics and access log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntGauge};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::hellos::HelloMemory;
use super::in_force::ListenersInForce;
use crate::access_log::AccessLog;
use crate::clock;
use crate::kept_hellos::KeptHellos;
use crate::limits::{Budget, Overload, Scopes, SharedStep};
use crate::metrics::Metrics;
use crate::recent_connections::RecentConnections;
use crate::socket::OwnAddresses;
use crate::traces::Traces;

/// Sockets that may linger after a refusal so that its alert arrives
/// (`docs/src/internals/kernel.md#refusing-with-an-alert`).
const MAX_LINGERING: usize = 1024;
/// Pipes at once: half of those that one user gets before the kernel makes them smaller (1,024 of 16
/// pages each, pipe(7)), since a successor may run beside us.
pub const MAX_PIPES: usize = 512;
/// The number of connections for each pipe.
pub const CONNECTIONS_PER_PIPE: usize = 16;
/// Attempts to connect that may go on after another one has won.
const MAX_LATE_ATTEMPTS: usize = 1024;
/// Connections that may wait for the first answer of their upstream's source.
const MAX_SOURCE_WAITS: usize = 1024;
/// The time that accepting rests when the process or the host ran out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The state that all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The log in which every connection leaves its line.
    pub access_log: AccessLog,
    /// Connections open.
    pub connections: Budget,
    /// The bytes of hellos that came in pieces.
    pub hello_memory: Arc<HelloMemory>,
    /// The bytes that short writes may leave waiting.
    pub carry_memory: Budget,
    /// The number of open pipes.
    pub pipes: Budget,
    /// Pipes that hold bytes which a destination has not taken. At most half of all: a transfer that does
    /// not get stuck always finds one.
    pub held_pipes: Budget,
    /// The use of each scope that the config limits.
    pub scopes: Scopes,
    /// Refused sockets that wait for their alert to arrive.
    pub lingering: Budget,
    /// Attempts to connect that go on after another one has won.
    pub late_attempts: Budget,
    /// Connections that wait for the first answer of their upstream's source.
    pub source_waits: Budget,
    /// The last connections that ended.
    pub recent: RecentConnections,
    /// The hellos of refused connections that are kept.
    pub hellos: Arc<KeptHellos>,
    /// The traces of connections.
    pub traces: Arc<Traces>,
    /// The steps against overload in force.
    pub overload: Arc<Overload>,
    /// The gateway's own listening sockets: a connection that leads there is a loop.
    pub own: OwnAddresses,
    /// The listeners in force.
    pub listeners: ListenersInForce,
    /// The gate that pauses accepting.
    pub accept_gate: AcceptGate,
    /// Connections of each worker, by its number.
    pub loads: Box<[WorkerLoad]>,
    next_connection: AtomicU64,
}

/// One worker's connections, on a cache line of its own: workers write it with every connection.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerLoad {
    connections: AtomicUsize,
    gauge: IntGauge,
    /// Stands still when the worker hangs.
    rounds: IntCounter,
    /// The lag in microseconds.
    lag: AtomicU64,
    lag_gauge: Gauge,
    /// The step in force because of the lag.
    pub lag_step: SharedStep,
}

impl WorkerLoad {
    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// One more.
    pub fn add(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.gauge.inc();
    }

    /// One less.
    pub fn remove(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }

    /// The worker has looked after its connections once more, and is behind its work by `lag`.
    pub fn round(&self, lag: Duration) {
        self.rounds.inc();
        let micros = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        if self.lag.swap(micros, Ordering::Relaxed) != micros {
            self.lag_gauge.set(lag.as_secs_f64());
        }
    }

    /// The time by which the worker was behind its work when it made its last round.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.lag.load(Ordering::Relaxed))
    }

    /// The number of its rounds.
    pub fn rounds(&self) -> u64 {
        self.rounds.get()
    }
}

impl Shared {
    /// For `workers` workers and at most `connections` connections.
    pub fn new(
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        workers: usize,
        connections: usize,
        limits: &crate::config::Limits,
    ) -> Self {
        let load = |worker| WorkerLoad {
            connections: AtomicUsize::new(0),
            gauge: metrics.worker_connections(worker),
            rounds: metrics.worker_rounds(worker),
            lag: AtomicU64::new(0),
            lag_gauge: metrics.overload.lag(worker),
            lag_step: SharedStep::default(),
        };
        let pipes = pipes_beside(connections);
        Self {
            connections: Budget::new(connections, None),
            hello_memory: Arc::new(HelloMemory::new(
                limits.hello_memory,
                workers,
                metrics.hello_memory.clone(),
                metrics.hello_memory_peak.clone(),
            )),
            carry_memory: Budget::with_gauges(
                limits.carry_memory,
                Some(metrics.carry_memory.clone()),
                Some(metrics.carry_memory_peak.clone()),
            ),
            pipes: Budget::new(pipes, Some(metrics.pipes.clone())),
            held_pipes: Budget::new(pipes / 2, Some(metrics.held_pipes.clone())),
            scopes: Scopes::default(),
            lingering: Budget::new(MAX_LINGERING, None),
            late_attempts: Budget::new(MAX_LATE_ATTEMPTS, None),
            source_waits: Budget::new(MAX_SOURCE_WAITS, None),
            recent: RecentConnections::default(),
            hellos: Arc::default(),
            traces: Arc::default(),
            overload: Arc::default(),
            own: OwnAddresses::default(),
            listeners: ListenersInForce::default(),
            accept_gate: AcceptGate::new(),
            loads: (0..workers).map(load).collect(),
            next_connection: AtomicU64::new(1),
            metrics,
            access_log,
        }
    }

    /// A number for one connection's log lines, unique in this process.
    pub fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }
}

/// The number of pipes that there may be beside `connections` connections: enough for those that are stuck at
/// one time, and few against the descriptors that the connections take.
pub fn pipes_beside(connections: usize) -> usize {
    (connections / CONNECTIONS_PER_PIPE).clamp(2, MAX_PIPES)
}

/// The gate that pauses accepting, for the whole process. One member of a SO_REUSEPORT group must not
/// pause alone: it would still get its share of new connections, and those would wait for nothing.
#[derive(Debug)]
pub struct AcceptGate {
    epoch: Instant,
    /// Milliseconds since `epoch`.
    closed_until: AtomicU64,
    /// Set while the predecessor of this process still accepts on the same sockets.
    held: AtomicBool,
    released: Notify,
}

impl AcceptGate {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            closed_until: AtomicU64::new(0),
            held: AtomicBool::new(false),
            released: Notify::new(),
        }
    }

    /// Stops accepting until [`AcceptGate::release`].
    pub fn hold(&self) {
        self.held.store(true, Ordering::Release);
    }

    /// Ends a [`AcceptGate::hold`].
    pub fn release(&self) {
        self.held.store(false, Ordering::Release);
        self.released.notify_waiters();
    }

    /// Stops accepting for a moment.
    pub fn pause(&self) {
        let until = self.epoch.elapsed() + ACCEPT_PAUSE;
        self.closed_until
            .fetch_max(clock::millis(until), Ordering::Relaxed);
    }

    /// Waits until accepting goes on.
    pub async fn open(&self) {
        loop {
            if self.held.load(Ordering::Acquire) {
                let released = self.released.notified();
                // A release since the first look has notified nobody.
                if self.held.load(Ordering::Acquire) {
                    released.await;
                }
            }
            let until = self.closed_until.load(Ordering::Relaxed);
            let until = self.epoch + Duration::from_millis(until);
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_gate_opens_again() {
        let gate = AcceptGate::new();
        gate.open().await;
        let start = Instant::now();
        gate.pause();
        gate.open().await;
        assert!(start.elapsed() >= ACCEPT_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_is_held_stays_shut_until_it_is_released() {
        let gate = AcceptGate::new();
        gate.hold();
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, gate.open()).await.is_err());
        let release = async {
            tokio::time::sleep(hour).await;
            gate.release();
        };
        tokio::join!(gate.open(), gate.open(), release);
    }
}
