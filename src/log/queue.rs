//! The queue of log lines in front of a writer that may be slow, blocked or broken.
//!
//! A thread that pushes a line never waits: the queue is bounded, and a line that finds it full is
//! counted and dropped. One thread writes. `tracing_appender` is not used: its guard prints to stdout
//! when the queue stays full, which hangs the exit of a process whose stdout is blocked and panics in
//! one whose stdout is closed, and it hides write errors.

use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use super::budget::Placed;
use crate::metrics::{DroppedLine, LogName, Metrics, TaskName};
use crate::supervise::{Restarts, panic_text};

/// The size of one write in bytes, exceeded by one line at most.
const BATCH: usize = 64 * 1024;
/// The time for which lines gather after a write. A thread that waits for every single line costs each
/// pushing thread a futex(2) call and a wake-up, a tenth of the cost of a short connection.
const GATHER: Duration = Duration::from_millis(2);
/// The shortest time between two calls of `remarks`.
const REMARKS: Duration = Duration::from_secs(1);
/// The smallest capacity for which lines gather. A smaller queue could fill meanwhile.
const ROOMY: usize = 1024;
/// The time for which a guard waits until the queue is written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The time between two looks at a full queue while a guard waits for a place, and between two attempts
/// on a descriptor that another process made non-blocking.
const RETRY: Duration = Duration::from_millis(5);

/// The counters of lines that are not written.
#[derive(Debug, Clone)]
pub(crate) struct Dropped {
    /// The queue was full.
    pub queue_full: IntCounter,
    /// The write failed.
    pub write_failed: IntCounter,
    /// The thread panicked and was started again. It is no line, but it is counted beside them.
    pub restarts: IntCounter,
}

impl Dropped {
    /// The counters of `log`.
    pub(crate) fn of(metrics: &Metrics, log: LogName) -> Self {
        Self {
            queue_full: metrics.log_lines_dropped(log, DroppedLine::QueueFull),
            write_failed: metrics.log_lines_dropped(log, DroppedLine::WriteFailed),
            restarts: metrics.task_restarts(match log {
                LogName::Access => TaskName::AccessLog,
                LogName::Own => TaskName::OwnLog,
                LogName::Otlp => TaskName::Otlp,
            }),
        }
    }

    /// Counters outside of any registry.
    pub(crate) fn uncounted() -> prometheus::Result<Self> {
        let counter = || IntCounter::new("uncounted", "Not registered.");
        Ok(Self {
            queue_full: counter()?,
            write_failed: counter()?,
            restarts: counter()?,
        })
    }
}

enum Message {
    /// A line. It ends with a newline and contains no other. Its place is freed once the line is taken
    /// from the queue.
    Line(Box<[u8]>, Option<Box<dyn Placed>>),
    /// A request to write everything pushed before and then to drop this sender.
    Flush(SyncSender<()>),
}

/// The pushing end. Cloning is cheap. The writer thread ends with the last clone and the guard.
#[derive(Debug, Clone)]
pub(crate) struct LineQueue {
    sender: SyncSender<Message>,
    dropped: Dropped,
}

/// The end of the queue. Dropping it writes the queued lines, for at most [`FLUSH_TIMEOUT`].
#[derive(Debug)]
pub(crate) struct QueueGuard(SyncSender<Message>);

impl LineQueue {
    /// Starts the thread `name`, which writes to `writer`. `capacity` lines may wait, at least one.
    /// About once a second, and before a guard is released, the thread writes the lines that `remarks`
    /// appends. If no thread can be started, every line counts as a failed write.
    pub(crate) fn start(
        name: &'static str,
        capacity: usize,
        dropped: Dropped,
        writer: impl Write + Send + 'static,
        remarks: impl FnMut(&mut Vec<u8>) + Send + 'static,
    ) -> (Self, QueueGuard) {
        let gather = (capacity >= ROOMY).then_some(GATHER);
        Self::start_gathering(name, capacity, gather, dropped, writer, remarks)
    }

