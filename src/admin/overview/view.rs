//! The question that an overview answers: what to search for, which rows, in which order.

use std::cmp::Ordering;
use std::net::SocketAddr;

use serde::Deserialize;

use super::RowPage;

/// The most rows of a table in one answer.
pub const MOST_ROWS: usize = 1000;
/// Rows of a table unless the request says otherwise.
const ROWS: usize = 50;
/// The same in text.
const TEXT_ROWS: usize = 20;
/// Seconds between two loads of a page that renews itself.
const REFRESH: [u32; 2] = [2, 3600];
/// The longest text to search for, in bytes.
const LONGEST_SEARCH: usize = 512;

/// The query of a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct ViewParameters {
    q: Option<String>,
    group: Option<String>,
    sort: Option<String>,
    page: Option<String>,
    rows: Option<String>,
    window: Option<String>,
    map: Option<String>,
    refresh: Option<String>,
    format: Option<String>,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum PageFormat {
    Html,
    Text,
    Json,
}

/// The key by which rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum SortKey {
    Name,
    Upstream,
    Alpn,
    Ready,
    Rate,
    Failing,
    Open,
    Up,
    Down,
    Connect,
    Total,
}

impl SortKey {
    const ALL: [(&'static str, Self); 11] = [
        ("name", Self::Name),
        ("upstream", Self::Upstream),
        ("alpn", Self::Alpn),
        ("ready", Self::Ready),
        ("rate", Self::Rate),
        ("failing", Self::Failing),
        ("open", Self::Open),
        ("up", Self::Up),
        ("down", Self::Down),
        ("connect", Self::Connect),
        ("total", Self::Total),
    ];

    /// The word in a query.
    pub(in crate::admin) fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, key)| *key == self);
        found.map_or("name", |(word, _)| word)
    }

    /// Whether the largest come first unless the question turns it.
    pub(in crate::admin) fn is_amount(self) -> bool {
        !matches!(self, Self::Name | Self::Upstream | Self::Alpn | Self::Ready)
    }
}

/// The amount that the width of a band of the map stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::admin) enum MapAmount {
    #[default]
    New,
    Open,
    Bytes,
}

impl MapAmount {
    pub(in crate::admin) const ALL: [(&'static str, Self, &'static str); 3] = [
        ("new", Self::New, "new connections/s"),
        ("open", Self::Open, "open"),
        ("bytes", Self::Bytes, "bytes/s"),
    ];
}

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) struct View {
    /// A part of any name, address or outcome, in lower case; empty for all.
    pub(in crate::admin) search: String,
    /// A source group.
    pub(in crate::admin) group: Option<String>,
    /// The order of rows, and whether it is turned.
    pub(in crate::admin) sort: Option<(SortKey, bool)>,
    /// The number of the page, from 0.
    pub(in crate::admin) page: usize,
    /// Rows of each table.
    pub(in crate::admin) rows: usize,
    /// Whether the request says how many.
    pub(in crate::admin) are_rows_given: bool,
    /// Minutes of the sparklines: 10 or 60.
    pub(in crate::admin) window: usize,
    pub(in crate::admin) map: MapAmount,
    /// Seconds between two loads; `None` for one load.
    pub(in crate::admin) refresh: Option<u32>,
    pub(in crate::admin) format: Option<PageFormat>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            search: String::new(),
            group: None,
            sort: None,
            page: 0,
            rows: ROWS,
            are_rows_given: false,
            window: 60,
            map: MapAmount::New,
            refresh: None,
            format: None,
        }
    }
}

fn number<N: std::str::FromStr>(text: Option<&str>, wrong: &str) -> Result<Option<N>, String> {
    let parsed = text.filter(|text| !text.is_empty()).map(str::parse);
    parsed.transpose().map_err(|_| wrong.to_owned())
}

