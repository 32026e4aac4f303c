//! The keys of `strait top`.

use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::answers::connections;
use super::model::{
    INTERVALS, MOST_FILTER, TopAct, TopChange, TopMode, TopModel, TopPart, TopRequest,
};
use super::view::{TopSubject, TopView};
use crate::cli::client::admin::{encoded, with_query};

/// The keys, for the help.
const HELP: &[&str] = &[
    "1 2 3 4 5        the views: sources, routes, endpoints, connections, troubles (t)",
    "Tab, Shift-Tab   the next view, the one before",
    "Up, Down, PgUp, PgDn, Home, End   another row",
    "Enter            more about a trouble or a connection, a route's endpoints,",
    "                 the connections of a source or an endpoint",
    "/ (\\, F3, F4)    filter: rows that hold a text; Esc shows all again",
    "s, S (>, <, F6)  sort by the next column, by the one before",
    "i (I)            turn the order round",
    "e                explain what the gateway would do with such a connection now",
    "k (F9)           end the connection, or all of the row",
    "d                drain the endpoint, or let it be ready again",
    "x                lift the endpoint's ejection",
    "p, + and -       pause; more and less time between two looks",
    "q (F10, Ctrl-C)  quit; Ctrl-Z suspends",
    "",
    "k, d and x ask once, with what they end. Any key but y is no.",
];

