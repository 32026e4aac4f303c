//! The large tables of the page: routes, outcomes, endpoints, open connections.

use maud::{Markup, html};

use super::Drawn;
use super::parts::{breakable, mark_of_state, number, position, position_within, sortable};
use super::traffic::bars;
use crate::admin::numbers::{bytes, clock, count, millis, percent, rate, size, span};
use crate::admin::overview::view::SortKey;
use crate::admin::overview::{ConnectionRow, EndpointRow, MOST_ROWS, OutcomeRow, RouteRow};

fn is_zero(number: f64) -> bool {
    number <= 0.0
}

pub(super) fn routes(page: Drawn<'_>) -> Markup {
    let routes = &page.overview.routes;
    let id = "routes";
    let most = routes.rows.iter().map(|row| row.new_per_second);
    let most = most.fold(0.0, f64::max);
    html! {
        section id=(id) aria-labelledby="h-routes" {
            div.tw {
                table.cards {
                    caption { h2 id="h-routes" { "Routes" } " " (position(routes, page.view, id, "troubled first, then by the last hour")) }
                    thead { tr {
                        (sortable(page, id, SortKey::Name, "Route", false))
                        (sortable(page, id, SortKey::Alpn, "ALPN", false))
                        (sortable(page, id, SortKey::Upstream, "Upstream", false))
                        (sortable(page, id, SortKey::Ready, "Endpoints", false))
                        (sortable(page, id, SortKey::Rate, "New/s", false))
                        (sortable(page, id, SortKey::Failing, "Failing", true))
                        (sortable(page, id, SortKey::Open, "Open", true))
                        (sortable(page, id, SortKey::Up, "To upstream", true))
                        (sortable(page, id, SortKey::Down, "To downstream", true))
                        (sortable(page, id, SortKey::Connect, "Connect p99", true))
                        th scope="col" { "Last hour" }
                    } }
                    tbody { @for row in &routes.rows { (route(page, row, most)) } }
                }
            }
            @if routes.rows.is_empty() { p.calm.d { "None. Every connection is refused." } }
        }
    }
}

fn route(page: Drawn<'_>, row: &RouteRow, most: f64) -> Markup {
    let part = |value: f64| {
        if most > 0.0 {
            value / most * 100.0
        } else {
            0.0
        }
    };
    let failing = row.failing_per_second.min(row.new_per_second);
    let share = row.failing_share.unwrap_or(0.0);
    let class = match &*row.state {
        "failing" => "bad",
        "some" => "warn",
        _ => "z",
    };
    let has_few = row.ready_endpoints < row.endpoints || row.endpoints == 0;
    let down = format!("{}/s", bytes(row.to_downstream_per_second));
    let up = format!("{}/s", bytes(row.to_upstream_per_second));
    let p99 = row.connect_p99_ms.map(|p99| format!("{} ms", millis(p99)));
    html! {
        tr {
            th.k scope="row" {
                (mark_of_state(&row.state))
                a href=(page.view.query(&[("q", &row.route), ("page", "")])) { (breakable(&row.route)) }
                @if row.state != "ok" { span.l2 { (row.state) @if row.state == "some" { " fail" } } }
            }
            td data-l="ALPN" { (row.alpn) }
            td data-l="upstream" { @for (place, upstream) in row.upstreams.iter().enumerate() { @if place > 0 { ", " } (breakable(upstream)) } }
            td.er data-l="endpoints" {
                (row.ready_endpoints) " of " (row.endpoints) " ready"
                @if has_few { @if let Some(reason) = &row.empty_because { span.l2.bad { (reason) } } }
            }
            td.br data-l="new/s" {
                span.rv { @if is_zero(row.new_per_second) { span.z { "0" } } @else { (rate(row.new_per_second)) } }
                span.bar.rate aria-hidden="true" {
                    i style={ "width:" (format!("{:.1}", part(row.new_per_second))) "%" } {}
                    @if failing > 0.0 { i.fx style={ "width:" (format!("{:.1}", part(failing).max(1.5))) "%" } {} }
                }
            }
            td class={ "n num" @if is_zero(share) { " zz" } } data-l="failing" {
                @if row.failing_share.is_some() { span class=(class) { (percent(share)) } } @else { span.z { "-" } }
            }
            (number("open", Some(&count(row.open)), row.open == 0))
            (number("to upstream", Some(&up), is_zero(row.to_upstream_per_second)))
            (number("to downstream", Some(&down), is_zero(row.to_downstream_per_second)))
            (number("p99", p99.as_deref(), false))
            td.sk { (bars(&row.minutes, &row.failing_minutes)) }
        }
    }
}

