//! The status page: an overview of the gateway's state for a person with a browser.

use std::fmt::{self, Display, Write};
use std::time::{Duration, Instant};

use super::{AdminContext, Snapshot, dump};
use crate::drain::DrainPhase;
use crate::upstream::{EndpointState, Upstream};

/// The policy of the page: it has a style of its own, no script, and loads nothing.
pub(super) const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/// The number of rows of one table. The page gives the number of further ones.
const MAX_ROWS: usize = 500;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>strait</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
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
</style></head><body>
"#;

/// The page as HTML. Everything that is not its own text is escaped.
pub(super) fn render(context: &AdminContext) -> String {
    let mut page = String::from(HEAD);
    let snapshot = context.snapshots.now();
    // Writing into a String cannot fail.
    let _ = title(&mut page, context, &snapshot)
        .and_then(|()| listeners(&mut page, &snapshot))
        .and_then(|()| discovery(&mut page, &snapshot))
        .and_then(|()| upstreams(&mut page, &snapshot))
        .and_then(|()| footer(&mut page, &snapshot));
    page
}

/// Text escaped for HTML, in an element and in a quoted attribute.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaper<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| match c {
                    '&' => self.0.write_str("&amp;"),
                    '<' => self.0.write_str("&lt;"),
                    '>' => self.0.write_str("&gt;"),
                    '"' => self.0.write_str("&quot;"),
                    '\'' => self.0.write_str("&#39;"),
                    c => self.0.write_char(c),
                })
            }
        }
        write!(Escaper(f), "{}", self.0)
    }
}

fn title(page: &mut String, context: &AdminContext, snapshot: &Snapshot) -> fmt::Result {
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
    let config = &snapshot.config;
    let zone = config.zone.as_deref().unwrap_or("unknown");
    writeln!(
        page,
        "<h1>strait <small>{}</small> <span class=\"state {class}\">{state}</span></h1>\n\
         <p>Up for {uptime}, since {}. Workers: {}. Zone: {}.</p>",
        env!("CARGO_PKG_VERSION"),
        dump::timestamp(context.started),
        config.workers,
        Escaped(zone),
    )?;
    for reason in check.err().iter().flatten() {
        let summary = Escaped(&reason.summary);
        writeln!(page, "<p class=\"trouble\">{summary}</p>")?;
        for name in &reason.names {
            writeln!(page, "<p class=\"trouble\">{}</p>", Escaped(name))?;
        }
    }
    Ok(())
}

fn listeners(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    page.write_str(
        "<h2>Listeners</h2>\n<table><tr><th>name<th>configured<th>bound<th class=\"n\">routes</tr>\n",
    )?;
    let config = &snapshot.config;
    for listener in config.listeners.iter().take(MAX_ROWS) {
        let is_it = |(name, _): &&(_, _)| *name == listener.name;
        write!(
            page,
            "<tr><td>{}<td><code>{}</code><td>",
            Escaped(&listener.name),
            listener.bind
        )?;
        match snapshot.bound.iter().find(is_it) {
            Some((_, address)) => write!(page, "<code>{address}</code>")?,
            None => page.write_str("<span class=\"trouble\">not bound</span>")?,
        }
        writeln!(page, "<td class=\"n\">{}</tr>", listener.routes.len())?;
    }
    end_of_table(page, config.listeners.len())
}

fn discovery(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    if snapshot.config.kubernetes.is_none() {
        return Ok(());
    }
    page.write_str("<h2>Kubernetes</h2>\n")?;
    let Some(report) = &snapshot.report else {
        return page.write_str("<p class=\"trouble\">nothing found yet</p>\n");
    };
    let at = dump::timestamp(report.at);
    let (exports, gateways) = (report.exported_routes, report.gateway_routes);
    writeln!(
        page,
        "<p>Last change {at}: {exports} routes of exports, {gateways} of TLSRoutes; {} of {} upstreams \
         have no endpoint; {} hosts are known and not exported, {} names are left out.</p>",
        report.upstreams_without_endpoints,
        report.upstreams,
        report.unrouted_hosts,
        report.skipped_names,
    )?;
    for (kind, reason) in &report.missing {
        let reason = Escaped(reason);
        writeln!(
            page,
            "<p class=\"trouble\">{kind}: not watched: {reason}</p>"
        )?;
    }
    Ok(())
}

fn upstreams(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    page.write_str(
        "<h2>Upstreams</h2>\n<table><tr><th>name<th>source<th class=\"n\">ready\
         <th class=\"n\">ejected<th class=\"n\">active<th>source says</tr>\n",
    )?;
    let upstreams = &snapshot.upstreams;
    for (name, upstream) in upstreams.iter().take(MAX_ROWS) {
        upstream_row(page, name, upstream)?;
    }
    end_of_table(page, upstreams.len())
}

fn upstream_row(page: &mut String, name: &str, upstream: &Upstream) -> fmt::Result {
    let now = Instant::now();
    let endpoints = upstream.endpoints();
    let ready = |state| matches!(state, EndpointState::Ready);
    let states = endpoints.iter().map(|e| e.stats.health.state(now));
    let ready = states.filter(|state| ready(*state)).count();
    let active: u64 = endpoints.iter().map(|e| u64::from(e.stats.active())).sum();
    let (kind, query) = dump::source(&upstream.config().source);
    write!(
        page,
        "<tr><td>{}<td>{kind} {}<td class=\"n\">{ready}<td class=\"n\">{}<td class=\"n\">{active}<td>",
        Escaped(name),
        Escaped(query.unwrap_or_default()),
        endpoints.len().saturating_sub(ready),
    )?;
    let report = upstream.source_report();
    if let Some(error) = &report.last_error {
        let stale = if upstream.is_stale() {
            "endpoints of an earlier answer; "
        } else {
            ""
        };
        let error = Escaped(error);
        writeln!(page, "<span class=\"trouble\">{stale}{error}</span></tr>")
    } else if let Some(reason) = &report.empty_because {
        writeln!(
            page,
            "<span class=\"trouble\">{}</span></tr>",
            Escaped(reason)
        )
    } else if upstream.answered() {
        let at = report.last_answer.map(dump::timestamp).unwrap_or_default();
        writeln!(page, "{at}</tr>")
    } else {
        page.write_str("<span class=\"trouble\">no answer yet</span></tr>\n")
    }
}

fn end_of_table(page: &mut String, rows: usize) -> fmt::Result {
    if rows > MAX_ROWS {
        let more = rows - MAX_ROWS;
        writeln!(page, "<tr><td>and {more} more</tr>")?;
    }
    page.write_str("</table>\n")
}

fn footer(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    page.write_str("<footer><p>")?;
    for path in ["/config_dump", "/upstreams", "/logging", "/healthz/ready"] {
        writeln!(page, "<a href=\"{path}\">{path}</a>")?;
    }
    page.write_str("</p>")?;
    if let Some(address) = snapshot.config.admin {
        for request in ["logging?level=debug", "drain"] {
            writeln!(
                page,
                "<p><code>curl -X POST 'http://{address}/{request}'</code></p>"
            )?;
        }
    }
    page.write_str("</footer></body></html>\n")
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn markup_in_text_is_text() {
        let text = Escaped("<img src=x onerror='a(\"&\")'>").to_string();
        assert_eq!(
            text,
            "&lt;img src=x onerror=&#39;a(&quot;&amp;&quot;)&#39;&gt;"
        );
    }
}
