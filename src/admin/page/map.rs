//! The service map: source groups, routes and upstreams, with bands between them as wide as their traffic.

use maud::{Markup, html};

use super::Drawn;
use super::parts::start_of;
use crate::admin::numbers::{bytes, percent, rate};
use crate::admin::overview::history::float;
use crate::admin::overview::view::MapAmount;
use crate::admin::overview::{FlowRow, GroupRow, RouteRow};

/// The height of all bands together, in the units of the drawing.
const BANDS: f64 = 400.0;
/// The least width of a band, and of its failing part.
const LEAST: [f64; 2] = [1.4, 1.7];
/// The least height of a row with its two lines of text, and of a group with four.
const ROW: f64 = 34.0;
const GROUP: f64 = 66.0;
/// Endpoints that are drawn one by one.
const MOST_SQUARES: usize = 12;
/// Characters of a name.
const NAME: usize = 44;

/// A row in the middle of the map.
struct Middle<'a> {
    route: Option<&'a RouteRow>,
    name: String,
    before_route: bool,
    flows: Vec<&'a FlowRow>,
    /// The top of its bands, and their height.
    top: f64,
    height: f64,
}

/// A band between a group and a row.
struct Band {
    from: f64,
    to: f64,
    width: f64,
    failing: f64,
    title: String,
}

struct Drawing<'a> {
    amount: MapAmount,
    scale: f64,
    groups: Vec<(&'a GroupRow, f64, f64)>,
    rows: Vec<Middle<'a>>,
    height: f64,
}

pub(super) fn section(page: Drawn<'_>) -> Markup {
    let view = page.view;
    let drawing = Drawing::new(page);
    html! {
        section id="map" aria-labelledby="h-map" {
            div.sh {
                h2 id="h-map" { "Service map" }
                p.sub {
                    "Width is "
                    @for (word, amount, words) in MapAmount::ALL {
                        a href={ (view.query(&[("map", word)])) "#map" } aria-current=[(view.map == amount).then_some("true")] { (words) } " "
                    }
                    "now; "
                    span.key { svg viewBox="0 0 22 10" aria-hidden="true" { rect.ff width="22" height="10" {} } " hatched red" }
                    " is the failing share, a square an endpoint. As a table: " a href="#routes" { "routes" } "."
                }
            }
            (drawing.draw(page))
        }
    }
}

fn amount(flow: &FlowRow, of: MapAmount) -> f64 {
    match of {
        MapAmount::New => flow.new_per_second,
        MapAmount::Open => float(flow.open),
        MapAmount::Bytes => flow.bytes_per_second,
    }
}

fn said(value: f64, of: MapAmount) -> String {
    match of {
        MapAmount::New => format!("{}/s", rate(value)),
        MapAmount::Open => format!("{value:.0} open"),
        MapAmount::Bytes => format!("{}/s", bytes(value)),
    }
}

/// The failing part of new connections.
fn failing_part(new: f64, failing: f64) -> f64 {
    if new > 0.0 {
        (failing / new).min(1.0)
    } else {
        0.0
    }
}

impl<'a> Drawing<'a> {
    fn new(page: Drawn<'a>) -> Self {
        let overview = page.overview;
        let of = page.view.map;
        let all: f64 = overview.flows.iter().map(|flow| amount(flow, of)).sum();
        let scale = if all > 0.0 { BANDS / all } else { 0.0 };
        let mut rows: Vec<Middle<'_>> = Vec::new();
        let flows = |takes: &dyn Fn(&FlowRow) -> bool| {
            overview
                .flows
                .iter()
                .filter(|flow| takes(flow))
                .collect::<Vec<_>>()
        };
        for (place, route) in overview.map.iter().enumerate() {
            rows.push(Middle {
                route: Some(route),
                name: route.route.clone(),
                before_route: false,
                flows: flows(&|flow| flow.route == Some(place)),
                top: 0.0,
                height: 0.0,
            });
        }
        for (name, before_route) in [("other routes", false), ("refused before a route", true)] {
            let flows = flows(&|flow| flow.route.is_none() && flow.before_route == before_route);
            if flows.iter().any(|flow| amount(flow, of) > 0.0) {
                rows.push(Middle {
                    route: None,
                    name: name.to_owned(),
                    before_route,
                    flows,
                    top: 0.0,
                    height: 0.0,
                });
            }
        }
        let width = |flow: &FlowRow| band_width(amount(flow, of), scale);
        let mut top = 4.0;
        for row in &mut rows {
            row.height = row
                .flows
                .iter()
                .map(|flow| width(flow))
                .sum::<f64>()
                .max(4.0);
            row.top = top;
            top += row.height.max(ROW) + 6.0;
        }
        let mut height = top;
        let mut top = 4.0;
        let mut groups = Vec::new();
        for group in &overview.groups {
            let own = overview
                .flows
                .iter()
                .filter(|flow| flow.group == group.group);
            let of_group: f64 = own.map(width).sum::<f64>().max(4.0);
            groups.push((group, top, of_group));
            top += of_group.max(GROUP) + 10.0;
        }
        height = height.max(top);
        Self {
            amount: of,
            scale,
            groups,
            rows,
            height,
        }
    }

