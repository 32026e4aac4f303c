//! `strait check`: the problems and warnings of a config file.

mod report;

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::StreamExt;

use super::config_file::ConfigArgument;
use super::{ANSWER_IS_NO, count, failed, runtime};
use crate::config::{
    Config, DnsConfig, Kubeconfig, Loaded, Problem, UpstreamConfig, UpstreamSource,
};
use crate::names::UpstreamName;
use crate::socket;
use crate::source::dns::{self, OwnAddresses, Resolver};
use crate::terminal;
use report::{CheckFinding, CheckFormat, CheckReport, Severity};

/// Questions of `check --dns` to DNS at a time.
const ASKED_AT_ONCE: usize = 16;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    file: ConfigArgument,
    /// Ask DNS, from this machine, for the names of `dns` upstreams too. A name without an address is
    /// a problem
    #[arg(long)]
    dns: bool,
    /// Try to listen on each address of the file, on this machine. An address that is taken is a problem
    #[arg(long)]
    bind: bool,
    /// Let warnings make the exit code 1
    #[arg(long)]
    strict: bool,
    /// The format of the findings
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: CheckFormat,
}

pub(super) fn check(arguments: &CheckArguments) -> ExitCode {
    let text = match arguments.file.read() {
        Ok(text) => text,
        Err(error) => return failed(&error),
    };
    let mut report = CheckReport {
        origin: &text.origin,
        bytes: &text.bytes,
        findings: Vec::new(),
        size: None,
    };
    match text.load() {
        Err(error) => report.findings = findings(Severity::Error, error.problems),
        Ok(Loaded { config, warnings }) => {
            report.size = Some(size(&config));
            report.findings = findings(Severity::Warning, warnings);
            let found = beyond_the_file(&config, arguments);
            match found {
                Ok(found) => report.findings.extend(found),
                Err(error) => return failed(&*error),
            }
        }
    }
    let warnings = report.count(Severity::Warning);
    let refused = arguments.strict && warnings > 0;
    let good = report.count(Severity::Error) == 0 && !refused;
    match write(&report, arguments, good) {
        Ok(()) if good => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(ANSWER_IS_NO),
        Err(error) => failed(&error),
    }
}

fn findings(severity: Severity, problems: Vec<Problem>) -> Vec<CheckFinding> {
    let finding = |problem| CheckFinding { severity, problem };
    problems.into_iter().map(finding).collect()
}

fn write(report: &CheckReport<'_>, arguments: &CheckArguments, good: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match arguments.format {
        CheckFormat::Json => writeln!(out, "{}", report.json(good)?),
        CheckFormat::Github => write!(out, "{}", report.github()),
        CheckFormat::Text => {
            let (origin, size) = (report.origin, report.size.as_deref());
            if let (true, Some(size)) = (good, size) {
                writeln!(out, "{origin}: good: {size}")?;
            }
            let mut err = io::stderr().lock();
            write!(err, "{}", report.text(terminal::has_colours(&io::stderr())))?;
            match report.count(Severity::Error) {
                0 if !good => writeln!(err, "{origin}: refused: --strict takes no warning"),
                _ => Ok(()),
            }
        }
    }
}

/// The findings that the file alone does not show.
fn beyond_the_file(
    config: &Config,
    arguments: &CheckArguments,
) -> Result<Vec<CheckFinding>, Box<dyn Error>> {
    let mut found = findings(Severity::Warning, missing_kubeconfig(config));
    if arguments.dns {
        found.extend(findings(Severity::Error, unresolved(config)?));
    }
    if arguments.bind {
        found.extend(findings(Severity::Error, taken(config)));
    }
    Ok(found)
}

/// A problem of a key, without a place in the file.
fn problem_of(key: String, message: String, remedy: Option<&str>) -> Problem {
    Problem {
        line: 0,
        column: 0,
        key,
        message,
        remedy: remedy.map(str::to_owned),
    }
}

/// The kubeconfig that this machine does not have. The gateway's machine may have it.
fn missing_kubeconfig(config: &Config) -> Vec<Problem> {
    let kubernetes = config.kubernetes.as_deref();
    let Some(Kubeconfig { path, .. }) = kubernetes.and_then(|one| one.kubeconfig.as_ref()) else {
        return Vec::new();
    };
    match std::fs::metadata(path) {
        Ok(_) => Vec::new(),
        Err(error) => vec![problem_of(
            "kubernetes.kubeconfig".to_owned(),
            format!("cannot find {} on this machine: {error}", path.display()),
            Some("check the path, unless the gateway runs elsewhere"),
        )],
    }
}

/// The upstreams to which DNS gives no endpoint.
fn unresolved(config: &Config) -> Result<Vec<Problem>, Box<dyn Error>> {
    let question = |(name, upstream): (&UpstreamName, &Arc<UpstreamConfig>)| match &upstream.source
    {
        UpstreamSource::Dns(dns) => Some((name.clone(), dns.clone())),
        _ => None,
    };
    let questions: Vec<_> = config.upstreams.iter().filter_map(question).collect();
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let own = OwnAddresses::new(config.listeners.iter().map(|one| one.bind).collect());
    let resolver = Resolver::new(&config.resolver)?;
    let ask = async |(name, dns): (UpstreamName, DnsConfig)| {
        let problem = match dns::resolve(&resolver, &dns, &own).await {
            Ok(answer) if !answer.endpoints.is_empty() => return None,
            Ok(answer) => answer.problem,
            Err(error) => Some(error),
        };
        let why = problem.map_or_else(|| "no address".to_owned(), |error| error.to_string());
        let message = format!("{}: {why}", dns.query);
        Some(problem_of(format!("upstreams.{name}.dns"), message, None))
    };
    let answers = futures_util::stream::iter(questions).map(ask);
    let answers = answers.buffered(ASKED_AT_ONCE).collect::<Vec<_>>();
    Ok(runtime()?.block_on(answers).into_iter().flatten().collect())
}

/// The addresses on which this machine cannot listen now.
fn taken(config: &Config) -> Vec<Problem> {
    let listeners = config.listeners.iter().enumerate();
    let listeners = listeners.map(|(index, one)| (format!("listeners[{index}].bind"), one.bind));
    let servers = [
        ("admin.bind", config.admin),
        ("status.bind", config.status),
        ("metrics.bind", config.metrics),
    ];
    let servers = servers
        .into_iter()
        .filter_map(|(key, bind)| Some((key.to_owned(), bind?)));
    let try_bind = |(key, address): (String, SocketAddr)| {
        let error = socket::bind(address).err()?;
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => Some("`ss -ltnp` shows the process that listens there"),
            ErrorKind::AddrNotAvailable => Some("no interface of this machine has the address"),
            ErrorKind::PermissionDenied => Some(
                "the port is below net.ipv4.ip_unprivileged_port_start: take a higher one, or grant CAP_NET_BIND_SERVICE",
            ),
            _ => None,
        };
        let message = format!("cannot listen on {address}: {error}");
        Some(problem_of(key, message, remedy))
    };
    listeners.chain(servers).filter_map(try_bind).collect()
}

fn size(config: &Config) -> String {
    let routes: usize = config.listeners.iter().map(|one| one.routes.len()).sum();
    let listeners = count(config.listeners.len(), "listener");
    let upstreams = count(config.upstreams.len(), "upstream");
    format!("{listeners}, {}, {upstreams}", count(routes, "route"))
}
