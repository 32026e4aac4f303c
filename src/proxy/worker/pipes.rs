//! The pool of a worker's pipes.
//!
//! A direction takes a pipe for one transfer and gives it back when the pipe is empty, which is nearly
//! always within the same poll: a few pipes serve any number of directions.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

use crate::limits::{Budget, Share};
use crate::socket::Pipe;

/// Empty pipes that a worker keeps.
const SPARE: usize = 8;
/// The time for which a worker makes no new pipe after it could not.
const PAUSE: Duration = Duration::from_secs(1);

/// The pipes of one worker.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Pipes {
    /// Known to be empty.
    spare: RefCell<Vec<PooledPipe>>,
    none_until: Cell<Option<Instant>>,
}

/// A pipe with its share of the process's pipes.
#[derive(Debug)]
pub(in crate::proxy) struct PooledPipe {
    pub pipe: Pipe,
    _share: Share,
}

impl Pipes {
    /// An empty pipe. A new one takes a share of `budget`. `None` when no pipe can be had now.
    pub(in crate::proxy) fn take(&self, budget: &Budget) -> Option<PooledPipe> {
        if let Some(pipe) = self.spare.borrow_mut().pop() {
            return Some(pipe);
        }
        if let Some(until) = self.none_until.get() {
            if Instant::now() < until {
                return None;
            }
            self.none_until.set(None);
        }
        let share = budget.take(1)?;
        match Pipe::open() {
            Ok(pipe) => Some(PooledPipe {
                pipe,
                _share: share,
            }),
            Err(error) => {
                self.pause(&error);
                None
            }
        }
    }

    /// Takes back a pipe that is empty.
    pub(in crate::proxy) fn put_back(&self, pipe: PooledPipe) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(pipe);
        }
    }

    /// Gives up splicing for a while: the kernel refuses it.
    pub(in crate::proxy) fn refuse(&self, error: &io::Error) {
        self.spare.borrow_mut().clear();
        self.pause(error);
    }

    fn pause(&self, error: &io::Error) {
        tracing::debug!(%error, "strait has no pipe to splice with, and copies for a while");
        self.none_until.set(Some(Instant::now() + PAUSE));
    }
}