    /// The bands from groups to rows.
    fn bands(&self) -> Vec<Band> {
        let mut bands = Vec::new();
        let mut used: Vec<f64> = self.groups.iter().map(|(_, top, _)| *top).collect();
        for row in &self.rows {
            let mut to = row.top;
            for (place, (group, ..)) in self.groups.iter().enumerate() {
                let Some(flow) = row.flows.iter().find(|flow| flow.group == group.group) else {
                    continue;
                };
                let value = amount(flow, self.amount);
                let width = band_width(value, self.scale);
                let part = failing_part(flow.new_per_second, flow.failing_per_second);
                let Some(from) = used.get_mut(place).filter(|_| width > 0.0) else {
                    continue;
                };
                bands.push(Band {
                    from: *from,
                    to,
                    width,
                    failing: failing_width(width, part),
                    title: format!(
                        "{} to {}: {}, {} failing",
                        group.group,
                        row.name,
                        said(value, self.amount),
                        percent(part)
                    ),
                });
                *from += width;
                to += width;
            }
        }
        bands
    }

    fn draw(&self, page: Drawn<'_>) -> Markup {
        let bands = self.bands();
        let view = page.view;
        html! {
            svg.map viewBox={ "0 -24 960 " (format!("{:.0}", self.height + 30.0)) } role="group" aria-label="Service map; the table Routes says the same" {
                text.hd x="0" y="-10" { "source group" }
                text.hd x="360" y="-10" { "route" }
                text.hd x="680" y="-10" { "upstream" }
                g {
                    @for band in &bands {
                        path.fl d=(curve(122.0, band.from, 348.0, band.to, band.width)) { title { (band.title) } }
                    }
                    @for row in &self.rows { (right_band(row)) }
                }
                g {
                    @for band in bands.iter().filter(|band| band.failing > 0.0) {
                        @let inset = band.width - band.failing;
                        path.ff d=(curve(122.0, band.from + inset, 348.0, band.to + inset, band.failing)) { title { (band.title) } }
                    }
                }
                @for (group, top, height) in &self.groups {
                    rect.nd x="118" y=(n(*top)) width="4" height=(n(*height)) {}
                    (group_text(group, top + (height / 2.0).max(12.0), &view.query(&[("group", &group.group), ("page", "")]), self.amount))
                }
                @for row in &self.rows {
                    rect.nd.x[row.before_route] x="348" y=(n(row.top)) width="4" height=(n(row.height)) {}
                    (row_text(row, &view.query(&[("q", &row.name), ("page", "")]), self.amount))
                    @if let Some(route) = row.route { (upstream_text(route, row)) }
                }
            }
        }
    }
}

fn band_width(value: f64, scale: f64) -> f64 {
    if value > 0.0 {
        (value * scale).max(LEAST[0])
    } else {
        0.0
    }
}

fn failing_width(width: f64, part: f64) -> f64 {
    if part > 0.0 {
        (width * part).max(LEAST[1]).min(width)
    } else {
        0.0
    }
}

fn n(number: f64) -> String {
    format!("{number:.1}")
}

/// A band between two edges.
fn curve(x1: f64, y1: f64, x2: f64, y2: f64, width: f64) -> String {
    let middle = f64::midpoint(x1, x2);
    let (z1, z2) = (y1 + width, y2 + width);
    format!(
        "M{x1:.0} {y1:.1}C{middle:.0} {y1:.1} {middle:.0} {y2:.1} {x2:.0} {y2:.1}V{z2:.1}C{middle:.0} {z2:.1} {middle:.0} {z1:.1} {x1:.0} {z1:.1}z"
    )
}

