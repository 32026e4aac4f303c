//! The state of `strait top`: the last answers, the view, the selected row, and the question that waits for a key.
//!
//! Nothing here reads or writes: keys (`keys`) and answers change the state, the screen (`paint`) is made of it, and
//! what is to be asked of the gateway is handed back as a [`TopRequest`].

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::answers::{
    Earlier, TopConnections, TopSources, endpoint_rows, route_rows, trouble_rows,
};
use super::cell::TopCell;
use super::view::{TopRow, TopView};
use crate::admin::overview::Overview;
use crate::cli::client::admin::with_query;

/// The answers of the gateway at one time, for one view.
#[derive(Debug, Default)]
pub(super) struct TopAnswers {
    pub(super) overview: Overview,
    /// With what a filter finds, for the views of routes and of endpoints.
    pub(super) found: Option<Box<Overview>>,
    /// For the view of connections.
    pub(super) connections: Option<TopConnections>,
    /// For the view of sources.
    pub(super) sources: Option<TopSources>,
    /// The time of the answers, in milliseconds of a clock that does not go back.
    pub(super) at: u64,
}

/// Answers as rows of a view.
#[derive(Debug)]
pub(super) struct TopLook {
    pub(super) view: TopView,
    pub(super) overview: Overview,
    pub(super) rows: Vec<TopRow>,
    /// Rows that the gateway has, of which `rows` may be a part.
    pub(super) all: u64,
    at: u64,
}

impl TopLook {
    /// The rows of the answers, with the rates since an earlier look at the same view.
    pub(super) fn new(view: TopView, answers: TopAnswers, before: Option<&Self>) -> Self {
        let before = before.filter(|before| before.view == view);
        let earlier = before.map_or_else(Earlier::default, |before| Earlier {
            elapsed: answers.at.saturating_sub(before.at),
            counts: before.counts(),
        });
        let mut overview = answers.overview;
        let (routes, endpoints) = (overview.routes.all, overview.endpoints.all);
        let mut found = answers.found;
        let rows_of = found.as_deref_mut().unwrap_or(&mut overview);
        let size = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (rows, all) = match view {
            TopView::Sources => {
                let sources = answers.sources.unwrap_or_default();
                let all = sources.sources_open;
                (sources.rows(&earlier), all)
            }
            TopView::Routes => {
                let rows = std::mem::take(&mut rows_of.routes).rows;
                (route_rows(rows), size(routes))
            }
            TopView::Endpoints => {
                let rows = std::mem::take(&mut rows_of.endpoints).rows;
                (endpoint_rows(rows, &earlier), size(endpoints))
            }
            TopView::Connections => {
                let connections = answers.connections.unwrap_or_default();
                let all = connections.open;
                (connections.rows(&earlier), all)
            }
            TopView::Troubles => {
                let rows = trouble_rows(&overview.troubles.rows);
                (rows, size(overview.troubles.all))
            }
        };
        Self {
            view,
            overview,
            rows,
            all,
            at: answers.at,
        }
    }

    fn counts(&self) -> HashMap<String, [u64; 3]> {
        let counts = self.rows.iter().map(|row| (row.key.clone(), row.counts));
        counts.collect()
    }
}

/// A request to the gateway, or to the terminal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TopRequest {
    Quit,
    /// Take a new look now.
    Look,
    Explain {
        title: String,
        path: String,
    },
    Act(TopAct),
    /// Give the terminal back until the process is continued.
    Suspend,
}

/// A change of the gateway.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TopAct {
    /// The question that somebody must answer with yes before it.
    pub(super) question: String,
    pub(super) change: TopChange,
    pub(super) path: String,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopChange {
    /// Open connections end.
    End,
    /// The state of an endpoint changes.
    Endpoint,
}

/// The part of the screen that keys act on.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum TopMode {
    #[default]
    Rows,
    /// A filter is typed.
    Filter,
    /// A change waits for a yes.
    Ask(TopAct),
    /// A text stands in the place of the rows.
    Lines {
        title: String,
        lines: Vec<String>,
        first: usize,
    },
}

/// The order of rows: a column, and whether it is turned round. Without one, troubled rows come first.
pub(super) type TopSort = Option<(usize, bool)>;