impl TopModel {
    /// Does what a key asks for. Returns what is to be done outside of the state.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<TopRequest> {
        let request = self.pressed(key)?;
        if let TopRequest::Explain { .. } | TopRequest::Act(_) = request {
            if self.changing {
                self.complain("the gateway has not answered the last change yet");
                return None;
            }
            self.changing = matches!(request, TopRequest::Act(_));
        }
        Some(request)
    }

    fn pressed(&mut self, key: KeyEvent) -> Option<TopRequest> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Some(TopRequest::Quit),
            KeyCode::Char('z') if control => return Some(TopRequest::Suspend),
            KeyCode::Char('l') if control => return Some(TopRequest::Look),
            KeyCode::Char(_) if control => return None,
            _ => {}
        }
        match &mut self.mode {
            TopMode::Rows => {
                self.message = None;
                self.row_key(key.code)
            }
            TopMode::Filter => self.filter_key(key.code),
            TopMode::Ask(act) => {
                let act = act.clone();
                self.mode = TopMode::Rows;
                match key.code {
                    KeyCode::Char('y' | 'Y') => Some(TopRequest::Act(act)),
                    _ => {
                        self.say("nothing was changed");
                        None
                    }
                }
            }
            TopMode::Lines { lines, first, .. } => {
                let last = lines.len().saturating_sub(1);
                match key.code {
                    KeyCode::Up => *first = first.saturating_sub(1),
                    KeyCode::Down => *first = (*first + 1).min(last),
                    KeyCode::PageUp => *first = first.saturating_sub(self.room),
                    KeyCode::PageDown => *first = (*first + self.room).min(last),
                    KeyCode::Home => *first = 0,
                    KeyCode::End => *first = last,
                    _ => self.mode = TopMode::Rows,
                }
                None
            }
        }
    }

    fn row_key(&mut self, code: KeyCode) -> Option<TopRequest> {
        let index = self.table().index;
        match code {
            KeyCode::Char('q') | KeyCode::F(10) => return Some(TopRequest::Quit),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
                let lines = HELP.iter().map(|line| (*line).to_owned());
                self.lines("keys", lines.collect());
            }
            KeyCode::Char(digit @ '1'..='5') => {
                let views = TopView::ALL.into_iter().zip('1'..);
                let view = views.into_iter().find(|(_, key)| *key == digit);
                return view.and_then(|(view, _)| self.turn_to(view));
            }
            KeyCode::Char('t') => return self.turn_to(TopView::Troubles),
            KeyCode::Tab => return self.next_view(1),
            KeyCode::BackTab => return self.next_view(TopView::ALL.len() - 1),
            KeyCode::Up => self.select(index.saturating_sub(1)),
            KeyCode::Down => self.select(index + 1),
            KeyCode::PageUp => self.select(index.saturating_sub(self.room)),
            KeyCode::PageDown => self.select(index + self.room),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX - 1),
            KeyCode::Char('/' | '\\') | KeyCode::F(3 | 4) => self.mode = TopMode::Filter,
            KeyCode::Esc => {
                let was_part = self.table_mut().part.take().is_some();
                let look = self.filter_by(String::new());
                return was_part.then_some(TopRequest::Look).or(look);
            }
            KeyCode::Char('s' | '>') | KeyCode::F(6) => return self.sort_by_next(false),
            KeyCode::Char('S' | '<') => return self.sort_by_next(true),
            KeyCode::Char('i' | 'I') => {
                if let Some((_, turned)) = &mut self.table_mut().sort {
                    *turned = !*turned;
                    self.arrange();
                } else {
                    self.complain("choose a column with s first");
                }
            }
            KeyCode::Char('p') => {
                self.paused = !self.paused;
                return (!self.paused).then_some(TopRequest::Look);
            }
            KeyCode::Char('+') => self.interval = (self.interval + 1).min(*INTERVALS.end()),
            KeyCode::Char('-') => self.interval = (self.interval - 1).max(*INTERVALS.start()),
            KeyCode::Enter => return self.enter(),
            KeyCode::Char('e') => return self.explain(),
            KeyCode::Char('k') | KeyCode::F(9) => self.ask_to_end(),
            KeyCode::Char('d') => self.ask_to_drain(),
            KeyCode::Char('x') => self.ask_to_lift(),
            _ => {}
        }
        None
    }

    fn filter_key(&mut self, code: KeyCode) -> Option<TopRequest> {
        let mut filter = self.table().filter.clone();
        match code {
            KeyCode::Enter | KeyCode::Up | KeyCode::Down => {
                self.mode = TopMode::Rows;
                return None;
            }
            KeyCode::Esc => {
                self.mode = TopMode::Rows;
                filter.clear();
            }
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char(c) if filter.chars().count() < MOST_FILTER => filter.push(c),
            _ => return None,
        }
        self.filter_by(filter)
    }

    /// Filters. A new look is wanted if the gateway has more rows than were asked for.
    fn filter_by(&mut self, filter: String) -> Option<TopRequest> {
        let before = self.paths();
        self.table_mut().filter = filter;
        self.arrange();
        (self.paths() != before).then_some(TopRequest::Look)
    }

    /// Shows a text in the place of the rows.
    pub(super) fn lines(&mut self, title: &str, lines: Vec<String>) {
        self.mode = TopMode::Lines {
            title: title.to_owned(),
            lines,
            first: 0,
        };
    }

    fn turn_to(&mut self, view: TopView) -> Option<TopRequest> {
        self.show(view);
        Some(TopRequest::Look)
    }

    fn next_view(&mut self, step: usize) -> Option<TopRequest> {
        let views = TopView::ALL;
        let next = (self.view.index() + step) % views.len();
        let view = views.get(next).copied().unwrap_or(self.view);
        self.turn_to(view)
    }

    /// Sorts by the column after the one in force, or before it; after the last column as at first.
    fn sort_by_next(&mut self, backwards: bool) -> Option<TopRequest> {
        let before = self.paths();
        let columns = self.view.columns().len();
        let place = self.table().sort.map_or(0, |(column, _)| column + 1);
        let step = if backwards { columns } else { 1 };
        let place = (place + step) % (columns + 1);
        self.table_mut().sort = place.checked_sub(1).map(|column| (column, false));
        self.arrange();
        (self.paths() != before).then_some(TopRequest::Look)
    }

    /// Shows what belongs to the selected row.
    fn enter(&mut self) -> Option<TopRequest> {
        let subject = self.selected()?.subject.clone();
        let part = |name: String, query| Some(TopPart { name, query });
        let (view, filter, part) = match subject {
            TopSubject::Source { address, .. } => {
                let part = part(format!("from {address}"), vec![("source", address)]);
                (TopView::Connections, String::new(), part)
            }
            TopSubject::Route { upstreams, .. } => {
                (TopView::Endpoints, upstreams.into_iter().next()?, None)
            }
            TopSubject::Endpoint {
                upstream, address, ..
            } => {
                let name = format!("to {address} of {upstream}");
                let query = vec![("endpoint", address), ("upstream", upstream)];
                (TopView::Connections, String::new(), part(name, query))
            }
            TopSubject::Connection { .. } => return self.explain(),
            TopSubject::Text(lines) => {
                self.lines("trouble", lines);
                return None;
            }
            TopSubject::Nothing => return None,
        };
        self.show(view);
        self.table_mut().part = part;
        let _ = self.filter_by(filter.chars().take(MOST_FILTER).collect());
        Some(TopRequest::Look)
    }

    fn explain(&mut self) -> Option<TopRequest> {
        let subject = self.selected().map(|row| &row.subject);
        let Some(TopSubject::Connection {
            id,
            listener,
            source,
            server_name,
            alpn,
            ..
        }) = subject
        else {
            self.complain("e explains a connection: select one in the view of connections");
            return None;
        };
        let Some(server_name) = server_name else {
            let text = format!("connection {id} has sent no server name yet");
            self.complain(text);
            return None;
        };
        let from = source.parse().ok();
        let from = from.map(|address: std::net::SocketAddr| address.ip().to_string());
        let path = with_query(
            "/explain",
            &[
                ("sni", Some(server_name)),
                ("alpn", alpn.as_deref()),
                ("from", from.as_deref()),
                ("listener", Some(listener)),
            ],
        );
        let title = format!("a connection such as {id} would now");
        Some(TopRequest::Explain { title, path })
    }

    fn ask(&mut self, change: TopChange, question: String, path: String) {
        self.mode = TopMode::Ask(TopAct {
            question,
            change,
            path,
        });
    }

    fn ask_to_end(&mut self) {
        let subject = self.selected().map(|row| row.subject.clone());
        let all = |open: u64, whose: &str| {
            format!(
                "end {} {whose}? Their clients see a reset (y/n)",
                connections(open)
            )
        };
        let filtered = |query: &[(&str, Option<&str>)]| with_query("/connections", query);
        match subject {
            Some(TopSubject::Connection {
                id,
                source,
                endpoint,
                ..
            }) => {
                let to = endpoint.map_or_else(String::new, |endpoint| format!(" to {endpoint}"));
                let question =
                    format!("end connection {id} from {source}{to}? Its client sees a reset (y/n)");
                self.ask(TopChange::End, question, format!("/connections/{id}"));
            }
            Some(TopSubject::Source { address, open }) => {
                let path = filtered(&[("source", Some(&address))]);
                self.ask(TopChange::End, all(open, &format!("from {address}")), path);
            }
            // A listener may have a route of the same name as another one.
            Some(TopSubject::Route {
                name,
                listener,
                open,
                ..
            }) => {
                let path = filtered(&[("route", Some(&name)), ("listener", Some(&listener))]);
                let whose = format!("of route {name} of {listener}");
                self.ask(TopChange::End, all(open, &whose), path);
            }
            // The same address may be an endpoint of several upstreams.
            Some(TopSubject::Endpoint {
                upstream,
                address,
                open,
                ..
            }) => {
                let path = filtered(&[("endpoint", Some(&address)), ("upstream", Some(&upstream))]);
                let whose = format!("to {address} of {upstream}");
                self.ask(TopChange::End, all(open, &whose), path);
            }
            Some(TopSubject::Nothing | TopSubject::Text(_)) | None => {
                self.complain("no row here has a connection to end");
            }
        }
    }

    fn ask_to_drain(&mut self) {
        let subject = self.selected().map(|row| row.subject.clone());
        let Some(TopSubject::Endpoint {
            upstream,
            address,
            state,
            open,
        }) = subject
        else {
            self.complain("d drains an endpoint: select one in the view of endpoints");
            return;
        };
        let (question, state) = match &*state {
            "drained" => (
                format!(
                    "end the drain of {address} of {upstream}? It gets connections again (y/n)"
                ),
                "ready",
            ),
            _ => (
                format!(
                    "drain {address} of {upstream}? It gets no new connection, its {} go on (y/n)",
                    connections(open)
                ),
                "drain",
            ),
        };
        let path = endpoint_path(&upstream, &address, ("state", state));
        self.ask(TopChange::Endpoint, question, path);
    }

    fn ask_to_lift(&mut self) {
        let subject = self.selected().map(|row| row.subject.clone());
        match subject {
            Some(TopSubject::Endpoint {
                upstream,
                address,
                state,
                ..
            }) if state == "ejected" => {
                let question = format!(
                    "lift the ejection of {address} of {upstream}? It gets connections at once (y/n)"
                );
                let path = endpoint_path(&upstream, &address, ("ejection", "lift"));
                self.ask(TopChange::Endpoint, question, path);
            }
            _ => self.complain("x lifts an ejection: select an ejected endpoint"),
        }
    }
}

fn endpoint_path(upstream: &str, address: &str, (key, value): (&str, &str)) -> String {
    let (upstream, address) = (encoded(upstream), encoded(address));
    let path = format!("/upstreams/{upstream}/endpoints/{address}");
    with_query(&path, &[(key, Some(value))])
}

#[cfg(test)]
mod tests;