impl ViewParameters {
    /// # Errors
    /// The parameter that is not understood.
    pub(in crate::admin) fn view(self) -> Result<View, String> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let search = given(self.q).unwrap_or_default();
        if search.len() > LONGEST_SEARCH {
            return Err(format!("`q` has at most {LONGEST_SEARCH} bytes"));
        }
        let page = number(self.page.as_deref(), "`page` is a number from 1")?.unwrap_or(1);
        let rows = format!("`rows` is a number from 1 to {MOST_ROWS}");
        let given_rows = match number(self.rows.as_deref(), &rows)? {
            Some(0) => return Err(rows),
            Some(number) if number > MOST_ROWS => return Err(rows),
            number => number,
        };
        let refresh: Option<u32> = number(self.refresh.as_deref(), "`refresh` is in seconds")?;
        let [least, most] = REFRESH;
        Ok(View {
            search: search.trim().to_lowercase(),
            group: given(self.group),
            sort: sort(self.sort.as_deref())?,
            page: usize::saturating_sub(page, 1),
            rows: given_rows.unwrap_or(ROWS),
            are_rows_given: given_rows.is_some(),
            window: match self.window.as_deref() {
                None | Some("60") => 60,
                Some("10") => 10,
                Some(_) => return Err("`window` is 10 or 60".to_owned()),
            },
            map: match self.map.as_deref() {
                None => MapAmount::New,
                Some(word) => {
                    let known = MapAmount::ALL.iter().find(|(known, ..)| *known == word);
                    known.ok_or("`map` is new, open or bytes")?.1
                }
            },
            refresh: refresh.map(|seconds| seconds.clamp(least, most)),
            format: match self.format.as_deref() {
                None => None,
                Some("html") => Some(PageFormat::Html),
                Some("text") => Some(PageFormat::Text),
                Some("json") => Some(PageFormat::Json),
                Some(_) => return Err("`format` is html, text or json".to_owned()),
            },
        })
    }
}

fn sort(text: Option<&str>) -> Result<Option<(SortKey, bool)>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let word = text.strip_prefix('-').unwrap_or(text);
    let known = SortKey::ALL.iter().find(|(known, _)| *known == word);
    match known {
        Some((_, key)) => Ok(Some((*key, word != text))),
        None => {
            let words: Vec<&str> = SortKey::ALL.iter().map(|(word, _)| *word).collect();
            Err(format!("`sort` is one of {}", words.join(", ")))
        }
    }
}

impl View {
    /// The view as an answer in `format` has it: text has fewer rows unless the request says how many.
    pub(in crate::admin) fn in_format(self, format: PageFormat) -> Self {
        match format {
            PageFormat::Text if !self.are_rows_given => Self {
                rows: TEXT_ROWS,
                ..self
            },
            _ => self,
        }
    }

    /// Whether the search finds one of the texts.
    pub(super) fn finds<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        self.search.is_empty()
            || texts
                .into_iter()
                .any(|text| text.to_lowercase().contains(&self.search))
    }

    /// Whether the search finds a row by one of its texts or addresses.
    pub(super) fn finds_row<const TEXTS: usize, const ADDRESSES: usize>(
        &self,
        texts: [Option<&str>; TEXTS],
        addresses: [Option<SocketAddr>; ADDRESSES],
    ) -> bool {
        let is_found = |address: SocketAddr| self.finds([&*address.to_string()]);
        self.finds(texts.into_iter().flatten()) || addresses.into_iter().flatten().any(is_found)
    }

    /// The rows of the page among those that `takes` takes, in the order of `compare`.
    pub(super) fn page<T>(
        &self,
        rows: Vec<T>,
        takes: impl Fn(&T) -> bool,
        compare: impl Fn(&T, &T) -> Ordering,
    ) -> RowPage<T> {
        let all = rows.len();
        let mut rows: Vec<T> = rows.into_iter().filter(takes).collect();
        let matched = rows.len();
        let last = matched.saturating_sub(1) / self.rows;
        let first = self.page.min(last) * self.rows;
        let end = (first + self.rows).min(matched);
        if end < matched {
            // Only the rows up to the end of the page need an order.
            rows.select_nth_unstable_by(end, &compare);
            rows.truncate(end);
        }
        rows.sort_by(compare);
        let rows = rows.split_off(first);
        RowPage {
            all,
            matched,
            first,
            rows,
        }
    }

    /// The query that leads to this view, with `changes` in place of some parameters. An empty value removes one.
    pub(in crate::admin) fn query(&self, changes: &[(&str, &str)]) -> String {
        let sort = self.sort.map(|(key, turned)| {
            let sign = if turned { "-" } else { "" };
            format!("{sign}{}", key.word())
        });
        let map = MapAmount::ALL.iter().find(|(_, map, _)| *map == self.map);
        let map = map.map_or("new", |(word, ..)| word);
        let unless = |value: String, default: &str| match value == default {
            true => String::new(),
            false => value,
        };
        let parameters = [
            ("q", self.search.clone()),
            ("group", self.group.clone().unwrap_or_default()),
            ("sort", sort.unwrap_or_default()),
            ("page", unless((self.page + 1).to_string(), "1")),
            ("rows", unless(self.rows.to_string(), "50")),
            ("window", unless(self.window.to_string(), "60")),
            ("map", unless(map.to_owned(), "new")),
            (
                "refresh",
                self.refresh
                    .map(|seconds| seconds.to_string())
                    .unwrap_or_default(),
            ),
        ];
        let value = |name: &str, value: String| {
            let changed = changes.iter().find(|(changed, _)| *changed == name);
            changed.map_or(value, |(_, value)| (*value).to_owned())
        };
        let mut query = String::new();
        let format = ("format", String::new());
        for (name, own) in parameters.into_iter().chain([format]) {
            let value = value(name, own);
            if !value.is_empty() {
                query.push(if query.is_empty() { '?' } else { '&' });
                query += name;
                query.push('=');
                query += &encoded(&value);
            }
        }
        match query.is_empty() {
            true => "/".to_owned(),
            false => format!("/{query}"),
        }
    }
}

