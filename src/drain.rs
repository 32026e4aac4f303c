//! The drain: strait stops accepting and lets open connections finish until a deadline.
//!
//! The code that decides (signal, admin) holds the one [`DrainTrigger`]; there are many
//! [`DrainWatcher`]s. Phases only move forward, even if the drain is triggered twice.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The phase of the process on its way out. Phases are ordered; a later phase never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainPhase {
    /// Serving.
    Running,
    /// Not ready any more but still accepting, so that load balancers move away first.
    Announced,
    /// Listeners close; connections may finish until the deadline.
    Draining {
        /// The time when open connections are cut.
        deadline: Instant,
    },
    /// Open connections are cut now.
    Stopped,
}

impl DrainPhase {
    fn rank(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Announced => 1,
            Self::Draining { .. } => 2,
            Self::Stopped => 3,
        }
    }
}

/// A pair whose watcher sees every phase that the trigger announces.
pub fn channel() -> (DrainTrigger, DrainWatcher) {
    let (sender, receiver) = watch::channel(DrainPhase::Running);
    (DrainTrigger(sender), DrainWatcher(receiver))
}

/// Moves the process through its drain phases.
#[derive(Debug)]
pub struct DrainTrigger(watch::Sender<DrainPhase>);

impl DrainTrigger {
    /// Moves on to `phase`, unless that phase or a later one is already reached. Returns whether it
    /// moved.
    pub fn advance(&self, phase: DrainPhase) -> bool {
        self.0.send_if_modified(|current| {
            let later = phase.rank() > current.rank();
            if later {
                *current = phase;
            }
            later
        })
    }

    /// Goes through the whole drain: not ready for `readiness_delay`, then draining for at most
    /// `window`, then stopped. Ends early only when another caller advances to `Stopped`.
    pub async fn run(&self, readiness_delay: Duration, window: Duration) {
        let mut watcher = self.0.subscribe();
        self.advance(DrainPhase::Announced);
        let stopped = |phase: &DrainPhase| matches!(phase, DrainPhase::Stopped);
        if tokio::time::timeout(readiness_delay, watcher.wait_for(stopped))
            .await
            .is_ok()
        {
            return;
        }
        self.advance(DrainPhase::Draining {
            deadline: Instant::now() + window,
        });
        let _ = tokio::time::timeout(window, watcher.wait_for(stopped)).await;
        self.advance(DrainPhase::Stopped);
    }

    /// The present phase.
    pub fn phase(&self) -> DrainPhase {
        *self.0.borrow()
    }
}

/// Sees the drain phases.
#[derive(Debug, Clone)]
pub struct DrainWatcher(watch::Receiver<DrainPhase>);

impl DrainWatcher {
    /// The present phase.
    pub fn phase(&self) -> DrainPhase {
        *self.0.borrow()
    }

    /// Waits until the phase differs from the last one seen through this watcher, and returns it.
    /// A dropped trigger counts as [`DrainPhase::Stopped`].
    pub async fn changed(&mut self) -> DrainPhase {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => DrainPhase::Stopped,
        }
    }

    /// Waits until listeners must close, or for a later phase.
    pub async fn draining(&mut self) -> DrainPhase {
        match self.0.wait_for(|phase| phase.rank() >= 2).await {
            Ok(phase) => *phase,
            Err(_) => DrainPhase::Stopped,
        }
    }

    /// Waits until all connections must be cut.
    pub async fn stopped(&mut self) {
        let _ = self.0.wait_for(|phase| phase.rank() >= 3).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn phases_follow_each_other_and_never_go_back() {
        let (trigger, watcher) = channel();
        let start = Instant::now();
        let run = trigger.run(Duration::from_secs(5), Duration::from_secs(20));
        let watch = async {
            let mut watcher = watcher.clone();
            let mut seen = Vec::new();
            while seen.last() != Some(&DrainPhase::Stopped) {
                seen.push(watcher.changed().await);
            }
            seen
        };
        let ((), seen) = tokio::join!(run, watch);
        assert_eq!(start.elapsed(), Duration::from_secs(25));
        assert!(matches!(
            seen[..],
            [
                DrainPhase::Announced,
                DrainPhase::Draining { .. },
                DrainPhase::Stopped
            ]
        ));
        trigger.advance(DrainPhase::Announced);
        assert_eq!(watcher.phase(), DrainPhase::Stopped);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_cuts_the_wait_short() {
        let (trigger, _watcher) = channel();
        let start = Instant::now();
        let run = trigger.run(Duration::from_secs(5), Duration::from_secs(20));
        let stop = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            trigger.advance(DrainPhase::Stopped);
        };
        tokio::join!(run, stop);
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
