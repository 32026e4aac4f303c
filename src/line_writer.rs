//! Log lines that never make anybody wait: a bounded queue and one thread that writes.
//!
//! Why not `tracing-appender`: its guard prints to standard output when the queue stays full, so that
//! a blocked pipe would keep the process from ever ending, and it does not count failed writes.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

/// Lines written with one call, in bytes, when more than one waits.
const BATCH: usize = 64 * 1024;
/// How long the last lines may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often a full queue is tried again then.
const RETRY: Duration = Duration::from_millis(5);

/// Where lines that are not written are counted.
#[derive(Debug, Clone)]
pub struct Lost {
    /// The queue was full.
    pub queue_full: IntCounter,
    /// The write failed.
    pub write_failed: IntCounter,
}

/// Takes lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LineWriter {
    queue: SyncSender<Message>,
    lost: Lost,
}

enum Message {
    Line(Box<[u8]>),
    End,
}

impl LineWriter {
    /// Starts the thread that writes to `writer`, with a queue of `capacity` lines.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(
        name: &str,
        writer: impl Write + Send + 'static,
        capacity: usize,
        lost: Lost,
    ) -> io::Result<(Self, LineWriterGuard)> {
        let (queue, inbox) = mpsc::sync_channel(capacity);
        let (ended, farewell) = mpsc::channel();
        let failed = lost.write_failed.clone();
        thread::Builder::new().name(name.into()).spawn(move || {
            write_lines(writer, &inbox, &failed);
            let _ = ended.send(());
        })?;
        let guard = LineWriterGuard {
            queue: queue.clone(),
            farewell,
        };
        Ok((Self { queue, lost }, guard))
    }

    /// Queues one line, its line feed included. Returns at once; a line that finds the queue full is
    /// counted and gone.
    pub fn write(&self, line: &[u8]) {
        if self.queue.try_send(Message::Line(line.into())).is_err() {
            self.lost.queue_full.inc();
        }
    }
}

fn write_lines(mut writer: impl Write, inbox: &Receiver<Message>, failed: &IntCounter) {
    let mut batch = Vec::new();
    while let Ok(Message::Line(line)) = inbox.recv() {
        batch.clear();
        batch.extend_from_slice(&line);
        let mut lines = 1;
        let mut end = false;
        while batch.len() < BATCH && !end {
            match inbox.try_recv() {
                Ok(Message::Line(line)) => {
                    batch.extend_from_slice(&line);
                    lines += 1;
                }
                Ok(Message::End) => end = true,
                Err(_) => break,
            }
        }
        if writer
            .write_all(&batch)
            .and_then(|()| writer.flush())
            .is_err()
        {
            failed.inc_by(lines);
        }
        if end {
            return;
        }
    }
}

/// Writes what is queued when dropped, for at most about a second.
#[derive(Debug)]
pub struct LineWriterGuard {
    queue: SyncSender<Message>,
    farewell: Receiver<()>,
}

impl Drop for LineWriterGuard {
    fn drop(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Message::End) {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(RETRY);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // A writer that is stuck is left behind; the process ends without it.
        let _: Result<(), RecvTimeoutError> = self.farewell.recv_timeout(left);
    }
}

/// Standard output or error without the buffer and lock of `std::io`: one write a batch, and an
/// error as often as there is one.
#[derive(Debug, Clone, Copy)]
pub enum StandardStream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let descriptor = match self {
            Self::Output => rustix::stdio::stdout(),
            Self::Error => rustix::stdio::stderr(),
        };
        Ok(rustix::io::write(descriptor, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn counted() -> Lost {
        let counter = || IntCounter::new("lost", "lines").unwrap();
        Lost {
            queue_full: counter(),
            write_failed: counter(),
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks until its channel is dropped.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_guard_waits_for_what_is_queued() {
        let target = Shared::default();
        let (writer, guard) = LineWriter::start("test", target.clone(), 1000, counted()).unwrap();
        for _ in 0..500 {
            writer.write(b"line\n");
        }
        drop(guard);
        assert_eq!(*target.0.lock().unwrap(), b"line\n".repeat(500));
    }

    #[test]
    fn a_stuck_writer_delays_nobody_and_its_losses_are_counted() {
        let (release, stuck) = mpsc::channel();
        let lost = counted();
        let (writer, guard) = LineWriter::start("test", Stuck(stuck), 10, lost.clone()).unwrap();
        let start = Instant::now();
        for _ in 0..100 {
            writer.write(b"line\n");
        }
        assert!(start.elapsed() < FAREWELL, "writing waited");
        assert!(lost.queue_full.get() >= 89);
        drop(guard);
        assert!(start.elapsed() < FAREWELL * 5, "the guard waited for ever");
        drop(release);
    }

    #[test]
    fn failed_writes_are_counted_line_by_line() {
        let lost = counted();
        let (writer, guard) = LineWriter::start("test", Full, 10, lost.clone()).unwrap();
        for _ in 0..5 {
            writer.write(b"line\n");
        }
        drop(guard);
        assert_eq!(lost.write_failed.get(), 5);
    }
}