/// The part of the gateway's connections that belongs to a row of another view.
#[derive(Debug, Default, Clone)]
pub(super) struct TopPart {
    /// Its name for a person.
    pub(super) name: String,
    /// The parameters of `GET /connections` that ask for it.
    pub(super) query: Vec<(&'static str, String)>,
}

/// The state of one view.
#[derive(Debug, Default, Clone)]
pub(super) struct TopTable {
    /// The key of the selected row.
    selected: Option<String>,
    /// Its place in the order.
    pub(super) index: usize,
    /// The place of the first row that is shown.
    pub(super) first: usize,
    pub(super) sort: TopSort,
    pub(super) filter: String,
    /// The part of all rows that is asked for. Of connections only.
    pub(super) part: Option<TopPart>,
}

/// The longest filter, in characters.
pub(super) const MOST_FILTER: usize = 100;
/// Connections that are asked for without a filter, and without a row to which they belong.
const CONNECTIONS: usize = 1000;
/// Rows of an overview that are asked for, as many as the gateway has in one answer.
const ROWS: usize = 1000;
/// The same of sources, and of connections otherwise.
const MOST: usize = 10_000;
/// The shortest and the longest time between two looks, in seconds.
pub(super) const INTERVALS: std::ops::RangeInclusive<u64> = 1..=3600;

/// The state.
#[derive(Debug)]
pub(super) struct TopModel {
    /// The address of the gateway's admin server.
    pub(super) admin: String,
    pub(super) view: TopView,
    tables: [TopTable; TopView::ALL.len()],
    pub(super) mode: TopMode,
    pub(super) paused: bool,
    /// Seconds between two looks.
    pub(super) interval: u64,
    /// Whether a change was asked of the gateway that it has not answered.
    pub(super) changing: bool,
    /// The last thing to say, and whether it is a failure.
    pub(super) message: Option<(String, bool)>,
    pub(super) look: Option<TopLook>,
    /// The time of the first look that failed since one did not, and the reason of the last.
    pub(super) failure: Option<(u64, String)>,
    /// The rows of the look that the filter takes, in their order.
    pub(super) order: Vec<usize>,
    /// Rows that have room.
    pub(super) room: usize,
}

impl TopModel {
    pub(super) fn new(admin: String, view: TopView, interval: u64, filter: &str) -> Self {
        let mut model = Self {
            admin,
            view,
            tables: Default::default(),
            mode: TopMode::default(),
            paused: false,
            interval,
            changing: false,
            message: None,
            look: None,
            failure: None,
            order: Vec::new(),
            room: 1,
        };
        model.table_mut().filter = filter.chars().take(MOST_FILTER).collect();
        model
    }

    pub(super) fn table(&self) -> &TopTable {
        let [sources, routes, endpoints, connections, troubles] = &self.tables;
        match self.view {
            TopView::Sources => sources,
            TopView::Routes => routes,
            TopView::Endpoints => endpoints,
            TopView::Connections => connections,
            TopView::Troubles => troubles,
        }
    }

    pub(super) fn table_mut(&mut self) -> &mut TopTable {
        let [sources, routes, endpoints, connections, troubles] = &mut self.tables;
        match self.view {
            TopView::Sources => sources,
            TopView::Routes => routes,
            TopView::Endpoints => endpoints,
            TopView::Connections => connections,
            TopView::Troubles => troubles,
        }
    }

    /// The paths to ask for a look: the overview, and what the view has besides.
    pub(super) fn paths(&self) -> (String, Option<String>) {
        let overview = format!("/status?rows={ROWS}");
        let table = self.table();
        let more = match self.view {
            TopView::Sources => Some(format!("/sources?top={MOST}")),
            TopView::Connections => {
                let column = table.sort.and_then(|(column, _)| {
                    let columns = self.view.columns();
                    columns.get(column).map(|column| column.key)
                });
                let sort = match column {
                    Some("age_ms" | "id") => "age",
                    Some("idle_ms") => "idle",
                    _ => "bytes",
                };
                let few = table.filter.is_empty() && table.part.is_none();
                let limit = if few { CONNECTIONS } else { MOST }.to_string();
                let mut query = vec![("sort", Some(sort)), ("limit", Some(&*limit))];
                for (key, value) in table.part.iter().flat_map(|part| &part.query) {
                    query.push((key, Some(value)));
                }
                Some(with_query("/connections", &query))
            }
            // The gateway may have more rows than it sends; those that the filter takes come first then.
            TopView::Routes | TopView::Endpoints if !table.filter.is_empty() => Some(with_query(
                "/status",
                &[
                    ("rows", Some(&ROWS.to_string())),
                    ("q", Some(&table.filter)),
                ],
            )),
            TopView::Routes | TopView::Endpoints | TopView::Troubles => None,
        };
        (overview, more)
    }

    /// Takes answers to what was asked for `view`.
    pub(super) fn answered(&mut self, view: TopView, answers: TopAnswers) {
        self.failure = None;
        // The view was left meanwhile.
        if view == self.view {
            self.look = Some(TopLook::new(view, answers, self.look.as_ref()));
            self.arrange();
        }
    }

