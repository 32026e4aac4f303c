//! `strait explain`: the path that one connection would take, and the reasons.
//!
//! The command calls the code that traffic calls: the source policy, the name normaliser and the route
//! table.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::decision::{AskedConnection, Decider, Decision};
use super::{ANSWER_IS_NO, ExplainArguments, client, failed, runtime};
use crate::app::merge::{Merged, fill_new, merge};
use crate::config::{Config, DnsConfig, ListenerConfig, Origin, UpstreamSource, offers_in_words};
use crate::metrics::Metrics;
use crate::outcome::Outcome;
use crate::route::{Route, RouteTable};
use crate::server_name::ServerName;
use crate::source::dns::{self, Answer, OwnAddresses, Resolver, kind_label};
use crate::source::kubernetes::{
    Discovered, FIRST_LISTS, KubernetesSource, Mailbox, NOT_LISTED, Publication,
};
use crate::upstream::{Endpoint, Upstream, Upstreams};

/// Number of routes that the page shows when no route matches.
const NEAREST: usize = 5;
/// Number of endpoints that the page shows of one upstream.
const ENDPOINTS: usize = 20;

pub(super) fn explain(arguments: &ExplainArguments) -> ExitCode {
    if arguments.live {
        let (admin, config) = (arguments.admin.as_ref(), arguments.file.path());
        return client::explain_live(admin, config, arguments);
    }
    let explained = arguments
        .file
        .read()
        .and_then(|text| text.load())
        .map_err(Box::from)
        .and_then(|loaded| discover(loaded.config, &mut Page(io::stdout().lock())))
        .and_then(|(config, found)| {
            let page = &mut Page(io::stdout().lock());
            explain_all(&config, found.as_deref(), arguments, page)
        });
    match explained {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(ANSWER_IS_NO),
        Err(error) => failed(&error),
    }
}

/// A page: lines with a title and a text.
struct Page<W>(W);

impl<W: Write> Page<W> {
    fn line(&mut self, title: &str, text: impl Display) -> io::Result<()> {
        writeln!(self.0, "  {title:<12} {text}")
    }

    fn refused(&mut self, outcome: Outcome, detail: Option<String>) -> io::Result<()> {
        let (label, flag) = (outcome.label(), outcome.envoy_flag());
        self.line("refused", format_args!("{label} (Envoy: {flag})"))?;
        self.line("", outcome.meaning())?;
        detail.map_or(Ok(()), |detail| self.line("", detail))
    }
}

/// The time between two looks at what has failed.
const LOOK: Duration = Duration::from_millis(400);
/// The time that the Kubernetes API may take beyond [`FIRST_LISTS`].
const DISCOVERY: Duration = Duration::from_secs(2);

/// A config with everything discovered, and the discovered objects themselves.
type Explained = (Arc<Config>, Option<Arc<Discovered>>);

/// The config with everything that its Kubernetes source finds now, if it has one. `strait run` watches
/// with the same code.
fn discover<W: Write>(file: Arc<Config>, page: &mut Page<W>) -> Result<Explained, Box<dyn Error>> {
    let Some(mut policy) = file.kubernetes.clone() else {
        return Ok((file, None));
    };
    // The file belongs to the gateway.
    Arc::make_mut(&mut policy).saved_state = None;
    let found = runtime()?.block_on(async {
        let mailbox = Arc::new(Mailbox::default());
        let metrics = Arc::new(Metrics::new()?);
        let source = KubernetesSource::start(policy, &metrics, mailbox.clone(), false).await?;
        let found = first_result(&mailbox, source.server()).await;
        found.map_err(Box::<dyn Error>::from)
    })?;
    for (kind, reason) in &found.missing {
        page.line("not watched", format_args!("{kind}: {reason}"))?;
    }
    for cluster in &found.clusters {
        for (kind, reason) in &cluster.missing {
            let name = &cluster.name;
            page.line(
                "not watched",
                format_args!("{kind} of cluster {name}: {reason}"),
            )?;
        }
    }
    for object in &found.unreadable {
        page.line("unreadable", object)?;
    }
    let Merged { config, .. } = merge(&file, Some(&found));
    Ok((config, Some(found.discovered)))
}

