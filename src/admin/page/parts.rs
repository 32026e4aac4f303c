//! Small parts of the page: marks, links, cells.

use maud::{Markup, PreEscaped, html};

use super::Drawn;
use crate::admin::numbers::count;
use crate::admin::overview::view::{SortKey, View};
use crate::admin::overview::{RowPage, TroubleLevel};

/// The shape that stands before a word. `shape` is `bad`, `warn`, `held`, `note`, `ok` or `off`.
pub(super) fn mark(shape: &str) -> Markup {
    html! {
        svg class={ "mk " (shape) } viewBox="0 0 12 12" aria-hidden="true" { use href={ "#m-" (shape) } {} }
    }
}

pub(super) const fn shape_of_level(level: TroubleLevel) -> &'static str {
    match level {
        TroubleLevel::Failing | TroubleLevel::Refused => "bad",
        TroubleLevel::Contained => "held",
        TroubleLevel::NearLimit | TroubleLevel::Draining => "warn",
        TroubleLevel::Note => "note",
    }
}

pub(super) fn mark_of_level(level: TroubleLevel) -> Markup {
    mark(shape_of_level(level))
}

/// The colour of a level.
pub(super) const fn class_of_level(level: TroubleLevel) -> &'static str {
    match level {
        TroubleLevel::Failing | TroubleLevel::Refused => "bad",
        TroubleLevel::Contained | TroubleLevel::NearLimit | TroubleLevel::Draining => "warn",
        TroubleLevel::Note => "pl",
    }
}

/// The mark of the state of a route or an endpoint.
pub(super) fn mark_of_state(state: &str) -> Markup {
    mark(match state {
        "failing" => "bad",
        "none" | "ejected" | "unhealthy" | "some" => "held",
        "ok" | "ready" => "ok",
        _ => "off",
    })
}

pub(super) fn section_link(id: &str, words: &str, rows: Option<usize>) -> Markup {
    html! {
        li class={ "n-" (id) } {
            a href={ "#" (id) } { (words) @if let Some(rows) = rows { " " b { (many(rows)) } } }
        }
    }
}

/// A number of rows.
pub(super) fn many(rows: usize) -> String {
    count(u64::try_from(rows).unwrap_or(u64::MAX))
}

/// The time of day of an RFC 3339 time.
pub(super) fn short_time(at: &str) -> &str {
    at.get(11..19).unwrap_or(at)
}

/// The first characters of a text.
pub(super) fn start_of(text: &str, most: usize) -> &str {
    let end = text
        .char_indices()
        .nth(most)
        .map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text)
}

/// The position of the rows among all, with links to other pages.
pub(super) fn position<T>(rows: &RowPage<T>, view: &View, id: &str, order: &str) -> Markup {
    position_within(rows, view, id, order, rows.matched)
}

/// The position of the first `shown` rows of an answer.
pub(super) fn position_of<T>(rows: &RowPage<T>, shown: usize, order: &str) -> Markup {
    html! {
        @if shown < rows.matched { (many(rows.first + 1)) " to " (many(rows.first + shown)) " of " }
        (many(rows.matched))
        @if rows.matched != rows.all { " found among " (many(rows.all)) }
        @if !order.is_empty() { ", " (order) }
    }
}

/// The position of all rows of an answer, with links to other pages, where no page has rows beyond the first
/// `reachable`.
pub(super) fn position_within<T>(
    rows: &RowPage<T>,
    view: &View,
    id: &str,
    order: &str,
    reachable: usize,
) -> Markup {
    let (first, shown) = (rows.first, rows.rows.len());
    let last = first + shown;
    let link = |page: usize| format!("{}#{id}", view.query(&[("page", &page.to_string())]));
    let size = view.rows.max(1);
    let current = first / size + 1;
    html! {
        span.sub {
            (position_of(rows, shown, order))
            @if first > 0 { "; " a href=(link(current - 1)) { "the ones before" } }
            @if last < rows.matched.min(reachable) && shown > 0 { "; " a href=(link(current + 1)) { "the next ones" } }
        }
    }
}

/// The head of a column by which one can sort.
pub(super) fn sortable(
    page: Drawn<'_>,
    id: &str,
    key: SortKey,
    words: &str,
    is_number: bool,
) -> Markup {
    let current = page.view.sort.filter(|(sorted, _)| *sorted == key);
    let turned = current.is_some_and(|(_, turned)| turned);
    let sort = match current {
        Some((_, false)) => format!("-{}", key.word()),
        Some((_, true)) | None => key.word().to_owned(),
    };
    let order = current.map(|_| match key.is_amount() != turned {
        true => "descending",
        false => "ascending",
    });
    let href = format!("{}#{id}", page.view.query(&[("sort", &sort), ("page", "")]));
    html! {
        th scope="col" class=[is_number.then_some("n")] aria-sort=[order] { a href=(href) { (words) } }
    }
}

/// A cell with a number. One without a value recedes, and is left out where there is little room.
pub(super) fn number(label: &str, value: Option<&str>, is_zero: bool) -> Markup {
    let class = if is_zero || value.is_none() {
        "n num zz"
    } else {
        "n num"
    };
    html! {
        td class=(class) data-l=(label) {
            @match value {
                Some(value) if is_zero => span.z { (value) },
                Some(value) => (value),
                None => span.z { "-" },
            }
        }
    }
}

/// Text with places where it may be broken.
pub(super) fn breakable(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split_inclusive(['.', '/', ':']).enumerate() {
            @if place > 0 { (PreEscaped("<wbr>")) }
            (part)
        }
    }
}
