//! The views with their columns, and a row of one.

use serde::Serialize;
use serde_json::{Map, Value};

use super::cell::TopCell;

/// A table that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopView {
    Sources,
    Routes,
    Endpoints,
    Connections,
    Troubles,
}

/// A column. Its width is the least one, in characters.
#[derive(Debug)]
pub(super) struct TopColumn {
    pub(super) title: &'static str,
    /// The key in JSON.
    pub(super) key: &'static str,
    pub(super) width: usize,
    /// Whether its cells begin at the left.
    pub(super) left: bool,
    /// Whether it gets a part of the room that is left.
    pub(super) grows: bool,
}

const fn numbers(title: &'static str, key: &'static str, width: usize) -> TopColumn {
    TopColumn {
        title,
        key,
        width,
        left: false,
        grows: false,
    }
}

const fn text(title: &'static str, key: &'static str, width: usize) -> TopColumn {
    TopColumn {
        title,
        key,
        width,
        left: true,
        grows: true,
    }
}

const fn word(title: &'static str, key: &'static str, width: usize) -> TopColumn {
    TopColumn {
        title,
        key,
        width,
        left: true,
        grows: false,
    }
}

const SOURCES: &[TopColumn] = &[
    text("SOURCE", "source", 17),
    word("GROUP", "source_group", 10),
    numbers("OPEN", "open", 7),
    numbers("TO UP", "to_upstream_per_second", 10),
    numbers("TO DOWN", "to_downstream_per_second", 10),
    numbers("UP", "to_upstream_bytes", 8),
    numbers("DOWN", "to_downstream_bytes", 8),
    numbers("OLDEST", "oldest_ms", 7),
];

const ROUTES: &[TopColumn] = &[
    text("ROUTE", "route", 22),
    word("LISTENER", "listener", 10),
    numbers("READY", "ready", 7),
    numbers("OPEN", "open", 7),
    numbers("NEW/S", "new_per_second", 6),
    numbers("FAIL", "failing", 6),
    numbers("TO UP", "to_upstream_per_second", 10),
    numbers("TO DOWN", "to_downstream_per_second", 10),
    text("UPSTREAMS", "upstreams", 20),
];

const ENDPOINTS: &[TopColumn] = &[
    text("UPSTREAM", "upstream", 18),
    text("ENDPOINT", "endpoint", 18),
    numbers("STATE", "state", 11),
    numbers("OPEN", "open", 6),
    numbers("NEW/S", "new_per_second", 5),
    numbers("CONN", "failed_connects", 5),
    numbers("RESET", "failed_before_reply", 5),
    numbers("REFUS", "refused_handshakes", 5),
    numbers("p99 ms", "connect_p99_ms", 6),
    numbers("LAST", "last_failure", 8),
    word("ZONE", "zone", 8),
    text("NODE", "node", 12),
];

const CONNECTIONS: &[TopColumn] = &[
    numbers("ID", "id", 9),
    text("SOURCE", "source", 17),
    word("GROUP", "source_group", 6),
    text("ROUTE", "route", 18),
    numbers("AGE", "age_ms", 6),
    numbers("UP", "to_upstream_bytes", 8),
    numbers("DOWN", "to_downstream_bytes", 8),
    numbers("IDLE", "idle_ms", 6),
    numbers("STATE", "state", 11),
    numbers("UP/S", "to_upstream_per_second", 10),
    numbers("DOWN/S", "to_downstream_per_second", 10),
    text("ENDPOINT", "endpoint", 18),
    text("SERVER NAME", "server_name", 24),
];

const TROUBLES: &[TopColumn] = &[
    numbers("LEVEL", "level", 12),
    text("TROUBLE", "title", 30),
    text("SHOW MORE", "command", 30),
];

