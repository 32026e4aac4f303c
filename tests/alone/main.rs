//! Tests that need the process, or the machine, to themselves: they count what its allocator gives, its CPU
//! time or its file descriptors, or measure how soon something happens. Each holds [`Alone`] while it runs,
//! so that they run one after another where one process runs them all.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/dns_server.rs"]
mod dns_server;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/kubernetes/mod.rs"]
mod kubernetes;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/operator/mod.rs"]
mod operator;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod admin_descriptors;
mod counting;
mod hello_allocations;
mod hello_half_sent_cpu;
mod hello_kept;
mod kubernetes_churn;
mod soak;
mod takeover;
mod upgrade;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test while it runs: no other test of this program runs meanwhile.
struct Alone {
    _guard: MutexGuard<'static, ()>,
}

fn alone() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    Alone {
        _guard: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
    }
}

/// Addresses that do not change, since a process that takes over must have the same: of a loopback address that no
/// other test process has.
fn own_addresses<const N: usize>() -> [SocketAddr; N] {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let bind = |()| TcpListener::bind(SocketAddr::from(([127, 99, high, low], 0))).unwrap();
    let bound = [(); N].map(bind);
    bound.map(|one| one.local_addr().unwrap())
}
