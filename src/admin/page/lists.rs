//! The rest of the page: limits, failures, the Kubernetes source, names without a route, the config, the drain.

use maud::{Markup, html};

use super::Drawn;
use super::parts::{breakable, mark, position, position_of};
use crate::admin::numbers::{clock, count, millis, percent, span};
use crate::admin::overview::{FailureRow, LimitRow, NEAR, limit_amount, limit_in_words};
use crate::admin::text_page::SLOW_CONNECTS;

pub(super) fn limits(page: Drawn<'_>) -> Markup {
    let limits = &page.overview.limits;
    let order = "fullest first; marked from 80 % on";
    let position = match limits.rows.len() > LIMITS {
        true => html! { span.sub { (position_of(limits, LIMITS, order)) } },
        false => position(limits, page.view, "limits", order),
    };
    html! {
        section id="limits" aria-labelledby="h-limits" {
            table.lim {
                caption { h2 id="h-limits" { "Limits" } " " (position) }
                thead.vh { tr { th scope="col" { "Limit" } th scope="col" { "Used" } } }
                tbody { @for row in limits.rows.iter().take(LIMITS) { (limit(row)) } }
            }
            @if limits.rows.is_empty() { p.calm.d { "None has this text." } }
            @if limits.rows.len() > LIMITS { (others_as_json()) }
        }
    }
}

/// Limits that are shown.
const LIMITS: usize = 16;

fn others_as_json() -> Markup {
    html! { p.more { a href="/status?rows=1000" { "the others as JSON" } } }
}

fn limit(row: &LimitRow) -> Markup {
    let is_near = row.share >= NEAR;
    let width = (row.share * 100.0).clamp(0.0, 100.0);
    html! {
        tr {
            th scope="row" { @if is_near { (mark("warn")) } (limit_in_words(row)) }
            td {
                span.uv { b { (limit_amount(row, row.used)) } " of " (limit_amount(row, row.most)) }
                span.ps.warn[is_near] { (percent(row.share)) }
                span.bar.warn[is_near] aria-hidden="true" { i style={ "width:" (format!("{width:.1}")) "%" } {} }
            }
        }
    }
}

pub(super) fn failures(page: Drawn<'_>) -> Markup {
    let failures = &page.overview.failures;
    html! {
        section id="failures" aria-labelledby="h-failures" {
            @if failures.rows.is_empty() {
                div.sh { h2 id="h-failures" { "Last failures" } }
                p.calm.d { @if failures.all == 0 { "No connection has failed or was refused." } @else { "None of them has this text." } }
            } @else {
                div.tw {
                    table.cards.fa {
                        caption { h2 id="h-failures" { "Last failures" } " " (position(failures, page.view, "failures", "newest first; 32 of each outcome are kept, and those that are alike are one row")) }
                        thead { tr {
                            th scope="col" { "Time" } th scope="col" { "Outcome" } th scope="col" { "Source" } th scope="col" { "Server name" }
                            th scope="col" { "Why" }
                        } }
                        tbody { @for row in &failures.rows { (failure(page, row)) } }
                    }
                }
            }
        }
    }
}

pub(super) fn slow_connects(page: Drawn<'_>) -> Markup {
    let slow = &page.overview.slow_connects;
    if slow.all == 0 {
        return html! {};
    }
    let now = &page.overview.identity.now;
    let shown = slow.rows.len().min(SLOW_CONNECTS);
    let of = "of the last 10 minutes, from the first SYN to the connection, with starttls to the endpoint's answer";
    html! {
        section id="slow" aria-labelledby="h-slow" {
            div.tw {
                table.cards {
                    caption { h2 id="h-slow" { "Slowest connects" } " " span.sub { (position_of(slow, shown, of)) } }
                    thead { tr {
                        th scope="col" { "Time" } th.n scope="col" { "Took" } th scope="col" { "Endpoint" } th scope="col" { "Upstream" }
                        th scope="col" { "Zone" } th scope="col" { "Source" } th scope="col" { "Probably" }
                    } }
                    tbody {
                        @for row in slow.rows.iter().take(shown) {
                            @let address = |address: Option<std::net::SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
                            tr {
                                th.k scope="row" { (clock(&row.at, now)) }
                                td.n data-l="took" { (millis(row.took_ms)) " ms" }
                                td data-l="endpoint" { code { (address(row.endpoint)) } }
                                td data-l="upstream" { (breakable(&row.upstream)) }
                                td data-l="zone" class=[row.zone.is_none().then_some("zz")] { (row.zone.as_deref().unwrap_or("-")) }
                                td data-l="source" { code { (address(row.source)) } }
                                td data-l="probably" class=[row.hint.is_none().then_some("zz")] { (row.hint.as_deref().unwrap_or("-")) }
                            }
                        }
                    }
                }
            }
            @if slow.rows.is_empty() { p.calm.d { "None has this text." } }
            @if slow.rows.len() > shown { (others_as_json()) }
        }
    }
}

