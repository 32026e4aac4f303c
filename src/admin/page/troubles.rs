//! The troubles on the page.

use maud::{Markup, html};

use super::parts::{mark, mark_of_level, position, shape_of_level};
use super::{Drawn, exec_in_pod};
use crate::admin::numbers::{clock, rate};
use crate::admin::overview::Trouble;
use crate::admin::overview::view::encoded;

pub(super) fn section(page: Drawn<'_>) -> Markup {
    let troubles = &page.overview.troubles;
    html! {
        section id="troubles" aria-labelledby="h-troubles" {
            div.sh {
                h2 id="h-troubles" { "Troubles" }
                @if !troubles.rows.is_empty() {
                    p.sub { "What loses calls now comes first. Each has the command that shows more; one click selects it." }
                }
                @if troubles.rows.len() < troubles.all {
                    p { (position(troubles, page.view, "troubles", "")) " " a href=(page.view.query(&[("rows", "1000"), ("page", "")])) { "show all" } }
                }
            }
            @if troubles.all == 0 {
                p.calm { (mark("ok")) "None. Listeners are bound, every source has answered, the newest config is in force, no limit is near, and no route or endpoint fails." }
            } @else {
                ol.troubles { @for trouble in &troubles.rows { (one(page, trouble)) } }
            }
        }
    }
}

fn one(page: Drawn<'_>, trouble: &Trouble) -> Markup {
    let (pod, now) = (&page.overview.identity.pod, &page.overview.identity.now);
    let pod = pod.as_deref().filter(|pod| encoded(pod) == **pod);
    let lost = match trouble.lost_per_second {
        Some(lost) => format!("{}/s lost", rate(lost)),
        None => "loss unknown".to_owned(),
    };
    let search = trouble.search.as_deref();
    let link = |search: &str, id: &str| {
        let query = page
            .view
            .query(&[("q", search), ("page", ""), ("group", "")]);
        format!("{query}#{id}")
    };
    html! {
        li class={ "tr t-" (shape_of_level(trouble.level)) } {
            p.lv {
                b { (mark_of_level(trouble.level)) (trouble.level.words()) }
                span { (lost) }
                @if let Some(since) = &trouble.since { span.d { "since " (clock(since, now)) } }
            }
            div.tb {
                h3 { (trouble.title) }
                p.ev {
                    (trouble.sentence) " "
                    @if let Some(search) = search {
                        span.lk {
                            a href=(link(search, "failures")) { "failures" } " "
                            a href=(link(search, "endpoints")) { "endpoints" }
                        }
                    }
                }
                @if !trouble.details.is_empty() {
                    ul.prob { @for detail in &trouble.details { li { (detail) } } }
                }
                @if let Some(command) = &trouble.command {
                    code.cmd {
                        @if pod.is_some() { span.d { (exec_in_pod(&page.overview.identity)) } }
                        (command)
                    }
                }
            }
        }
    }
}