/// The first result of the source.
///
/// # Errors
/// The reason why there is none: as soon as every kind that routing needs has failed, and at the latest
/// after some 12 s.
async fn first_result(mailbox: &Mailbox, server: &str) -> Result<Publication, String> {
    let mut looks = tokio::time::interval(LOOK);
    let mut failed_before = false;
    let failed = async {
        loop {
            looks.tick().await;
            let missing = mailbox.missing();
            let failed = missing.iter().all(|(_, why)| &**why != NOT_LISTED) && !missing.is_empty();
            // The first failure may be one of a connection that the next attempt does not meet.
            if failed && failed_before {
                return;
            }
            failed_before = failed;
        }
    };
    let ended = tokio::select! {
        found = timeout(FIRST_LISTS + DISCOVERY, mailbox.take()) => found.ok(),
        () = failed => None,
    };
    ended.ok_or_else(|| {
        let mut text = format!("the Kubernetes API at {server} has not listed what routing needs");
        let mut reasons: Vec<(Arc<str>, Vec<&str>)> = Vec::new();
        for (kind, reason) in mailbox.missing() {
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, kinds)) => kinds.push(kind),
                None => reasons.push((reason, vec![kind])),
            }
        }
        for (reason, kinds) in reasons {
            let reason = match &*reason {
                NOT_LISTED => "no answer yet",
                reason => reason,
            };
            text = format!("{text}\n  {}: {reason}", kinds.join(", "));
        }
        text
    })
}

/// Explains every listener, or the one that was asked for. Returns whether one of them would serve the
/// connection.
fn explain_all<W: Write>(
    config: &Config,
    found: Option<&Discovered>,
    arguments: &ExplainArguments,
    page: &mut Page<W>,
) -> Result<bool, Box<dyn Error>> {
    let asked = |one: &&Arc<ListenerConfig>| {
        let name = arguments.listener.as_deref();
        name.is_none_or(|name| name == &*one.name)
    };
    if !config.listeners.iter().any(|one| asked(&one)) {
        let names: Vec<&str> = config.listeners.iter().map(|one| &*one.name).collect();
        return Err(format!("no such listener; there is {}", names.join(", ")).into());
    }
    let upstreams = Upstreams::default().prepare(config);
    if let Some(found) = found {
        fill_new(&upstreams, found);
    }
    let name = asked_name(arguments.sni.as_deref());
    let mut served = false;
    for listener in config.listeners.iter().filter(asked) {
        writeln!(page.0, "listener {} ({})", listener.name, listener.bind)?;
        if let Some(route) = find_route(config, listener, &upstreams, arguments, page)? {
            served |= show_route(config, &route, name.as_ref(), page)?;
        }
    }
    Ok(served)
}

/// The server name that was asked about, if it is a valid one.
fn asked_name(sni: Option<&str>) -> Option<ServerName> {
    ServerName::parse(sni?.as_bytes()).ok()
}

/// The route that a listener gives the connection. If there is no route, the page shows the reason.
fn find_route<W: Write>(
    config: &Config,
    listener: &ListenerConfig,
    upstreams: &Upstreams,
    arguments: &ExplainArguments,
    page: &mut Page<W>,
) -> Result<Option<Arc<Route>>, Box<dyn Error>> {
    let alpn = offers_in_words(&arguments.alpn);
    let attempt = AskedConnection {
        from: arguments.from.as_ref().map(IpAddr::to_canonical),
        sni: arguments.sni.as_deref(),
        alpn: &alpn,
    };
    let decider = Decider::new(config, listener, upstreams);
    let decision = decider.decide(&attempt);
    match attempt.from {
        Some(from) => {
            let group = config.sources.name(config.sources.group_of(from));
            page.line("source", format_args!("{from}, group {group}"))?;
        }
        None => show_source_policy(listener, page)?,
    }
    if let Decision::Refused(outcome @ (Outcome::SourceDenied | Outcome::BadServerName), detail) =
        decision
    {
        page.refused(outcome, detail)?;
        return Ok(None);
    }
    let name = asked_name(attempt.sni);
    let shown = name.as_ref().map_or("none", ServerName::as_str);
    page.line("server name", shown)?;
    let shown = match alpn.as_slice() {
        [] => "none".into(),
        offers => offers.join(", "),
    };
    page.line("ALPN", shown)?;
    match decision {
        Decision::Routed(route) => Ok(Some(route.clone())),
        Decision::Refused(outcome, detail) => {
            page.refused(outcome, detail)?;
            if let (Some(name), Outcome::NoRoute) = (&name, outcome) {
                show_nearest(&decider.table, name, page)?;
            }
            Ok(None)
        }
    }
}

