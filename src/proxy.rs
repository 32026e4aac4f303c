//! The corridor: one connection, top to bottom.
//!
//! ```text
//! listener::run -> serve_connection -> source policy -> [PROXY header] -> preread -> client_hello
//!               -> RouteTable::decide -> Upstream::pick -> connect -> relay -> ConnectionRecord
//! ```
//!
//! Stages take and return values; none calls back. What a connection holds before the relay is boxed
//! and gone before the relay begins, so that thousands of idle connections stay small.

mod connect;
mod corridor;
mod counts;
mod ending;
#[cfg(test)]
mod footprint;
mod hellos;
mod listener;
mod liveness;
mod preread;
mod proxy_protocol;
mod record;
mod refusal;
mod refuse;
mod relay;
mod replay;
mod seat;
mod shared;
mod sockets;
mod threads;
mod ticket;
mod worker;

pub use listener::{Listener, ListenerPolicy, ListenerState};
pub use shared::{CONNECTIONS_PER_PIPE, MAX_PIPES, Shared, WorkerLoad, pipes_beside};
pub use threads::{WorkerHandle, WorkerInbox, start};
