//! The status page: the overview for a person with a browser.
//!
//! It has no script and loads nothing; search, sort and pages are links and a GET form. The template escapes everything
//! that is not its own text, and [`visible`] the characters that HTML has no escape for.

mod lists;
mod map;
mod parts;
mod tables;
mod traffic;
mod troubles;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::numbers::{count, span};
use super::overview::view::{View, encoded};
use super::overview::{Overview, OverviewIdentity, TroubleLevel};
use crate::terminal::is_obeyed;
use parts::{mark, mark_of_level, section_link, short_time};

/// The policy of the page: it has a style and an icon of its own, no script, and loads nothing. Its one form asks this
/// server.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The style of the page, for light and dark, wide and narrow.
const STYLE: &str = include_str!("page/style.css");

/// The shapes that stand before words: each has one meaning.
const SHAPES: &str = r##"<svg width="0" height="0" class="defs" aria-hidden="true"><defs>
<symbol id="m-bad" viewBox="0 0 12 12"><rect x="1.5" y="1.5" width="9" height="9"/></symbol>
<symbol id="m-warn" viewBox="0 0 12 12"><path d="M6 .8 11.6 10.8H.4z"/></symbol>
<symbol id="m-note" viewBox="0 0 12 12"><circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.6"/></symbol>
<symbol id="m-held" viewBox="0 0 12 12"><path d="M6 .6 11.4 6 6 11.4.6 6z"/></symbol>
<symbol id="m-ok" viewBox="0 0 12 12"><path d="M1.6 6.4 4.7 9.4 10.4 2.8" fill="none" stroke="currentColor" stroke-width="1.8"/></symbol>
<symbol id="m-off" viewBox="0 0 12 12"><path d="M2.5 6h7" fill="none" stroke="currentColor" stroke-width="1.6"/></symbol>
<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="h0" width="5" height="5"/><rect class="h1" width="1.6" height="5"/></pattern>
</defs></svg>"##;

/// The icon of the tab. It is red while something fails.
const ICONS: [&str; 2] = [
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 1c5 3 1 11 0 14M14 1c-5 3-1 11 0 14' stroke='%2390a4ae' stroke-width='2.4' fill='none'/%3E%3Ccircle cx='8' cy='8' r='3' fill='%230b6785'/%3E%3C/svg%3E",
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 1c5 3 1 11 0 14M14 1c-5 3-1 11 0 14' stroke='%2390a4ae' stroke-width='2.4' fill='none'/%3E%3Ccircle cx='8' cy='8' r='3' fill='%23d0342c'/%3E%3C/svg%3E",
];

/// The values that the parts of the page need.
#[derive(Debug, Clone, Copy)]
struct Drawn<'a> {
    overview: &'a Overview,
    view: &'a View,
}

/// The page as HTML.
pub(super) fn render(overview: &Overview, view: &View) -> String {
    let page = Drawn { overview, view };
    let fails = overview
        .troubles
        .rows
        .iter()
        .any(|trouble| matches!(trouble.level, TroubleLevel::Failing | TroubleLevel::Refused));
    let has_kubernetes = overview.configuration.kubernetes.is_some();
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title(overview)) }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href=(ICONS[usize::from(fails)]);
                // The only texts that are not escaped: they are constants.
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to troubles" }
                (PreEscaped(SHAPES))
                (head(page))
                (navigation(page))
                main id="main" {
                    (troubles::section(page))
                    (traffic::section(page))
                    @if overview.traffic.connections > 0 { (map::section(page)) }
                    (tables::routes(page))
                    (tables::outcomes(page))
                    div.two.e {
                        (lists::limits(page))
                        @if has_kubernetes { (lists::kubernetes(page)) } @else { (lists::configuration(page)) }
                    }
                    (tables::endpoints(page))
                    (lists::slow_connects(page))
                    (lists::failures(page))
                    (tables::connections(page))
                    (lists::unrouted(page))
                    div.two.e {
                        @if has_kubernetes { (lists::configuration(page)) }
                        (lists::drain(page))
                    }
                }
                (footer(page))
            }
        }
    };
    visible(document.into_string())
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

/// The number of troubles of each level, the most urgent first.
pub(super) fn tally(overview: &Overview) -> Vec<(TroubleLevel, usize)> {
    let mut tally: Vec<(TroubleLevel, usize)> = Vec::new();
    for trouble in &overview.troubles.rows {
        match tally.iter_mut().find(|(level, _)| *level == trouble.level) {
            Some((_, count)) => *count += 1,
            None => tally.push((trouble.level, 1)),
        }
    }
    tally
}