/// Says that the source policy was not asked, if it refuses anybody.
fn show_source_policy<W: Write>(listener: &ListenerConfig, page: &mut Page<W>) -> io::Result<()> {
    let Some(admits) = listener.source_policy.in_words() else {
        return Ok(());
    };
    page.line(
        "source",
        format_args!(
            "not given, so not judged: this listener {admits}; --from asks for an address"
        ),
    )
}

fn show_nearest<W: Write>(
    table: &RouteTable,
    name: &ServerName,
    page: &mut Page<W>,
) -> io::Result<()> {
    let nearest = table.nearest(name, NEAREST);
    if nearest.is_empty() {
        page.line("nearest", "this listener has no route")?;
    }
    let mut title = "nearest";
    for (pattern, route) in nearest {
        page.line(title, format_args!("{pattern} (route {})", route.name))?;
        title = "";
    }
    Ok(())
}

/// Shows a route's upstreams and endpoints. Returns whether there is an endpoint to connect to.
fn show_route<W: Write>(
    config: &Config,
    route: &Route,
    name: Option<&ServerName>,
    page: &mut Page<W>,
) -> io::Result<bool> {
    page.line(
        "route",
        format_args!("{}, which takes {}", route.name, route.alpn),
    )?;
    if route.origin != Origin::File {
        page.line("from", &route.origin)?;
    }
    if let Some(reason) = &route.dry_run {
        page.line("dry run", format_args!("would be refused: {reason}"))?;
    }
    let mut served = false;
    for target in route.targets.iter() {
        served |= show_upstream(config, &target.upstream, name, page)?;
    }
    Ok(served)
}

fn show_upstream<W: Write>(
    config: &Config,
    upstream: &Upstream,
    name: Option<&ServerName>,
    page: &mut Page<W>,
) -> io::Result<bool> {
    let policy = upstream.config();
    page.line("upstream", &policy.name)?;
    if let UpstreamSource::Dns(query) = &policy.source {
        page.line("resolved", &query.query)?;
        match resolve(config, query) {
            Ok(answer) => {
                for (address, kind) in &answer.refused {
                    let kind = kind_label(*kind);
                    page.line("", format_args!("{address} is not used: {kind}"))?;
                }
                if let Some(problem) = &answer.problem {
                    page.line("", problem)?;
                }
                upstream.replace_endpoints(answer.endpoints);
            }
            Err(error) => page.line("", error)?,
        }
    }
    let (ties, set) = (upstream.ties_to(name), upstream.endpoints());
    let endpoints: Vec<&Endpoint> = set.iter().filter(|one| ties.allow(one)).collect();
    let mut title = "endpoints";
    for endpoint in endpoints.iter().take(ENDPOINTS) {
        let spec = &endpoint.spec;
        let place = |what: &str, name: Option<&str>| {
            let place = name.map(|name| format!(", {what} {name}"));
            place.unwrap_or_default()
        };
        let zone = place("zone", spec.zone.as_deref());
        let node = place("node", spec.node.as_deref());
        let end = match spec.terminating {
            true => ", terminating (used because no pod is ready)",
            false => "",
        };
        let (address, weight) = (spec.address, spec.weight.get());
        page.line(
            title,
            format_args!("{address}, weight {weight}{zone}{node}{end}"),
        )?;
        title = "";
        if let Some(origin) = &spec.origin {
            page.line("", format_args!("  from {origin}"))?;
        }
    }
    if endpoints.len() > ENDPOINTS {
        page.line("", format_args!("and {} more", endpoints.len() - ENDPOINTS))?;
    }
    if endpoints.is_empty() {
        let why = upstream.source_report().empty_because;
        let why = why.as_deref().or(ties.no_endpoint());
        page.refused(Outcome::NoEndpoint, why.map(str::to_owned))?;
    }
    Ok(!endpoints.is_empty())
}

/// Resolves one DNS name from this machine, now.
fn resolve(config: &Config, query: &DnsConfig) -> Result<Answer, Box<dyn Error>> {
    let listening = config.listeners.iter().map(|one| one.bind);
    let own = OwnAddresses::new(listening.collect());
    let resolver = Resolver::new(&config.resolver)?;
    Ok(runtime()?.block_on(dns::resolve(&resolver, query, &own))?)
}