    /// As [`LineQueue::start`], with the time for which lines gather after a write.
    pub(crate) fn start_gathering(
        name: &'static str,
        capacity: usize,
        gather: Option<Duration>,
        dropped: Dropped,
        writer: impl Write + Send + 'static,
        remarks: impl FnMut(&mut Vec<u8>) + Send + 'static,
    ) -> (Self, QueueGuard) {
        // A capacity of 0 would be a rendezvous: no line would ever find a place.
        let (sender, receiver) = sync_channel(capacity.max(1));
        let mut batcher = Batcher::new(writer, remarks, dropped.write_failed.clone());
        let mut restarts = Restarts::new(name, dropped.restarts.clone());
        let run = move || {
            // A defect of the writer costs the lines that it held, not later ones.
            while let Err(panic) = catch_unwind(AssertUnwindSafe(|| batcher.run(&receiver, gather)))
            {
                batcher.lose();
                pause(restarts.ended(&panic_text(&*panic)));
                restarts.started();
            }
        };
        // If this fails, the closure and its receiver are dropped, and every push fails.
        let _ = thread::Builder::new().name(name.to_owned()).spawn(run);
        let guard = QueueGuard(sender.clone());
        (Self { sender, dropped }, guard)
    }

    /// Queues `line`, which ends with a newline and contains no other. Never waits. Returns whether the
    /// queue took it.
    pub(crate) fn push(&self, line: &[u8], place: Option<Box<dyn Placed>>) -> bool {
        match self.sender.try_send(Message::Line(line.into(), place)) {
            Ok(()) => return true,
            Err(TrySendError::Full(_)) => self.dropped.queue_full.inc(),
            Err(TrySendError::Disconnected(_)) => self.dropped.write_failed.inc(),
        }
        false
    }

    /// Counts a line that got no place.
    pub(crate) fn refuse(&self) {
        self.dropped.queue_full.inc();
    }
}

impl Drop for QueueGuard {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.0.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            pause(RETRY);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Nothing is ever sent: the answer is that the sender is dropped.
        let _ = written.recv_timeout(left);
    }
}

/// The writing end.
struct Batcher<W, R> {
    writer: W,
    remarks: R,
    remarks_due: Instant,
    write_failed: IntCounter,
    /// Whole lines: at most [`BATCH`] bytes and one more line.
    batch: Vec<u8>,
    /// True if the last write ended inside a line. The next write must not continue that line.
    torn: bool,
}

/// The number of lines of one kind that may wait in a queue of `capacity`. An eighth is left to other
/// kinds.
pub(crate) fn share_of(capacity: usize) -> usize {
    capacity - capacity / 8
}

impl<W: Write, R: FnMut(&mut Vec<u8>)> Batcher<W, R> {
    fn new(writer: W, remarks: R, write_failed: IntCounter) -> Self {
        Self {
            writer,
            remarks,
            remarks_due: Instant::now() + REMARKS,
            write_failed,
            batch: Vec::new(),
            torn: false,
        }
    }

