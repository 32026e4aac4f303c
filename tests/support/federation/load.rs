//! Callers that call on and on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::app::Seen;
use super::http::HttpClient;

/// Between two calls of a caller: enough load to meet every moment, little enough for two cores.
const PAUSE: Duration = Duration::from_millis(4);

/// Calls in the background until it is finished.
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    callers: Vec<JoinHandle<()>>,
}

/// The results of the calls.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Number of answers of each pod.
    pub answered: BTreeMap<String, usize>,
    /// The reasons for which other calls failed.
    pub failed: Vec<String>,
}

impl Load {
    /// So many callers at each of these sidecars.
    pub fn start(sidecars: &[SocketAddr], callers: usize) -> Self {
        Self::start_paced(sidecars, callers, PAUSE)
    }

    /// As [`Load::start`], with another pause between two calls of a caller.
    pub fn start_paced(sidecars: &[SocketAddr], callers: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::<Mutex<Tally>>::default();
        let callers = sidecars.iter().flat_map(|at| vec![*at; callers]);
        let callers = callers.map(|at| {
            let (stop, tally) = (stop.clone(), tally.clone());
            std::thread::spawn(move || call_on(at, pause, &stop, &tally))
        });
        Self {
            callers: callers.collect(),
            stop,
            tally,
        }
    }

    /// The results so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Number of calls that the pod has answered.
    pub fn answered_by(&self, pod: &str) -> usize {
        let tally = self.tally.lock().unwrap();
        tally.answered.get(pod).copied().unwrap_or(0)
    }

    /// Ends it.
    pub fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().unwrap();
        }
        self.tally.lock().unwrap().clone()
    }
}

fn call_on(at: SocketAddr, pause: Duration, stop: &AtomicBool, tally: &Mutex<Tally>) {
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let mut open = client
            .take()
            .unwrap_or_else(|| HttpClient::connect(at).unwrap());
        let answer = open.get("/");
        let mut tally = tally.lock().unwrap();
        match answer {
            Ok(answer) if answer.status == 200 => {
                let pod = Seen::parse(&answer.body).pod;
                *tally.answered.entry(pod).or_default() += 1;
                client = (!answer.closes).then_some(open);
            }
            Ok(answer) => tally
                .failed
                .push(format!("{} {}", answer.status, answer.body)),
            Err(error) => tally.failed.push(error.to_string()),
        }
        drop(tally);
        std::thread::sleep(pause);
    }
}
