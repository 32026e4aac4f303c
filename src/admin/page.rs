//! The status page: an overview of the gateway's state for a person with a browser.

use std::time::{Duration, Instant};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{AdminContext, Snapshot, dump};
use crate::drain::DrainPhase;
use crate::metrics::OverloadCause;
use crate::terminal::is_obeyed;
use crate::upstream::{EndpointState, Upstream};

/// The policy of the page: it has a style of its own, no script, and loads nothing.
pub(super) const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/// The number of rows of one table. The page gives the number of further ones.
const MAX_ROWS: usize = 500;

/// The style of the page, for light and dark.
const STYLE: &str = "
:root { color-scheme: light dark; --line: #8885; --soft: #8882; --good: #18864b; --bad: #c0392b; --warn: #b7791f }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
h1 small { font-weight: normal; opacity: .65; font-size: 1rem }
.state { display: inline-block; border-radius: 1rem; padding: .1rem .8rem; color: #fff; font-size: 1rem; vertical-align: .1rem }
.good { background: var(--good) } .bad { background: var(--bad) } .warn { background: var(--warn) }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; opacity: .7; font-size: .85rem } .n { text-align: right; font-variant-numeric: tabular-nums }
code { font: .9em ui-monospace, monospace; background: var(--soft); padding: .1em .3em; border-radius: .25em; overflow-wrap: anywhere }
.trouble { color: var(--bad) } footer { margin: 2rem 0; opacity: .8 }
";

/// The page as HTML. The template escapes everything that is not its own text, and [`visible`] the
/// characters that HTML has no escape for.
pub(super) fn render(context: &AdminContext) -> String {
    let snapshot = context.snapshots.now();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "strait" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                // The only text that is not escaped: it is a constant.
                style { (PreEscaped(STYLE)) }
            }
            body {
                (title(context, &snapshot))
                (listeners(&snapshot))
                (discovery(&snapshot))
                (upstreams(&snapshot))
                (footer(&snapshot))
            }
        }
    };
    visible(page.into_string())
}

