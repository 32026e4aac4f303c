//! Cluster DNS and pod addresses: every pod has an address of its own in 127.0.0.0/8, and so the
//! port that its Service says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;

use tokio::sync::oneshot;

use super::dns_server::DnsServer;

/// A name server; answers until it is dropped.
pub struct ClusterDns {
    server: Arc<DnsServer>,
    _running: oneshot::Sender<()>,
}

impl ClusterDns {
    /// Knows no name yet.
    pub fn start() -> Self {
        let (running, ended) = oneshot::channel();
        let (tell, started) = channel();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let server = Arc::new(DnsServer::start().await);
                tell.send(server.clone()).unwrap();
                let _ = ended.await;
            });
        });
        Self {
            server: started.recv().unwrap(),
            _running: running,
        }
    }

    /// The address that it answers on.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The addresses of `name` from now on.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        self.server.set_addresses(name, 1, &addresses);
    }
}

/// An address that no other pod of this machine's tests has.
pub fn pod_address() -> IpAddr {
    // From 127.64.0.0 on: the low bits are the process, the others the pod.
    const PROCESS_BITS: u32 = 14;
    static GIVEN: AtomicU32 = AtomicU32::new(64 << (16 - PROCESS_BITS));
    let number = GIVEN.fetch_add(1, Ordering::Relaxed);
    assert!(number < 255 << (16 - PROCESS_BITS), "out of addresses");
    let process = std::process::id() & ((1 << PROCESS_BITS) - 1);
    Ipv4Addr::from(0x7f00_0000 | (number << PROCESS_BITS) | process).into()
}
