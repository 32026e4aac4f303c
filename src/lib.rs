//! strait: an SNI-passthrough east-west gateway for Kubernetes clusters.
//!
//! It reads the server name of each TLS ClientHello, and splices the still-encrypted connection to a pod of
//! the service that the name stands for. It never terminates TLS and holds no key for the traffic.
//!
//! # Path of a connection
//!
//! ```text
//!  proxy::threads    each worker accepts on a socket of its own (SO_REUSEPORT), and passes the
//!        |           connection to a worker with fewer ones if the counts differ
//!        |
//!  proxy::corridor   the one function from accept to relay; proxy::states is what is known at each step
//!        |-- proxy::proxy_protocol   the client's address, if a trusted load balancer announces it
//!        |-- proxy::states           config::SourcePolicy: may this address connect? limits: has it too many?
//!        |-- proxy::starttls         PostgreSQL's request for TLS, where the listener has it
//!        |-- proxy::preread          the hello, peeked at; read and replayed when in pieces
//!        |      |-- client_hello     the meaning of the bytes (pure)
//!        |      `-- route            RouteTable::decide: name and ALPN -> route
//!        |-- proxy::connect          one endpoint after another, before a byte of the client is sent on
//!        |      `-- upstream         pick: two random choices, least connections, unless `balance` says otherwise
//!        |-- proxy::relay            bytes both ways, until both sides have closed or one has failed;
//!        |                           proxy::seat: or until a timeout or the end of a drain
//!        |      `-- verdict          the outcome of its end, from the records and the closes of both sides (pure)
//!        `-- proxy::record           metrics and the access log's line, exactly once
//! ```
//!
//! A connection that cannot go on is refused: `proxy::refusal` is the reason with its alert, and
//! `proxy::refuse` sends the alert and closes so that it arrives.
//!
//! # Threads
//!
//! N worker threads carry traffic. Each has a runtime, a buffer and listening sockets of its own; they share
//! [`proxy::Shared`] and read immutable snapshots. One control thread does the rest: [`app`] wires it,
//! [`source`] finds endpoints, [`admin`] answers operators. The control thread may wait without delaying a byte;
//! `app::builder` is a thread for what takes long, the tables of a reload. Under `strait run` the threads
//! that write answers for operators have a lower priority than the workers. Writing a log, reading a file
//! that may not answer, and waiting for signals have threads of their own.
//!
//! [`source::kubernetes`] finds routes as well as endpoints, and publishes both as one value. [`app`] merges the
//! routes with those of the file into one config, and puts that config and the endpoints into force.
//!
//! # Where a change belongs
//!
//! `docs/src/internals/architecture.md` lists the steps of four common changes: an outcome, a config key, a way
//! to retry, a kind of Kubernetes object. It names the places that neither the compiler nor a test asks for.
//!
//! | to change | go to |
//! |---|---|
//! | the accepted form of a hello | [`client_hello`]; the accepted form of a name in it: [`server_name`] |
//! | a request for TLS before the hello | `client_hello::postgres`; `proxy::starttls` answers it |
//! | the accepted form of a PROXY header | [`proxy_header`] |
//! | a key of the config file | `config::file` declares it, `config::resolve` checks it, `config::checked` is the result; `config/strait.yaml` shows it. "The way of one key" in `config::form::section` follows one. A listener's goes on to `proxy::listener::ListenerPolicy`, and `kubernetes.gateway_api` has it too |
//! | the file's config in its own language again, as `/config` has it | `config::form::write` |
//! | how any key is read; bounds of numbers | `config::form`; `config::bounds` |
//! | the type of a name that is a metric label | [`names`] |
//! | the route of a name | [`route`]; the steps from one table to the next: `route::change` |
//! | a value that is published whole and changes in parts | [`shared_map`] |
//! | a limit, and its count | [`limits`]; what operators see of it: `limits::collector`; of an upstream and its endpoints: `upstream::load` |
//! | the steps against overload | `limits::overload` judges, `app::overload` puts them into force |
//! | the choice of an endpoint | `upstream::balancer`, after a failure also `upstream::apart`; its ejection: `upstream::health`; active checks: `upstream::check` |
//! | the conduct that counts as an endpoint's failure | `upstream::conduct`; `proxy::conduct` reports it |
//! | retries: attempts to connect (`connect.attempts`), the failures that lead to another endpoint | `proxy::connect`, `Connecting::run`; one attempt: `proxy::dial`; the address to connect from: `upstream::connect`; the keys: `ConnectFile` in `config::file::common` |
//! | the archive for an issue | `cli::client::report` |
//! | an outcome: the reason why a connection ends | [`outcome`], then the place that finds it: a step before the relay, `proxy::seat` or [`verdict`]; `tests/wire/outcomes_all.rs` provokes each |
//! | the alert of a refusal | `proxy::refusal` for a route, `client_hello::error` for a hello; a state that may pass has none |
//! | the state of a connection before its relay | `proxy::states` |
//! | timeouts and age of a relay, the end of a drain | `proxy::seat`: a connection's place among those of its worker, where the sweep and the drain find it and end it; `proxy::seats`: all of a worker |
//! | the end of connections that are no longer allowed | `proxy::review`, which `proxy::seats` asks for |
//! | the list of open connections, and their end by an operator | [`open_connections`]; a worker's answer: `proxy::survey` |
//! | the hellos of refused connections that are kept | [`kept_hellos`]; their bytes come from `proxy::preread` with the refusal |
//! | the recent connections of a source address | [`source_book`] |
//! | the recent connections of a server name, the last failures, the slowest connects | [`recent_connections`] |
//! | the steps of a connection that an operator follows | [`traces`]; each step is noted where it is taken, by `ConnectionRecord::trace` |
//! | the transfer of bytes | `proxy::relay` |
//! | the outcome of a relay that one of its sides ended | [`verdict`]; `tests/flights/` has the cases of real programs |
//! | the origin of endpoints | [`source`] |
//! | a kind of Kubernetes object | `metrics::Kind` and `source::kubernetes::cluster::kinds`, then where the compiler points, and the places that it does not know (`architecture.md`) |
//! | the meaning of a Kubernetes object | `source::kubernetes::translate`, for Gateway API `source::kubernetes::gateways` |
//! | the log of an outage of the Kubernetes API | `source::kubernetes::watch::outage` |
//! | the workloads of other clusters | `source::kubernetes::watch::other_clusters`, `source::kubernetes::translate::others` |
//! | the DNS names of workloads | `source::kubernetes::watch::dns_tasks`, `source::kubernetes::translate::dns_names` |
//! | the start while the Kubernetes API is away | `source::kubernetes::saved`, `source::kubernetes::watch::restore` |
//! | the watch of a cluster, statuses | `source::kubernetes::watch`, `source::kubernetes::status` |
//! | the fingerprint of a client's software | `client_hello::fingerprint`, [`tls_version`] |
//! | a date in an answer or a log line | [`clock`] |
//! | a metric, a log line | [`metrics`], [`access_log`], [`log`] |
//! | start and stop | [`app`], [`drain`] |
//! | the sockets that a new process takes over | `app::takeover`, `socket::inherited` |
//! | the decision about a connection as an operator asks for it | `app::explain` |
//! | the effect of a reload or a discovery | `app::plan`; keys that need a restart: `config::restart` |
//! | the report of a config file in force or refused | `app::file_report` (its Event: `source::kubernetes::status::pod_event`); its changes in words: `config::changes`; for readers: `admin::ConfigReports` |
//! | a read of a file that may misbehave | [`mod@file`] |
//! | the restart of a task that fails | [`supervise`] |
//! | a command | [`cli`]; the answer to `--version`: [`version`] |
//! | a check of a federation from outside, `strait doctor` | `doctor`: the file, the probes, the judge (pure) |
//! | the demo, the load tool, the self-test | `tools`, which the default image does not have |
//! | colours of a terminal | [`terminal`] |
//! | a system call | [`socket`], the only module with `unsafe` |
//!
//! # Rules
//!
//! A module imports only modules below it, and so does each file of `config`, `proxy` and `source`.
//! `tests/repository/layering.rs` lists them from the bottom up; a new file is entered there. Everything has a
//! limit. Nothing that a peer, a file or an API sends can make a worker panic, wait or grow. Text that a client
//! chose is never a metric label, and is escaped in logs. A server name selects one of the configured routes; it
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
#[cfg(feature = "doctor")]
pub mod doctor;
pub mod drain;
pub mod file;
pub mod kept_hellos;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod names;
pub mod open_connections;
pub mod outcome;
pub mod place;
pub mod proxy;
pub mod proxy_header;
pub mod recent_connections;
pub mod route;
pub mod server_name;
pub mod shared_map;
pub mod socket;
pub mod source;
pub mod source_book;
pub mod supervise;
pub mod terminal;
pub mod tls_version;
#[cfg(feature = "tools")]
pub mod tools;
pub mod traces;
pub mod upstream;
pub mod verdict;
pub mod version;
