//! strait: an SNI-passthrough east-west gateway for Kubernetes clusters.
//!
//! It listens on port 15443, reads the server name of each TLS ClientHello, and splices the
//! still-encrypted connection to a pod of the service that the name stands for. It never terminates
//! TLS and holds no key for the traffic.
//!
//! # Path of a connection
//!
//! ```text
//!  proxy::threads    accept4 on this worker's SO_REUSEPORT member; hand over when loads differ
//!        |
//!  proxy::corridor   the one function that calls the stages below in turn
//!        |-- config::SourcePolicy    may this address connect? and limits: has it too many?
//!        |-- proxy::proxy_protocol   the client's address, if a trusted load balancer announces it
//!        |-- proxy::preread          the hello, peeked at; read and replayed when in pieces
//!        |      `-- client_hello     the meaning of the bytes (pure)
//!        |-- route                   RouteTable::decide: name and ALPN -> route
//!        |-- upstream                pick: two random choices, least connections
//!        |-- proxy::connect          one endpoint after another; ends before a byte goes upstream
//!        |-- proxy::relay            bytes both ways until both have closed or one has failed
//!        `-- proxy::record           metrics and the access log's line, exactly once
//! ```
//!
//! `proxy::refuse` closes a refused connection so that its alert arrives.
//!
//! # Threads
//!
//! N worker threads carry traffic. Each has a runtime, a buffer and listening sockets of its own; they share
//! [`proxy::Shared`] and read immutable snapshots. One control thread does the rest: [`app`] wires it,
//! [`source`] sets the endpoints of upstreams, [`admin`] answers operators. The control thread may wait without
//! delaying a byte, and has a lower priority than the workers.
//!
//! [`source::kubernetes`] finds routes as well as endpoints and hands them over as values. [`app`] merges them
//! with the file's routes into one config, and puts that into force.
//!
//! # Where a change belongs
//!
//! `docs/src/internals/architecture.md` lists the steps of four common changes: an outcome, a config key, a way
//! to retry, a kind of Kubernetes object.
//!
//! | to change | go to |
//! |---|---|
//! | the accepted form of a hello | [`client_hello`]; of its names: [`server_name`] |
//! | the accepted form of a PROXY header | [`proxy_header`] |
//! | a key of the config file | `config::file` declares it, `config::resolve` checks it, `config::checked` is the result |
//! | the type of a name that is a metric label | [`names`] |
//! | the route of a name | [`route`] |
//! | a limit, and its count | [`limits`] |
//! | the choice of an endpoint, its ejection | [`upstream`] |
//! | attempts to connect, the next endpoint after a failure | `proxy::connect` |
//! | an outcome: the reason why a connection ends | [`outcome`], then the stage that finds it |
//! | the alert of a refusal | `proxy::refusal` |
//! | the state of a connection before its relay | `proxy::states` |
//! | the transfer of bytes | `proxy::relay` |
//! | the origin of endpoints | [`source`] |
//! | the meaning of a Kubernetes object | `source::kubernetes::translate`, for Gateway API `source::kubernetes::gateways` |
//! | the watch of a cluster, statuses | `source::kubernetes::watch`, `source::kubernetes::status` |
//! | the fingerprint of a client's software | `client_hello::fingerprint`, [`tls_version`] |
//! | a metric, a log line | [`metrics`], [`access_log`], [`log`] |
//! | start and stop | [`app`], [`drain`] |
//! | the effect of a reload or a discovery | `app::plan` |
//! | a read of a file that may misbehave | [`mod@file`] |
//! | the restart of a task that fails | [`supervise`] |
//! | a command | [`cli`] |
//! | the demo, the load tool, the self-test | `tools`, which is not part of the image |
//! | a system call | [`socket`], the only module with `unsafe` |
//!
//! # Rules
//!
//! Imports point down only, between modules and between the files of `config`, `proxy` and `source`
//! (`tests/repository/layering.rs` holds the order). Everything has a limit. Nothing that
//! a peer, a file or an API sends can make a worker panic, wait or grow. Text that a client chose is
//! never a metric label, and is escaped in logs. A name only ever selects among configured routes: it
//! is never resolved or dialled.

// More lints than those of Cargo.toml, which hold for tests too.
#![warn(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "nothing that a peer or a file sends may end a worker"
)]
#![warn(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "they panic when the reader is gone; writeln! lets the caller decide"
)]
#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::too_many_lines,
        reason = "clippy.toml lists them, with the reasons and the limit"
    )
)]
#![warn(
    unreachable_pub,
    reason = "`pub` marks the public interface of the library"
)]

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
pub mod names;
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