/// The band from a route to its upstream: a dashed line where no endpoint is ready.
fn right_band(row: &Middle<'_>) -> Markup {
    let Some(route) = row.route else {
        return html! {};
    };
    let middle = row.top + row.height / 2.0;
    html! {
        @if route.ready_endpoints == 0 {
            path.dash d=(format!("M572 {middle:.1}H659M658 {:.1}v10", middle - 5.0)) {}
        } @else {
            path.fl d=(curve(572.0, row.top, 668.0, row.top, row.height)) {}
            rect.nd x="668" y=(n(row.top)) width="4" height=(n(row.height)) {}
            rect.nd.q x="569" y=(n(row.top)) width="3" height=(n(row.height)) {}
        }
    }
}

fn group_text(group: &GroupRow, middle: f64, href: &str, of: MapAmount) -> Markup {
    let part = failing_part(group.new_per_second, group.failing_per_second);
    let value = match of {
        MapAmount::New => group.new_per_second,
        MapAmount::Open => float(group.open),
        MapAmount::Bytes => group.bytes_per_second,
    };
    let networks = match group.networks.as_slice() {
        [] => "in no group".to_owned(),
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one} +{}", rest.len()),
    };
    html! {
        text.t x="0" y=(n(middle - 8.0)) { a href=(href) { (start_of(&group.group, 16)) } }
        text.s x="0" y=(n(middle + 6.0)) { (start_of(&networks, 19)) }
        text.s x="0" y=(n(middle + 20.0)) { (said(value, of)) }
        @if part > 0.0 { text.s.bad x="0" y=(n(middle + 34.0)) { (percent(part)) " failing" } }
    }
}

fn row_text(row: &Middle<'_>, href: &str, of: MapAmount) -> Markup {
    let sum = |pick: fn(&FlowRow) -> f64| row.flows.iter().map(|flow| pick(flow)).sum::<f64>();
    let value: f64 = row.flows.iter().map(|flow| amount(flow, of)).sum();
    let part = failing_part(
        sum(|flow| flow.new_per_second),
        sum(|flow| flow.failing_per_second),
    );
    let y = row.top + row.height.max(ROW) / 2.0;
    let y = if row.height < ROW {
        row.top + 9.0
    } else {
        y - 4.0
    };
    let name = start_of(&row.name, NAME / 2 + 8);
    html! {
        text.t x="360" y=(n(y)) {
            @if row.route.is_some() { a href=(href) { (name) } } @else { (name) }
        }
        text.s.bad[part > 0.0] x="360" y=(n(y + 14.0)) {
            (said(value, of)) @if part > 0.0 { ", " (percent(part)) " failing" }
        }
    }
}

fn upstream_text(route: &RouteRow, row: &Middle<'_>) -> Markup {
    let y = if row.height < ROW {
        row.top + 9.0
    } else {
        row.top + row.height / 2.0 - 4.0
    };
    let name = match route.upstreams.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one} +{}", rest.len()),
    };
    let out = route.endpoints.saturating_sub(route.ready_endpoints);
    let class = match (route.ready_endpoints, out) {
        (0, _) => "s bad",
        (_, 0) => "s",
        _ => "s warn",
    };
    let drawn = route.endpoints.min(MOST_SQUARES);
    let mut x = 958.0;
    let squares: Vec<(String, bool)> = (0..drawn)
        .map(|place| {
            x -= 10.0;
            (n(x), place >= out)
        })
        .collect();
    html! {
        text.t x="680" y=(n(y)) { (start_of(&name, NAME / 2 + 6)) }
        text class=(class) x="680" y=(n(y + 14.0)) {
            @if route.endpoints == 0 { "no endpoint" } @else { (route.ready_endpoints) " of " (route.endpoints) " ready" }
            @if let Some(p99) = route.connect_p99_ms { ", p99 " (crate::admin::numbers::millis(p99)) " ms" }
        }
        @for (x, is_ready) in squares {
            rect.pip.ok[is_ready].ko[!is_ready] x=(x) y=(n(y + 6.0)) width="7" height="7" {}
        }
    }
}
