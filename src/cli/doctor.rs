//! `strait doctor`: a look at a federation from outside.

mod manifests;
mod report;
mod svid;
mod watch;

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;

use super::{ANSWER_IS_NO, failed, runtime};
use crate::config::Loaded;
use crate::doctor::{DoctorCallers, DoctorClusters, Federation, federation_file, gather, judge};
use crate::{admin, clock, drain, terminal};
use report::DoctorReport;
use svid::{SvidSources, socket_path};
use watch::{LastRun, MetricsPage, WatchPrinter};

/// The bounds of `--watch`.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArguments {
    /// The federation file; `-` is standard input
    #[arg(value_name = "FEDERATION", required_unless_present = "from")]
    file: Option<PathBuf>,
    /// Print a federation file instead of looking: the manifests of both clusters, each a folder or a file
    #[arg(long, num_args = 2, value_names = ["CLUSTER", "CLUSTER"], conflicts_with = "file")]
    from: Vec<PathBuf>,
    /// The format of the checks
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    output: DoctorFormat,
    /// Look again after each such time, and print a line for each change
    #[arg(long, value_name = "TIME", value_parser = interval)]
    watch: Option<Duration>,
    /// The SVID of a caller, which makes its calls: PEM files with the certificate, the key and the bundle of its trust
    /// domain. Once for each side
    #[arg(long, num_args = 3, value_names = ["CERT", "KEY", "BUNDLE"])]
    svid: Vec<PathBuf>,
    /// The socket of the Workload API, which gives the SVID of a caller: `unix:///PATH` or a path. It gives this process
    /// one if a registration entry matches it
    #[arg(long, value_name = "ADDRESS", value_parser = socket_path)]
    workload_api: Option<PathBuf>,
    /// The kubeconfig of a side's cluster, whose objects are read: TRUST_DOMAIN=FILE. Once for each side
    #[arg(long, value_name = "SIDE=FILE", value_parser = kubeconfig)]
    kubeconfig: Vec<(String, PathBuf)>,
    /// The address that serves the metrics of --watch at /metrics
    #[arg(long, value_name = "IP:PORT", requires = "watch")]
    metrics: Option<SocketAddr>,
}

/// A time between two looks. Each look is some ten connections to each gateway.
fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match (SHORTEST..=LONGEST).contains(&time) {
        true => Ok(time),
        false => Err("give it 1s to 1day".to_owned()),
    }
}

fn kubeconfig(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((side, file)) if !side.is_empty() && !file.is_empty() => {
            Ok((side.to_owned(), file.into()))
        }
        _ => Err("write TRUST_DOMAIN=FILE".to_owned()),
    }
}

/// Gives each kubeconfig to its side.
///
/// # Errors
/// The one that belongs to no side, to both, or to one that has another already.
fn clusters(
    federation: &Federation,
    kubeconfigs: &[(String, PathBuf)],
) -> Result<DoctorClusters, String> {
    let mut clusters = DoctorClusters::default();
    let names = federation.sides.each_ref().map(|side| &*side.trust_domain);
    for (side, file) in kubeconfigs {
        let mut places = clusters.0.iter_mut().zip(names);
        let mut places: Vec<_> = places.by_ref().filter(|(_, name)| name == side).collect();
        match &mut places[..] {
            [(place @ None, _)] => **place = Some(file.clone()),
            [_] => return Err(format!("--kubeconfig: a second one of {side}")),
            [] => {
                let [one, other] = names;
                return Err(format!(
                    "--kubeconfig: \"{}\" is no side; the sides are {one} and {other}",
                    side.escape_debug()
                ));
            }
            _ => return Err(format!("--kubeconfig: both sides are {side}")),
        }
    }
    Ok(clusters)
}

/// The format of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DoctorFormat {
    /// Lines for a person
    Text,
    /// One JSON object
    Json,
}

/// Prints the federation file of two clusters.
///
/// # Errors
/// Manifests that cannot be read, or do not make a federation.
fn print_file(one: &Path, other: &Path) -> Result<(), Box<dyn Error>> {
    let text = federation_file(&manifests::read(one)?, &manifests::read(other)?)?;
    Federation::parse(text.as_bytes(), "the file of these manifests")?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

pub(super) fn doctor(arguments: &DoctorArguments) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = run(arguments, &runtime).unwrap_or_else(|error| failed(&error));
    // Lookups that still run on other threads would hold the process up.
    runtime.shutdown_background();
    code
}

