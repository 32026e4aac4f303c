//! Traffic: the threads that carry connections, and the way of one connection through them.
//!
//! ```text
//! threads::accept -> threads::placing -> task -> corridor
//!
//! corridor:  [PROXY header] -> source policy -> preread -> connect -> relay
//!                                                 |           |
//!                       client_hello, RouteTable::decide    Upstream::pick
//! ```
//!
//! Stages take and return values; none calls back. A connection's state says what is known of it
//! (`states.rs`); its record is written once, whatever happens. What a connection holds
//! before its relay is boxed and freed before the relay begins, so that thousands of idle connections stay
//! small.

mod age;
mod conduct;
mod connect;
mod corridor;
mod counts;
mod dial;
mod ending;
#[cfg(test)]
mod footprint;
mod hellos;
mod in_force;
mod listener;
mod liveness;
mod opening;
mod pauses;
mod preread;
mod proxy_protocol;
mod record;
mod record_parts;
mod refusal;
mod refuse;
mod relay;
mod replay;
mod review;
mod seat;
mod seats;
mod shared;
mod sockets;
mod source_wait;
mod starttls;
mod states;
mod survey;
mod task;
mod threads;
mod ticket;
mod time_limit;
mod worker;

pub use listener::{Listener, ListenerPolicy, ListenerState};
pub use shared::{CONNECTIONS_PER_PIPE, MAX_PIPES, Shared, WorkerLoad, pipes_beside};
pub use threads::{WorkerHandle, WorkerInbox, start};