/// Whether a text is a valid server name, so that it needs no frame.
fn is_name(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.len() <= 253 && text.chars().all(known)
}

fn failure(page: Drawn<'_>, row: &FailureRow) -> Markup {
    let now = &page.overview.identity.now;
    let source = row.source.map(|source| source.to_string());
    let why = row.detail.as_deref();
    html! {
        tr {
            th.k scope="row" { (clock(&row.at, now)) }
            td.oc data-l="outcome" {
                (row.outcome) span.l2 { "by " (row.ended_by) }
                @if row.alike > 1 { span.l2 { (row.alike) " alike" } }
            }
            td data-l="source" { code { (source.unwrap_or_default()) } span.l2 { (row.group) } }
            td.sn data-l="name" {
                @match &row.server_name {
                    Some(name) if is_name(name) => (breakable(name)),
                    Some(name) => code.hx { (name) },
                    None => span.z { "no name read" },
                }
                @if let Some(endpoint) = row.endpoint { span.l2 { "to " code { (endpoint) } } }
                @else if let Some(route) = &row.route { span.l2 { "route " (route) } }
            }
            td.why {
                div.wy {
                    span class={ "sure " (row.confidence) } { (row.confidence) }
                    span.sn { @match why { Some(why) => (why), None => span.d { "no more is known" } } }
                }
            }
        }
    }
}

pub(super) fn kubernetes(page: Drawn<'_>) -> Markup {
    let now = &page.overview.identity.now;
    let Some(kubernetes) = &page.overview.configuration.kubernetes else {
        return html! {};
    };
    html! {
        section id="kubernetes" aria-labelledby="h-kubernetes" {
            div.sh { h2 id="h-kubernetes" { "Kubernetes" } }
            dl.kv {
                dt { "Source" }
                dd {
                    @match (&kubernetes.last_change, kubernetes.in_sync) {
                        (Some(at), true) => { (mark("ok")) "in sync, last change " (clock(at, now)) },
                        (Some(at), false) => { (mark("held")) "not in sync, last change " (clock(at, now)) },
                        (None, _) => { (mark("held")) "nothing found yet" },
                    }
                }
                @if let Some(since) = &kubernetes.stale_since { dt { "No word from the API" } dd.warn { "since " (clock(since, now)) @if let Some(why) = &kubernetes.stale_because { span.l2 { (why) } } } }
                @if !kubernetes.saved_kinds.is_empty() { dt { "Saved state" } dd.warn { (kubernetes.saved_kinds.join(", ")) } }
                dt { "Routes" } dd { (kubernetes.exported_routes) " of exports, " (kubernetes.gateway_routes) " of TLSRoutes" }
                @if !kubernetes.not_watched.is_empty() {
                    dt { "Not watched" }
                    dd { @for kind in &kubernetes.not_watched { span.l2 { (kind.kind) ": " (kind.reason) } } }
                }
                @for cluster in &kubernetes.clusters {
                    dt { "Cluster " (cluster.name) }
                    dd class=[cluster.stale_since.as_ref().map(|_| "warn")] {
                        @match (&cluster.stale_since, cluster.not_watched.is_empty()) {
                            (Some(since), _) => { "no word since " (clock(since, now)) },
                            (None, true) => "in sync",
                            (None, false) => "not watched in full",
                        }
                        @if let Some(why) = &cluster.stale_because { span.l2 { (why) } }
                        @for kind in &cluster.not_watched { span.l2 { (kind.kind) ": " (kind.reason) } }
                    }
                }
                @if kubernetes.skipped_names > 0 { dt { "Left out" } dd.warn { (kubernetes.skipped_names) " names, because of a limit" } }
                @if !kubernetes.unreadable.is_empty() {
                    dt { "Not readable" }
                    dd { @for object in &kubernetes.unreadable { span.l2 { (object) } } }
                }
                dt { "Not exported" } dd { (count(u64::try_from(kubernetes.unrouted_hosts).unwrap_or(0))) " hosts" }
            }
        }
    }
}