/// `page` with an escape, such as `\u{1b}`, for every character that is not seen itself and changes
/// what is seen after it.
fn visible(page: String) -> String {
    if !page.contains(is_unseen) {
        return page;
    }
    let mut shown = String::with_capacity(page.len());
    for c in page.chars() {
        if is_unseen(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether `c` shows as an escape. Line breaks are the page's own.
fn is_unseen(c: char) -> bool {
    is_obeyed(c) && c != '\n'
}

fn title(context: &AdminContext, snapshot: &Snapshot) -> Markup {
    let check = context.readiness.check();
    let (class, state) = match (context.readiness.phase(), &check) {
        (DrainPhase::Running, Ok(())) => ("good", "ready"),
        (DrainPhase::Running, Err(_)) => ("bad", "not ready"),
        (DrainPhase::Announced, _) => ("warn", "draining: not ready, still accepting"),
        (DrainPhase::Draining { .. }, _) => ("warn", "draining: listeners closed"),
        (DrainPhase::Stopped, _) => ("bad", "stopped"),
    };
    let uptime = context.started.elapsed().unwrap_or_default();
    let uptime = humantime::format_duration(Duration::from_secs(uptime.as_secs()));
    let since = dump::timestamp(context.started);
    let config = &snapshot.config;
    let zone = config.zone.as_deref().unwrap_or("unknown");
    html! {
        h1 {
            "strait " small { (env!("CARGO_PKG_VERSION")) } " "
            span.state.(class) { (state) }
        }
        p { "Up for " (uptime) ", since " (since) ". Workers: " (config.workers) ". Zone: " (zone) "." }
        @for cause in OverloadCause::ALL {
            @if let Some(words) = context.overload.step(*cause).get().words() {
                p.trouble { "overloaded (" (cause.label()) "): " (words) }
            }
        }
        @for reason in check.err().iter().flatten() {
            p.trouble { (reason.summary) }
            @for name in &reason.names {
                p.trouble { (name) }
            }
        }
    }
}

fn listeners(snapshot: &Snapshot) -> Markup {
    let listeners = &snapshot.config.listeners;
    html! {
        h2 { "Listeners" }
        table {
            tr { th { "name" } th { "configured" } th { "bound" } th.n { "routes" } }
            @for listener in listeners.iter().take(MAX_ROWS) {
                tr {
                    td { (listener.name) }
                    td { code { (listener.bind) } }
                    td {
                        @match snapshot.bound.iter().find(|(name, _)| *name == listener.name) {
                            Some((_, address)) => code { (address) },
                            None => span.trouble { "not bound" },
                        }
                    }
                    td.n { (listener.routes.len()) }
                }
            }
            (further(listeners.len()))
        }
    }
}

fn discovery(snapshot: &Snapshot) -> Markup {
    if snapshot.config.kubernetes.is_none() {
        return html! {};
    }
    html! {
        h2 { "Kubernetes" }
        @if let Some(report) = &snapshot.report {
            p {
                "Last change " (dump::timestamp(report.at)) ": "
                (report.exported_routes) " routes of exports, " (report.gateway_routes) " of TLSRoutes; "
                (report.upstreams_without_endpoints) " of " (report.upstreams) " upstreams have no endpoint; "
                (report.unrouted_hosts) " hosts are known and not exported, "
                (report.skipped_names) " names are left out."
            }
            @if let Some(saved) = &report.saved_state {
                p.trouble {
                    "stale: the Kubernetes API has not listed these kinds since the start, so they are as they were at "
                    (dump::timestamp(saved.confirmed)) ": " (saved.kinds.join(", "))
                }
            }
            @for (kind, reason) in &report.missing {
                p.trouble { (kind) ": not watched: " (reason) }
            }
        } @else {
            p.trouble { "nothing found yet" }
        }
    }
}

fn upstreams(snapshot: &Snapshot) -> Markup {
    let upstreams = &snapshot.upstreams;
    html! {
        h2 { "Upstreams" }
        table {
            tr {
                th { "name" } th { "source" } th.n { "ready" } th.n { "ejected or unhealthy" } th.n { "active" }
                th { "source says" }
            }
            @for (name, upstream) in upstreams.iter().take(MAX_ROWS) {
                (upstream_row(name, upstream, snapshot))
            }
            (further(upstreams.len()))
        }
    }
}

fn upstream_row(name: &str, upstream: &Upstream, snapshot: &Snapshot) -> Markup {
    let now = Instant::now();
    let endpoints = upstream.endpoints();
    let ejected = |state| !matches!(state, EndpointState::Ready);
    let states = endpoints.iter().map(|e| e.stats.health.state(now));
    let ejected = states.filter(|state| ejected(*state)).count();
    // Either all of them terminate or none does.
    let terminating = endpoints.iter().any(|e| e.spec.terminating);
    let active: u64 = endpoints.iter().map(|e| u64::from(e.stats.active())).sum();
    let (kind, query) = dump::source(&upstream.config().source);
    html! {
        tr {
            td { (name) }
            td { (kind) " " (query.unwrap_or_default()) }
            td.n { (endpoints.len().saturating_sub(ejected)) }
            td.n { (ejected) }
            td.n { (active) }
            td {
                @if terminating { span.trouble { "no pod is ready: those that terminate and still serve are used; " } }
                @if dump::is_saved(upstream, snapshot) { span.trouble { "stale " } }
                (last_answer(upstream))
            }
        }
    }
}

/// The last answer of the upstream's source: its time, or its problem.
fn last_answer(upstream: &Upstream) -> Markup {
    let report = upstream.source_report();
    html! {
        @if let Some(error) = &report.last_error {
            span.trouble {
                @if upstream.is_stale() { "endpoints of an earlier answer; " }
                (error)
            }
        } @else if let Some(reason) = &report.empty_because {
            span.trouble { (reason) }
        } @else if upstream.answered() {
            (report.last_answer.map(dump::timestamp).unwrap_or_default())
        } @else {
            span.trouble { "no answer yet" }
        }
    }
}

/// The last row of a table that has more than `MAX_ROWS` rows: the number of those that it leaves out.
fn further(rows: usize) -> Markup {
    html! {
        @if rows > MAX_ROWS {
            tr { td { "and " (rows - MAX_ROWS) " more" } }
        }
    }
}

fn footer(snapshot: &Snapshot) -> Markup {
    html! {
        footer {
            p {
                @for path in ["/config_dump", "/upstreams", "/logging", "/healthz/ready"] {
                    a href=(path) { (path) } " "
                }
            }
            @if let Some(address) = snapshot.config.admin {
                @for request in ["logging?level=debug", "drain"] {
                    p { code { "curl -X POST 'http://" (address) "/" (request) "'" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn a_character_that_is_not_seen_is_named() {
        for (text, shown) in [
            ("<p>\n\u{4e2d} e\u{301}</p>", "<p>\n\u{4e2d} e\u{301}</p>"),
            ("a\tb\r\u{0}\u{7f}", "a\\tb\\r\\u{0}\\u{7f}"),
            ("\u{1b}[31m\u{9b}31m", "\\u{1b}[31m\\u{9b}31m"),
            ("a\u{200f}b\u{61c}", "a\\u{200f}b\\u{61c}"),
            ("\u{202a}\u{202e}", "\\u{202a}\\u{202e}"),
            ("\u{2066}\u{2069}", "\\u{2066}\\u{2069}"),
        ] {
            assert_eq!(visible(text.to_owned()), shown);
        }
    }
}