/// A count of troubles in words.
pub(super) fn tallied(level: TroubleLevel, count: usize) -> String {
    match (level, count) {
        (TroubleLevel::Draining, _) => "draining".to_owned(),
        (TroubleLevel::Note, 1) => "1 note".to_owned(),
        (TroubleLevel::Note, many) => format!("{many} notes"),
        (level, count) => format!("{count} {}", level.words()),
    }
}

/// The begin of a command that runs in the pod.
pub(super) fn exec_in_pod(identity: &OverviewIdentity) -> String {
    let word = |text: &Option<String>| {
        let text = text.as_deref();
        text.filter(|text| encoded(text) == **text)
            .map(str::to_owned)
    };
    let namespace = word(&identity.namespace).map(|namespace| format!("-n {namespace} "));
    let pod = word(&identity.pod).unwrap_or_else(|| "POD".to_owned());
    format!("kubectl {}exec {pod} -- /", namespace.unwrap_or_default())
}

/// The text of the tab: the most urgent troubles, the pod, the zone.
fn title(overview: &Overview) -> String {
    let first = tally(overview).into_iter().next();
    let state = match first {
        Some((level, count)) => tallied(level, count),
        None => overview.state.words.clone(),
    };
    let identity = &overview.identity;
    let place = [identity.pod.as_deref(), identity.zone.as_deref()];
    let place: Vec<&str> = place.into_iter().flatten().collect();
    match place.is_empty() {
        true => format!("{state}: strait"),
        false => format!("{state}, {}: strait", place.join(", ")),
    }
}

fn head(page: Drawn<'_>) -> Markup {
    let Drawn { overview, view } = page;
    let (identity, state) = (&overview.identity, &overview.state);
    let (shape, class) = match (state.ready, &state.drain) {
        (true, _) => ("ok", "state"),
        (false, Some(_)) => ("warn", "state warn"),
        (false, None) => ("bad", "state bad"),
    };
    let refreshes = [(None, "off"), (Some(5), "5 s"), (Some(30), "30 s")];
    html! {
        header.top {
            p.brand { span { "strait" } }
            h1 { (identity.pod.as_deref().unwrap_or("this host")) }
            p class=(class) { (mark(shape)) (state.words) }
            p.tally {
                @for (level, count) in tally(overview) {
                    b class=(parts::class_of_level(level)) { (mark_of_level(level)) (tallied(level, count)) } " "
                }
                @if overview.troubles.all == 0 { b.pl { (mark("ok")) "no troubles" } }
            }
            p.asof {
                time datetime=(identity.now) { (short_time(&identity.now)) " UTC" } " "
                span.sep { "refresh" } " "
                @for (seconds, words) in refreshes {
                    @let value = seconds.map(|seconds: u32| seconds.to_string()).unwrap_or_default();
                    a href=(view.query(&[("refresh", &value)])) aria-current=[(view.refresh == seconds).then_some("true")] { (words) } " "
                }
                span.sep { "as" } " "
                a href=(view.query(&[("format", "text")])) { "text" } " "
                a href=(view.query(&[("format", "json")])) { "JSON" }
            }
            (facts(overview))
        }
    }
}

fn facts(overview: &Overview) -> Markup {
    let (identity, configuration) = (&overview.identity, &overview.configuration);
    let unknown = "unknown";
    let generation = configuration
        .generation
        .map(|number| format!("generation {number}"));
    let hash = configuration
        .sha256
        .as_deref()
        .and_then(|hash| hash.get(..8));
    let newest = match configuration.refused {
        Some(_) => html! { dd.d { span.bad { "a newer file is refused" } } },
        None => html! { dd.d { "the newest file" } },
    };
    let (unbound, listeners) = (
        configuration
            .listeners
            .iter()
            .filter(|one| one.bound.is_none())
            .count(),
        configuration.listeners.len(),
    );
    html! {
        dl.facts {
            div { dt { "Node" } dd { (identity.node.as_deref().unwrap_or(unknown)) } }
            div { dt { "Zone" } dd { (identity.zone.as_deref().unwrap_or(unknown)) } }
            div { dt { "Version" } dd { (identity.version) " " code { (parts::start_of(&identity.commit, 10)) } } dd.d { (identity.workers) @if identity.workers == 1 { " worker" } @else { " workers" } } }
            div { dt { "Up" } dd { (span(identity.uptime_seconds.saturating_mul(1000))) } dd.d { "since " (short_date(&identity.started)) } }
            div {
                dt { "Configuration" }
                dd { (generation.as_deref().unwrap_or("in force")) @if let Some(hash) = hash { " " code { (hash) } } }
                (newest)
            }
            div {
                dt { "Loaded" }
                dd { (configuration.loaded.as_deref().map_or_else(|| "not yet".to_owned(), short_date)) }
                @if configuration.restart_pending > 0 { dd.d { span.warn { @if configuration.restart_pending == 1 { "1 key needs a restart" } @else { (configuration.restart_pending) " keys need a restart" } } } }
            }
            @if let Some(kubernetes) = &configuration.kubernetes {
                div {
                    dt { "Kubernetes" }
                    dd { @if kubernetes.in_sync { "in sync" } @else { span.warn { "not in sync" } } }
                    @if !kubernetes.not_watched.is_empty() { dd.d { span.warn { (kubernetes.not_watched.len()) " kinds not watched" } } }
                }
            }
            div {
                dt { "Listeners" }
                @for listener in configuration.listeners.iter().take(2) {
                    dd { (listener.name) " " code { (listener.bound.map_or_else(|| listener.configured.clone(), |at| at.to_string())) } }
                }
                @if listeners > 2 { dd.d { "and " (listeners - 2) " more" } }
                @if unbound > 0 { dd.d { span.bad { (unbound) " not bound" } } }
            }
        }
    }
}