pub(super) fn outcomes(page: Drawn<'_>) -> Markup {
    let overview = page.overview;
    if overview.traffic.connections == 0 && overview.outcomes.is_empty() {
        return html! {};
    }
    html! {
        section id="outcomes" aria-labelledby="h-outcomes" {
            div.tw {
                table.cards.oc1 {
                    caption {
                        h2 id="h-outcomes" { "Outcomes" } " "
                        span.sub { "how connections ended; those that failed or were refused first. Where: the route of most of the last ones" }
                    }
                    thead { tr {
                        th scope="col" { "Outcome" } th scope="col" { "Flag" } th scope="col" { "Meaning" }
                        th.n scope="col" { "Now" } th.n scope="col" { "10 min" } th.n scope="col" { "60 min" } th.n scope="col" { "Since start" }
                        th scope="col" { "Where" } th scope="col" { "Last hour" }
                    } }
                    tbody { @for row in &overview.outcomes { (outcome(page, row)) } }
                }
            }
            @if overview.outcomes.is_empty() { p.calm.d { "None of these." } }
        }
    }
}

fn outcome(page: Drawn<'_>, row: &OutcomeRow) -> Markup {
    let is_well = row.class == "well";
    let counts = row
        .minutes
        .iter()
        .map(|count| u32::try_from(*count).unwrap_or(u32::MAX));
    let counts: Vec<u32> = counts.collect();
    let failing = if is_well { &[][..] } else { &counts[..] };
    let shown = |number: Option<u64>| number.map(count);
    let [ten, hour] = [shown(row.ten_minutes), shown(row.hour)];
    let state = match (is_well, row.now) {
        (true, _) => "ok",
        (false, 0) => "off",
        (false, _) => "some",
    };
    html! {
        tr {
            th.k.oc scope="row" {
                (mark_of_state(state))
                a href={ (page.view.query(&[("q", &row.outcome), ("page", "")])) "#failures" } { (row.outcome) }
            }
            td.nn { (row.flag) }
            td.mean { (row.meaning.replace('`', "")) }
            (number("now", Some(&count(row.now)), row.now == 0))
            (number("10 min", ten.as_deref(), row.ten_minutes == Some(0)))
            (number("60 min", hour.as_deref(), row.hour == Some(0)))
            (number("since start", Some(&count(row.total)), false))
            td data-l="where" { @if let Some(place) = &row.place { (breakable(place)) } @else { span.z { "-" } } }
            td.sk { (bars(&counts, failing)) }
        }
    }
}

pub(super) fn endpoints(page: Drawn<'_>) -> Markup {
    let endpoints = &page.overview.endpoints;
    let id = "endpoints";
    html! {
        section id=(id) aria-labelledby="h-endpoints" {
            div.tw {
                table.cards.ep {
                    caption { h2 id="h-endpoints" { "Endpoints" } " " (position(endpoints, page.view, id, "troubled first, then by open connections; counts are since each was first used")) }
                    thead { tr {
                        (sortable(page, id, SortKey::Ready, "State", false))
                        (sortable(page, id, SortKey::Name, "Endpoint", false))
                        th scope="col" { "Zone" }
                        (sortable(page, id, SortKey::Upstream, "Upstream", false))
                        (sortable(page, id, SortKey::Open, "Active", true))
                        (sortable(page, id, SortKey::Total, "Total", true))
                        (sortable(page, id, SortKey::Failing, "Failed connects", true))
                        th.n scope="col" { "Ended before reply" }
                        th.n scope="col" { "Handshakes refused" }
                        (sortable(page, id, SortKey::Connect, "Connect p50, p99", true))
                        th scope="col" { "Last failure" }
                    } }
                    tbody { @for row in &endpoints.rows { (endpoint(page, row)) } }
                }
            }
            @if endpoints.rows.is_empty() { p.calm.d { "None." } }
        }
    }
}