/// # Errors
/// The command cannot work.
fn run(arguments: &DoctorArguments, runtime: &Runtime) -> Result<ExitCode, Box<dyn Error>> {
    let file = match (&arguments.file, &arguments.from[..]) {
        (Some(file), _) => file,
        (None, [one, other]) => {
            print_file(one, other)?;
            return Ok(ExitCode::SUCCESS);
        }
        // clap asks for one of them.
        (None, _) => return Err("no FEDERATION file".into()),
    };
    let federation = Federation::parse(&Loaded::read(file)?, &Loaded::origin(file))?;
    let clusters = clusters(&federation, &arguments.kubeconfig)?;
    let sources = SvidSources::of(&arguments.svid, arguments.workload_api.as_ref());
    let callers = runtime.block_on(sources.read(&federation))?;
    if let Some(interval) = arguments.watch {
        let watched = WatchedFederation {
            federation,
            callers,
            sources,
            clusters,
        };
        match runtime.block_on(watched.run(interval, arguments.metrics))? {}
    }
    let report = runtime.block_on(look(&federation, &callers, &clusters));
    write(&report, arguments.output)?;
    Ok(match report.has_failed() {
        true => ExitCode::from(ANSWER_IS_NO),
        false => ExitCode::SUCCESS,
    })
}

/// One look at both sides.
async fn look(
    federation: &Federation,
    callers: &DoctorCallers,
    clusters: &DoctorClusters,
) -> DoctorReport {
    let began = Instant::now();
    let seen = Box::pin(gather(federation, callers, clusters)).await;
    #[expect(clippy::cast_possible_truncation, reason = "before the year 10,000")]
    let now = clock::seconds() as i64;
    DoctorReport {
        checks: judge(federation, callers, &seen, now),
        took: began.elapsed(),
    }
}

/// A look again and again.
struct WatchedFederation {
    federation: Federation,
    /// The SVIDs as they were read last.
    callers: DoctorCallers,
    sources: SvidSources,
    clusters: DoctorClusters,
}

impl WatchedFederation {
    /// Looks until standard output is closed.
    async fn run(
        mut self,
        interval: Duration,
        metrics: Option<SocketAddr>,
    ) -> io::Result<Infallible> {
        let page = MetricsPage::default();
        // Nothing drains here: the process ends by a signal.
        let (_drain, stop) = drain::channel();
        if let Some(address) = metrics {
            let listener = watch::listen(address).map_err(|error| {
                io::Error::other(format!("cannot listen on {address}: {error}"))
            })?;
            // With port 0 the kernel has chosen one.
            let address = listener.local_addr()?;
            let _ = writeln!(io::stderr(), "strait: metrics at http://{address}/metrics");
            tokio::spawn(admin::serve(listener, watch::router(page.clone()), stop));
        }
        let mut last = LastRun::default();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut writer = WatchPrinter::default();
        loop {
            tokio::select! {
                biased;
                written = writer.written() => {
                    written?;
                    continue;
                }
                _ = ticks.tick() => {}
            }
            self.read_svids().await;
            let report = look(&self.federation, &self.callers, &self.clusters).await;
            let now = clock::now();
            page.set(watch::exposition(&report, now));
            // As long as lines wait for a reader, the next ones are of all changes since.
            if writer.is_free() {
                writer.start(last.changes(&report, now), io::stdout());
            }
        }
    }

    /// Reads the SVIDs again, which are renewed. If one cannot be read all stay as they were: when one has expired, its check
    /// says so.
    async fn read_svids(&mut self) {
        match self.sources.read(&self.federation).await {
            Ok(callers) => self.callers = callers,
            Err(error) => {
                let _ = writeln!(io::stderr(), "strait: {error}");
            }
        }
    }
}

fn write(report: &DoctorReport, format: DoctorFormat) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        DoctorFormat::Text => write!(out, "{}", report.text(terminal::has_colours(&io::stdout()))),
        DoctorFormat::Json => writeln!(out, "{}", report.json()?),
    }?;
    out.flush()
}