/// A value of a query, with every byte that has a meaning there or is no printable ASCII as `%XX`.
pub(in crate::admin) fn encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte);
        match plain {
            true => encoded.push(char::from(byte)),
            false => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn parameters_that_are_not_understood_are_refused() {
        let none = ViewParameters::default;
        assert_eq!(none().view(), Ok(View::default()));
        for wrong in [
            ViewParameters {
                sort: text("size"),
                ..none()
            },
            ViewParameters {
                page: text("x"),
                ..none()
            },
            ViewParameters {
                rows: text("0"),
                ..none()
            },
            ViewParameters {
                rows: text("1001"),
                ..none()
            },
            ViewParameters {
                window: text("5"),
                ..none()
            },
            ViewParameters {
                map: text("x"),
                ..none()
            },
            ViewParameters {
                format: text("xml"),
                ..none()
            },
            ViewParameters {
                refresh: text("often"),
                ..none()
            },
            ViewParameters {
                q: Some("x".repeat(LONGEST_SEARCH + 1)),
                ..none()
            },
        ] {
            let shown = format!("{wrong:?}");
            assert!(wrong.view().is_err(), "{shown}");
        }
    }

    #[test]
    fn a_query_leads_to_the_same_view() {
        let view = ViewParameters {
            q: text("A <b>&\u{202e}"),
            sort: text("-open"),
            page: text("3"),
            window: text("10"),
            refresh: text("1"),
            ..ViewParameters::default()
        };
        let view = view.view().unwrap();
        assert_eq!(view.refresh, Some(2), "no page loads without a pause");
        let query = view.query(&[]);
        assert_eq!(
            query,
            "/?q=a%20%3Cb%3E%26%E2%80%AE&sort=-open&page=3&window=10&refresh=2"
        );
        let changed = view.query(&[("q", ""), ("page", ""), ("format", "text")]);
        assert_eq!(changed, "/?sort=-open&window=10&refresh=2&format=text");
        assert_eq!(View::default().query(&[]), "/");
    }

    #[test]
    fn a_page_has_its_rows_in_order() {
        let numbers: Vec<u32> = (0..10).rev().collect();
        let page = |page, rows| {
            let view = View {
                page,
                rows,
                ..View::default()
            };
            view.page(numbers.clone(), |number| *number != 5, Ord::cmp)
        };
        let first = page(0, 4);
        assert_eq!((first.all, first.matched, first.first), (10, 9, 0));
        assert_eq!(first.rows, [0, 1, 2, 3]);
        assert_eq!(page(1, 4).rows, [4, 6, 7, 8]);
        assert_eq!(page(2, 4).rows, [9]);
        assert_eq!(page(7, 4).rows, [9], "the last one");
        assert_eq!(page(0, 100).rows.len(), 9);
        let none = View::default().page(Vec::<u32>::new(), |_| true, Ord::cmp);
        assert_eq!(none, RowPage::default());
    }
}
