//! `strait load`: connections to a running gateway, at a rate that the operator sets.
//!
//! Each connection goes to the endpoint and back. The command never hides its own delays: it counts a
//! connection as late that began late because too many others were open.

mod attempt;
mod pace;
mod tally;
mod tls;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rustls::pki_types::ServerName;

use super::spiffe::SpiffeId;
use attempt::{Attempt, Exchange};
use pace::LoadPace;
use tally::LoadTally;

/// The highest number of connections a second. The interval between two of them must stay above zero.
const MAX_RATE: f64 = 1e6;
/// The highest number of open connections, and thus of open files.
const MAX_CONNECTIONS: usize = 60_000;

/// The arguments of `strait load`.
#[derive(Debug, clap::Args)]
pub struct LoadArguments {
    /// The gateway, by name or by address
    #[arg(long, value_name = "HOST:PORT")]
    target: String,
    /// The server name (SNI) to ask for
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    sni: ServerName<'static>,
    /// The ALPN protocols to offer, separated by commas; `istio` stands for those of a sidecar
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    alpn: Vec<String>,
    /// The client's certificate chain, as PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of the client's certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The CA that must have signed the server's certificate, as PEM; without it any certificate is
    /// accepted
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The SPIFFE ID that the server's certificate must have, in place of the server name: an SVID has
    /// no DNS name
    #[arg(long, value_name = "ID", requires = "ca", value_parser = SpiffeId::parse)]
    spiffe_id: Option<SpiffeId>,
    /// Send this line over each connection and wait for the first bytes of an answer
    #[arg(long, value_name = "TEXT", conflicts_with = "http")]
    line: Option<String>,
    /// Make an HTTP/1.1 GET request of this path over each connection; only 2xx and 3xx is success
    #[arg(long, value_name = "PATH")]
    http: Option<String>,
    /// Connections to begin each second; 0 for as many as --connections allows
    #[arg(long, default_value_t = 10.0, value_name = "PER_SECOND", value_parser = rate)]
    rate: f64,
    /// The most connections that may be open at once
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = connections)]
    connections: usize,
    /// The time during which connections begin
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// The longest time that each step of a connection may take
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    match ServerName::try_from(text.to_owned()) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        Ok(_) => Err("an IP address is no server name".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match rate {
        0.0..=MAX_RATE => Ok(rate),
        _ => Err(format!("0 to {MAX_RATE}")),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MAX_CONNECTIONS) => Ok(number),
        _ => Err(format!("1 to {MAX_CONNECTIONS}")),
    }
}

/// Loads the gateway. Draws a progress bar on standard error and writes the measurements to `out`. Returns
/// whether every connection succeeded.
///
/// # Errors
/// The arguments do not fit together, the target is not found, or the output is gone.
pub async fn run(
    arguments: &LoadArguments,
    out: &mut dyn Write,
) -> Result<bool, Box<dyn std::error::Error>> {
    crate::socket::raise_file_limit();
    // The connections share their tally, on this thread.
    let local = tokio::task::LocalSet::new();
    let tally = local.run_until(load(arguments, out)).await?;
    tally.write(out)?;
    Ok(tally.all_succeeded())
}

async fn load(
    arguments: &LoadArguments,
    out: &mut dyn Write,
) -> Result<LoadTally, Box<dyn std::error::Error>> {
    let tls = Arc::new(tls::config(arguments)?);
    let targets = resolve(&arguments.target).await?;
    describe(arguments, &targets, out)?;
    let host = arguments.sni.to_str();
    let exchange = match (&arguments.line, &arguments.http) {
        (Some(line), _) => Exchange::Line(format!("{line}\n")),
        (None, Some(path)) => Exchange::http(path, &host),
        (None, None) => Exchange::None,
    };
    let attempt = Attempt {
        targets,
        name: arguments.sni.clone(),
        tls,
        exchange,
        timeout: arguments.timeout,
    };
    let pace = LoadPace {
        rate: arguments.rate,
        at_once: arguments.connections,
        duration: arguments.duration,
    };
    let bar = progress_bar(arguments.duration);
    let tally = pace.run(attempt, &bar).await?;
    bar.finish_and_clear();
    Ok(tally)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the operator typed the name; no client of a gateway did"
)]
async fn resolve(target: &str) -> io::Result<Vec<SocketAddr>> {
    let wrong =
        |error: io::Error| io::Error::new(error.kind(), format!("--target {target}: {error}"));
    let addresses = tokio::net::lookup_host(target).await.map_err(wrong)?;
    let addresses: Vec<_> = addresses.collect();
    match addresses.is_empty() {
        true => Err(wrong(io::ErrorKind::NotFound.into())),
        false => Ok(addresses),
    }
}

fn describe(
    arguments: &LoadArguments,
    targets: &[SocketAddr],
    out: &mut dyn Write,
) -> io::Result<()> {
    let addresses: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
    writeln!(
        out,
        "gateway      {} ({})",
        arguments.target,
        addresses.join(", ")
    )?;
    let identity = match arguments.cert {
        Some(_) => "with a client certificate",
        None => "without a client certificate",
    };
    writeln!(out, "asks for     {}, {identity}", arguments.sni.to_str())?;
    let server = match (&arguments.ca, &arguments.spiffe_id) {
        (None, _) => "any: its certificate is not verified".to_owned(),
        (Some(ca), None) => format!("must bear that name, signed by {}", ca.display()),
        (Some(ca), Some(id)) => format!("must be {id}, signed by {}", ca.display()),
    };
    writeln!(out, "server       {server}")
}

/// A progress bar, drawn only when standard error is a terminal.
fn progress_bar(duration: Duration) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(duration.as_millis().try_into().unwrap_or(u64::MAX));
    // If the template is wrong, the plain bar remains.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}
