//! The upgrade from another release, on a host and as a Deployment does it. `.ci/upgrade` gives the program of the last
//! release as `STRAIT_OLD`. Without it, this build stands for both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::alone;
use crate::support::gateway::get;
use crate::support::process::{Folder, Process};
use crate::support::server::Server;
use crate::support::wait_until;
use crate::takeover::{Addresses, Load, no_call_is_lost, number, this};

fn old() -> PathBuf {
    std::env::var_os("STRAIT_OLD").map_or_else(|| this().to_owned(), PathBuf::from)
}

/// An upgrade, the way back, and the upgrade again.
#[test]
fn an_upgrade_and_the_way_back_lose_no_call() {
    let _alone = alone();
    let old = old();
    no_call_is_lost(&[&old, this(), &old, this()]);
}

/// A gateway with addresses of its own, as a pod has them.
struct Pod {
    process: Process,
    addresses: Addresses,
}

impl Pod {
    fn start(program: &Path, folder: &Folder, endpoint: SocketAddr) -> Self {
        let addresses = Addresses::free();
        let drain = "drain: { readiness_delay: 5s, window: 10s }";
        let name = format!("strait-{}.yaml", addresses.traffic.port());
        let config = folder.file(&name, &addresses.config(2, endpoint, drain));
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(config);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Self {
            process: Process::of_command(command),
            addresses,
        }
    }
}

/// The load balancer of the pods: it probes them, and sends new connections to those that are ready.
struct LoadBalancer {
    pods: Arc<Mutex<Vec<(SocketAddr, SocketAddr)>>>,
    ready: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
}

impl LoadBalancer {
    fn start() -> Self {
        let balancer = Self {
            pods: Arc::default(),
            ready: Arc::default(),
            stop: Arc::default(),
        };
        let (pods, ready) = (balancer.pods.clone(), balancer.ready.clone());
        let stop = balancer.stop.clone();
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let pods = pods.lock().unwrap().clone();
                let answers =
                    |status| get(status, "/healthz/ready").is_ok_and(|(code, _)| code == 200);
                let found = pods.into_iter().filter(|(_, status)| answers(*status));
                let found: Vec<_> = found.map(|(traffic, _)| traffic).collect();
                if !found.is_empty() {
                    *ready.lock().unwrap() = found;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        balancer
    }

    fn add(&self, pod: &Pod) {
        let [_, status, _] = pod.addresses.servers;
        let traffic = pod.addresses.traffic;
        self.pods.lock().unwrap().push((traffic, status));
        wait_until("the pod is ready", || {
            self.ready.lock().unwrap().contains(&traffic)
        });
    }

    /// The pod for the next connection: one after another of those that are ready.
    fn next(ready: &Mutex<Vec<SocketAddr>>) -> SocketAddr {
        let mut ready = ready.lock().unwrap();
        ready.rotate_left(1);
        *ready.first().unwrap()
    }
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A Deployment starts the new pod, and stops the old one when the new one is ready.
#[test]
fn a_rolling_replacement_loses_no_call() {
    let _alone = alone();
    let (old, rate) = (old(), number("STRAIT_TAKEOVER_RATE", 200));
    let echo = Server::echo();
    let folder = Folder::create();
    let balancer = LoadBalancer::start();
    let mut pod = Pod::start(&old, &folder, echo.address);
    balancer.add(&pod);
    let ready = balancer.ready.clone();
    let load = Load::start(move || LoadBalancer::next(&ready), rate);
    for program in [this(), &*old] {
        wait_until("the pod carries calls", || {
            pod.process.closed("ok") >= f64::from(rate / 20)
        });
        let new = Pod::start(program, &folder, echo.address);
        balancer.add(&new);
        // Half of the calls go to the old pod until the load balancer sees that it is not ready any more.
        let mut before = std::mem::replace(&mut pod, new);
        before.process.signal(Signal::TERM);
        assert!(before.process.wait_end().success());
    }
    let (calls, time) = load.stop();
    println!(
        "{} calls in {time:?}, {} lost",
        calls.served,
        calls.lost.len()
    );
    assert!(calls.lost.is_empty(), "{:?}", calls.lost);
}