impl TopView {
    pub(super) const ALL: [Self; 5] = [
        Self::Sources,
        Self::Routes,
        Self::Endpoints,
        Self::Connections,
        Self::Troubles,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Routes => "routes",
            Self::Endpoints => "endpoints",
            Self::Connections => "connections",
            Self::Troubles => "troubles",
        }
    }

    pub(super) fn columns(self) -> &'static [TopColumn] {
        match self {
            Self::Sources => SOURCES,
            Self::Routes => ROUTES,
            Self::Endpoints => ENDPOINTS,
            Self::Connections => CONNECTIONS,
            Self::Troubles => TROUBLES,
        }
    }

    /// The place in a list of one for each view.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Sources => 0,
            Self::Routes => 1,
            Self::Endpoints => 2,
            Self::Connections => 3,
            Self::Troubles => 4,
        }
    }

    /// The key of the column that orders the rows unless somebody chooses one; troubled rows come first then.
    pub(super) fn first_by(self) -> &'static str {
        match self {
            Self::Sources | Self::Endpoints => "open",
            Self::Routes => "new_per_second",
            Self::Connections => "to_downstream_bytes",
            Self::Troubles => "level",
        }
    }

    /// The text that stands for a view without rows.
    pub(super) fn empty(self) -> &'static str {
        match self {
            Self::Sources => "No connection is open, so there is no source.",
            Self::Routes => "There is no route.",
            Self::Endpoints => "There is no upstream.",
            Self::Connections => "No connection is open.",
            Self::Troubles => "There is no trouble.",
        }
    }
}

/// The weight of a trouble. The greater is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TopMark {
    #[default]
    None,
    Note,
    NearLimit,
    Contained,
    Refused,
    Failing,
}

impl TopMark {
    pub(super) fn sign(self, ascii: bool) -> &'static str {
        match (self, ascii) {
            (Self::None, _) => " ",
            (Self::Note, _) => "-",
            (Self::NearLimit, true) => "^",
            (Self::NearLimit, false) => "\u{25b2}",
            (Self::Contained, true) => "*",
            (Self::Contained, false) => "\u{25c6}",
            (Self::Refused | Self::Failing, true) => "#",
            (Self::Refused | Self::Failing, false) => "\u{25a0}",
        }
    }
}

/// A row of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TopRow {
    /// The name by which it is found again in the next answer.
    pub(super) key: String,
    pub(super) mark: TopMark,
    /// One for each column.
    pub(super) cells: Vec<TopCell>,
    /// Two lines about it.
    pub(super) details: [String; 2],
    pub(super) subject: TopSubject,
    /// The counters whose growth gives the rates: connections, bytes to the upstream and to the downstream.
    pub(super) counts: [u64; 3],
}

/// The thing that a row is about, for the keys that act on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum TopSubject {
    #[default]
    Nothing,
    /// A text that says all about it.
    Text(Vec<String>),
    Source {
        address: String,
        open: u64,
    },
    Route {
        name: String,
        listener: String,
        upstreams: Vec<String>,
        open: u64,
    },
    Endpoint {
        upstream: String,
        address: String,
        state: String,
        open: u64,
    },
    Connection {
        id: u64,
        listener: String,
        source: String,
        server_name: Option<String>,
        alpn: Option<String>,
        endpoint: Option<String>,
    },
}

impl TopRow {
    /// Whether a text stands in one of its cells or lines, without regard to the case of ASCII letters.
    pub(super) fn holds(&self, wanted: &str) -> bool {
        let wanted = wanted.to_ascii_lowercase();
        let holds = |text: &str| text.to_ascii_lowercase().contains(&wanted);
        self.details.iter().any(|line| holds(line))
            || self.cells.iter().any(|cell| match cell {
                TopCell::Text(text) => holds(text),
                _ => false,
            })
    }

    /// The row as an object of JSON.
    pub(super) fn json(&self, view: TopView) -> Value {
        let mut object = Map::new();
        object.insert("mark".to_owned(), serde_json::json!(self.mark));
        for (column, cell) in view.columns().iter().zip(&self.cells) {
            object.insert(column.key.to_owned(), serde_json::json!(cell));
        }
        Value::Object(object)
    }
}