/// Names without a route that are shown when nobody searches for one.
const UNROUTED: usize = 10;

pub(super) fn unrouted(page: Drawn<'_>) -> Markup {
    let unrouted = &page.overview.unrouted;
    if unrouted.rows.is_empty() {
        return html! {};
    }
    let most = if page.view.search.is_empty() {
        UNROUTED
    } else {
        unrouted.rows.len()
    };
    html! {
        section id="unrouted" aria-labelledby="h-unrouted" {
            div.tw {
                table.cards {
                    caption {
                        h2 id="h-unrouted" { "Not routed" } " "
                        span.sub { (count(u64::try_from(unrouted.matched).unwrap_or(0))) " names are known and lead nowhere; search for one to see why" }
                    }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Why" } th scope="col" { "Listener" } } }
                    tbody {
                        @for row in unrouted.rows.iter().take(most) {
                            tr { th.k scope="row" { (breakable(&row.name)) } td.why { (row.reason) } td data-l="listener" { (row.listener) } }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn configuration(page: Drawn<'_>) -> Markup {
    let configuration = &page.overview.configuration;
    let now = &page.overview.identity.now;
    html! {
        section id="config" aria-labelledby="h-config" {
            div.sh { h2 id="h-config" { "Configuration" } }
            dl.kv {
                dt { "Serves" }
                dd {
                    @if let Some(generation) = configuration.generation { "generation " (generation) }
                    @else { "no config yet" }
                    @if let Some(loaded) = &configuration.loaded { ", since " (clock(loaded, now)) }
                }
                @if let Some(file) = &configuration.file { dt { "File" } dd { code { (file) } " " a href="/config" { "as it is in force" } } }
                @if let Some(hash) = &configuration.sha256 { dt { "SHA-256" } dd.sn { code { (hash) } } }
                @if !configuration.changes.is_empty() {
                    dt { "Changed last" }
                    dd { @for change in configuration.changes.iter().take(12) { span.l2 { (change) } } }
                }
                @if let Some(refused) = &configuration.refused {
                    dt { "Refused" }
                    dd.bad { "a newer file, of " (refused.at.as_deref().map_or("some time ago".to_owned(), |at| clock(at, now))) ", with " (refused.problem_count) " problems" }
                }
                @if configuration.restart_pending > 0 {
                    dt { "After a restart" }
                    dd.warn { @if configuration.restart_keys.is_empty() { (configuration.restart_pending) " keys" } @else { (configuration.restart_keys.join(", ")) } }
                }
                @for listener in configuration.listeners.iter().take(LISTENERS) {
                    dt { "Listener " (listener.name) }
                    dd {
                        code { (listener.configured) } ", " (count(u64::try_from(listener.routes).unwrap_or(0))) " routes, "
                        @match listener.bound { Some(at) => { "bound at " code { (at) } }, None => span.bad { "not bound" } }
                    }
                }
                @if configuration.listeners.len() > LISTENERS { dt { "More" } dd { (configuration.listeners.len() - LISTENERS) " listeners; " a href="/status" { "as JSON" } } }
            }
        }
    }
}

/// Listeners that are shown.
const LISTENERS: usize = 20;

pub(super) fn drain(page: Drawn<'_>) -> Markup {
    let state = &page.overview.state;
    let open = count(page.overview.connections.all.try_into().unwrap_or(0));
    let open = match page.overview.unanswered_workers.is_empty() {
        true => open,
        false => format!("{open} or more"),
    };
    html! {
        section id="drain" aria-labelledby="h-drain" {
            div.sh { h2 id="h-drain" { "Drain" } }
            @if let Some(drain) = &state.drain {
                dl.kv {
                    dt { "State" } dd.warn { (state.words) }
                    dt { "Left" }
                    dd { (count(drain.connections_left)) " connections" @if let Some(left) = drain.left_ms { ", " (span(left)) } }
                }
                @if let Some(left) = drain.left_ms {
                    @let share = left.saturating_mul(100).checked_div(state.drain_window_ms).unwrap_or(0);
                    span.bar.warn aria-hidden="true" { i style={ "width:" (share.min(100)) "%" } {} }
                }
            } @else {
                dl.kv {
                    dt { "State" } dd { "not draining" }
                    dt { "If it began now" }
                    dd {
                        "not ready at once; listeners close after " (span(state.readiness_delay_ms)) "; the "
                        (open) " open connections have " (span(state.drain_window_ms)) " then"
                    }
                }
                code.cmd { "strait drain" }
            }
        }
    }
}