/// A time as `27 Nov 14:20:07`-like text without its year.
fn short_date(at: &str) -> String {
    match (at.get(5..10), at.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time}"),
        _ => at.to_owned(),
    }
}

fn navigation(page: Drawn<'_>) -> Markup {
    let Drawn { overview, view } = page;
    let has_traffic = overview.traffic.connections > 0;
    let are_all_known = overview.unanswered_workers.is_empty();
    let connections = are_all_known.then_some(overview.connections.all);
    html! {
        nav aria-label="Sections" {
            ul {
                (section_link("troubles", "Troubles", Some(overview.troubles.all)))
                (section_link("traffic", "Traffic", None))
                @if has_traffic { (section_link("map", "Map", None)) }
                (section_link("routes", "Routes", Some(overview.routes.all)))
                @if has_traffic { (section_link("outcomes", "Outcomes", None)) }
                (section_link("limits", "Limits", None))
                (section_link("endpoints", "Endpoints", Some(overview.endpoints.all)))
                (section_link("failures", "Failures", None))
                (section_link("connections", "Connections", connections))
                (section_link("config", "Configuration", None))
                (section_link("drain", "Drain", None))
            }
            form method="get" action="/" role="search" {
                label.vh for="q" { "Find" }
                input id="q" name="q" type="search" maxlength="256" value=(view.search) placeholder="name, address, outcome" autocomplete="off" spellcheck="false";
                @if let Some(group) = &view.group { input type="hidden" name="group" value=(group); }
                @if view.window != 60 { input type="hidden" name="window" value=(view.window); }
                @if let Some(seconds) = view.refresh { input type="hidden" name="refresh" value=(seconds); }
                " " button { "Find" }
                @if !view.search.is_empty() || view.group.is_some() {
                    " " a href=(view.query(&[("q", ""), ("group", ""), ("page", "")])) { "show all" }
                }
            }
        }
        @if let Some(group) = &view.group {
            p.calm { "Only the traffic, the failures and the connections of source group " b { (group) } "." }
        }
    }
}

fn footer(page: Drawn<'_>) -> Markup {
    let identity = &page.overview.identity;
    let paths = [
        "/status",
        "/connections",
        "/upstreams",
        "/sources",
        "/config_dump",
        "/logging",
        "/healthz/ready",
        "/help",
    ];
    html! {
        footer {
            p { @for path in paths { a href=(path) { (path) } " " } }
            p.d {
                "strait " (identity.version) ". "
                (count(page.overview.traffic.connections)) " connections since " (short_date(&identity.started))
                ". The commands run in the pod; from outside "
                code { (exec_in_pod(identity)) "strait ..." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{render, visible};
    use crate::admin::overview::view::View;
    use crate::admin::overview::{ConnectionRow, Overview, RowPage};

    #[test]
    fn there_is_no_link_beyond_the_connections_that_workers_describe() {
        for (page, has_next) in [(0, true), (18, true), (19, false)] {
            let view = View {
                page,
                ..View::default()
            };
            let connections = RowPage {
                all: 5000,
                matched: 5000,
                first: page * view.rows,
                rows: vec![ConnectionRow::default(); view.rows],
            };
            let overview = Overview {
                connections,
                ..Overview::default()
            };
            let html = render(&overview, &view);
            assert_eq!(html.contains("the next ones"), has_next, "{page}");
        }
    }

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
