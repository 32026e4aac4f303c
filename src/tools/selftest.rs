//! `strait selftest`: the project's own hellos against a running gateway, strait or another.
//!
//! The command is on both sides of the gateway: it sends the hellos, and it is the endpoint that they
//! are routed to. So it can check that the gateway routed a hello with every byte, and routed nothing
//! else.

mod delivery;
mod endpoint;
mod exchange;
mod report;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use delivery::deliveries;
use endpoint::EchoEndpoint;
use exchange::{connect, judge};
use report::Report;

/// Connections at a time: few, so that the test does not hit a gateway's limits.
const AT_ONCE: usize = 16;

/// The text that `--help` prints after the options.
pub const HELP: &str = "\
The gateway must send every name to the endpoint: give it a listener of its own for that, such as

  strait, in its config:
    listeners:
      - { name: selftest, bind: '127.0.0.1:16443', routes: [{ sni: '*', alpn: any, upstream: selftest }] }
    upstreams: { selftest: { endpoints: ['127.0.0.1:16444'] } }
  then: strait selftest 127.0.0.1:16443 --endpoint 127.0.0.1:16444

  HAProxy:
    frontend selftest
      mode tcp
      bind 127.0.0.1:16443
      tcp-request inspect-delay 2s
      tcp-request content accept if { req.ssl_hello_type 1 } { req.ssl_sni -m found }
      tcp-request content reject
      default_backend selftest
    backend selftest
      mode tcp
      server endpoint 127.0.0.1:16444

  nginx, in stream {}:
    map $ssl_preread_server_name $selftest { \"\" \"\"; default 127.0.0.1:16444; }
    server { listen 127.0.0.1:16443; ssl_preread on; preread_timeout 2s; proxy_pass $selftest; }

  Envoy, in a listener with the tls_inspector listener filter:
    filter_chains:
      - filter_chain_match: { transport_protocol: tls }   # it has no pattern for any name
        filters: [tcp_proxy to a cluster of 127.0.0.1:16444]

Right is: a valid hello reaches the endpoint with every byte; anything else is closed within the timeout, with
at most a TLS alert before, and never reaches the endpoint. Without --endpoint the
command can judge a valid hello only if a server answers it; otherwise the hello counts as not judged.";

/// The arguments of `strait selftest`.
#[derive(Debug, clap::Args)]
pub struct SelftestArguments {
    /// The gateway: IP:PORT
    #[arg(value_name = "ADDR")]
    gateway: SocketAddr,
    /// Act as the endpoint behind the gateway, at this IP:PORT
    #[arg(long, value_name = "BIND")]
    endpoint: Option<SocketAddr>,
    /// The longest time that the gateway may take for one hello
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Replays everything and writes the report to `out`. Returns whether everything was judged and right.
///
/// # Errors
/// The gateway's address accepts no connection, the endpoint's cannot be bound, or the output is gone.
pub async fn run(arguments: &SelftestArguments, out: &mut dyn Write) -> io::Result<bool> {
    let report = replay(arguments).await?;
    report.write(out)?;
    Ok(report.all_right())
}

async fn replay(arguments: &SelftestArguments) -> io::Result<Report> {
    let (gateway, timeout) = (arguments.gateway, arguments.timeout);
    let endpoint = match arguments.endpoint {
        Some(address) => Some(Arc::new(EchoEndpoint::bind(address).await?)),
        None => None,
    };
    let reached = tokio::time::timeout(timeout, connect(gateway)).await;
    reached
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| io::Error::other(format!("cannot connect to {gateway}: {error}")))?;

    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for delivery in deliveries() {
        let (places, endpoint) = (places.clone(), endpoint.clone());
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            let judged = judge(gateway, &delivery, endpoint.as_deref(), timeout).await;
            (delivery, judged)
        });
    }
    let mut report = Report::default();
    while let Some(ended) = running.join_next().await {
        let (delivery, judged) = ended.map_err(io::Error::other)?;
        report.add(&delivery, judged);
    }
    if let Some(endpoint) = &endpoint {
        report.unexplained = endpoint.unclaimed();
    }
    Ok(report)
}
