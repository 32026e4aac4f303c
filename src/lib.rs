//! An SNI-passthrough east-west gateway for Kubernetes clusters.

// Beside the lints of Cargo.toml, which hold for tests too.
#![warn(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "nothing that a peer or a file says may end a worker"
)]
#![warn(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "they panic when nobody reads any more; writeln! lets the caller decide"
)]
#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        reason = "clippy.toml tells why, one by one"
    )
)]
#![warn(unreachable_pub, reason = "`pub` says: part of the library's face")]

pub mod config;
pub mod drain;
pub mod metrics;
pub mod outcome;
pub mod route;
pub mod server_name;
pub mod upstream;