fn endpoint(page: Drawn<'_>, row: &EndpointRow) -> Markup {
    let now = &page.overview.identity.now;
    let address = row.address.map(|address| address.to_string());
    let times = match (row.connect_p50_ms, row.connect_p99_ms) {
        (Some(p50), Some(p99)) => Some(format!("{}, {} ms", millis(p50), millis(p99))),
        _ => None,
    };
    let share = row
        .failing_share
        .filter(|_| row.state == "failing" || row.state == "ejected");
    html! {
        tr {
            th.k.st scope="row" {
                (mark_of_state(&row.state)) b.pl { (row.state) }
                @if let Some(left) = row.ejection_left_ms { span.l2 { (left.div_ceil(1000)) " s more" } }
                @if let Some(left) = row.drain_left_ms { span.l2 { (span(left)) " more" } }
                @if let Some(share) = share { span.l2.bad { (percent(share)) " fail" } }
            }
            td data-l="endpoint" {
                @match &address { Some(address) => code { (address) }, None => span.d { "no endpoint" } }
                @if let Some(reason) = &row.reason { span.l2 { (reason) } }
                @if let Some(node) = &row.node { span.l2 { (node) } }
                @if let Some(origin) = &row.origin { span.l2 { (breakable(origin)) } }
            }
            td data-l="zone" class=[row.zone.is_none().then_some("zz")] { (row.zone.as_deref().unwrap_or("-")) }
            td data-l="upstream" { (breakable(&row.upstream)) }
            (number("active", Some(&count(row.active)), row.active == 0))
            (number("total", Some(&count(row.connections)), row.connections == 0))
            (number("failed connects", Some(&count(row.failed_connects)), row.failed_connects == 0))
            (number("ended before reply", Some(&count(row.failed_before_reply)), row.failed_before_reply == 0))
            (number("handshakes refused", Some(&count(row.refused_handshakes)), row.refused_handshakes == 0))
            (number("connect p50, p99", times.as_deref(), false))
            td data-l="last failure" class=[row.last_failure.is_none().then_some("zz")] {
                @match &row.last_failure {
                    Some(at) => { (clock(at, now)) @if let Some(outcome) = &row.last_outcome { span.l2 { (outcome) } } },
                    None => span.z { "none" },
                }
            }
        }
    }
}

pub(super) fn connections(page: Drawn<'_>) -> Markup {
    let overview = page.overview;
    let connections = &overview.connections;
    html! {
        section id="connections" aria-labelledby="h-connections" {
            @if connections.rows.is_empty() {
                div.sh { h2 id="h-connections" { "Connections" } }
                p.calm.d {
                    @match (connections.all, &*page.view.search) {
                        (0, _) if !overview.unanswered_workers.is_empty() => "None is known.",
                        (0, _) => "None is open.",
                        (_, "") => "None on this page.",
                        (_, _) => "None of those with most bytes has this text.",
                    }
                }
            } @else {
                div.tw {
                    table.cards {
                        caption { h2 id="h-connections" { "Connections" } " " (position_within(connections, page.view, "connections", "open now, most bytes first", MOST_ROWS)) }
                        thead { tr {
                            th scope="col" { "Number" } th scope="col" { "Source" } th scope="col" { "Group" } th scope="col" { "Route" }
                            th scope="col" { "Endpoint" } th.n scope="col" { "Age" } th.n scope="col" { "To upstream" } th.n scope="col" { "To downstream" }
                            th.n scope="col" { "Quiet" } th scope="col" { "State" }
                        } }
                        tbody { @for row in &connections.rows { (connection(row)) } }
                    }
                }
            }
            @if !overview.unanswered_workers.is_empty() {
                p.warn { "Connections are missing here: these workers have not answered: " @for worker in &overview.unanswered_workers { (worker) " " } }
            }
        }
    }
}

fn connection(row: &ConnectionRow) -> Markup {
    let source = row.source.map(|source| source.to_string());
    let endpoint = row.endpoint.map(|endpoint| endpoint.to_string());
    let is_quiet = row.idle_ms >= 1000;
    html! {
        tr {
            th.k scope="row" { (row.connection) }
            td data-l="source" { code { (source.unwrap_or_default()) } }
            td data-l="group" { (row.group) }
            td data-l="route" {
                @match &row.route {
                    Some(route) => (breakable(route)),
                    None => span.z { "-" },
                }
            }
            td data-l="endpoint" { @match endpoint { Some(endpoint) => code { (endpoint) }, None => span.z { "-" } } }
            (number("age", Some(&span(row.age_ms)), false))
            (number("to upstream", Some(&size(row.to_upstream_bytes)), row.to_upstream_bytes == 0))
            (number("to downstream", Some(&size(row.to_downstream_bytes)), row.to_downstream_bytes == 0))
            (number("quiet", Some(&span(row.idle_ms)), !is_quiet))
            td data-l="state" { (row.state) @if let Some(handshake) = &row.handshake { span.l2 { (handshake) } } }
        }
    }
}