    /// Takes note of a look that failed at a time.
    pub(super) fn not_answered(&mut self, at: u64, reason: String) {
        let since = self.failure.as_ref().map_or(at, |(since, _)| *since);
        self.failure = Some((since, reason));
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.message = Some((text.into(), false));
    }

    pub(super) fn complain(&mut self, text: impl Into<String>) {
        self.message = Some((text.into(), true));
    }

    /// The rows of the view; none before its first look.
    pub(super) fn rows(&self) -> &[TopRow] {
        let look = self.look.as_ref().filter(|look| look.view == self.view);
        look.map_or(&[], |look| &*look.rows)
    }

    /// The rows that the filter takes, in their order.
    pub(super) fn shown(&self) -> impl Iterator<Item = &TopRow> {
        let rows = self.rows();
        self.order.iter().filter_map(|index| rows.get(*index))
    }

    /// The selected row.
    pub(super) fn selected(&self) -> Option<&TopRow> {
        let index = *self.order.get(self.table().index)?;
        self.rows().get(index)
    }

    /// Filters and sorts the rows again, and finds the selected one.
    pub(super) fn arrange(&mut self) {
        let (view, table) = (self.view, self.table());
        let rows = self.rows();
        let taken = |row: &TopRow| table.filter.is_empty() || row.holds(&table.filter);
        let mut order: Vec<usize> = (0..)
            .zip(rows)
            .filter(|(_, row)| taken(row))
            .map(|(index, _)| index)
            .collect();
        let sort = table.sort;
        order.sort_by(|one, other| match (rows.get(*one), rows.get(*other)) {
            (Some(one), Some(other)) => compare(view, sort, one, other),
            _ => Ordering::Equal,
        });
        let wanted = table.selected.as_deref();
        let found = order.iter().position(|index| {
            let row = rows.get(*index);
            row.is_some_and(|row| Some(&*row.key) == wanted)
        });
        self.order = order;
        let index = found.unwrap_or(self.table().index);
        self.select(index);
    }

    /// Selects the row at a place of the order, or the last one.
    pub(super) fn select(&mut self, index: usize) {
        let index = index.min(self.order.len().saturating_sub(1));
        let room = self.room.max(1);
        let table = self.table_mut();
        table.index = index;
        table.first = table.first.min(index).max((index + 1).saturating_sub(room));
        let key = self.selected().map(|row| row.key.clone());
        self.table_mut().selected = key;
    }

    /// Takes note of the number of rows that have room.
    pub(super) fn fit(&mut self, room: usize) {
        self.room = room;
        let index = self.table().index;
        self.select(index);
    }

    /// Shows a view.
    pub(super) fn show(&mut self, view: TopView) {
        self.view = view;
        self.order.clear();
        self.mode = TopMode::Rows;
        self.arrange();
    }

    /// The order of the rows in words.
    pub(super) fn order_in_words(&self) -> String {
        let columns = self.view.columns();
        match self.table().sort {
            None if self.view == TopView::Connections => "most bytes down first".to_owned(),
            None => "troubled first".to_owned(),
            Some((column, turned)) => {
                let title = columns.get(column).map_or("", |column| column.title);
                let turned = if turned { ", turned round" } else { "" };
                format!("by {title}{turned}")
            }
        }
    }

    /// The state as JSON: the gateway, and the first `most` rows that the filter takes.
    pub(super) fn json(&self, most: usize) -> Value {
        let rows = self.shown().take(most);
        let rows: Vec<Value> = rows.map(|row| row.json(self.view)).collect();
        let overview = self.look.as_ref().map(|look| &look.overview);
        json!({
            "admin": self.admin,
            "identity": overview.map(|overview| &overview.identity),
            "state": overview.map(|overview| &overview.state),
            "troubles": overview.map(|overview| &overview.troubles.rows),
            "limits": overview.map(|overview| &overview.limits.rows),
            "by": self.view.title(),
            "all": self.look.as_ref().map(|look| look.all),
            "rows": rows,
        })
    }
}

fn compare(view: TopView, sort: TopSort, one: &TopRow, other: &TopRow) -> Ordering {
    let cells = |column: usize| (one.cells.get(column), other.cells.get(column));
    let by = |column: usize| match cells(column) {
        (Some(one), Some(other)) => TopCell::order(one, other),
        _ => Ordering::Equal,
    };
    match sort {
        Some((column, turned)) => match turned {
            false => by(column),
            true => by(column).reverse(),
        },
        None => {
            let columns = view.columns();
            let first = columns
                .iter()
                .position(|column| column.key == view.first_by());
            let troubled = other.mark.cmp(&one.mark);
            troubled.then_with(|| first.map_or(Ordering::Equal, by))
        }
    }
}

#[cfg(test)]
mod tests;
