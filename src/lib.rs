//! strait: an SNI-passthrough east-west gateway for Kubernetes clusters.
//!
//! It listens on port 15443, reads the server name of each TLS ClientHello, and splices the
//! still-encrypted connection to a pod of the service that the name stands for. It never terminates
//! TLS and holds no key for what it carries.
//!
//! # Where a connection goes
//!
//! ```text
//!  proxy::threads    accept4 on this worker's SO_REUSEPORT member; hand over when loads differ
//!        |
//!  proxy::corridor   the one function that calls the stages below in turn
//!        |-- config::SourcePolicy    may this address connect? and limits: has it too many?
//!        |-- proxy::proxy_protocol   whom a trusted load balancer announces, where one stands in front
//!        |-- proxy::preread          the hello, peeked at; read and replayed when in pieces
//!        |      `-- client_hello     what the bytes say (pure)
//!        |-- route                   RouteTable::decide: name and ALPN -> route
//!        |-- upstream                pick: two random choices, least connections
//!        |-- proxy::connect          one endpoint after another; ends before a byte goes upstream
//!        |-- proxy::relay            bytes both ways until both have closed or one has failed
//!        `-- proxy::record           metrics and the access log's line, exactly once
//! ```
//!
//! A refused connection leaves by `proxy::refuse`, which makes its alert arrive.
//!
//! # Threads
//!
//! N worker threads carry traffic, each with a runtime, a buffer and listening sockets of its own;
//! they share [`proxy::Shared`] and read immutable snapshots. One control thread does the rest:
//! [`app`] wires it, [`source`] fills upstreams, [`admin`] answers operators. Nothing that the control
//! thread waits for delays a byte, and it gives way to the workers where they want the same CPU.
//!
//! [`source::kubernetes`] finds whole routes besides endpoints: it hands them over as values, and [`app`]
//! merges them with the file's into the config that everything runs on.
//!
//! # Where a change belongs
//!
//! | to change | go to |
//! |---|---|
//! | what a hello may look like | [`client_hello`]; names: [`server_name`] |
//! | a key of the config file | `config::file` (what the file says), `config::checked` (what the program runs on) |
//! | what a PROXY header may look like | [`proxy_header`] |
//! | which route a name takes | [`route`] |
//! | what is limited, and how it is counted | [`limits`] |
//! | which endpoint is picked, when one is left alone | [`upstream`] |
//! | where endpoints come from | [`source`] |
//! | what an object of a cluster means | `source::kubernetes::translate`, for Gateway API `source::kubernetes::gateways` |
//! | how a cluster is watched, what is written back | `source::kubernetes::watch`, `source::kubernetes::status` |
//! | how bytes move | `proxy::relay` |
//! | a reason for which connections end | [`outcome`], then the stage that finds it |
//! | what is told of a client's software | `client_hello::fingerprint`, [`tls_version`] |
//! | a metric, a log line | [`metrics`], [`access_log`], [`log`] |
//! | what happens at start and stop | [`app`], [`drain`] |
//! | what a reload or a discovery changes | `app::plan` |
//! | how a file is read that may misbehave | [`mod@file`] |
//! | which task is started again when it fails | [`supervise`] |
//! | a command | [`cli`] |
//! | the demo, the load tool, the self-test | `tools`, which the image has not |
//! | a system call | [`socket`]: the only room with `unsafe` |
//!
//! # Rules
//!
//! Imports point down only (`tests/repository/layering.rs` holds the order). Everything has a limit. Nothing that
//! a peer, a file or an API says can make a worker panic, wait or grow. Text that a client chose is
//! never a metric label, and is escaped in logs. A name only ever selects among configured routes: it
//! is never resolved or dialled.

// Beside the lints of Cargo.toml, which hold for tests too.
#![warn(
    clippy::expect_used,
    clippy::panic,
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
        clippy::too_many_lines,
        reason = "clippy.toml says which, why, and how many"
    )
)]
#![warn(unreachable_pub, reason = "`pub` says: part of the library's face")]

pub mod access_log;
pub mod admin;
pub mod app;
pub mod cli;
pub mod client_hello;
pub mod clock;
pub mod config;
pub mod drain;
pub mod file;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod outcome;
pub mod proxy;
pub mod proxy_header;
pub mod route;
pub mod server_name;
pub mod socket;
pub mod source;
pub mod supervise;
pub mod tls_version;
#[cfg(feature = "tools")]
pub mod tools;
pub mod upstream;