    fn run(&mut self, receiver: &Receiver<Message>, gather: Option<Duration>) {
        loop {
            let left = self.remarks_due.saturating_duration_since(Instant::now());
            let mut next = match receiver.recv_timeout(left) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => {
                    self.remark();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.remark();
                    return;
                }
            };
            while let Some(message) = next.take() {
                match message {
                    Message::Line(line, place) => {
                        drop(place);
                        self.batch.extend_from_slice(&line);
                        if self.batch.len() >= BATCH {
                            self.write();
                            if Instant::now() >= self.remarks_due {
                                self.remark();
                            }
                        }
                    }
                    Message::Flush(done) => {
                        self.remark();
                        drop(done);
                    }
                }
                next = receiver.try_recv().ok();
            }
            self.write();
            if let Some(time) = gather {
                pause(time);
            }
        }
    }

    /// Writes the lines of `remarks` after the queued ones.
    fn remark(&mut self) {
        self.remarks_due = Instant::now() + REMARKS;
        (self.remarks)(&mut self.batch);
        self.write();
    }

    /// Counts the batch as lost.
    fn lose(&mut self) {
        let lost = self.batch.iter().filter(|byte| **byte == b'\n').count();
        self.write_failed.inc_by(lost as u64);
        self.batch.clear();
        // The number of bytes written is not known.
        self.torn = true;
    }

    /// Writes the batch, or counts the lines that could not be written.
    fn write(&mut self) {
        let mut rest = &self.batch[..];
        let mut result = Ok(());
        if self.torn && !rest.is_empty() {
            result = write_from(&mut self.writer, &mut &b"\n"[..]);
            self.torn = result.is_err();
        }
        if result.is_ok() {
            result = write_from(&mut self.writer, &mut rest);
        }
        if result.is_err() {
            let written = &self.batch[..self.batch.len() - rest.len()];
            self.torn |= written.last().is_some_and(|byte| *byte != b'\n');
            // A line counts as lost when its end is lost, so a torn line counts once.
            let lost = rest.iter().filter(|byte| **byte == b'\n').count();
            self.write_failed.inc_by(lost as u64);
        }
        self.batch.clear();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log's own thread, or a process that is ending: no connection waits for it"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// Writes and flushes `rest`, and advances it past the bytes written.
fn write_from(writer: &mut impl Write, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match writer.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => *rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process with the same descriptor can make it non-blocking. Waiting here does the
            // same as a blocking write; the queue bounds the lines that come meanwhile.
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(RETRY),
            Err(error) => return Err(error),
        }
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex, PoisonError};

    /// A writer that takes as many bytes as each step says; `None` fails.
    #[derive(Clone, Default)]
    struct Scripted {
        steps: Arc<Mutex<VecDeque<Option<usize>>>>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let step = self.steps.lock().unwrap().pop_front();
            let take = match step {
                Some(None) => return Err(ErrorKind::StorageFull.into()),
                Some(Some(take)) => take.min(bytes.len()),
                None => bytes.len(),
            };
            self.taken.lock().unwrap().extend_from_slice(&bytes[..take]);
            Ok(take)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_torn_by_a_failure_never_runs_into_the_next() {
        let writer = Scripted::default();
        *writer.steps.lock().unwrap() = [Some(6), None, None].into();
        let failed = Dropped::uncounted().unwrap().write_failed;
        let mut batcher = Batcher::new(writer.clone(), |_: &mut Vec<u8>| {}, failed.clone());
        for batch in ["one\ntwo\nthree\n", "lost\n", "four\n", "five\n"] {
            batcher.batch.extend_from_slice(batch.as_bytes());
            batcher.write();
        }
        let taken = writer.taken.lock().unwrap().clone();
        assert_eq!(taken, b"one\ntw\nfour\nfive\n");
        assert_eq!(failed.get(), 3, "two, three and lost");
    }

    #[test]
    fn a_writer_that_panics_costs_the_lines_that_it_had() {
        #[derive(Clone, Default)]
        struct PanicsOnce(Arc<Mutex<(bool, Vec<u8>)>>);
        impl Write for PanicsOnce {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if !std::mem::replace(&mut state.0, true) {
                    panic!("a writer's defect, on purpose");
                }
                state.1.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (dropped, writer) = (Dropped::uncounted().unwrap(), PanicsOnce::default());
        let (queue, guard) = LineQueue::start("test", 8, dropped.clone(), writer.clone(), |_| {});
        assert!(queue.push(b"lost\n", None));
        let deadline = Instant::now() + Duration::from_secs(10);
        while dropped.restarts.get() == 0 {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        assert!(queue.push(b"written\n", None));
        let written = || {
            let state = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.1.ends_with(b"written\n")
        };
        while !written() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        drop(guard);
        assert_eq!(dropped.write_failed.get(), 1);
        let state = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(state.1, b"\nwritten\n");
    }

    #[test]
    fn remarks_come_without_lines_and_when_the_guard_goes() {
        let (dropped, writer) = (Dropped::uncounted().unwrap(), Scripted::default());
        let mut number = 0;
        let remarks = move |batch: &mut Vec<u8>| {
            number += 1;
            batch.extend_from_slice(format!("remark {number}\n").as_bytes());
        };
        let (_queue, guard) = LineQueue::start("test", 8, dropped, writer.clone(), remarks);
        let deadline = Instant::now() + Duration::from_secs(10);
        while writer.taken.lock().unwrap().is_empty() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        drop(guard);
        let taken = writer.taken.lock().unwrap().clone();
        assert!(taken.ends_with(b"\nremark 2\n") || taken.ends_with(b"\nremark 3\n"));
    }
}
