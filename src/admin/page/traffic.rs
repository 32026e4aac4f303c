//! The traffic on the page: five numbers, each with its last hour.

use maud::{Markup, html};

use super::Drawn;
use super::parts::short_time;
use crate::admin::numbers::{bytes, count, millis, percent, rate};
use crate::admin::overview::Spans;

/// The size of a sparkline in its own units.
const WIDTH: f64 = 236.0;
const HEIGHT: f64 = 46.0;

pub(super) fn section(page: Drawn<'_>) -> Markup {
    let (traffic, view) = (&page.overview.traffic, page.view);
    html! {
        section id="traffic" aria-labelledby="h-traffic" {
            div.sh {
                h2 id="h-traffic" { "Traffic" }
                @if traffic.connections > 0 {
                    p.sub {
                        "Now is the last one to two minutes. Show the last "
                        @for (window, words) in [(10, "10"), (60, "60")] {
                            a href={ (view.query(&[("window", words)])) "#traffic" } aria-current=[(view.window == window).then_some("true")] { (words) } " "
                        }
                        "minutes."
                        @if traffic.minutes_known < 2 { " Sparklines begin with the second full minute." }
                    }
                }
            }
            @if traffic.connections == 0 {
                div.none {
                    p {
                        b { "No connection has come yet." } " "
                        @if traffic.probes > 0 { (count(traffic.probes)) " probes of a load balancer have: it reaches this pod." }
                    }
                    p.d { "Call one of the routes below, or ask what would happen:" }
                    code.cmd { "strait explain --live --sni NAME --alpn istio --from ADDRESS" }
                    p.d { "The service map begins with the first connection, and the sparklines with the second full minute." }
                }
            } @else { (tiles(page)) }
        }
    }
}

fn tiles(page: Drawn<'_>) -> Markup {
    let traffic = &page.overview.traffic;
    let (new, failing) = (&traffic.new_per_second, &traffic.failing_per_second);
    let now = |spans: &Spans| spans.now.unwrap_or(0.0);
    let share = match now(new) {
        new if new > 0.0 => now(failing) / new,
        _ => 0.0,
    };
    let is_failing = now(failing) > 0.0;
    let whole = |open: f64| rate(open.round()).replace(".0", "");
    html! {
        div.tiles {
            div.tile {
                h3 { "New connections" }
                p.v { b { (rate(now(new))) } " /s" }
                (line(page, &[new], "sp", &rate))
                p.sb { (means(new, rate)) }
            }
            div.tile {
                h3 { "Open" }
                p.v { b { (whole(now(&traffic.open))) } }
                (line(page, &[&traffic.open], "sp", &whole))
                p.sb { (means(&traffic.open, whole)) }
            }
            div.tile {
                h3 { "Bytes a second" }
                p.v { b { (bytes(now(&traffic.to_downstream_per_second))) } " down, " b.v2 { (bytes(now(&traffic.to_upstream_per_second))) } " up" }
                (line(page, &[&traffic.to_downstream_per_second, &traffic.to_upstream_per_second], "sp", &bytes))
                p.sb { "down is to the callers; " (means(&traffic.to_downstream_per_second, bytes)) }
            }
            div.tile {
                h3 { "Connect, p99" }
                p.v { @match traffic.connect_p99_ms.now { Some(p99) => { b { (millis(p99)) } " ms" }, None => span.d { "no connect now" } } }
                (line(page, &[&traffic.connect_p99_ms], "sp", &millis))
                p.sb { (means(&traffic.connect_p99_ms, millis)) }
            }
            div.tile {
                h3 { "Failing" }
                p.v { b { (rate(now(failing))) } " /s, " b.v2.bad[is_failing] { (percent(share)) } }
                (line(page, &[failing], "sp f", &rate))
                p.sb { "refused " (rate(now(&traffic.refused_per_second))) "/s; " (means(failing, rate)) }
            }
        }
    }
}

/// The means of 10 and 60 minutes in words.
fn means(spans: &Spans, shown: impl Fn(f64) -> String) -> String {
    match (spans.ten_minutes, spans.hour) {
        (Some(ten), Some(hour)) => format!("10 min {}, 60 min {}", shown(ten), shown(hour)),
        _ if spans.minutes.is_empty() => "no full minute yet".to_owned(),
        _ => "none in the last hour".to_owned(),
    }
}

/// A sparkline of one or more series on one scale.
fn line(page: Drawn<'_>, series: &[&Spans], class: &str, shown: &dyn Fn(f64) -> String) -> Markup {
    let window = page.view.window;
    let last = |spans: &Spans| {
        let skipped = spans.minutes.len().saturating_sub(window);
        spans
            .minutes
            .iter()
            .skip(skipped)
            .copied()
            .collect::<Vec<_>>()
    };
    let series: Vec<Vec<Option<f64>>> = series.iter().map(|spans| last(spans)).collect();
    let length = series.iter().map(Vec::len).max().unwrap_or(0);
    if length < 2 || series.iter().flatten().all(Option::is_none) {
        return html! {};
    }
    let most = series
        .iter()
        .flatten()
        .flatten()
        .copied()
        .fold(0.0, f64::max);
    let paths = series.iter().map(|values| path(values, most));
    let paths: Vec<String> = paths.collect();
    let ended = page.overview.traffic.minute_ended.as_deref();
    html! {
        svg class=(class) viewBox="0 0 236 46" preserveAspectRatio="none" aria-hidden="true" {
            @for (place, path) in paths.iter().enumerate() {
                @if place == 0 { path.a d={ (path) " L236 46 L0 46z" } {} }
                path.l d=(path) {}
            }
        }
        p.ax {
            span { (length) " min" }
            span { "max " (shown(most)) }
            span { (ended.map(short_time).and_then(|time| time.get(..5)).unwrap_or("now")) }
        }
    }
}

/// The path of a series: from the left to the right edge, with the largest value near the top.
fn path(values: &[Option<f64>], most: f64) -> String {
    let steps = values.len().saturating_sub(1).max(1);
    let steps = super::super::overview::history::float(steps as u64);
    let mut path = String::new();
    let mut x = 0.0;
    for value in values {
        let part = if most > 0.0 {
            value.unwrap_or(0.0) / most
        } else {
            0.0
        };
        let y = HEIGHT - part * (HEIGHT - 3.0);
        path += &format!("{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { " L" });
        x += WIDTH / steps;
    }
    path
}

/// Counts of minutes as thin bars, each with its failing part.
pub(super) fn bars(counts: &[u32], failing: &[u32]) -> Markup {
    let most = counts.iter().chain(failing).copied().max().unwrap_or(0);
    if counts.len() < 2 || most == 0 {
        return html! { span.z { "-" } };
    }
    let mut all = String::new();
    let mut bad = String::new();
    let first = 60_usize.saturating_sub(counts.len());
    for (place, count) in counts.iter().enumerate() {
        let height = |count: u32| f64::from(count) / f64::from(most) * 18.0;
        let x = (first + place) * 2;
        if *count > 0 {
            all += &format!("M{x}.5 20V{:.1}", 20.0 - height(*count).max(1.0));
        }
        let failed = failing.get(place).copied().unwrap_or(0);
        if failed > 0 {
            bad += &format!("M{x}.5 20V{:.1}", 20.0 - height(failed).max(1.5));
        }
    }
    html! {
        svg.mini viewBox="0 0 120 20" preserveAspectRatio="none" aria-hidden="true" {
            path.b d="M0 19.5H120" {}
            path.t d=(all) {}
            path.f d=(bad) {}
        }
    }
}
