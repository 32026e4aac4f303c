//! A cloud's load balancer with kube-proxy, as a gateway's pods see them: one address, and new
//! connections only for pods that report ready. Existing connections stay with their pod.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::gateway::get;
use crate::support::server::{Server, with_deadlines};

/// A gateway's two addresses.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    /// The address that connections go to.
    pub traffic: SocketAddr,
    /// The address of /healthz/ready.
    pub status: SocketAddr,
}

impl Backend {
    fn ready(&self) -> bool {
        get(self.status, "/healthz/ready").is_ok_and(|(status, _)| status == 200)
    }
}

/// Spreads connections over those backends that are ready, one after another. Asks before every
/// connection, which is sooner than a cloud notices, but no sooner than it should.
pub fn start(backends: Vec<Backend>) -> Server {
    let turn = AtomicUsize::new(0);
    Server::start(move |stream| {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let mut candidates = backends.iter().cycle().skip(turn).take(backends.len());
        let Some(backend) = candidates.find(|backend| backend.ready()) else {
            return;
        };
        if let Ok(backend) = TcpStream::connect(backend.traffic) {
            with_deadlines(&backend);
            carry(&stream, &backend);
        }
    })
}

/// Both ways, until both have closed.
fn carry(downstream: &TcpStream, upstream: &TcpStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| one_way(downstream, upstream));
        one_way(upstream, downstream);
    });
}

fn one_way(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
